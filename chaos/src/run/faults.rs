//! Making faults: each is noted in the state file, made, seen to be made, kept up, taken back, and seen to be taken back.
//!
//! A fault that was not seen to be made proves nothing, and one that was not seen to be healed leaves nothing to be judged: both
//! make the run inconclusive.

mod disk;
mod drills;
mod links;
mod live_disk;
mod members;
mod others;
mod process;
mod versions;

use std::{
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tandem_bench::{error::Error, phone::Random};

use super::{Context, POLL};
use crate::{
    experiment::{Kind, Target, target},
    history::{Op, Phase, Stage},
    plan::{self, Step},
    state::{self, Active, Undo},
};

/// After its time, how long a fault may still need to be seen.
const SEEN_WITHIN: Duration = Duration::from_secs(20);
/// How long a fault waits for the cluster to have got over the last one.
const WELL_WITHIN: Duration = Duration::from_secs(30);

/// One kind of hurting.
trait Injury {
    /// Whom it hits, in words.
    fn targets(&self) -> String;
    /// How it is taken back by somebody else.
    fn undo(&self) -> Vec<Undo> {
        Vec::new()
    }
    fn inject(&mut self, context: &Context) -> Result<(), Error>;
    /// Called again and again while the fault lasts; the evidence, once there is some.
    fn observe(&mut self, context: &Context) -> Result<Option<String>, Error>;
    fn heal(&mut self, context: &Context) -> Result<(), Error>;
    /// Called again and again after [`Self::heal`].
    fn is_healed(&mut self, context: &Context) -> Result<bool, Error>;
    /// A fault whose evidence comes late is kept up until it is there.
    fn waits_for_evidence(&self) -> bool {
        false
    }
}

/// What became of a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Made and healed, both seen.
    Verified,
    NotInjected(String),
    NotHealed(String),
    Skipped(String),
}

/// One fault of a run, for the report. Times as in the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultReport {
    pub n: usize,
    pub kind: String,
    pub targets: String,
    pub plan: String,
    pub fate: Fate,
    pub evidence: String,
    pub injected_ms: f64,
    /// When it was taken back, and when everything was well again.
    pub heal_ms: f64,
    pub healed_ms: f64,
}

impl FaultReport {
    /// For people who look on.
    pub fn line(&self) -> String {
        let (kind, targets) = (&self.kind, &self.targets);
        match &self.fate {
            Fate::Verified => {
                let after = (self.healed_ms - self.heal_ms) / 1000.0;
                format!("fault {}: {kind} of {targets}: {}; healed after {after:.1} s", self.n, self.evidence)
            }
            Fate::NotInjected(why) => format!("fault {}: {kind} of {targets} was not seen: {why}", self.n),
            Fate::NotHealed(why) => format!("fault {}: {kind} of {targets} was not healed: {why}", self.n),
            Fate::Skipped(why) => format!("fault {}: {kind} of {targets} skipped: {why}", self.n),
        }
    }
}

/// Makes one fault from beginning to end.
pub(super) fn perform(context: &Context, step: &Step) -> FaultReport {
    let kind = plan::name(step.fault.kind);
    let mut report = FaultReport {
        n: step.n,
        kind: kind.clone(),
        targets: step.fault.target.clone(),
        plan: step.line().trim().to_owned(),
        fate: Fate::Verified,
        evidence: String::new(),
        injected_ms: context.recorder.now_ms(),
        heal_ms: 0.0,
        healed_ms: 0.0,
    };
    let note = |targets: &str, stage: Stage, detail: &str| {
        let op = Op::Fault { kind: kind.clone(), targets: targets.into(), stage, detail: detail.into() };
        context.recorder.add("tool", &format!("fault {}", step.n), Phase::Info, op);
    };
    let mut injury = match prepare(context, step) {
        Ok(injury) => injury,
        Err(why) => {
            note(&report.targets, Stage::Skipped, &why);
            report.fate = Fate::Skipped(why);
            return report;
        }
    };
    report.targets = injury.targets();
    let active = Active { n: step.n, fault: format!("{kind} of {}", report.targets), undo: injury.undo() };
    note(&report.targets, Stage::Inject, "");
    report.injected_ms = context.recorder.now_ms();
    match keep_up(context, step, injury.as_mut(), active) {
        Ok(evidence) => {
            note(&report.targets, Stage::Injected, &evidence);
            report.evidence = evidence;
        }
        Err(why) => {
            note(&report.targets, Stage::NotInjected, &why);
            report.fate = Fate::NotInjected(why);
        }
    }
    report.heal_ms = context.recorder.now_ms();
    note(&report.targets, Stage::Heal, "");
    match take_back(context, step.n, injury.as_mut()) {
        Ok(()) => note(&report.targets, Stage::Healed, ""),
        Err(why) => {
            note(&report.targets, Stage::NotHealed, &why);
            report.fate = Fate::NotHealed(why);
        }
    }
    report.healed_ms = context.recorder.now_ms();
    report
}

