//! E1: an effect is one, whoever tells it and however often it is performed.

use std::collections::BTreeMap;

use super::Verdict;
use crate::history::{Op, Place, Record};

/// From, to, and the line that says so.
type Talk<'a> = (f64, f64, &'a Record);

pub(super) fn check(history: &[Record]) -> Verdict {
    let mut verdict = Verdict::new("E1", "an effect has one content on every node, and no phone has one call twice");
    let mut told: BTreeMap<Place, &Record> = BTreeMap::new();
    let mut rings: BTreeMap<(&str, &str), Vec<Talk<'_>>> = BTreeMap::new();
    for record in history {
        match &record.op {
            Op::Event { place, kind, call, agent, priority, .. } => {
                verdict.checked += 1;
                let first = told.entry(*place).or_insert(record);
                let same = matches!(&first.op, Op::Event { kind: k, call: c, agent: a, priority: p, .. }
                    if (k, c, a, p) == (kind, call, agent, priority));
                if !same {
                    verdict.violated(format!("two nodes tell different things of {place:?}"), [*first, record]);
                }
            }
            // A ring whose node died may overlap with the next until it is cancelled; two talks may not.
            Op::AgentCall { caller, up_ms: Some(up_ms), over_ms, .. } => {
                let row = (*up_ms, over_ms.unwrap_or(f64::INFINITY), record);
                rings.entry((&record.object, caller)).or_default().push(row);
            }
            _ => {}
        }
    }
    for ((agent, caller), mut rows) in rings {
        rows.sort_by(|a, b| a.0.total_cmp(&b.0));
        for pair in rows.windows(2).filter(|pair| pair[1].0 < pair[0].1) {
            verdict.violated(format!("{agent} has two calls of {caller} at once"), pair.iter().map(|(.., record)| *record));
        }
    }
    verdict.rests_on(history, "events")
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Status, script::*},
        *,
    };

    fn told_by(node: u16, kind: &str) -> Record {
        let mut record = event((1, 4, 0), kind, "c", "a", 0);
        let Op::Event { node: by, .. } = &mut record.op else { unreachable!("an event was made") };
        *by = node;
        record
    }

    #[test]
    fn nodes_that_agree_are_right_and_ones_that_differ_are_found() {
        assert_eq!(check(&[told_by(1, "contact.offered"), told_by(2, "contact.offered")]).status, Status::Holds);
        assert_eq!(check(&[told_by(1, "contact.offered"), told_by(2, "contact.ended")]).status, Status::Violated);
    }

    #[test]
    fn a_phone_with_two_calls_of_one_caller_at_once_is_found() {
        let seen = told_by(1, "contact.offered");
        assert_eq!(check(&[seen.clone(), talked("a", "1", 0.0, 4.0), talked("a", "1", 5.0, 6.0)]).status, Status::Holds);
        assert_eq!(check(&[seen, talked("a", "1", 0.0, 4.0), talked("a", "1", 3.0, 6.0)]).status, Status::Violated);
    }
}
