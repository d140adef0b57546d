//! An experiment's file: what is hurt, when, under which load, and what must hold. It refuses what it does not know.

mod fault;

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

pub use self::fault::{Answer, Fault, Kind, Shape, TIMES_MAX, Target, target};

/// The experiments that ship, by name.
pub const SHIPPED: &[(&str, &str)] = &[
    ("kill-leader", include_str!("../experiments/kill-leader.toml")),
    ("kill-follower", include_str!("../experiments/kill-follower.toml")),
    ("pause-leader", include_str!("../experiments/pause-leader.toml")),
    ("split-brain", include_str!("../experiments/split-brain.toml")),
    ("one-way-leader", include_str!("../experiments/one-way-leader.toml")),
    ("bridge", include_str!("../experiments/bridge.toml")),
    ("slow-link", include_str!("../experiments/slow-link.toml")),
    ("lossy-dup-reorder", include_str!("../experiments/lossy-dup-reorder.toml")),
    ("corrupt-link", include_str!("../experiments/corrupt-link.toml")),
    ("crash-loop", include_str!("../experiments/crash-loop.toml")),
    ("torn-tail", include_str!("../experiments/torn-tail.toml")),
    ("bit-flip", include_str!("../experiments/bit-flip.toml")),
    ("node-wiped", include_str!("../experiments/node-wiped.toml")),
    ("rolling-restart", include_str!("../experiments/rolling-restart.toml")),
    ("membership-churn", include_str!("../experiments/membership-churn.toml")),
    ("carrier-503", include_str!("../experiments/carrier-503.toml")),
    ("overload", include_str!("../experiments/overload.toml")),
    ("carrier-twice", include_str!("../experiments/carrier-twice.toml")),
    ("actor-crash", include_str!("../experiments/actor-crash.toml")),
    ("stuck-actor", include_str!("../experiments/stuck-actor.toml")),
    ("disk-full", include_str!("../experiments/disk-full.toml")),
    ("fsync-error", include_str!("../experiments/fsync-error.toml")),
    ("slow-disk", include_str!("../experiments/slow-disk.toml")),
    ("clock-jump", include_str!("../experiments/clock-jump.toml")),
    ("mixed-versions", include_str!("../experiments/mixed-versions.toml")),
    ("five-two-killed", include_str!("../experiments/five-two-killed.toml")),
    ("five-split", include_str!("../experiments/five-split.toml")),
    ("five-rolling", include_str!("../experiments/five-rolling.toml")),
    ("five-everything", include_str!("../experiments/five-everything.toml")),
    ("everything", include_str!("../experiments/everything.toml")),
];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    pub experiment: Head,
    #[serde(default)]
    pub cluster: Cluster,
    #[serde(default)]
    pub workload: Workload,
    #[serde(default)]
    pub steady_state: SteadyState,
    #[serde(rename = "fault")]
    pub faults: Vec<Fault>,
    #[serde(default)]
    pub guard: Guard,
    #[serde(default)]
    pub recovery: Recovery,
    #[serde(default)]
    pub expect: Expect,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    pub name: String,
    /// What an operator learns from it.
    pub why: String,
    #[serde(default = "one")]
    pub seed: u64,
    /// From the first fault's clock to the end of the load, seconds.
    pub duration_s: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    pub nodes: u16,
    /// Nodes that wait to be joined.
    pub spare: u16,
    /// The peers are told of a death by the watcher; without it they see silence, as of a whole machine.
    pub death_notice: bool,
}

impl Default for Cluster {
    fn default() -> Self {
        Self { nodes: 3, spare: 0, death_notice: true }
    }
}

/// Callers come at a fixed rate whatever becomes of those before them (an open loop).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Workload {
    pub arrival_per_s: f64,
    pub agents: usize,
    pub hold_ms: u64,
    /// An agent picks up after this.
    pub answer_after_ms: u64,
    /// The nodes callers know; all by default.
    pub call_nodes: Vec<u16>,
    /// Clients that set and read what is judged for linearizability; 0 turns it off.
    pub register_clients: usize,
    /// Calls a second of another tenant, which nothing is done to; 0 turns it off.
    pub bystander_per_s: f64,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            arrival_per_s: 4.0,
            agents: 12,
            hold_ms: 1_500,
            answer_after_ms: 100,
            call_nodes: Vec::new(),
            register_clients: 3,
            bystander_per_s: 0.5,
        }
    }
}

/// Observed before the first fault; if it is not met, nothing is hurt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SteadyState {
    pub window_s: f64,
    /// Share of callers served, 0 to 1.
    pub availability_min: f64,
    pub first_response_p99_ms_max: f64,
}

impl Default for SteadyState {
    fn default() -> Self {
        Self { window_s: 5.0, availability_min: 0.95, first_response_p99_ms_max: 2_000.0 }
    }
}

/// What this run may do at most.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// Nodes that are down, paused or cut off at once.
    pub max_nodes_down: u16,
    pub allow_quorum_loss: bool,
    /// Abort when the share of callers served in the last `abort_after_s` falls below this; 0 never does.
    pub abort_availability_below: f64,
    pub abort_after_s: f64,
}

