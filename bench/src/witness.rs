//! Two data nodes and a witness: each is killed in turn under load, once while the other data node lags behind.

use std::{thread, time::Duration};

use rustix::process::Signal;

use crate::{
    error::Error,
    judge,
    lab::Lab,
    report::Report,
    sipp,
    stage::Stage,
    traffic::{self, Traffic},
};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub traffic: traffic::Options,
}

/// The witness: a full voter without SIP and actors.
const WITNESS: u16 = 3;
const BEFORE: Duration = Duration::from_secs(3);
const ROUND_S: f64 = 6.0;
const AWAY_MS: u64 = 4_000;
/// How long the other data node stands still before its peer dies.
const LAG: Duration = Duration::from_secs(2);
const WHOLE_WITHIN: Duration = Duration::from_secs(60);

/// Who dies, who carries the calls, and whether the other data node lags.
const ROUNDS: [(u16, u16, bool); 4] = [(1, 2, false), (2, 1, false), (WITNESS, 1, false), (2, 1, true)];

pub fn run(options: &Options) -> Result<Report, Error> {
    let stage = Stage::start(options.traffic.agents, |lab| {
        lab.restart_after_ms = Some(AWAY_MS);
        lab.witness = Some(WITNESS);
    })?;
    let lab = &stage.lab;
    let mut seen = sipp::Outcome::default();
    for (victim, carrier, lagging) in ROUNDS {
        lab.await_whole(&[1, 2], WHOLE_WITHIN)?;
        let pid = lab.pid(victim);
        let of_round = if lagging { kill_the_one_ahead(lab, options, victim, carrier)? } else { kill(lab, options, victim, carrier)? };
        eprintln!("node {victim} killed, the other {}: {} failed", if lagging { "behind" } else { "level" }, of_round.failed);
        seen.add(of_round);
        lab.eventually("the node was started again", WHOLE_WITHIN, |lab| lab.pid(victim) != pid)?;
    }
    lab.await_whole(&[1, 2], WHOLE_WITHIN)?;
    let mut report = Report::new(format!("witness: 2 data nodes and a witness, each killed in turn at {}/s", options.traffic.rate));
    judge::traffic(&mut report, &stage, &mut seen)?;
    Ok(report)
}

/// Calls at `carrier` while `victim` dies.
fn kill(lab: &Lab, options: &Options, victim: u16, carrier: u16) -> Result<sipp::Outcome, Error> {
    let callers = Traffic::start(lab, &options.traffic, &[carrier], ROUND_S)?;
    thread::sleep(BEFORE);
    lab.signal(victim, Signal::KILL)?;
    callers.finish()
}

/// `carrier` stands still while calls run to their end at `victim`, with the witness for a majority. Then `victim` dies and
/// `carrier` goes on: the witness has to bring it level before it takes calls.
fn kill_the_one_ahead(lab: &Lab, options: &Options, victim: u16, carrier: u16) -> Result<sipp::Outcome, Error> {
    lab.signal(carrier, Signal::STOP)?;
    let mut seen = Traffic::start(lab, &options.traffic, &[victim], LAG.as_secs_f64())?.finish()?;
    lab.signal(victim, Signal::KILL)?;
    lab.signal(carrier, Signal::CONT)?;
    lab.await_whole(&[carrier], WHOLE_WITHIN)?;
    seen.add(Traffic::start(lab, &options.traffic, &[carrier], BEFORE.as_secs_f64())?.finish()?);
    Ok(seen)
}
