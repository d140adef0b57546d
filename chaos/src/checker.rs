//! The judgement of a history: one checker per invariant, its verdict and its counterexamples.
//!
//! Ids and sentences are those of the core's invariants as far as a client can see them. A checker reads a history and
//! nothing else, so that an old run can be judged again. All are linear in the history but `R1`.

mod agents;
pub mod bystanders;
mod calls;
mod cdrs;
mod effects;
pub mod linear;
mod queue;
mod registers;
mod replicas;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::history::{Op, Record};

/// Counterexamples kept of one invariant.
pub const EXAMPLES_MAX: usize = 5;
/// Lines of the history shown with a counterexample.
pub const EXCERPT_MAX: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Holds,
    Violated,
    /// The history does not say, or the checker ran out of time.
    Unknown,
}

/// One thing that must not be, and the lines that show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Counterexample {
    pub what: String,
    pub excerpt: Vec<Record>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub id: String,
    pub sentence: String,
    /// How many calls, agents, events … were looked at.
    pub checked: usize,
    pub status: Status,
    /// Why it is unknown.
    pub why: String,
    /// All violations, of which the first [`EXAMPLES_MAX`] are shown.
    pub violations: usize,
    pub examples: Vec<Counterexample>,
}

impl Verdict {
    fn new(id: &str, sentence: &str) -> Self {
        let (id, sentence) = (id.to_owned(), sentence.to_owned());
        Self { id, sentence, checked: 0, status: Status::Holds, why: String::new(), violations: 0, examples: Vec::new() }
    }

    /// A counterexample; `lines` are its records.
    fn violated<'a>(&mut self, what: String, lines: impl IntoIterator<Item = &'a Record>) {
        self.status = Status::Violated;
        self.violations += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(Counterexample { what, excerpt: lines.into_iter().take(EXCERPT_MAX).cloned().collect() });
        }
    }

    /// Nothing is known, unless something is known to be wrong.
    fn unknown(&mut self, why: impl Into<String>) {
        if self.status == Status::Holds {
            self.status = Status::Unknown;
            self.why = why.into();
        }
    }

    /// A gap in the records it rests on makes a good verdict an unknown one, and so does having seen nothing.
    fn rests_on(mut self, history: &[Record], of: &str) -> Self {
        let gap = history.iter().find_map(|record| match &record.op {
            Op::Gap { of: what, why } if what == of || what == "all" => Some(why.clone()),
            _ => None,
        });
        if let Some(why) = gap {
            self.unknown(format!("{of}: {why}"));
        }
        if self.checked == 0 {
            self.unknown("nothing to check");
        }
        self
    }
}

/// Judges a whole history. `R1` may take `within`.
pub fn check(history: &[Record], within: Duration) -> Vec<Verdict> {
    let mut verdicts = calls::check(history);
    verdicts.extend(agents::check(history));
    verdicts.push(queue::check(history));
    verdicts.push(cdrs::check(history));
    verdicts.push(effects::check(history));
    verdicts.extend(replicas::check(history));
    verdicts.push(registers::check(history, within));
    verdicts.push(bystanders::check(history));
    verdicts
}

/// The events of a history in log order, each place once, with the line that told it first.
fn events(history: &[Record]) -> BTreeMap<crate::history::Place, &Record> {
    let mut found = BTreeMap::new();
    for record in history {
        if let Op::Event { place, .. } = &record.op {
            found.entry(*place).or_insert(record);
        }
    }
    found
}

/// A history written by hand, for the checkers' tests.
#[cfg(test)]
pub(crate) mod script {
    use super::*;
    use crate::history::{Outcome, Phase, Place};

    pub(crate) fn at(at_ms: f64, client: &str, object: &str, phase: Phase, op: Op) -> Record {
        Record { at_ms, wall_ms: 0, client: client.into(), object: object.into(), phase, op }
    }

    pub(crate) fn dial(number: &str) -> Record {
        at(0.0, number, number, Phase::Invoke, Op::Dial { node: 1, again: false })
    }

    pub(crate) fn responded(number: &str, status: u16) -> Record {
        at(1.0, number, number, Phase::Info, Op::Responded { status, after_ms: 1.0 })
    }

    pub(crate) fn answered(number: &str) -> Record {
        at(2.0, number, number, Phase::Info, Op::Answered { after_ms: 2.0 })
    }

    pub(crate) fn ended(number: &str, outcome: Outcome) -> Record {
        at(3.0, number, number, Phase::Ok, Op::CallEnd { outcome })
    }

    pub(crate) fn cdr(call: &str, from: &str, outcome: &str) -> Record {
        let op = Op::Cdr {
            tenant: "bench".into(),
            call: call.into(),
            from: from.into(),
            outcome: outcome.into(),
            end_reason: "caller".into(),
            agent: None,
        };
        at(9.0, "cluster", call, Phase::Ok, op)
    }

    pub(crate) fn talked(agent: &str, caller: &str, up: f64, over: f64) -> Record {
        let op = Op::AgentCall { caller: caller.into(), rang_ms: up, up_ms: Some(up), over_ms: Some(over) };
        at(over, agent, agent, Phase::Ok, op)
    }

    pub(crate) fn event(place: Place, kind: &str, call: &str, agent: &str, priority: u64) -> Record {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let op = Op::Event { node: 1, place, kind: kind.into(), call: some(call), agent: some(agent), priority: Some(priority) };
        at(place.1 as f64, "node1", call, Phase::Info, op)
    }

    pub(crate) fn gap(of: &str) -> Record {
        at(0.0, "tool", of, Phase::Info, Op::Gap { of: of.into(), why: "told so".into() })
    }
}
