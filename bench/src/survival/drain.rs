//! The node that carries every call is told to end (SIGTERM), as in every upgrade. Nobody may lose a call or miss more than a
//! few packets.

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
}

const NODE: u16 = 1;
const P99_MS: f64 = 100.0;
const PHASE: Duration = Duration::from_secs(1);
/// A node ends within its own limit for draining (10 s in a lab) and a little more.
const GONE_WITHIN: Duration = Duration::from_secs(20);
const OBSERVED: Duration = Duration::from_secs(3);
const WHOLE_WITHIN: Duration = Duration::from_secs(40);

pub fn run(options: &Options) -> Result<Report, Error> {
    let stage = Stage::open(Setup::pairs(options.calls, &options.common), |_| {})?;
    stage.lab.await_whole(&[1, 2, 3], WHOLE_WITHIN)?;
    let pairs = stage.talk(&stage.callers, &stage.agents[0], NODE, "support")?;
    judge::random_phase(&mut Random(options.common.seed), PHASE);
    let told = Instant::now();
    stage.lab.signal(NODE, Signal::TERM)?;
    let gone = stage::await_that(told + GONE_WITHIN, || !stage.lab.is_running(NODE)).map(|()| told.elapsed());
    thread::sleep(OBSERVED);
    let mut heard = Heard::of(&pairs, told);
    if options.common.trace {
        judge::trace(&pairs, told);
    }
    let mut report =
        Report::new(format!("survival drain: SIGTERM of the node with {} calls, media {}", options.calls, options.common.media.name()));
    let seconds = gone.map_or(f64::NAN, |gone| gone.as_secs_f64());
    report.bounded("SIGTERM → the node is gone", seconds, "s", format!("≤ {}", GONE_WITHIN.as_secs()), gone.is_some());
    let p99 = judge::at(&heard.all_ms(), 99);
    heard.tell(&mut report, "");
    report.bounded("both directions p99", p99, "ms", format!("≤ {P99_MS}"), p99 <= P99_MS);
    report.figure("of that, the phones themselves were late", stage.exchange.take_lateness().as_secs_f64() * 1000.0, "ms");
    judge::hang_up(&mut report, &pairs, "");
    let numbers: Vec<String> = (0..options.calls).map(stage::number).collect();
    judge::records(&mut report, &stage, &numbers, options.calls, "")?;
    judge::agents(&mut report, &stage, "")?;
    judge::protocol(&mut report, &stage, "");
    Ok(report)
}
