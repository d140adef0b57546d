//! C1, C2, C3: every call is an account that is opened once, closed once and never held by two agents at a time.

use std::collections::{BTreeMap, BTreeSet};

use super::{Verdict, events};
use crate::history::{Op, Outcome, Record};

/// What is known of one call.
#[derive(Default)]
struct Account<'a> {
    lines: Vec<&'a Record>,
    dialled: bool,
    /// A provisional response beyond 100 was seen: the cluster has taken the call.
    taken: bool,
    answered: bool,
    outcome: Option<(Outcome, f64)>,
    /// When agents' phones were first acknowledged in a call of it.
    agents_ms: Vec<f64>,
    cdrs: Vec<&'a str>,
}

pub(super) fn check(history: &[Record]) -> Vec<Verdict> {
    vec![
        ledger(history).rests_on(history, "cdrs"),
        resurrected(history).rests_on(history, "events"),
        held_twice(history).rests_on(history, "phones"),
    ]
}

fn accounts(history: &[Record]) -> BTreeMap<&str, Account<'_>> {
    let mut accounts: BTreeMap<&str, Account<'_>> = BTreeMap::new();
    for record in history {
        let number = match &record.op {
            Op::Dial { .. } | Op::Responded { .. } | Op::Answered { .. } | Op::CallEnd { .. } => record.object.as_str(),
            Op::Cdr { from, .. } => from.as_str(),
            Op::AgentCall { caller, up_ms: Some(_), .. } => caller.as_str(),
            _ => continue,
        };
        let account = accounts.entry(number).or_default();
        account.lines.push(record);
        match &record.op {
            Op::Dial { .. } => account.dialled = true,
            Op::Responded { status, .. } => account.taken |= (101..200).contains(status),
            Op::Answered { .. } => account.answered = true,
            Op::CallEnd { outcome } => account.outcome = Some((*outcome, record.at_ms)),
            Op::AgentCall { up_ms: Some(up_ms), .. } => account.agents_ms.push(*up_ms),
            Op::Cdr { outcome, .. } => account.cdrs.push(outcome),
            _ => {}
        }
    }
    accounts
}

fn ledger(history: &[Record]) -> Verdict {
    let mut verdict = Verdict::new("C1", "every call the cluster took ends for its caller and leaves a record");
    for (number, account) in accounts(history) {
        verdict.checked += 1;
        let says_answered = account.cdrs.contains(&"answered");
        // Its caller hung up while the node that carried it was dying: the record says so, and that is the truth.
        let says_lost = account.cdrs.contains(&"node_lost");
        let why = if !account.dialled {
            Some("has a record and was never made")
        } else {
            // A caller whose node died is answered by the next one and hears that it waits: it may leave before it has talked.
            let says_left = account.cdrs.contains(&"abandoned");
            let talked = account.outcome.is_some_and(|(_, end_ms)| account.agents_ms.iter().any(|up_ms| *up_ms < end_ms));
            match account.outcome.map(|(outcome, _)| outcome) {
                None => Some("never ended for its caller"),
                Some(Outcome::Unfinished) => Some("was taken and never ended for its caller"),
                Some(Outcome::Completed) if !(says_answered || says_lost || says_left && !talked) => {
                    Some("talked, and no record says that it was answered")
                }
                Some(Outcome::Dropped) if account.cdrs.is_empty() => Some("talked, was cut off, and left no record"),
                Some(Outcome::Refused(_) | Outcome::Abandoned) if account.taken && account.cdrs.is_empty() => {
                    Some("was taken, then given up, and left no record")
                }
                Some(Outcome::Refused(_)) if !account.answered && says_answered => Some("was refused, and its record says answered"),
                _ => None,
            }
        };
        if let Some(why) = why {
            verdict.violated(format!("call {number} {why}"), account.lines);
        }
    }
    verdict
}

fn resurrected(history: &[Record]) -> Verdict {
    let mut verdict = Verdict::new("C2", "no call lives on after it ended");
    let mut over: BTreeMap<&str, &Record> = BTreeMap::new();
    for (place, record) in events(history) {
        let Op::Event { kind, call: Some(call), .. } = &record.op else { continue };
        verdict.checked += 1;
        if let Some(end) = over.get(call.as_str())
            && kind != "contact.wrapped"
        {
            verdict.violated(format!("call {call} ended and then had {kind} at {place:?}"), [*end, record]);
        }
        if kind == "contact.ended" {
            over.insert(call, record);
        }
    }
    verdict
}

