//! What looks on during a run: who leads, whether it must be stopped, and the signals of the user.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::signal::unix::{SignalKind, signal};

use super::Context;
use crate::{
    history::{Op, Phase},
    judge,
};

const LOOK: Duration = Duration::from_millis(400);

/// Ctrl-C and SIGTERM stop the run, which heals before it ends.
pub(super) fn signals(stop: &Arc<AtomicBool>) -> io::Result<()> {
    let stop = Arc::clone(stop);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _guard = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    // Detached: it ends with the process.
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        eprintln!("stopping: what was hurt is healed first");
        stop.store(true, Ordering::Relaxed);
    });
    Ok(())
}

/// Notes every change of a leader or a term, as each node believes it.
pub(super) fn leaders(context: &Context) {
    let mut known: BTreeMap<(u16, u32), (Option<u64>, u64)> = BTreeMap::new();
    while !context.is_done() {
        for node in context.members() {
            if !context.stage.lab.is_running(node) {
                continue;
            }
            // A node that stands still does not answer in time; the next look tells.
            for (group, leader, term) in super::rest::groups(context, node).unwrap_or_default() {
                if known.insert((node, group), (leader, term)) != Some((leader, term)) {
                    let op = Op::Leader { node, group, leader, term };
                    context.recorder.add(&format!("node{node}"), &format!("group {group}"), Phase::Info, op);
                }
            }
        }
        thread::sleep(LOOK);
    }
}

/// Waits for the end of the load, and aborts when the guard says so.
pub(super) fn guard(context: &Context, until: Instant) {
    let guard = &context.experiment.guard;
    while Instant::now() < until {
        if !context.sleep_until(until.min(Instant::now() + Duration::from_secs(1))) {
            return;
        }
        if guard.abort_availability_below <= 0.0 {
            continue;
        }
        let now_ms = context.recorder.now_ms();
        let recent: Vec<_> =
            context.recorder.records().into_iter().filter(|record| record.at_ms > now_ms - guard.abort_after_s * 1000.0).collect();
        let seen = judge::service(&recent);
        if now_ms > guard.abort_after_s * 1000.0 && seen.availability < guard.abort_availability_below {
            context.abort(format!("guard: {:.2} of callers were served in the last {} s", seen.availability, guard.abort_after_s));
            return;
        }
    }
}
