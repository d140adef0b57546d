//! Contacts are taken over at any moment of their first second and a half: while they are offered, disclosed to, or talked to.

use std::{
    collections::VecDeque,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{Shared, heard_first, heard_last, user, voice};
use crate::{
    error::Error,
    phone::{OnRing, Phone, Random},
    report::Report,
    survival::stage::Stage,
};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    shared: Shared,
}

const NODE: u16 = 1;
/// The latest moment of a takeover, from the call on.
const LATEST: Duration = Duration::from_millis(1_500);
/// A person is heard by then, and has talked for a while.
const JUDGED_AFTER: Duration = Duration::from_secs(3);
/// People who take turns.
const PEOPLE: usize = 40;
const LISTED_WITHIN: Duration = Duration::from_secs(5);

/// What became of the contacts.
#[derive(Default)]
struct Seen {
    without: usize,
    talked_over: usize,
    /// How far the AI agent had come when it was taken over.
    silent: usize,
    disclosing: usize,
    talking: usize,
}

pub fn run(options: &Options) -> Result<Report, Error> {
    let stage = super::open(&options.shared, PEOPLE, OnRing::Answer { after_ms: 0 })?;
    let (mut rng, mut seen, mut open) = (Random(options.shared.common.seed), Seen::default(), VecDeque::new());
    for caller in &stage.callers {
        caller.call(stage.sip(NODE), super::QUEUE);
        thread::sleep(rng.below(LATEST));
        let id = listed(&stage, caller)?;
        let asked = Instant::now();
        stage.lab.post(NODE, &format!("/api/v1/calls/{id}/takeover"), &json!({}))?;
        open.push_back((caller, asked));
        while open.front().is_some_and(|(_, asked): &(&Phone, Instant)| asked.elapsed() >= JUDGED_AFTER) {
            judge(&stage, &mut seen, open.pop_front());
        }
    }
    thread::sleep(JUDGED_AFTER);
    while !open.is_empty() {
        judge(&stage, &mut seen, open.pop_front());
    }
    let mut report = Report::new(format!("takeover anytime: {} contacts", options.shared.calls));
    report.figure("taken over before the AI agent said anything", seen.silent as f64, "contacts");
    report.figure("taken over after its disclosure began", seen.disclosing as f64, "contacts");
    report.figure("taken over while it talked", seen.talking as f64, "contacts");
    report.bounded("AI agent heard beside or after a person", seen.talked_over as f64, "contacts", "= 0", seen.talked_over == 0);
    report.bounded("contacts without a person", seen.without as f64, "contacts", "= 0", seen.without == 0);
    super::hang_up(&stage);
    Ok(report)
}

/// The id of a caller's live call, which an arrival of a moment ago may not have yet.
fn listed(stage: &Stage, caller: &Phone) -> Result<String, Error> {
    let number = user(caller);
    let until = Instant::now() + LISTED_WITHIN;
    loop {
        if let Some(id) = super::calls(stage)?.remove(&number) {
            return Ok(id);
        }
        if Instant::now() > until {
            return Err(Error::Missed(format!("the call of {number} is not listed")));
        }
    }
}

fn judge(stage: &Stage, seen: &mut Seen, contact: Option<(&Phone, Instant)>) {
    let Some((caller, asked)) = contact else { return };
    let ai = [voice::DISCLOSURE.1, voice::SPEECH.1].map(|voice| heard_last(caller, voice));
    match ai {
        [None, None] => seen.silent += 1,
        [Some(_), None] => seen.disclosing += 1,
        [_, Some(_)] => seen.talking += 1,
    }
    let person = stage.agents[0].iter().filter_map(|agent| heard_first(caller, agent.voice(), asked)).min();
    match person {
        None => seen.without += 1,
        Some(person) => seen.talked_over += usize::from(ai.into_iter().flatten().any(|last| last > person)),
    }
    caller.hang_up();
}
