//! Each node is ended politely in turn under load and comes back: what it refuses callers place elsewhere, what it
//! carries it finishes.

use std::{thread, time::Duration};

use rustix::process::Signal;

use crate::{
    error::Error,
    judge,
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

/// Load around the end of each node.
const BEFORE: Duration = Duration::from_secs(3);
const ROUND_S: f64 = 8.0;
/// A drained node is back after this long.
const AWAY_MS: u64 = 2_000;
const WHOLE_WITHIN: Duration = Duration::from_secs(60);

pub fn run(options: &Options) -> Result<Report, Error> {
    let stage = Stage::start(options.traffic.agents, |lab| {
        lab.restart_after_ms = Some(AWAY_MS);
    })?;
    let lab = &stage.lab;
    let mut seen = sipp::Outcome::default();
    for node in 1..=3 {
        lab.await_whole(&[1, 2, 3], WHOLE_WITHIN)?;
        let pid = lab.pid(node);
        // A caller that gets no answer at all from a node that is gone is not placed: it stops calling there at the signal.
        let others: Vec<u16> = (1..=3).filter(|k| *k != node).collect();
        let mut third = options.traffic.clone();
        third.rate = options.traffic.rate / 3.0;
        let own = Traffic::start(lab, &third, &[node], BEFORE.as_secs_f64() + DRAINING_S)?;
        let mut rest = options.traffic.clone();
        rest.rate = options.traffic.rate * 2.0 / 3.0;
        let callers = Traffic::start(lab, &rest, &others, ROUND_S)?;
        thread::sleep(BEFORE);
        lab.signal(node, Signal::TERM)?;
        let (own, callers) = (own.finish()?, callers.finish()?);
        eprintln!(
            "node {node}: its own {} answered, {} refused, {} failed; the others {} failed",
            own.succeeded, own.refused, own.failed, callers.failed
        );
        seen.add(own);
        seen.add(callers);
        lab.eventually("the node was started again", WHOLE_WITHIN, |lab| lab.pid(node) != pid)?;
    }
    lab.await_whole(&[1, 2, 3], WHOLE_WITHIN)?;
    let mut report = Report::new(format!("rolling: SIGTERM of each of 3 nodes in turn at {}/s", options.traffic.rate));
    judge::traffic(&mut report, &stage, &mut seen)?;
    Ok(report)
}

/// How long callers go on to call a node after it was told to end; it answers 503 while its calls run out.
const DRAINING_S: f64 = 0.8;