impl Default for Guard {
    fn default() -> Self {
        Self { max_nodes_down: 1, allow_quorum_loss: false, abort_availability_below: 0.0, abort_after_s: 20.0 }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recovery {
    /// Every member is ready again this long after the last fault was taken back.
    pub heal_within_s: f64,
    /// Load goes on this long after that.
    pub settle_s: f64,
}

impl Default for Recovery {
    fn default() -> Self {
        Self { heal_within_s: 40.0, settle_s: 3.0 }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// Ids of invariants that must hold; `all` for every one.
    pub invariants: Vec<String>,
    /// Calls that got a response beyond 100 and then no correct end.
    pub calls_lost_max: u64,
    /// Longest time in which no caller was answered though some called.
    pub outage_ms_max: f64,
    /// Share of callers served over the whole run.
    pub availability_min: f64,
}

impl Default for Expect {
    fn default() -> Self {
        Self { invariants: vec!["all".to_owned()], calls_lost_max: 0, outage_ms_max: 10_000.0, availability_min: 0.9 }
    }
}

impl Experiment {
    /// By the name of a shipped one, or a file.
    ///
    /// # Errors
    /// What is wrong with it, for its author.
    pub fn load(name_or_file: &str) -> Result<Self, String> {
        let shipped = SHIPPED.iter().find(|(name, _)| *name == name_or_file).map(|(_, text)| (*text).to_owned());
        let text = match shipped {
            Some(text) => text,
            None => fs::read_to_string(Path::new(name_or_file))
                .map_err(|error| format!("{name_or_file}: {error}; `chaos list` names the experiments that ship"))?,
        };
        let parsed: Self = toml::from_str(&text).map_err(|error| format!("{name_or_file}: {error}"))?;
        parsed.check().map_err(|why| format!("{name_or_file}: {why}"))?;
        Ok(parsed)
    }

    fn check(&self) -> Result<(), String> {
        let positive = |name: &str, value: f64| if value > 0.0 { Ok(()) } else { Err(format!("{name} must be above 0")) };
        positive("duration_s", self.experiment.duration_s)?;
        positive("arrival_per_s", self.workload.arrival_per_s)?;
        positive("window_s", self.steady_state.window_s)?;
        if !(0.0..=BYSTANDER_PER_S_MAX).contains(&self.workload.bystander_per_s) {
            return Err(format!("bystander_per_s is 0 to {BYSTANDER_PER_S_MAX}: they are few"));
        }
        if self.workload.agents == 0 || !(1..=5).contains(&self.cluster.nodes) || self.cluster.nodes + self.cluster.spare > NODES_MAX {
            return Err(format!("at least one agent, one to five nodes, and at most {NODES_MAX} with spares"));
        }
        if self.faults.is_empty() {
            return Err("an experiment without a fault proves nothing".into());
        }
        for fault in &self.faults {
            target(&fault.target)?;
            if fault.times > 1 && fault.every_s <= 0.0 {
                return Err("`times` needs `every_s`".into());
            }
            if fault.times == 0 || fault.times > TIMES_MAX {
                return Err(format!("`times` is 1 to {TIMES_MAX}"));
            }
            if fault.at_s < 0.0 || fault.duration_s < 0.0 {
                return Err("`at_s` and `duration_s` are not negative".into());
            }
        }
        Ok(())
    }

    /// Everything `factor` times as long, for a slow machine or a patient operator. Rates stay.
    #[must_use]
    pub fn scaled(mut self, factor: f64) -> Self {
        self.experiment.duration_s *= factor;
        self.steady_state.window_s *= factor;
        for fault in &mut self.faults {
            fault.at_s *= factor;
            fault.duration_s *= factor;
            fault.every_s *= factor;
        }
        self
    }
}

/// Nodes of a cluster and spares together; the lab has ports for as many.
pub const NODES_MAX: u16 = 8;
/// Calls a second of the tenant that nothing is done to: its two agents must be able to take them all.
pub const BYSTANDER_PER_S_MAX: f64 = 1.0;
const fn one() -> u64 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_experiment_reads_and_bears_its_name() {
        for (name, _) in SHIPPED {
            let experiment = Experiment::load(name).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(experiment.experiment.name, *name);
            assert!(experiment.experiment.why.len() > 30, "{name} says why");
        }
    }

    #[test]
    fn what_is_unknown_or_senseless_is_refused() {
        let (_, good) = SHIPPED[0];
        let read = |text: String| toml::from_str::<Experiment>(&text).map_err(|e| e.to_string()).and_then(|e| e.check());
        assert_eq!(read(good.to_owned()), Ok(()));
        assert!(read(good.replace("at_s", "when_s")).is_err());
        assert!(read(good.replace("target = \"leader\"", "target = \"boss\"")).unwrap_err().contains("boss"));
        assert!(read(good.replace("duration_s = ", "duration_s = -")).is_err());
    }
}
