//! Contacts are taken over one by one.

use std::{
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::json;

use super::{Shared, heard_first, heard_last, ms, rung, user, voice};
use crate::{error::Error, phone::OnRing, report::Report, survival::stage};

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

pub fn run(options: &Options) -> Result<Report, Error> {
    let shared =
        Shared { calls: if options.leader_kills > 0 { options.leader_kills } else { options.shared.calls }, ..options.shared.clone() };
    let back = (options.leader_kills > 0).then_some(500);
    let stage = super::open_with(&shared, shared.calls, OnRing::Answer { after_ms: 0 }, |lab| lab.restart_after_ms = back)?;
    let node = if options.leader_kills > 0 { stage.lab.leader(1).map_or(NODE, |leader| leader % 3 + 1) } else { NODE };
    super::talk(&stage, node)?;
    let calls = super::calls(&stage)?;
    let mut report = Report::new(format!("takeover contacts: {} contacts, leader killed {} times", shared.calls, options.leader_kills));
    let (mut silent, mut ringing, mut bridged, mut after, mut failed) = (Vec::new(), Vec::new(), Vec::new(), 0_usize, 0_usize);
    for caller in &stage.callers {
        let Some(id) = calls.get(&user(caller)) else { return Err(Error::Missed("a live call is not listed".to_owned())) };
        let asked = if options.leader_kills > 0 { across_kill(&stage, id, node)? } else { take(&stage, id, node)? };
        let until = asked + BRIDGED_WITHIN;
        let person =
            stage::await_that(until, || person_of(&stage, caller, asked).is_some()).and_then(|()| person_of(&stage, caller, asked));
        let Some((agent, heard)) = person else {
            failed += 1;
            continue;
        };
        thread::sleep(PAUSE);
        bridged.push(ms(asked, heard));
        ringing.extend(rung(&stage.agents[0][agent], asked).map(|at| ms(asked, at)));
        let last = heard_last(caller, voice::SPEECH.1).filter(|at| *at >= asked);
        silent.push(last.map_or(0.0, |at| ms(asked, at)));
        after += usize::from(last.is_some_and(|last| last > heard));
    }
    thread::sleep(AFTER);
    let late = stage.callers.iter().filter(|caller| {
        let last = heard_last(caller, voice::SPEECH.1);
        last.is_some_and(|last| last + AFTER / 2 > Instant::now())
    });
    after += late.count();
    let (most_silent, most_ringing) = if options.leader_kills > 0 { (ACROSS_KILL_MS, ACROSS_KILL_MS) } else { (SILENT_MS, RINGING_MS) };
    let worst = |sample: &[f64]| sample.iter().copied().fold(0.0, f64::max);
    report.bounded(
        "request → last frame of the AI agent, worst",
        worst(&silent),
        "ms",
        format!("≤ {most_silent}"),
        worst(&silent) <= most_silent,
    );
    report.bounded(
        "request → a person's phone rings, worst",
        worst(&ringing),
        "ms",
        format!("≤ {most_ringing}"),
        worst(&ringing) <= most_ringing,
    );
    report.quantiles("request → last frame of the AI agent", &mut silent, "ms");
    report.quantiles("request → a person's phone rings", &mut ringing, "ms");
    report.quantiles("request → the caller hears a person", &mut bridged, "ms");
    report.bounded("AI agent heard beside or after a person", after as f64, "contacts", "= 0", after == 0);
    report.bounded("contacts without a person", failed as f64, "contacts", "= 0", failed == 0);
    super::hang_up(&stage);
    Ok(report)
}

/// Asks for the takeover of one contact. Returns when it was asked: commit and answer are later.
fn take(stage: &crate::survival::stage::Stage, id: &str, k: u16) -> Result<Instant, Error> {
    let asked = Instant::now();
    stage.lab.post(k, &format!("/api/v1/calls/{id}/takeover"), &json!({}))?;
    Ok(asked)
}

/// The same in the very moment in which the partition's leader is killed, which carries no leg of it.
fn across_kill(stage: &crate::survival::stage::Stage, id: &str, node: u16) -> Result<Instant, Error> {
    let leader = stage.lab.leader(node).filter(|leader| *leader != node);
    let Some(leader) = leader else { return Err(Error::Missed("the leader is not another node".to_owned())) };
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
    stage.lab.await_whole(&[1, 2, 3], BACK_WITHIN)?;
    Ok(asked)
}

/// Whose voice a caller hears since then, of all people.
fn person_of(stage: &crate::survival::stage::Stage, caller: &crate::phone::Phone, since: Instant) -> Option<(usize, Instant)> {
    stage.agents[0].iter().enumerate().find_map(|(n, agent)| heard_first(caller, agent.voice(), since).map(|at| (n, at)))
}
