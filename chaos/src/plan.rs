//! From an experiment to a timeline: every occurrence of every fault with its times, and the most it takes down at once.
//!
//! Pure: the same experiment and seed give the same plan. Whom `leader` means is known only when the moment comes.

use tandem_bench::phone::Random;

use crate::{
    experiment::{Experiment, Fault, Kind, Shape, Target, target},
    relay::Rule,
};

/// A node that was down counts as down this much longer: it has to come back and catch up.
const COMES_BACK_S: f64 = 4.0;

/// One fault at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub n: usize,
    pub at_s: f64,
    pub fault: Fault,
}

impl Step {
    /// Nodes it takes down at most.
    fn takes_down(&self, nodes: u16) -> u16 {
        let whole = match self.fault.kind {
            Kind::Kill
            | Kind::CrashLoop
            | Kind::Pause
            | Kind::Wipe
            | Kind::TornTail
            | Kind::BitFlip
            | Kind::RollingRestart
            | Kind::DiskFull
            | Kind::FsyncError
            | Kind::MixedVersions => true,
            Kind::Partition => self.fault.shape != Shape::Bridge,
            Kind::Link => self.fault.rule.cut || self.fault.rule.loss_pct >= 100.0,
            // A slow node serves, slowly; a wrong clock is not a node less.
            Kind::SlowDisk | Kind::Clock => false,
            Kind::Membership | Kind::Carrier | Kind::Overload | Kind::ActorCrash | Kind::StuckActor | Kind::Random => false,
        };
        match (whole, target(&self.fault.target)) {
            (true, Ok(Target::All)) if !matches!(self.fault.kind, Kind::RollingRestart | Kind::MixedVersions) => nodes,
            (true, Ok(Target::Minority)) => minority(nodes),
            (true, _) => 1,
            (false, _) => 0,
        }
    }

    fn ends_s(&self) -> f64 {
        self.at_s + self.fault.duration_s
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let kind = name(self.fault.kind);
        format!("{:>6.1} s  {kind} of {} for {:.1} s{}", self.at_s, self.fault.target, self.fault.duration_s, details(&self.fault))
    }
}

/// How many of `nodes` may be lost so that a majority is left.
pub const fn minority(nodes: u16) -> u16 {
    nodes.saturating_sub(1) / 2
}

