//! R1: registers of the cluster (an agent's reason for a break, set and read by several clients) are linearizable.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Verdict,
    linear::{self, Answer, Call, Register, RegisterOp},
};
use crate::history::{Op, Phase, Record};

/// An operation of a client that has not ended yet.
type Open<'a> = (&'a Record, f64);

/// An operation on a register that holds a reason or none.
type Operation = Call<RegisterOp<Option<String>>>;

pub(super) fn check(history: &[Record], within: Duration) -> Verdict {
    let mut verdict = Verdict::new("R1", "what clients set of an agent and read of it is linearizable");
    let mut objects: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in history.iter().filter(|record| matches!(record.op, Op::Write { .. } | Op::Read { .. })) {
        objects.entry(&record.object).or_default().push(record);
    }
    for (object, lines) in objects {
        let (calls, ends) = calls(&lines);
        verdict.checked += calls.len();
        linear::check(&Register::new(), None, &calls, within, |answer| match answer {
            Answer::Linearizable => {}
            Answer::Unknown => verdict.unknown(format!("{object}: no answer within {} s", within.as_secs())),
            Answer::Not { longest, stuck } => {
                let shown = excerpt(&lines, stuck.iter().map(|n| ends[*n]));
                verdict.violated(
                    format!("{object}: {longest} of {} operations can be put in order, and then none of these", calls.len()),
                    shown,
                );
            }
        });
    }
    verdict.rests_on(history, "registers")
}

/// Pairs of invocation and completion; of each the line that ends it.
fn calls<'a>(lines: &[&'a Record]) -> (Vec<Operation>, Vec<&'a Record>) {
    let mut open: BTreeMap<&str, Open<'a>> = BTreeMap::new();
    let (mut calls, mut ends) = (Vec::new(), Vec::new());
    let mut end = |invoked: f64, last: &'a Record, completed: Option<f64>| {
        let op = match &last.op {
            Op::Write { value } => RegisterOp::Write(Some(value.clone())),
            Op::Read { value } => RegisterOp::Read(value.clone()),
            _ => return,
        };
        // A read that nobody saw the result of says nothing.
        if completed.is_some() || matches!(op, RegisterOp::Write(_)) {
            calls.push(Call { invoked, completed, op });
            ends.push(last);
        }
    };
    for line in lines {
        if line.phase == Phase::Invoke {
            open.insert(&line.client, (*line, line.at_ms));
        } else if let Some((_, invoked)) = open.remove(line.client.as_str()) {
            match line.phase {
                Phase::Ok => end(invoked, line, Some(line.at_ms)),
                Phase::Info => end(invoked, line, None),
                Phase::Fail | Phase::Invoke => {}
            }
        }
    }
    for (line, invoked) in open.into_values() {
        end(invoked, line, None);
    }
    (calls, ends)
}

/// The lines around the first of those that fit nowhere.
fn excerpt<'a>(lines: &[&'a Record], stuck: impl Iterator<Item = &'a Record>) -> Vec<&'a Record> {
    let first = stuck.map(|line| line.at_ms).fold(f64::INFINITY, f64::min);
    let until = lines.iter().position(|line| line.at_ms > first).unwrap_or(lines.len());
    lines[until.saturating_sub(super::EXCERPT_MAX)..until].to_vec()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Status, script::at},
        *,
    };

    fn op(at_ms: f64, client: &str, phase: Phase, op: Op) -> Record {
        at(at_ms, client, "r", phase, op)
    }

    fn write(value: &str) -> Op {
        Op::Write { value: value.into() }
    }

    fn read(value: Option<&str>) -> Op {
        Op::Read { value: value.map(Into::into) }
    }

    fn status(history: &[Record]) -> Status {
        check(history, Duration::from_secs(5)).status
    }

    #[test]
    fn a_read_after_a_write_sees_it() {
        let history = |seen| {
            [
                op(0.0, "a", Phase::Invoke, write("1")),
                op(1.0, "a", Phase::Ok, write("1")),
                op(2.0, "b", Phase::Invoke, read(None)),
                op(3.0, "b", Phase::Ok, read(seen)),
            ]
        };
        assert_eq!(status(&history(Some("1"))), Status::Holds);
        assert_eq!(status(&history(None)), Status::Violated, "a stale read");
    }

    #[test]
    fn a_write_nobody_knows_of_may_show_late_or_never_and_one_that_failed_may_not() {
        let history = |phase, seen| {
            [
                op(0.0, "a", Phase::Invoke, write("1")),
                op(1.0, "a", phase, write("1")),
                op(2.0, "b", Phase::Invoke, read(None)),
                op(3.0, "b", Phase::Ok, read(seen)),
            ]
        };
        assert_eq!(status(&history(Phase::Info, None)), Status::Holds);
        assert_eq!(status(&history(Phase::Info, Some("1"))), Status::Holds);
        assert_eq!(status(&history(Phase::Fail, Some("1"))), Status::Violated);
    }
}
