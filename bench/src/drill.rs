//! Actors die under load: a panic in one of every kind again and again, in every one of every kind, then all actors of a
//! node at once. No call may notice.

use std::{thread, time::Duration};

use serde_json::{Value, json};

use crate::{
    error::Error,
    judge,
    lab::Lab,
    report::Report,
    stage::Stage,
    traffic::{self, Traffic},
};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub traffic: traffic::Options,
    #[arg(long, default_value_t = 30)]
    pub seconds: u32,
}

const KINDS: [&str; 4] = ["call", "agent", "queue", "partition"];
const PAUSE: Duration = Duration::from_millis(250);

pub fn run(options: &Options) -> Result<Report, Error> {
    let stage = Stage::start(options.traffic.agents, |lab| {
        lab.drills = true;
    })?;
    let lab = &stage.lab;
    let callers = Traffic::start(lab, &options.traffic, &[1, 2, 3], f64::from(options.seconds))?;
    thread::sleep(Duration::from_secs(3));
    let mut hit = 0;
    for every in [false, true] {
        for kind in KINDS {
            for node in 1..=3 {
                hit += drill(lab, node, &json!({ "kind": "crash", "actor": kind, "every": every }))?;
                thread::sleep(PAUSE);
            }
        }
    }
    let crashed = hit;
    for node in 1..=3 {
        hit += drill(lab, node, &json!({ "kind": "stop-all" }))?;
        thread::sleep(PAUSE);
    }
    let mut seen = callers.finish()?;
    let mut report = Report::new(format!("drill: actors of every kind crashed and stopped at {}/s", options.traffic.rate));
    report.bounded("actors that panicked", crashed as f64, "actors", "> 0", crashed > 0);
    report.figure("actors stopped at once", (hit - crashed) as f64, "actors");
    judge::traffic(&mut report, &stage, &mut seen)?;
    Ok(report)
}

fn drill(lab: &Lab, node: u16, what: &Value) -> Result<u64, Error> {
    let done = lab.post(node, &format!("/api/v1/drills?node={node}"), what)?;
    Ok(done["hit"].as_u64().unwrap_or(0))
}
