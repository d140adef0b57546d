//! All nodes die at once under load and come back: configuration, agents and records are complete, and every call that
//! was in progress ends once, with a record that says why.

use std::{collections::BTreeSet, thread, time::Duration};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    error::Error,
    judge,
    report::Report,
    settle,
    stage::Stage,
    tenant,
    traffic::{self, Traffic},
};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub traffic: traffic::Options,
}

const BEFORE: Duration = Duration::from_secs(6);
const WHOLE_WITHIN: Duration = Duration::from_secs(60);

pub fn run(options: &Options) -> Result<Report, Error> {
    let stage = Stage::start(options.traffic.agents, |lab| {
        lab.restart_after_ms = Some(1_000);
    })?;
    let lab = &stage.lab;
    let callers = Traffic::start(lab, &options.traffic, &[1, 2, 3], BEFORE.as_secs_f64())?;
    thread::sleep(BEFORE.mul_f64(0.8));
    let recorded = ids(&settle::cdrs(lab)?);
    let live = ids(&lab.all(&format!("/api/v1/calls?tenant={}", tenant::TENANT))?);
    let pids: Vec<_> = (1..=3).map(|k| lab.pid(k)).collect();
    for node in 1..=3 {
        lab.signal(node, Signal::KILL)?;
    }
    drop(callers);
    lab.eventually("the nodes were started again", WHOLE_WITHIN, |lab| (1..=3).all(|k| lab.pid(k) != pids[usize::from(k) - 1]))?;
    lab.await_whole(&[1, 2, 3], WHOLE_WITHIN)?;
    let records = judge::records(lab, recorded.len() + live.len())?;
    let after = ids(&records.cdrs);
    let agents = lab.all(&format!("/api/v1/agents?tenant={}", tenant::TENANT))?;
    let mut report = Report::new(format!("outage: all 3 nodes killed at once at {}/s and started again", options.traffic.rate));
    report.figure("records before", recorded.len() as f64, "records");
    report.figure("calls in progress", live.len() as f64, "calls");
    let missing = recorded.difference(&after).count();
    report.bounded("records missing after", missing as f64, "records", "= 0", missing == 0);
    let open = live.difference(&after).count();
    report.bounded("calls in progress without a record after", open as f64, "calls", "= 0", open == 0);
    report.bounded("calls with two CDRs", records.doubled as f64, "calls", "= 0", records.doubled == 0);
    let unsaid = records.cdrs.iter().filter(|cdr| cdr["end_reason"].as_str().is_none_or(str::is_empty)).count();
    report.bounded("records that do not say why", unsaid as f64, "records", "= 0", unsaid == 0);
    report.figure("records that say node_lost", records.count("end_reason", "node_lost") as f64, "records");
    report.bounded(
        "agents",
        agents.len() as f64,
        "agents",
        format!("= {}", options.traffic.agents),
        agents.len() == options.traffic.agents as usize,
    );
    let free = agents.iter().filter(|agent| agent["state"] == "available").count();
    report.bounded("agents available again", free as f64, "agents", format!("= {}", agents.len()), free == agents.len());
    judge::archives(&mut report, lab)?;
    // The same tenant still takes calls.
    let seen = Traffic::start(lab, &options.traffic, &[1, 2, 3], 3.0)?.finish()?;
    report.bounded("calls that fail afterwards", seen.failed as f64, "calls", "= 0", seen.failed == 0);
    Ok(report)
}

fn ids(rows: &[Value]) -> BTreeSet<String> {
    rows.iter().filter_map(|row| row["call_id"].as_str().or_else(|| row["id"].as_str())).map(str::to_owned).collect()
}
