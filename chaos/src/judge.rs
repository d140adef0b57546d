//! From a history to a verdict: what callers got, whether invariants and expectations hold, and the exit code that says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    checker::{self, Status},
    experiment::Experiment,
    history::{Op, Outcome, Record},
    run::{Fate, FaultReport},
};

/// Exit codes, stable for scripts.
pub mod code {
    pub const PASSED: u8 = 0;
    pub const VIOLATED: u8 = 1;
    /// A fault was not seen or skipped, a checker had not enough to go by or no time.
    pub const INCONCLUSIVE: u8 = 2;
    pub const NO_STEADY_STATE: u8 = 3;
    pub const ABORTED: u8 = 4;
    pub const USAGE: u8 = 64;
    pub const INTERNAL: u8 = 70;
}

/// Time for one register's linearizability.
pub const LINEAR_WITHIN: Duration = Duration::from_secs(20);
/// A pause between two responses to callers is called an outage from this on.
pub const OUTAGE_MS_MIN: f64 = 1_500.0;

/// What callers got.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Callers, each counted once however many nodes it tried, whose calls are over.
    pub callers: u64,
    pub served: u64,
    pub availability: f64,
    pub refused: u64,
    pub unreached: u64,
    pub abandoned: u64,
    /// Calls that got a response beyond 100 and no correct end.
    pub lost: u64,
    pub first_response_p50_ms: f64,
    pub first_response_p99_ms: f64,
    pub first_response_max_ms: f64,
    /// Longest time without a response to anybody although somebody called.
    pub outage_ms: f64,
    /// All such times from [`OUTAGE_MS_MIN`] on: from, to.
    pub outages: Vec<(f64, f64)>,
}

/// A quantile of a sorted sample; 0 of an empty one.
fn at(sorted: &[f64], percent: usize) -> f64 {
    sorted.get(sorted.len().saturating_sub(1) * percent / 100).copied().unwrap_or(0.0)
}

/// What callers got in this history, or in a part of one.
pub fn service(history: &[Record]) -> Service {
    let mut seen = Service::default();
    let (mut open, mut firsts) = (BTreeSet::new(), 0_u64);
    let (mut after_ms, mut dials, mut heard) = (Vec::new(), Vec::new(), Vec::new());
    for record in history {
        match &record.op {
            Op::Dial { again, .. } => {
                firsts += u64::from(!again);
                open.insert(record.object.as_str());
                dials.push(record.at_ms);
            }
            Op::Responded { status, after_ms: ms } => {
                after_ms.push(*ms);
                if *status < 300 {
                    heard.push(record.at_ms);
                }
            }
            Op::CallEnd { outcome } => {
                open.remove(record.object.as_str());
                match outcome {
                    Outcome::Completed => seen.served += 1,
                    Outcome::Refused(_) => seen.refused += 1,
                    Outcome::Unreached => seen.unreached += 1,
                    Outcome::Abandoned => seen.abandoned += 1,
                    Outcome::Dropped | Outcome::Unfinished => seen.lost += 1,
                }
            }
            _ => {}
        }
    }
    seen.callers = firsts.saturating_sub(open.len() as u64);
    seen.availability = if seen.callers == 0 { 0.0 } else { (seen.served as f64 / seen.callers as f64).min(1.0) };
    after_ms.sort_by(f64::total_cmp);
    (seen.first_response_p50_ms, seen.first_response_p99_ms) = (at(&after_ms, 50), at(&after_ms, 99));
    seen.first_response_max_ms = at(&after_ms, 100);
    outages(&mut seen, &dials, &heard);
    seen
}

/// Times from a call on in which nobody heard anything.
fn outages(seen: &mut Service, dials: &[f64], heard: &[f64]) {
    let mut next_dial = dials.iter().copied().peekable();
    for pair in heard.windows(2) {
        while next_dial.next_if(|dial| *dial < pair[0]).is_some() {}
        // It began when somebody called and was not answered, not when the last was.
        let Some(from) = next_dial.peek().copied().filter(|dial| *dial < pair[1]) else { continue };
        let ms = pair[1] - from;
        seen.outage_ms = seen.outage_ms.max(ms);
        if ms >= OUTAGE_MS_MIN {
            seen.outages.push((from, pair[1]));
        }
    }
}

/// One expectation of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Expectation {
    pub name: String,
    pub value: f64,
    pub bound: String,
    pub kept: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    pub exit_code: u8,
    pub verdict: String,
    /// Why it is not a pass, one sentence each.
    pub reasons: Vec<String>,
    pub service: Service,
    pub expectations: Vec<Expectation>,
    pub invariants: Vec<checker::Verdict>,
}

