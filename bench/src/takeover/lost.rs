//! The node whose AI agents speak dies in mid-sentence.

use std::{
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{Shared, heard_first, ms, voice};
use crate::{
    error::Error,
    phone::{OnRing, Phone, State},
    report::Report,
};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    shared: Shared,
    /// Nobody tells of the death, as when a machine dies with its watcher.
    #[arg(long)]
    no_death_notice: bool,
}

const NODE: u16 = 1;
const TREATED_MS: f64 = 2_000.0;
const OFFERED_MS: f64 = 5_000.0;
const OBSERVED: Duration = Duration::from_secs(8);

pub fn run(options: &Options) -> Result<Report, Error> {
    let stage = super::open_with(&options.shared, 1, OnRing::Answer { after_ms: 0 }, |lab| lab.death_notice = !options.no_death_notice)?;
    super::talk(&stage, &stage.callers, NODE)?;
    let killed = Instant::now();
    stage.lab.signal(NODE, Signal::KILL)?;
    thread::sleep(OBSERVED);
    let mut report = Report::new(format!("takeover lost: the node of {} AI agents' contacts killed", options.shared.calls));
    let after = |caller: &Phone, voice| heard_first(caller, voice, killed + Duration::from_millis(100)).map(|at| ms(killed, at));
    // Whatever comes first from a node that lives: a tone, music, or the next AI agent's first words.
    let mut treated: Vec<f64> = stage.callers.iter().filter_map(|caller| first_packet(caller, killed)).map(|at| ms(killed, at)).collect();
    let mut offered: Vec<f64> = stage.callers.iter().filter_map(|caller| after(caller, voice::DISCLOSURE.1)).collect();
    let up = stage.callers.iter().filter(|caller| caller.state() == Some(State::Up)).count();
    let all = options.shared.calls;
    let (last_treated, last_offered) = (treated.iter().copied().fold(0.0, f64::max), offered.iter().copied().fold(0.0, f64::max));
    report.bounded("callers who are on the phone still", up as f64, "callers", format!("= {all}"), up == all);
    report.bounded("callers told again that no person speaks", offered.len() as f64, "callers", format!("= {all}"), offered.len() == all);
    let kept = treated.len() == all && last_treated <= TREATED_MS;
    report.bounded("death → audio of another node, worst", last_treated, "ms", format!("≤ {TREATED_MS}"), kept);
    report.bounded("death → the next AI agent speaks, worst", last_offered, "ms", format!("≤ {OFFERED_MS}"), last_offered <= OFFERED_MS);
    report.quantiles("death → audio of another node", &mut treated, "ms");
    report.quantiles("death → the next AI agent speaks", &mut offered, "ms");
    super::hang_up(&stage);
    Ok(report)
}

/// The first packet from another source than before.
fn first_packet(caller: &Phone, since: Instant) -> Option<Instant> {
    caller.heard(|heard| heard.sources.iter().find(|(at, _)| *at >= since).map(|(at, _)| *at))
}
