//! The cluster grows from three nodes to five and shrinks to three again under load.

use std::{thread, time::Duration};

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
    /// Load lasts this long; the changes happen within.
    #[arg(long, default_value_t = 60)]
    pub seconds: u32,
}

const WITHIN: Duration = Duration::from_secs(60);
const SETTLE: Duration = Duration::from_secs(3);

pub fn run(options: &Options) -> Result<Report, Error> {
    let stage = Stage::start(options.traffic.agents, |lab| {
        lab.spare = 2;
    })?;
    let lab = &stage.lab;
    // The callers stay on the one node that is there all the time: a node that leaves would take its callers along.
    let callers = Traffic::start(lab, &options.traffic, &[1], f64::from(options.seconds))?;
    thread::sleep(SETTLE);
    for node in [4, 5] {
        lab.cli(1, &["join", "--id", &node.to_string(), "--addr", &lab.cluster(node)])?;
    }
    await_voters(lab, &[1, 2, 3, 4, 5])?;
    thread::sleep(SETTLE);
    for node in [2, 3] {
        lab.cli(1, &["leave", &node.to_string()])?;
    }
    await_voters(lab, &[1, 4, 5])?;
    eprintln!("3, 5 and 3 again while calls came in");
    let mut seen = callers.finish()?;
    let mut report = Report::new(format!("members: 3 → 5 → 3 nodes at {}/s for {} s", options.traffic.rate, options.seconds));
    judge::traffic(&mut report, &stage, &mut seen)?;
    Ok(report)
}

fn await_voters(lab: &Lab, wanted: &[u64]) -> Result<(), Error> {
    lab.eventually("every partition has the new voters", WITHIN, |lab| {
        lab.all_from(1, "/api/v1/partitions").is_ok_and(|rows| {
            !rows.is_empty()
                && rows.iter().all(|row| {
                    let voters: Vec<u64> = row["voters"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_u64).collect();
                    voters == wanted && row["leader"].is_u64()
                })
        })
    })
}
