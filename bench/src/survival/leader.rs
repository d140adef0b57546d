//! The node that leads the tenant's partition dies and carries no leg. Nobody who talks may notice: no packet late beyond what
//! counts as none, no SIP message to any party.
//!
//! None is a pause of three packet times or less, which is two lost packets, beyond what the phones themselves were late.

use std::{
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{
    Common,
    judge::{self, Heard},
    stage::{self, Setup, Stage},
};
use crate::{error::Error, phone::Random, report::Report};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    #[arg(long, default_value_t = 200)]
    pub calls: usize,
    /// Nobody tells the peers of the death.
    #[arg(long)]
    pub no_death_notice: bool,
}

const NONE_MS: f64 = 60.0;
const PHASE: Duration = Duration::from_secs(1);
const OBSERVED: Duration = Duration::from_secs(5);
const WHOLE_WITHIN: Duration = Duration::from_secs(40);

pub fn run(options: &Options) -> Result<Report, Error> {
    let stage = Stage::open(Setup::pairs(options.calls, &options.common), |lab| lab.death_notice = !options.no_death_notice)?;
    stage.lab.await_whole(&[1, 2, 3], WHOLE_WITHIN)?;
    let leader = stage.lab.leader(1).ok_or_else(|| Error::Missed("the tenant's partition has no leader".to_owned()))?;
    let carrier = leader % 3 + 1;
    let pairs = stage.talk(&stage.callers, &stage.agents[0], carrier, "support")?;
    judge::random_phase(&mut Random(options.common.seed), PHASE);
    if stage.lab.leader(carrier) != Some(leader) {
        return Err(Error::Setup("the leadership moved before the kill".to_owned()));
    }
    stage.exchange.take_lateness();
    let killed = Instant::now();
    stage.lab.signal(leader, Signal::KILL)?;
    thread::sleep(OBSERVED);
    let mut heard = Heard::of(&pairs, killed);
    if options.common.trace {
        judge::trace(&pairs, killed);
    }
    let late = stage.exchange.take_lateness().as_secs_f64() * 1000.0;
    let mut report = Report::new(format!(
        "survival leader: the leader killed, {} calls on another node, {}, media {}",
        options.calls,
        if options.no_death_notice { "no death notice" } else { "with proof of death" },
        options.common.media.name()
    ));
    let longest = judge::at(&heard.all_ms(), 100);
    heard.tell(&mut report, "");
    report.figure("of that, the phones themselves were late", late, "ms");
    let kept = longest <= NONE_MS + late;
    report.bounded("longest pause", longest, "ms", format!("≤ {NONE_MS} and what the phones were late"), kept);
    report.quantiles("frames lost at a phone", &mut heard.frames_lost, "frames");
    let told = judge::told(&mut report, &pairs, killed);
    report.bounded("SIP messages to the parties", told as f64, "messages", "= 0", told == 0);
    judge::hang_up(&mut report, &pairs, "");
    let numbers: Vec<String> = (0..options.calls).map(stage::number).collect();
    judge::records(&mut report, &stage, &numbers, options.calls, "")?;
    judge::agents(&mut report, &stage, "")?;
    judge::protocol(&mut report, &stage, "");
    Ok(report)
}