/// Judges a whole run.
pub fn judge(experiment: &Experiment, history: &[Record], faults: &[FaultReport]) -> Judgement {
    let (service, invariants) = (service(history), checker::check(history, LINEAR_WITHIN));
    let wanted = &experiment.expect;
    let expectation = |name: &str, value: f64, bound: String, kept: bool| Expectation { name: name.into(), value, bound, kept };
    let expectations = vec![
        expectation("calls lost", service.lost as f64, format!("≤ {}", wanted.calls_lost_max), service.lost <= wanted.calls_lost_max),
        expectation(
            "longest outage, ms",
            service.outage_ms,
            format!("≤ {}", wanted.outage_ms_max),
            service.outage_ms <= wanted.outage_ms_max,
        ),
        expectation(
            "callers served",
            service.availability,
            format!("≥ {}", wanted.availability_min),
            service.availability >= wanted.availability_min,
        ),
    ];
    let is_wanted = |verdict: &&checker::Verdict| wanted.invariants.iter().any(|id| id == "all" || *id == verdict.id);
    let (mut violated, mut open) = (Vec::new(), Vec::new());
    for verdict in invariants.iter().filter(is_wanted) {
        match verdict.status {
            Status::Holds => {}
            Status::Violated => violated.push(format!("{} violated {} times: {}", verdict.id, verdict.violations, verdict.sentence)),
            // Without clients of registers there is nothing to judge, as asked for.
            Status::Unknown if verdict.id == "R1" && experiment.workload.register_clients == 0 => {}
            Status::Unknown if verdict.id == "B1" && experiment.workload.bystander_per_s <= 0.0 => {}
            Status::Unknown => open.push(format!("{} unknown: {}", verdict.id, verdict.why)),
        }
    }
    violated.extend(expectations.iter().filter(|e| !e.kept).map(|e| format!("{} {:.3}, expected {}", e.name, e.value, e.bound)));
    for fault in faults {
        match &fault.fate {
            Fate::Verified => {}
            Fate::NotInjected(why) => open.push(format!("fault {} ({}) was not seen: {why}", fault.n, fault.kind)),
            Fate::NotHealed(why) => open.push(format!("fault {} ({}) was not seen to heal: {why}", fault.n, fault.kind)),
            Fate::Skipped(why) => open.push(format!("fault {} ({}) was skipped: {why}", fault.n, fault.kind)),
        }
    }
    let (exit_code, verdict) = match (violated.is_empty(), open.is_empty()) {
        (false, _) => (code::VIOLATED, "VIOLATED"),
        (true, false) => (code::INCONCLUSIVE, "INCONCLUSIVE"),
        (true, true) => (code::PASSED, "PASSED"),
    };
    violated.extend(open);
    Judgement { exit_code, verdict: verdict.into(), reasons: violated, service, expectations, invariants }
}

/// A second of the run, for the report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    pub dialled: u64,
    pub answered: u64,
    pub failed: u64,
    pub response_p50_ms: f64,
    pub response_max_ms: f64,
}

/// Throughput and latency by second.
pub fn seconds(history: &[Record]) -> Vec<Second> {
    let mut seconds: Vec<Second> = Vec::new();
    let mut after_ms: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for record in history {
        let n = (record.at_ms / 1_000.0) as usize;
        if !matches!(record.op, Op::Dial { .. } | Op::Answered { .. } | Op::CallEnd { .. } | Op::Responded { .. }) {
            continue;
        }
        if seconds.len() <= n {
            seconds.resize(n + 1, Second::default());
        }
        match &record.op {
            Op::Dial { .. } => seconds[n].dialled += 1,
            Op::Answered { .. } => seconds[n].answered += 1,
            Op::CallEnd { outcome } if *outcome != Outcome::Completed => seconds[n].failed += 1,
            Op::Responded { after_ms: ms, .. } => after_ms.entry(n).or_default().push(*ms),
            _ => {}
        }
    }
    for (n, mut sample) in after_ms {
        sample.sort_by(f64::total_cmp);
        (seconds[n].response_p50_ms, seconds[n].response_max_ms) = (at(&sample, 50), at(&sample, 100));
    }
    seconds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{checker::script, history::Phase};

    fn at_ms(mut record: Record, ms: f64) -> Record {
        record.at_ms = ms;
        record
    }

    #[test]
    fn a_caller_that_is_served_at_the_second_node_is_served() {
        let again = script::at(2.0, "2", "2", Phase::Invoke, Op::Dial { node: 2, again: true });
        let history = [
            script::dial("1"),
            script::ended("1", Outcome::Unreached),
            again,
            script::responded("2", 180),
            script::ended("2", Outcome::Completed),
        ];
        let seen = service(&history);
        assert_eq!((seen.callers, seen.served, seen.unreached, seen.lost), (1, 1, 1, 0));
        assert!((seen.availability - 1.0).abs() < 1e-9);
    }

    #[test]
    fn an_outage_lasts_from_the_call_that_nobody_heard_to_the_next_response() {
        let history = [
            at_ms(script::dial("1"), 0.0),
            at_ms(script::responded("1", 180), 10.0),
            at_ms(script::dial("2"), 4_000.0),
            at_ms(script::dial("3"), 5_000.0),
            at_ms(script::responded("3", 180), 7_000.0),
        ];
        let seen = service(&history);
        assert_eq!(seen.outages, [(4_000.0, 7_000.0)]);
        assert!((seen.outage_ms - 3_000.0).abs() < 1e-9);
    }

    #[test]
    fn a_violation_beats_an_unseen_fault_and_that_beats_a_pass() {
        let experiment = Experiment::load("kill-leader").unwrap();
        let code = |history: &[Record], faults: &[FaultReport]| judge(&experiment, history, faults).exit_code;
        assert_eq!(code(&[], &[]), code::VIOLATED, "nobody was served");
        let mut lax = experiment.clone();
        lax.expect.invariants = vec!["C1".into()];
        lax.expect.availability_min = 0.0;
        let good = [script::dial("1"), script::answered("1"), script::ended("1", Outcome::Completed), script::cdr("c", "1", "answered")];
        let fault = |fate| FaultReport {
            n: 1,
            kind: "kill".into(),
            targets: "node 1".into(),
            plan: String::new(),
            fate,
            evidence: String::new(),
            injected_ms: 0.0,
            heal_ms: 0.0,
            healed_ms: 0.0,
        };
        assert_eq!(judge(&lax, &good, &[fault(Fate::Verified)]).exit_code, code::PASSED);
        assert_eq!(judge(&lax, &good, &[fault(Fate::Skipped("no".into()))]).exit_code, code::INCONCLUSIVE);
        assert_eq!(judge(&lax, &good[..3], &[fault(Fate::Skipped("no".into()))]).exit_code, code::VIOLATED);
    }
}
