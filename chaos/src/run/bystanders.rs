//! The bystander: a second tenant with a queue, two agents and a few calls of its own, to which nothing is done. The cluster
//! knows its callers by their address. What becomes of them is judged by B1.

use std::{
    fs,
    net::Ipv4Addr,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tandem_bench::{
    error::Error,
    lab::Lab,
    phone::{OnRing, Phone, Transport},
    settle,
    survival::stage::Stage,
};

pub(super) use crate::checker::bystanders::TENANT;
use crate::{
    checker::bystanders::{AGENTS, NUMBERS},
    experiment::Experiment,
};

use super::{Context, callers::Crowd};

const QUEUE: &str = "quiet";
const AGENTS_COUNT: usize = 2;
/// Where its callers come from; the tagged tenant's come from 127.0.0.1.
const CALLERS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const HOLD: Duration = Duration::from_millis(800);
const ANSWER_AFTER_MS: u64 = 100;
const KNOWN_WITHIN: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(250);

/// Publishes the tenant and waits until every node knows it. No phones if the experiment wants none.
pub(super) fn open(experiment: &Experiment, stage: &Stage, dir: &Path) -> Result<Vec<Phone>, Error> {
    if experiment.workload.bystander_per_s <= 0.0 {
        return Ok(Vec::new());
    }
    let mut phones = Vec::new();
    for n in 0..AGENTS_COUNT {
        let phone =
            stage.exchange.phone(&format!("{AGENTS}{n}"), Transport::Udp, Ipv4Addr::LOCALHOST.into(), |options| options.lines = 2)?;
        phone.on_ring(OnRing::Answer { after_ms: ANSWER_AFTER_MS });
        phones.push(phone);
    }
    let file = dir.join("bystander.toml");
    fs::write(&file, tenant(&phones))?;
    // A busy machine may take a node's lease for a moment.
    let publish = |lab: &Lab| lab.cli(1, &["apply", &file.display().to_string()]).is_ok();
    stage.lab.eventually("the bystander's tenant is published", KNOWN_WITHIN, publish)?;
    for node in 1..=experiment.cluster.nodes {
        stage.lab.eventually("every node knows the bystander", KNOWN_WITHIN, |lab| knows(lab, node))?;
    }
    Ok(phones)
}

fn knows(lab: &Lab, node: u16) -> bool {
    lab.all_from(node, "/api/v1/tenants").is_ok_and(|rows| rows.iter().any(|row| row["id"] == TENANT))
}

fn tenant(phones: &[Phone]) -> String {
    let head = format!(
        "[tenant]\nid = \"{TENANT}\"\n[[queue]]\nid = \"{QUEUE}\"\nstrategy = \"longest-idle\"\noffer_timeout_s = 60\nmax_wait_s = 600\nwrap_up_s = 0\n\
         [[route]]\nto = \"{QUEUE}\"\nqueue = \"{QUEUE}\"\n[[trunk]]\nid = \"quiet\"\nsources = [\"{CALLERS}/32\"]\n"
    );
    let agent = |(n, phone): (usize, &Phone)| {
        let contact = phone.uri();
        format!("[[agent]]\nid = \"{AGENTS}{n}\"\ncontact = \"{contact}\"\nskills = {{ {QUEUE} = 5 }}\nstate = \"available\"\n")
    };
    head + &phones.iter().enumerate().map(agent).collect::<String>()
}

/// Its callers.
pub(super) fn crowd(context: &Context) -> Crowd {
    Crowd {
        queue: QUEUE,
        ip: CALLERS.into(),
        arrival_per_s: context.experiment.workload.bystander_per_s,
        hold: HOLD,
        number: |n| format!("{NUMBERS}{n:05}"),
        is_tagged: false,
    }
}

/// Its records once none of its calls is left, or the time is over.
pub(super) fn records(lab: &Lab) -> Result<Vec<Value>, Error> {
    let until = Instant::now() + settle::WITHIN;
    while lab.all(&format!("/api/v1/calls?tenant={TENANT}")).map_or(true, |calls| !calls.is_empty()) && Instant::now() < until {
        thread::sleep(LOOK);
    }
    lab.all(&format!("/api/v1/cdrs?tenant={TENANT}"))
}