/// As an experiment's file spells it.
pub fn name(kind: Kind) -> String {
    serde_json::to_value(kind).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn details(fault: &Fault) -> String {
    match fault.kind {
        Kind::Partition => format!(" ({:?})", fault.shape).to_lowercase(),
        Kind::Link => format!(" ({})", rule(&fault.rule)),
        Kind::Overload => format!(" ({} times the rate)", fault.factor),
        Kind::Carrier => format!(" ({:?}, {} % of the phones)", fault.answer, fault.share_pct).to_lowercase(),
        Kind::ActorCrash | Kind::StuckActor => format!(" ({} actors)", fault.actor),
        Kind::SlowDisk => format!(" ({} ms a sync)", fault.slow_ms),
        Kind::Clock => format!(" (by {} s)", fault.ahead_s),
        _ => String::new(),
    }
}

/// What a rule does, in words.
pub fn rule(rule: &Rule) -> String {
    let mut words = Vec::new();
    if rule.cut {
        words.push("cut".to_owned());
    }
    if rule.delay_ms + rule.jitter_ms > 0 {
        words.push(format!("{} ms + up to {} ms", rule.delay_ms, rule.jitter_ms));
    }
    for (what, pct) in
        [("lost", rule.loss_pct), ("doubled", rule.dup_pct), ("reordered", rule.reorder_pct), ("corrupted", rule.corrupt_pct)]
    {
        if pct > 0.0 {
            words.push(format!("{pct} % {what}"));
        }
    }
    words.join(", ")
}

/// All steps, by time.
pub fn steps(experiment: &Experiment, seed: u64) -> Vec<Step> {
    let mut random = Random(seed);
    let mut steps = Vec::new();
    for fault in &experiment.faults {
        for n in 0..fault.times {
            let at_s = fault.at_s + f64::from(n) * fault.every_s;
            let drawn = if fault.kind == Kind::Random { draw(fault, &mut random) } else { fault.clone() };
            steps.push(Step { n: 0, at_s, fault: drawn });
        }
    }
    steps.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    for (n, step) in steps.iter_mut().enumerate() {
        step.n = n + 1;
    }
    steps
}

/// A temporary fault of one node or its links.
fn draw(of: &Fault, random: &mut Random) -> Fault {
    let mut fault = of.clone();
    fault.target = ["leader", "follower", "any"][(random.draw() % 3) as usize].to_owned();
    let shapes = [Shape::Isolate, Shape::Out, Shape::In, Shape::Bridge];
    // Where agents are to spare no queue has an actor that could be hurt; the experiment `actor-crash` sees to it that calls wait.
    let actors = ["call", "agent", "partition"];
    (fault.kind, fault.duration_s) = match random.draw() % 6 {
        0 => (Kind::Kill, 1.0 + (random.draw() % 3) as f64),
        1 => (Kind::Pause, 0.3 + (random.draw() % 4) as f64),
        2 | 3 => {
            fault.shape = shapes[(random.draw() % 4) as usize];
            (Kind::Partition, 1.0 + (random.draw() % 4) as f64)
        }
        4 => {
            let pct = |random: &mut Random, most: u64| (random.draw() % (most + 1)) as f64;
            fault.rule = Rule {
                loss_pct: 1.0 + pct(random, 9),
                delay_ms: random.draw() % 30,
                jitter_ms: random.draw() % 30,
                dup_pct: pct(random, 10),
                reorder_pct: pct(random, 10),
                corrupt_pct: pct(random, 5),
                cut: false,
            };
            (Kind::Link, 2.0 + (random.draw() % 4) as f64)
        }
        _ => {
            fault.actor = actors[(random.draw() % 3) as usize].to_owned();
            (Kind::ActorCrash, 0.0)
        }
    };
    fault
}

/// Most nodes down at once, and when first.
pub fn worst(steps: &[Step], nodes: u16) -> (u16, f64) {
    let mut worst = (0, 0.0);
    for step in steps {
        let down = steps
            .iter()
            .filter(|other| other.at_s <= step.at_s && step.at_s < other.ends_s() + COMES_BACK_S)
            .map(|other| other.takes_down(nodes))
            .fold(0, u16::saturating_add)
            .min(nodes);
        if down > worst.0 {
            worst = (down, step.at_s);
        }
    }
    worst
}

/// Refuses a plan that hurts more than its guard allows.
///
/// # Errors
/// Which bound it breaks, and when.
pub fn guard(experiment: &Experiment, steps: &[Step]) -> Result<(), String> {
    let nodes = experiment.cluster.nodes;
    let (down, at_s) = worst(steps, nodes);
    if down > experiment.guard.max_nodes_down {
        let most = experiment.guard.max_nodes_down;
        return Err(format!("{down} nodes may be down at {at_s:.1} s, and `guard.max_nodes_down` is {most}"));
    }
    if (nodes - down) * 2 <= nodes && !experiment.guard.allow_quorum_loss {
        return Err(format!(
            "at {at_s:.1} s only {} of {nodes} nodes may be left, which is no majority; `guard.allow_quorum_loss` allows it",
            nodes - down
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::SHIPPED;

    fn shipped(name: &str) -> Experiment {
        Experiment::load(name).unwrap()
    }

    #[test]
    fn every_shipped_experiment_keeps_its_own_guard() {
        for (name, _) in SHIPPED {
            let experiment = shipped(name);
            for seed in 1..50 {
                let steps = steps(&experiment, seed);
                guard(&experiment, &steps).unwrap_or_else(|why| panic!("{name}, seed {seed}: {why}"));
                let last = steps.last().map_or(0.0, Step::ends_s);
                assert!(last <= experiment.experiment.duration_s, "{name}, seed {seed}: load lasts beyond the last fault");
            }
        }
    }

    #[test]
    fn chance_repeats_with_its_seed() {
        let experiment = shipped("everything");
        assert_eq!(steps(&experiment, 3), steps(&experiment, 3));
        assert_ne!(steps(&experiment, 3), steps(&experiment, 4));
    }

    #[test]
    fn a_minority_of_five_is_two_and_of_three_one() {
        let mut experiment = shipped("five-two-killed");
        let down = |experiment: &Experiment| worst(&steps(experiment, 1), experiment.cluster.nodes).0;
        assert_eq!(down(&experiment), 2);
        experiment.cluster.nodes = 3;
        assert_eq!(down(&experiment), 1);
        experiment.cluster.nodes = 5;
        experiment.guard.max_nodes_down = 1;
        assert!(guard(&experiment, &steps(&experiment, 1)).unwrap_err().contains("max_nodes_down"));
    }

    #[test]
    fn two_nodes_of_three_at_once_are_refused() {
        let mut experiment = shipped("kill-leader");
        let mut second = experiment.faults[0].clone();
        second.at_s += 1.0;
        second.target = "follower".into();
        experiment.faults.push(second);
        let refused = |experiment: &Experiment| guard(experiment, &steps(experiment, 1));
        assert!(refused(&experiment).unwrap_err().contains("max_nodes_down"));
        experiment.guard.max_nodes_down = 2;
        assert!(refused(&experiment).unwrap_err().contains("majority"));
        experiment.guard.allow_quorum_loss = true;
        assert_eq!(refused(&experiment), Ok(()));
    }
}
