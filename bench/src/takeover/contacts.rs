//! Contacts are taken over one by one.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::json;

use super::{Shared, heard_first, heard_last, ms, rung, user, voice};
use crate::{
    error::Error,
    phone::{OnRing, Phone},
    report::Report,
    survival::stage::{self, Stage},
};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    shared: Shared,
    /// The leader of the partition is killed just before each of so many takeovers, in place of a quiet run.
    #[arg(long, default_value_t = 0)]
    leader_kills: usize,
}

/// The node that carries every call.
const NODE: u16 = 1;
const SILENT_MS: f64 = 100.0;
const RINGING_MS: f64 = 250.0;
const ACROSS_KILL_MS: f64 = 1_000.0;
const PAUSE: Duration = Duration::from_millis(50);
const BRIDGED_WITHIN: Duration = Duration::from_secs(10);
const BACK_WITHIN: Duration = Duration::from_secs(40);
/// A person talks for so long until it is looked at whether the AI agent said anything into it.
const AFTER: Duration = Duration::from_secs(1);

/// What was seen of the contacts so far, in ms from the request.
#[derive(Default)]
struct Seen {
    silent: Vec<f64>,
    ringing: Vec<f64>,
    bridged: Vec<f64>,
    /// Contacts whose caller heard the AI agent beside or after a person.
    after: usize,
    without_person: usize,
}

pub fn run(options: &Options) -> Result<Report, Error> {
    let kills = options.leader_kills;
    let shared = Shared { calls: if kills > 0 { kills } else { options.shared.calls }, ..options.shared.clone() };
    let back = (kills > 0).then_some(500);
    let stage = super::open_with(&shared, shared.calls, OnRing::Answer { after_ms: 0 }, |lab| lab.restart_after_ms = back)?;
    let mut seen = Seen::default();
    if kills == 0 {
        super::talk(&stage, &stage.callers, NODE)?;
        let calls = super::calls(&stage)?;
        for caller in &stage.callers {
            let asked = take(&stage, of(&calls, caller)?, NODE)?;
            seen.look(&stage, caller, asked);
        }
    } else {
        // Each calls once the last leader is back: on a node that does not lead, wherever leadership went.
        for caller in &stage.callers {
            let leader = stage.lab.leader(NODE).ok_or_else(|| Error::Missed("nobody leads".to_owned()))?;
            let node = leader % 3 + 1;
            super::talk(&stage, std::slice::from_ref(caller), node)?;
            let calls = super::calls(&stage)?;
            let asked = across_kill(&stage, of(&calls, caller)?, leader, node)?;
            seen.look(&stage, caller, asked);
            stage.lab.await_whole(&[1, 2, 3], BACK_WITHIN)?;
        }
    }
    thread::sleep(AFTER);
    let late = stage.callers.iter().filter(|caller| {
        let last = heard_last(caller, voice::SPEECH.1);
        last.is_some_and(|last| last + AFTER / 2 > Instant::now())
    });
    seen.after += late.count();
    let mut report = Report::new(format!("takeover contacts: {} contacts, leader killed {kills} times", shared.calls));
    seen.print(&mut report, if kills > 0 { (ACROSS_KILL_MS, ACROSS_KILL_MS) } else { (SILENT_MS, RINGING_MS) });
    super::hang_up(&stage);
    Ok(report)
}

impl Seen {
    /// Waits until a caller whose takeover was asked for hears a person, and notes what happened when.
    fn look(&mut self, stage: &Stage, caller: &Phone, asked: Instant) {
        let person = || person_of(stage, caller, asked);
        let heard = stage::await_that(asked + BRIDGED_WITHIN, || person().is_some()).and_then(|()| person());
        let Some((agent, heard)) = heard else {
            self.without_person += 1;
            return;
        };
        thread::sleep(PAUSE);
        self.bridged.push(ms(asked, heard));
        self.ringing.extend(rung(&stage.agents[0][agent], asked).map(|at| ms(asked, at)));
        let last = heard_last(caller, voice::SPEECH.1).filter(|at| *at >= asked);
        self.silent.push(last.map_or(0.0, |at| ms(asked, at)));
        self.after += usize::from(last.is_some_and(|last| last > heard));
    }

    fn print(mut self, report: &mut Report, (most_silent, most_ringing): (f64, f64)) {
        let rows = [
            ("request → last frame of the AI agent", &mut self.silent, Some(most_silent)),
            ("request → a person's phone rings", &mut self.ringing, Some(most_ringing)),
            ("request → the caller hears a person", &mut self.bridged, None),
        ];
        for (name, sample, most) in rows {
            if let Some(most) = most {
                let worst = sample.iter().copied().fold(0.0, f64::max);
                report.bounded(format!("{name}, worst"), worst, "ms", format!("≤ {most}"), worst <= most);
            }
            report.quantiles(name, sample, "ms");
        }
        report.bounded("AI agent heard beside or after a person", self.after as f64, "contacts", "= 0", self.after == 0);
        report.bounded("contacts without a person", self.without_person as f64, "contacts", "= 0", self.without_person == 0);
    }
}

/// The id of a caller's live call.
fn of<'a>(calls: &'a BTreeMap<String, String>, caller: &Phone) -> Result<&'a str, Error> {
    calls.get(&user(caller)).map(String::as_str).ok_or_else(|| Error::Missed("a live call is not listed".to_owned()))
}

/// Asks for the takeover of one contact. Returns when it was asked: commit and answer are later.
fn take(stage: &Stage, id: &str, k: u16) -> Result<Instant, Error> {
    let asked = Instant::now();
    stage.lab.post(k, &format!("/api/v1/calls/{id}/takeover"), &json!({}))?;
    Ok(asked)
}

/// The same in the very moment in which the partition's leader is killed, which carries no leg of it.
fn across_kill(stage: &Stage, id: &str, leader: u16, node: u16) -> Result<Instant, Error> {
    let until = Instant::now() + BACK_WITHIN;
    stage.lab.signal(leader, Signal::KILL)?;
    let asked = Instant::now();
    // Nobody leads for a moment: the client asks again, as the CLI does.
    while let Err(error) = stage.lab.post(node, &format!("/api/v1/calls/{id}/takeover"), &json!({})) {
        if Instant::now() > until {
            return Err(error);
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(asked)
}

/// Whose voice a caller hears since then, of all people.
fn person_of(stage: &Stage, caller: &Phone, since: Instant) -> Option<(usize, Instant)> {
    stage.agents[0].iter().enumerate().find_map(|(n, agent)| heard_first(caller, agent.voice(), since).map(|at| (n, at)))
}