/// Waits until the cluster is well enough to be hurt, and finds out whom.
fn prepare(context: &Context, step: &Step) -> Result<Box<dyn Injury>, String> {
    let until = Instant::now() + WELL_WITHIN;
    let quiet = || context.experiment.guard.allow_quorum_loss || context.are_ready(&context.members());
    while !quiet() {
        if Instant::now() > until || context.is_stopped() {
            return Err("the members are not ready, and one more fault could take the majority".to_owned());
        }
        thread::sleep(POLL);
    }
    let nodes = resolve(context, step)?;
    let fault = step.fault.clone();
    Ok(match fault.kind {
        Kind::Kill => Box::new(process::Kill::new(nodes)),
        Kind::CrashLoop => Box::new(process::CrashLoop::new(nodes)),
        Kind::Pause => Box::new(process::Pause::new(nodes)),
        Kind::RollingRestart => Box::new(process::Rolling::new()),
        Kind::Partition => Box::new(links::Links::partition(context, &nodes, fault.shape)),
        Kind::Link => Box::new(links::Links::rule(context, &nodes, fault.rule)),
        Kind::Wipe => Box::new(disk::Wipe::new(context, one(&nodes)?)?),
        Kind::TornTail => Box::new(disk::TornTail::new(context, one(&nodes)?)),
        Kind::BitFlip => Box::new(disk::BitFlip::new(context, one(&nodes)?)),
        Kind::Membership => Box::new(members::Churn::new(context)?),
        Kind::Carrier => Box::new(others::Carrier::new(context, &fault)),
        Kind::Overload => Box::new(others::Overload::new(context, &fault)),
        Kind::ActorCrash => Box::new(drills::ActorCrash::new(&fault)),
        Kind::StuckActor => Box::new(drills::StuckActor::new(&fault)),
        Kind::Clock => Box::new(drills::Clock::new(context, nodes, fault.ahead_s)),
        Kind::DiskFull => Box::new(live_disk::Full::new(context, one(&nodes)?)?),
        Kind::FsyncError => Box::new(live_disk::FsyncError::new(context, one(&nodes)?)),
        Kind::SlowDisk => Box::new(live_disk::Slow::new(context, nodes, fault.slow_ms)),
        Kind::MixedVersions => Box::new(versions::MixedVersions::new(context, nodes)?),
        Kind::Random => return Err("chance was not drawn".to_owned()),
    })
}

fn one(nodes: &[u16]) -> Result<u16, String> {
    match nodes {
        [node] => Ok(*node),
        _ => Err("this fault is for one node".to_owned()),
    }
}

fn resolve(context: &Context, step: &Step) -> Result<Vec<u16>, String> {
    let members = context.members();
    let leader = || context.leader().ok_or_else(|| "nobody leads the tenant's partition".to_owned());
    let mut random = Random(context.seed.wrapping_mul(1_000).wrapping_add(step.n as u64));
    match target(&step.fault.target)? {
        Target::All => Ok(members),
        Target::Leader => Ok(vec![leader()?]),
        Target::Any => Ok(vec![members[random.draw() as usize % members.len()]]),
        Target::Minority => {
            let leader = leader()?;
            let count = usize::from(plan::minority(members.len() as u16));
            let mut others: Vec<u16> = members.into_iter().filter(|k| *k != leader).collect();
            let mut chosen: Vec<u16> = std::iter::once(leader).take(count).collect();
            while chosen.len() < count {
                chosen.push(others.remove(random.draw() as usize % others.len()));
            }
            chosen.sort_unstable();
            Ok(chosen)
        }
        Target::Follower => {
            let leader = leader()?;
            let followers: Vec<u16> = members.into_iter().filter(|k| *k != leader).collect();
            followers
                .get(random.draw() as usize % followers.len().max(1))
                .map(|k| vec![*k])
                .ok_or_else(|| "there is no follower".to_owned())
        }
        Target::Node(node) if members.contains(&node) => Ok(vec![node]),
        Target::Node(node) => Err(format!("node {node} is no member")),
    }
}

/// From the note in the state file to the end of the fault's time. The evidence that it was there.
fn keep_up(context: &Context, step: &Step, injury: &mut dyn Injury, active: Active) -> Result<String, String> {
    {
        let mut state = context.state.lock();
        state.active.push(active);
        // What cannot be noted must not be done: nobody could undo it.
        state.save(&state::folder()).map_err(|error| format!("the state file: {error}"))?;
    }
    injury.inject(context).map_err(|error| error.to_string())?;
    let start = Instant::now();
    let lasts = Duration::from_secs_f64(step.fault.duration_s);
    let mut evidence = None;
    loop {
        match injury.observe(context) {
            Ok(seen) => evidence = seen.or(evidence),
            // What cannot be looked at now may be in a moment; in the end there is no evidence.
            Err(error) if start.elapsed() > lasts + SEEN_WITHIN => return Err(error.to_string()),
            Err(_) => {}
        }
        let over = start.elapsed() >= lasts || context.is_stopped();
        let waits = injury.waits_for_evidence() && evidence.is_none() && start.elapsed() < lasts + SEEN_WITHIN && !context.is_stopped();
        if over && !waits {
            return evidence.ok_or_else(|| "nothing showed that it was there".to_owned());
        }
        thread::sleep(POLL);
    }
}

fn take_back(context: &Context, n: usize, injury: &mut dyn Injury) -> Result<(), String> {
    injury.heal(context).map_err(|error| error.to_string())?;
    let until = Instant::now() + Duration::from_secs_f64(context.experiment.recovery.heal_within_s);
    let mut last = String::from("not well in time");
    while Instant::now() < until {
        match injury.is_healed(context) {
            Ok(true) => {
                let mut state = context.state.lock();
                state.active.retain(|active| active.n != n);
                // The fault is gone; an old note only makes somebody undo it twice, which is harmless.
                let _ = state.save(&state::folder());
                return Ok(());
            }
            Ok(false) => {}
            Err(error) => last = error.to_string(),
        }
        thread::sleep(POLL);
    }
    Err(last)
}

/// Nodes in words.
fn words(nodes: &[u16]) -> String {
    let list: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    if list.len() == 1 { format!("node {}", list[0]) } else { format!("nodes {}", list.join(", ")) }
}