/// Calls as the phones of agents had them, by caller.
fn held_twice(history: &[Record]) -> Verdict {
    let mut verdict = Verdict::new("C3", "a caller talks with at most one agent at a time");
    let mut talks: BTreeMap<&str, Vec<(f64, f64, &Record)>> = BTreeMap::new();
    for record in history {
        if let Op::AgentCall { caller, up_ms: Some(up), over_ms, .. } = &record.op {
            talks.entry(caller).or_default().push((*up, over_ms.unwrap_or(f64::INFINITY), record));
        }
    }
    for (caller, mut talks) in talks {
        verdict.checked += 1;
        talks.sort_by(|a, b| a.0.total_cmp(&b.0));
        for pair in talks.windows(2) {
            let agents: BTreeSet<&str> = pair.iter().map(|(.., record)| record.object.as_str()).collect();
            if pair[1].0 < pair[0].1 && agents.len() > 1 {
                verdict.violated(format!("{caller} talks with {agents:?} at once"), pair.iter().map(|(.., record)| *record));
            }
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Status, script::*},
        *,
    };

    fn status(history: &[Record], id: &str) -> Status {
        check(history).into_iter().find(|verdict| verdict.id == id).unwrap().status
    }

    #[test]
    fn a_call_that_was_answered_and_recorded_balances() {
        let good = [dial("1"), responded("1", 180), answered("1"), ended("1", Outcome::Completed), cdr("c", "1", "answered")];
        assert_eq!(status(&good, "C1"), Status::Holds);
        assert_eq!(status(&good[..4], "C1"), Status::Violated, "without its record");
        assert_eq!(status(&[&good[..4], &[cdr("c", "1", "node_lost")]].concat(), "C1"), Status::Holds);
        let left = [&good[..4], &[cdr("c", "1", "abandoned")]].concat();
        assert_eq!(status(&left, "C1"), Status::Holds, "it heard music from its next node, and left");
        assert_eq!(status(&[&[talked("a", "1", -1.0, 5.0)], &left[..]].concat(), "C1"), Status::Violated, "with an agent it talked");
        assert_eq!(status(&good[..3], "C1"), Status::Violated, "without an end");
        assert_eq!(status(&good[4..], "C1"), Status::Violated, "a record of nobody's call");
    }

    #[test]
    fn a_refusal_before_the_call_was_taken_needs_no_record_and_one_after_does() {
        assert_eq!(status(&[dial("1"), responded("1", 503), ended("1", Outcome::Refused(503))], "C1"), Status::Holds);
        let taken = [dial("1"), responded("1", 182), ended("1", Outcome::Refused(503))];
        assert_eq!(status(&taken, "C1"), Status::Violated);
        assert_eq!(status(&[&taken[..], &[cdr("c", "1", "abandoned")]].concat(), "C1"), Status::Holds);
        assert_eq!(status(&[&taken[..], &[cdr("c", "1", "answered")]].concat(), "C1"), Status::Violated);
    }

    #[test]
    fn a_call_nobody_answered_for_may_have_a_record_or_none() {
        let lost = [dial("1"), ended("1", Outcome::Unreached)];
        assert_eq!(status(&lost, "C1"), Status::Holds);
        assert_eq!(status(&[&lost[..], &[cdr("c", "1", "abandoned")]].concat(), "C1"), Status::Holds);
    }

    #[test]
    fn records_that_could_not_be_read_leave_it_unknown_and_a_violation_stays_one() {
        let good = [dial("1"), ended("1", Outcome::Unreached), gap("cdrs")];
        assert_eq!(status(&good, "C1"), Status::Unknown);
        assert_eq!(status(&[dial("1"), gap("cdrs")], "C1"), Status::Violated);
        assert_eq!(status(&[], "C1"), Status::Unknown, "nothing to check");
    }

    #[test]
    fn an_ended_call_may_be_wrapped_up_and_nothing_else() {
        let end = event((1, 5, 0), "contact.ended", "c", "", 0);
        assert_eq!(status(&[end.clone(), event((1, 6, 0), "contact.wrapped", "c", "a", 0)], "C2"), Status::Holds);
        assert_eq!(status(&[end, event((1, 6, 0), "contact.offered", "c", "a", 0)], "C2"), Status::Violated);
    }

    #[test]
    fn two_agents_with_one_caller_at_once_are_found_and_one_after_the_other_is_right() {
        assert_eq!(status(&[talked("a", "1", 0.0, 5.0), talked("b", "1", 5.0, 9.0)], "C3"), Status::Holds);
        assert_eq!(status(&[talked("a", "1", 0.0, 5.0), talked("b", "1", 4.0, 9.0)], "C3"), Status::Violated);
    }
}
