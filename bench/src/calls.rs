//! The main job under load: callers on every node, agents behind SIPp, every call answered and recorded once.

use crate::{
    cpu::Machine,
    error::Error,
    judge,
    report::Report,
    stage::Stage,
    traffic::{self, Traffic},
};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub traffic: traffic::Options,
    #[arg(long, default_value_t = 60)]
    pub seconds: u32,
}

pub fn run(options: &Options) -> Result<Report, Error> {
    let traffic = &options.traffic;
    let stage = Stage::start(traffic.agents, |_| {})?;
    let lab = &stage.lab;
    let machine = Machine::read();
    let cpu_before = lab.cpu_seconds();
    let total = (traffic.rate * f64::from(options.seconds)).round() as u32;
    let mut seen = Traffic::start(lab, traffic, &[1, 2, 3], f64::from(options.seconds))?.finish()?;
    let cpu = lab.cpu_seconds() - cpu_before;
    let busy = machine.busy_percent_since();
    let mut report = Report::new(format!(
        "calls: {total} at {}/s on {} nodes, {} agents, hold {} ms",
        traffic.rate,
        lab.nodes(),
        traffic.agents,
        traffic.hold_ms
    ));
    let whole = seen.succeeded == u64::from(total) && seen.refused == 0;
    report.bounded("answered", seen.succeeded as f64, "calls", format!("= {total}, none refused"), whole);
    judge::traffic(&mut report, &stage, &mut seen)?;
    report.figure("CPU of all nodes per 1000 calls", cpu * 1000.0 / f64::from(total.max(1)), "s");
    report.figure("retransmissions", seen.retransmissions as f64, "messages");
    report.figure("machine busy during the run", busy, "%");
    Ok(report)
}
