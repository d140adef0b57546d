//! The media relay alone: calls of G.711 at no loss on one thread, CPU per packet, and delay, beside rtpengine in user space.
//!
//! Every relay runs in a process of its own, whose CPU seconds the kernel counts. All callers share one socket here and all
//! agents another, so that making the load costs less than carrying it.

mod load;
mod peers;

use std::time::Duration;

use crate::{cpu, error::Error, report::Report};

pub use peers::{NodeArguments, node};

use self::{
    load::{Load, Outcome},
    peers::{Peer, Running},
};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Calls of the first step; each next one has half as many again, until packets are lost.
    #[arg(long, default_value_t = 200)]
    pub calls: usize,
    /// No step has more.
    #[arg(long, default_value_t = 4_000)]
    pub most: usize,
    /// Seconds measured of each step.
    #[arg(long, default_value_t = 4)]
    pub seconds: u64,
    /// Leave out the comparison.
    #[arg(long)]
    pub alone: bool,
}

/// Before the measurement: sources are learned and caches warm.
const WARM: Duration = Duration::from_secs(1);
/// A thread that is this busy carries no more.
const CORE_FULL: f64 = 0.97;
/// A step that loses packets is taken again so often before it counts: on a shared machine one stall is not the relay's limit.
const TRIES: usize = 3;

/// One step.
#[derive(Debug, Clone, Copy)]
struct Step {
    calls: usize,
    cpu_us_per_packet: f64,
    cores: f64,
    outcome: Outcome,
}

pub fn run(options: &Options) -> Result<Report, Error> {
    let mut report = Report::new(format!("relay: G.711 calls of two parties, 20 ms packets, {} s a step", options.seconds));
    let machine = cpu::Machine::read();
    let ours = climb(Peer::Tandem, options)?;
    tell(&mut report, "tandem", &ours);
    if !options.alone {
        match climb(Peer::Rtpengine, options) {
            Ok(theirs) => {
                tell(&mut report, "rtpengine", &theirs);
                compare(&mut report, &ours, &theirs);
            }
            Err(Error::Setup(why)) => report.note(format!("rtpengine was not compared: {why}")),
            Err(error) => return Err(error),
        }
    }
    report.figure("machine busy, load and all", machine.busy_percent_since(), "%");
    Ok(report)
}

/// More and more calls until packets are lost; the steps without loss and the first with.
fn climb(peer: Peer, options: &Options) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::new();
    let mut calls = options.calls;
    while calls <= options.most {
        let mut step = take(peer, calls, Duration::from_secs(options.seconds))?;
        for _ in 1..TRIES {
            if step.outcome.lost() > 0 {
                step = take(peer, calls, Duration::from_secs(options.seconds))?;
            }
        }
        steps.push(step);
        if step.outcome.lost() > 0 || step.cores >= CORE_FULL {
            break;
        }
        calls = calls * 3 / 2;
    }
    Ok(steps)
}

fn take(peer: Peer, calls: usize, measured: Duration) -> Result<Step, Error> {
    let load = Load::bind()?;
    let running = Running::start(peer, calls, load.callers(), load.agents())?;
    load.run(&running.to, WARM)?;
    let before = running.cpu_s()?;
    let outcome = load.run(&running.to, measured)?;
    let cpu_s = running.cpu_s()? - before;
    Ok(Step { calls, cpu_us_per_packet: cpu_s * 1e6 / outcome.received.max(1) as f64, cores: cpu_s / outcome.took.as_secs_f64(), outcome })
}

fn clean(steps: &[Step]) -> Option<&Step> {
    steps.iter().rev().find(|step| step.outcome.lost() == 0)
}

fn tell(report: &mut Report, name: &str, steps: &[Step]) {
    for step in steps {
        report.note(format!(
            "{name} {} calls: {:.2} us a packet, {:.2} cores, {} of {} packets lost, delay p50 {} p99 {} us",
            step.calls,
            step.cpu_us_per_packet,
            step.cores,
            step.outcome.lost(),
            step.outcome.sent,
            step.outcome.delay_us.0,
            step.outcome.delay_us.1,
        ));
    }
    if let Some(best) = clean(steps) {
        report.figure(format!("{name}: calls without loss"), best.calls as f64, "");
        report.figure(format!("{name}: CPU a packet at that"), best.cpu_us_per_packet, "us");
        report.figure(format!("{name}: delay p99 at that"), f64::from(best.outcome.delay_us.1), "us");
    }
}

/// Ratios at the largest step that neither lost a packet at.
fn compare(report: &mut Report, ours: &[Step], theirs: &[Step]) {
    let both = ours.iter().zip(theirs).rev().find(|(a, b)| a.outcome.lost() == 0 && b.outcome.lost() == 0);
    if let Some((ours, theirs)) = both {
        let ratio = ours.cpu_us_per_packet / theirs.cpu_us_per_packet;
        report.figure(format!("CPU a packet at {} calls, tandem over rtpengine", ours.calls), ratio, "");
    }
    if let (Some(ours), Some(theirs)) = (clean(ours), clean(theirs)) {
        report.figure("calls without loss, tandem over rtpengine", ours.calls as f64 / theirs.calls as f64, "");
    }
}
