//! What the agents' phones had: every call once it is over, with its times.

use std::{thread, time::Duration};

use tandem_bench::phone::{Call, Entry, Phone, Way};

use super::Context;
use crate::history::{Op, Phase};

const LOOK: Duration = Duration::from_millis(200);

/// Watches until the run is done; what is still open then is told by [`rest`].
pub(super) fn watch(context: &Context) {
    while !context.is_done() {
        look(context, false);
        thread::sleep(LOOK);
    }
}

/// At rest: the calls that were not told yet, those that are not over included.
pub(super) fn rest(context: &Context) {
    look(context, true);
}

fn look(context: &Context, open_too: bool) {
    let mut told = context.told.lock();
    for phone in context.stage.agents.iter().flatten().chain(&context.bystanders) {
        for (key, op) in calls(context, phone, open_too) {
            if told.insert(key) {
                let agent = phone.look(|ua| ua.options.user.clone());
                context.recorder.add(&agent, &agent, Phase::Ok, op);
            }
        }
    }
}

/// Calls of a phone by dialog.
fn calls(context: &Context, phone: &Phone, open_too: bool) -> Vec<(String, Op)> {
    let ms = |at: Option<std::time::Instant>| at.map(|at| context.recorder.ms(at));
    phone.look(|ua| {
        let wanted = ua.calls.iter().filter(|call| open_too || call.is_over());
        let row = |call: &Call| {
            let rang_ms = ms(call.owners.first().map(|owner| owner.at)).unwrap_or(0.0);
            let is_ack = |entry: &&Entry| entry.way == Way::In && entry.call_id == call.call_id && entry.bytes.starts_with(b"ACK ");
            let acked = call.up_at.and_then(|_| ua.journal.entries().find(is_ack).map(|entry| entry.at));
            let op = Op::AgentCall { caller: call.peer().to_owned(), rang_ms, up_ms: ms(acked), over_ms: ms(call.over_at) };
            (format!("{} {}", call.call_id, call.local_tag), op)
        };
        wanted.map(row).collect()
    })
}
