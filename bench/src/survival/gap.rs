//! The node that carries both legs of every call is killed. Each party speaks all the time; how long does it hear nothing,
//! and is it still in its call?

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
    /// Nobody tells the peers of the death, as if the whole machine had died.
    #[arg(long)]
    pub no_death_notice: bool,
    /// Whether the node that dies leads the tenant's partition as well.
    #[arg(long, value_enum, default_value_t = Victim::Both)]
    pub victim: Victim,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Victim {
    /// It carries the calls and leads their partition.
    Leader,
    /// It only carries the calls.
    Follower,
    /// Once each, in clusters of their own.
    Both,
}

/// Bounds of the pause, each direction of each call.
const MEDIAN_MS: f64 = 400.0;
const P99_MS: f64 = 500.0;
const PROVEN_P99_MS: f64 = 150.0;
/// The kill comes at any moment of this long.
const PHASE: Duration = Duration::from_secs(1);
/// What is not back by then is lost.
const OBSERVED: Duration = Duration::from_secs(5);
const WHOLE_WITHIN: Duration = Duration::from_secs(40);

pub fn run(options: &Options) -> Result<Report, Error> {
    let mut report = Report::new(format!(
        "survival gap: {} calls on the node that is killed, {}, media {}",
        options.calls,
        if options.no_death_notice { "no death notice" } else { "with proof of death" },
        options.common.media.name()
    ));
    for leads in [true, false] {
        if matches!((options.victim, leads), (Victim::Leader, false) | (Victim::Follower, true)) {
            continue;
        }
        round(&mut report, options, leads)?;
    }
    Ok(report)
}

fn round(report: &mut Report, options: &Options, leads: bool) -> Result<(), Error> {
    let label = if leads { "leader: " } else { "follower: " };
    let stage = Stage::open(Setup::pairs(options.calls, &options.common), |lab| lab.death_notice = !options.no_death_notice)?;
    stage.lab.await_whole(&[1, 2, 3], WHOLE_WITHIN)?;
    let leader = stage.lab.leader(1).ok_or_else(|| Error::Missed("the tenant's partition has no leader".to_owned()))?;
    let node = if leads { leader } else { leader % 3 + 1 };
    let pairs = stage.talk(&stage.callers, &stage.agents[0], node, "support")?;
    judge::random_phase(&mut Random(options.common.seed), PHASE);
    stage.exchange.take_lateness();
    let killed = Instant::now();
    stage.lab.signal(node, Signal::KILL)?;
    thread::sleep(OBSERVED);
    let mut heard = Heard::of(&pairs, killed);
    if options.common.trace {
        judge::trace(&pairs, killed);
    }
    let all = heard.all_ms();
    heard.tell(report, label);
    report.quantiles(&format!("{label}kill → its re-INVITE at a phone"), &mut judge::told_ms(&pairs, killed), "ms");
    let (median, p99) = (judge::at(&all, 50), judge::at(&all, 99));
    let most = if options.no_death_notice { P99_MS } else { PROVEN_P99_MS };
    report.bounded(format!("{label}both directions p50"), median, "ms", format!("≤ {MEDIAN_MS}"), median <= MEDIAN_MS);
    report.bounded(format!("{label}both directions p99"), p99, "ms", format!("≤ {most}"), p99 <= most);
    report.figure(format!("{label}of that, the phones themselves were late"), stage.exchange.take_lateness().as_secs_f64() * 1000.0, "ms");
    judge::hang_up(report, &pairs, label);
    let numbers: Vec<String> = (0..options.calls).map(stage::number).collect();
    judge::records(report, &stage, &numbers, options.calls, label)?;
    judge::agents(report, &stage, label)?;
    judge::protocol(report, &stage, label);
    Ok(())
}
