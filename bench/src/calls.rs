//! The main job under load: callers on every node, agents behind SIPp, every call answered and recorded once.

use std::{thread, time::Duration};

use crate::{
    cpu::Machine,
    error::Error,
    lab::{self, Lab},
    report::Report,
    sipp::{self, Load},
    tenant,
};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Calls a second over all nodes.
    #[arg(long, default_value_t = 50.0)]
    pub rate: f64,
    #[arg(long, default_value_t = 60)]
    pub seconds: u32,
    #[arg(long, default_value_t = 100)]
    pub agents: u32,
    #[arg(long, default_value_t = 1000)]
    pub hold_ms: u32,
}

/// How long the archives may take to agree after the last call.
const QUIESCE_WITHIN: Duration = Duration::from_secs(30);
/// UDP port of the phones.
const PHONE_PORT: u16 = 26_001;

pub fn run(options: &Options) -> Result<Report, Error> {
    let lab = Lab::start(&lab::Options::new(tenant::with_agents(options.agents, PHONE_PORT)))?;
    let _phones = sipp::phones(PHONE_PORT)?;
    let machine = Machine::read();
    let cpu_before = lab.cpu_seconds();
    let total = (options.rate * f64::from(options.seconds)).round() as u32;
    let mut callers = Vec::new();
    for k in 1..=lab.nodes() {
        let share = total / u32::from(lab.nodes()) + u32::from(u32::from(k) <= total % u32::from(lab.nodes()));
        callers.push(sipp::callers(&Load {
            to: lab.sip(k),
            service: tenant::QUEUE.to_owned(),
            calls_per_s: options.rate / f64::from(lab.nodes()),
            calls: share,
            hold_ms: options.hold_ms,
        })?);
    }
    let mut seen = sipp::Outcome::default();
    for caller in callers {
        seen.add(caller.finish()?);
    }
    let cpu = lab.cpu_seconds() - cpu_before;
    let busy = machine.busy_percent_since();
    let cdrs = await_cdrs(&lab, total as usize)?;
    let mut report = Report::new(format!(
        "calls: {total} at {}/s on {} nodes, {} agents, hold {} ms",
        options.rate,
        lab.nodes(),
        options.agents,
        options.hold_ms
    ));
    report.bounded("answered", seen.succeeded as f64, "calls", format!("= {total}"), seen.succeeded == u64::from(total));
    report.bounded("failed", seen.failed as f64, "calls", "= 0", seen.failed == 0);
    report.bounded("refused with 503", seen.refused as f64, "calls", "= 0", seen.refused == 0);
    report.bounded("CDRs", cdrs as f64, "records", format!("= {total}"), cdrs == total as usize);
    let agree = archives_agree(&lab)?;
    report.bounded("archives equal on every node", f64::from(u8::from(agree)), "", "= 1", agree);
    report.figure("CPU of all nodes per 1000 calls", cpu * 1000.0 / f64::from(total.max(1)), "s");
    report.figure("retransmissions", seen.retransmissions as f64, "messages");
    report.quantiles("INVITE → first response beyond 100", &mut seen.first_response_ms, "ms");
    report.figure("machine busy during the run", busy, "%");
    Ok(report)
}

fn await_cdrs(lab: &Lab, expected: usize) -> Result<usize, Error> {
    let mut count = 0;
    for _ in 0..60 {
        count = lab.all(&format!("/api/v1/cdrs?tenant={}", tenant::TENANT))?.len();
        if count >= expected {
            break;
        }
        thread::sleep(Duration::from_millis(250));
    }
    Ok(count)
}

/// True once every node's own archive of every partition has the same length and hash.
pub fn archives_agree(lab: &Lab) -> Result<bool, Error> {
    let heads = |k: u16| -> Result<Vec<String>, Error> {
        let partitions = lab.all_from(k, "/api/v1/partitions?stale=true")?;
        Ok(partitions.iter().map(|partition| format!("{} {}", partition["group"], partition["archive"])).collect())
    };
    let agreed = lab.eventually("equal archives", QUIESCE_WITHIN, |lab| {
        let first = heads(1);
        first.is_ok() && (2..=lab.nodes()).all(|k| heads(k).ok() == first.as_ref().ok().cloned())
    });
    Ok(agreed.is_ok())
}
