//! AI switched off for a queue while AI agents have every contact.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{QUEUE, Shared, heard_last, ms, rung, voice};
use crate::{error::Error, phone::OnRing, report::Report};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    shared: Shared,
}

const NODE: u16 = 1;
const COMMIT_MS: f64 = 1_000.0;
const PEOPLE_WITHIN: Duration = Duration::from_secs(30);

pub fn run(options: &Options) -> Result<Report, Error> {
    let stage = super::open(&options.shared, options.shared.calls, OnRing::Answer { after_ms: 0 })?;
    super::talk(&stage, &stage.callers, NODE)?;
    let asked = Instant::now();
    let reached = stage.lab.post(NODE, &format!("/api/v1/queues/{QUEUE}/ai"), &json!({ "off": true, "reason": "proof" }))?;
    let committed = ms(asked, Instant::now());
    let without = super::without_person(&stage, PEOPLE_WITHIN);
    let mut report = Report::new(format!("takeover switch: AI off with {} contacts", options.shared.calls));
    report.bounded("request → answer of the switch", committed, "ms", format!("≤ {COMMIT_MS}"), committed <= COMMIT_MS);
    let contacts = reached["contacts"].as_u64().unwrap_or_default();
    report.bounded(
        "contacts it reached",
        contacts as f64,
        "contacts",
        format!("= {}", options.shared.calls),
        contacts == options.shared.calls as u64,
    );
    let mut silent: Vec<f64> =
        stage.callers.iter().filter_map(|caller| heard_last(caller, voice::SPEECH.1)).map(|at| ms(asked, at).max(0.0)).collect();
    report.quantiles("request → last frame of an AI agent", &mut silent, "ms");
    let mut ringing: Vec<f64> = stage.agents[0].iter().filter_map(|agent| rung(agent, asked)).map(|at| ms(asked, at)).collect();
    report.quantiles("request → a person's phone rings", &mut ringing, "ms");
    report.bounded("contacts without a person", without as f64, "contacts", "= 0", without == 0);
    super::hang_up(&stage);
    Ok(report)
}
