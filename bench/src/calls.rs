//! The main job under load: callers on every node, agents behind SIPp, every call answered and recorded once.

use crate::{
    cpu::Machine,
    error::Error,
    judge,
    lab::{self, Lab},
    report::Report,
    settle, sipp, tenant,
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
    let lab = Lab::start(&lab::Options::new(tenant::with_agents(traffic.agents, sipp::PHONE_PORT)))?;
    let _phones = sipp::phones(sipp::PHONE_PORT)?;
    let machine = Machine::read();
    let cpu_before = lab.cpu_seconds();
    let total = (traffic.rate * f64::from(options.seconds)).round() as u32;
    let mut seen = Traffic::start(&lab, traffic, &[1, 2, 3], f64::from(options.seconds))?.finish()?;
    let cpu = lab.cpu_seconds() - cpu_before;
    let busy = machine.busy_percent_since();
    let cdrs = judge::records(&lab, total as usize)?;
    let mut report = Report::new(format!(
        "calls: {total} at {}/s on {} nodes, {} agents, hold {} ms",
        traffic.rate,
        lab.nodes(),
        traffic.agents,
        traffic.hold_ms
    ));
    report.bounded("answered", seen.succeeded as f64, "calls", format!("= {total}"), seen.succeeded == u64::from(total));
    report.bounded("failed", seen.failed as f64, "calls", "= 0", seen.failed == 0);
    report.bounded("refused with 503", seen.refused as f64, "calls", "= 0", seen.refused == 0);
    report.bounded("CDRs", cdrs.cdrs.len() as f64, "records", format!("= {total}"), cdrs.cdrs.len() == total as usize && cdrs.doubled == 0);
    let agree = settle::archives_agree(&lab)?;
    report.bounded("archives equal on every node", f64::from(u8::from(agree)), "", "= 1", agree);
    report.figure("CPU of all nodes per 1000 calls", cpu * 1000.0 / f64::from(total.max(1)), "s");
    report.figure("retransmissions", seen.retransmissions as f64, "messages");
    report.quantiles("INVITE → first response beyond 100", &mut seen.first_response_ms, "ms");
    report.figure("machine busy during the run", busy, "%");
    Ok(report)
}
