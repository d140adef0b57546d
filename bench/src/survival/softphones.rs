//! Real softphones whose node is killed: baresip and PJSIP as callers and as agents, the project's phone at the other end.
//! What the project's phones do is this project's idea of a phone; these two are not.

use std::{
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    Common,
    soft::{Kind, Soft},
    stage::{self, Setup, Stage},
};
use crate::{
    error::Error,
    phone::{By, Phone, State},
    report::Report,
    settle, tenant,
};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    #[arg(long)]
    pub no_death_notice: bool,
}

const NODE: u16 = 2;
const QUEUE: &str = "support";
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
const OBSERVED: Duration = Duration::from_secs(6);
const END_WITHIN: Duration = Duration::from_secs(5);
const WHOLE_WITHIN: Duration = Duration::from_secs(40);
/// Silence that makes a call lost.
const DEAF: Duration = Duration::from_secs(1);
const PAUSE_MS: f64 = 500.0;
const PACKETS_BEFORE: u64 = 25;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    CallerTalks,
    CallerWaits,
    AgentTalks,
}

impl Scenario {
    const ALL: [Self; 3] = [Self::CallerTalks, Self::CallerWaits, Self::AgentTalks];

    const fn name(self) -> &'static str {
        match self {
            Self::CallerTalks => "calls and talks",
            Self::CallerWaits => "calls and waits in the queue",
            Self::AgentTalks => "is an agent and talks",
        }
    }
}

pub fn run(options: &Options) -> Result<Report, Error> {
    let mut report = Report::new(format!(
        "survival softphones: the node of their call killed, {}, media {}",
        if options.no_death_notice { "no death notice" } else { "with proof of death" },
        options.common.media.name()
    ));
    for kind in Kind::ALL {
        if let Some(hint) = kind.missing() {
            eprintln!("{hint}");
            report.note(hint.to_owned());
            continue;
        }
        for scenario in Scenario::ALL {
            let label = format!("{} {}", kind.name(), scenario.name());
            let outcome = play(&mut report, options, kind, scenario, &label)?;
            report.bounded(format!("{label}: survives"), f64::from(u8::from(outcome.is_none())), "", "= 1", outcome.is_none());
            if let Some(why) = outcome {
                report.note(format!("{label}: {why}"));
            }
        }
    }
    Ok(report)
}

/// Plays one scenario in a cluster of its own. Returns why the call did not survive, if so.
fn play(report: &mut Report, options: &Options, kind: Kind, scenario: Scenario, label: &str) -> Result<Option<String>, Error> {
    let mut soft = Soft::start(kind)?;
    let is_agent = scenario == Scenario::AgentTalks;
    let mut setup = Setup::pairs(1, &options.common);
    setup.groups[0].agents = usize::from(!is_agent);
    setup.groups[0].available = scenario != Scenario::CallerWaits;
    if is_agent {
        setup.further =
            format!("[[agent]]\nid = \"soft\"\ncontact = \"{}\"\nskills = {{ {QUEUE} = 5 }}\nstate = \"available\"\n", soft.uri());
    }
    let stage = Stage::open(setup, |lab| lab.death_notice = !options.no_death_notice)?;
    stage.lab.await_whole(&[1, 2, 3], WHOLE_WITHIN)?;
    let other = if is_agent { stage.callers[0].clone() } else { stage.agents[0][0].clone() };
    other.hear_anything();
    let begun = Instant::now();
    if is_agent {
        other.call(stage.sip(NODE), QUEUE)
    } else {
        soft.call(&format!("sip:{QUEUE}@{}", stage.sip(NODE)))?
    }
    if scenario == Scenario::CallerWaits {
        await_queued(&stage)?;
        stage.lab.signal(NODE, Signal::KILL)?;
        thread::sleep(OBSERVED);
        let path = format!("/api/v1/agents/a0/state?tenant={}", tenant::TENANT);
        stage.lab.post(if NODE == 1 { 2 } else { 1 }, &path, &json!({ "state": "available" }))?;
        if soft.wait("established", begun, ANSWER_WITHIN).is_none() {
            return Ok(Some("is not answered by a survivor".to_owned()));
        }
    }
    if soft.wait("established", begun, ANSWER_WITHIN).is_none() || !hears(&other) {
        return Err(Error::Setup(format!("{label}: no call came about before the kill")));
    }
    if scenario != Scenario::CallerWaits {
        let killed = Instant::now();
        stage.lab.signal(NODE, Signal::KILL)?;
        thread::sleep(OBSERVED);
        let pause = other.heard(|heard| heard.longest_gap(killed, Instant::now())).as_secs_f64() * 1000.0;
        report.bounded(format!("{label}: pause at the other end"), pause, "ms", format!("≤ {PAUSE_MS}"), pause <= PAUSE_MS);
    }
    Ok(verdict(&stage, &mut soft, &other, begun))
}

fn await_queued(stage: &Stage) -> Result<(), Error> {
    let path = format!("/api/v1/calls?tenant={}", tenant::TENANT);
    let queued = |rows: Vec<Value>| rows.iter().any(|row| row["state"] == "queued");
    stage.lab.eventually("the softphone waits in the queue", ANSWER_WITHIN, |lab| lab.all(&path).is_ok_and(queued))
}

fn hears(phone: &Phone) -> bool {
    let until = Instant::now() + ANSWER_WITHIN;
    stage::await_that(until, || phone.heard(|heard| heard.voiced >= PACKETS_BEFORE)).is_some()
}

/// Is the call still there at both ends, does audio flow both ways, and does the softphone end it for both?
fn verdict(stage: &Stage, soft: &mut Soft, other: &Phone, begun: Instant) -> Option<String> {
    if other.state() != Some(State::Up) {
        return Some(format!("the other end is {:?}", other.state()));
    }
    if !soft.is_talking(begun) {
        return Some("the softphone ended it".to_owned());
    }
    if other.heard(|heard| heard.longest_gap(Instant::now(), Instant::now())) > DEAF {
        return Some("the other end hears nothing".to_owned());
    }
    if let Some(before) = soft.packets() {
        thread::sleep(DEAF);
        if soft.packets().is_none_or(|after| after <= before) {
            return Some("the softphone hears nothing".to_owned());
        }
    }
    if let Err(error) = soft.hang_up() {
        return Some(error.to_string());
    }
    if !other.wait_state(State::Over(By::Them), END_WITHIN) {
        return Some("its BYE does not reach the other end".to_owned());
    }
    let records = settle::records_or_so(&stage.lab, 1).unwrap_or_default();
    match &records[..] {
        [cdr] if cdr["outcome"] == "answered" && cdr["end_reason"] != "node_lost" => None,
        [cdr] => Some(format!("its record says {} {}", cdr["outcome"], cdr["end_reason"])),
        other => Some(format!("{} records", other.len())),
    }
}
