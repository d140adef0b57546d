//! Two data nodes and a witness: each is killed in turn under load, once while the other data node lags behind.

use std::{thread, time::Duration};

use rustix::process::Signal;

use crate::{
    error::Error,
    history::Recorder,
    judge,
    lab::{self, Lab},
    report::Report,
    sipp, tenant,
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
    let mut lab = lab::Options::new(tenant::with_agents(options.traffic.agents, sipp::PHONE_PORT));
    lab.restart_after_ms = Some(AWAY_MS);
    lab.witness = Some(WITNESS);
    let lab = Lab::start(&lab)?;
    let _phones = sipp::phones(sipp::PHONE_PORT)?;
    let recorder = Recorder::start(&lab);
    let mut seen = sipp::Outcome::default();
    for (victim, carrier, lagging) in ROUNDS {
        lab.await_whole(&[1, 2], WHOLE_WITHIN)?;
        let pid = lab.pid(victim);
        // A node that stands still loses its lease and with it its calls: those of the lagging round come in elsewhere first.
        let callers = if lagging { None } else { Some(Traffic::start(&lab, &options.traffic, &[carrier], ROUND_S)?) };
        let early = if lagging { Some(Traffic::start(&lab, &options.traffic, &[victim], LAG.as_secs_f64())?) } else { None };
        if lagging {
            lab.signal(carrier, Signal::STOP)?;
            // These run to their end on the node that then dies; only the log of them is behind at the other.
            seen.add(early.map_or_else(|| Ok(sipp::Outcome::default()), Traffic::finish)?);
            lab.signal(victim, Signal::KILL)?;
            lab.signal(carrier, Signal::CONT)?;
        } else {
            thread::sleep(BEFORE);
            lab.signal(victim, Signal::KILL)?;
        }
        let callers = match callers {
            Some(callers) => callers,
            None => {
                lab.await_whole(&[carrier], WHOLE_WITHIN)?;
                Traffic::start(&lab, &options.traffic, &[carrier], BEFORE.as_secs_f64())?
            }
        };
        let of_round = callers.finish()?;
        eprintln!("node {victim} killed, the other {}: {} failed", if lagging { "behind" } else { "level" }, of_round.failed);
        seen.add(of_round);
        lab.eventually("the node was started again", WHOLE_WITHIN, |lab| lab.pid(victim) != pid)?;
    }
    lab.await_whole(&[1, 2], WHOLE_WITHIN)?;
    let mut report = Report::new(format!("witness: 2 data nodes and a witness, each killed in turn at {}/s", options.traffic.rate));
    judge::traffic(&mut report, &lab, &mut seen, Some(&recorder))?;
    Ok(report)
}
