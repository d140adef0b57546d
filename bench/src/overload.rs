//! Twice the knee: what is offered beyond the capacity is refused at once, and what is taken is served as at the peak.

use std::process::{Command, Stdio};

use crate::{
    error::Error,
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
    /// Offered load grows by this factor until less than 95 % of it is served.
    #[arg(long, default_value_t = 1.5)]
    pub step: f64,
    #[arg(long, default_value_t = 20)]
    pub seconds: u32,
    /// All nodes share CPU 0 and whoever calls has CPU 1: where both are on one small machine, callers cannot place twice
    /// what the nodes serve unless the nodes have the smaller part of it.
    #[arg(long)]
    pub one_cpu: bool,
}

/// Of the offered load, what counts as served.
const KNEE: f64 = 0.95;
const STEPS_MAX: usize = 12;
const LATEST_ANSWER_MS: f64 = 5_000.0;
const CPU_OF_NODES: u32 = 0;
const CPU_OF_CALLERS: u32 = 1;

pub fn run(options: &Options) -> Result<Report, Error> {
    if options.one_cpu {
        callers_on(CPU_OF_CALLERS)?;
    }
    let stage = Stage::start(options.traffic.agents, |lab| lab.cpu = options.one_cpu.then_some(CPU_OF_NODES))?;
    let lab = &stage.lab;
    let mut report = Report::new(format!("overload: from {}/s on, {} agents", options.traffic.rate, options.traffic.agents));
    let (mut rate, mut peak, mut knee) = (options.traffic.rate, 0.0_f64, None);
    for _ in 0..STEPS_MAX {
        let (served, seen) = offer(lab, options, rate)?;
        eprintln!("offered {rate:.0}/s: served {served:.1}/s, refused {}, failed {}", seen.refused, seen.failed);
        peak = peak.max(served);
        if served < KNEE * rate {
            knee = Some(rate);
            break;
        }
        rate *= options.step;
    }
    let knee = knee.ok_or_else(|| Error::Missed("no knee was found".to_owned()))?;
    // The knee lies between the last two steps; the peak is what was served there.
    let (served, mut seen) = offer(lab, options, 2.0 * peak)?;
    report.figure("first rate not served in full", knee, "calls/s");
    report.figure("peak served", peak, "calls/s");
    report.figure("offered at twice the peak", 2.0 * peak, "calls/s");
    report.bounded("served then", served, "calls/s", "≥ 95 % of the peak", served >= KNEE * peak);
    report.figure("refused with 503 then", seen.refused as f64, "calls");
    report.bounded("failed then", seen.failed as f64, "calls", "= 0", seen.failed == 0);
    let late = seen.first_response_ms.iter().filter(|ms| **ms > LATEST_ANSWER_MS).count();
    report.bounded("answered later than 5 s", late as f64, "calls", "= 0", late == 0);
    report.quantiles("INVITE → first response beyond 100", &mut seen.first_response_ms, "ms");
    Ok(report)
}

/// Moves this process, and so the callers and phones it starts, to one CPU.
fn callers_on(cpu: u32) -> Result<(), Error> {
    let (cpu, me) = (cpu.to_string(), std::process::id().to_string());
    let done = Command::new("taskset").args(["--all-tasks", "--cpu-list", "--pid", &cpu, &me]).stdout(Stdio::null()).status()?;
    if done.success() { Ok(()) } else { Err(Error::Setup(format!("taskset could not move the callers to CPU {cpu}"))) }
}

/// Served calls a second of an offered rate.
fn offer(lab: &Lab, options: &Options, rate: f64) -> Result<(f64, sipp::Outcome), Error> {
    let mut traffic = options.traffic.clone();
    traffic.rate = rate;
    let start = std::time::Instant::now();
    let seen = Traffic::start(lab, &traffic, &[1, 2, 3], f64::from(options.seconds))?.finish()?;
    // A call lasts as long as it is held beyond its arrival; what took longer than that was waiting.
    let took = (start.elapsed().as_secs_f64() - f64::from(options.traffic.hold_ms) / 1000.0).max(f64::from(options.seconds));
    Ok((seen.succeeded as f64 / took, seen))
}
