//! Q1: calls of a queue are offered in turn. It holds for runs whose agents all have the same skills.

use std::collections::{BTreeMap, BTreeSet};

use super::{Verdict, events};
use crate::history::{Op, Record};

/// A waiting call's turn: smaller priority first, then the entry that queued it; of one entry the smaller id.
type Turn<'a> = (u64, u64, &'a str);

pub(super) fn check(history: &[Record]) -> Verdict {
    let mut verdict = Verdict::new("Q1", "calls are offered by priority and age; one that was not accepted keeps its place");
    let mut waiting: BTreeMap<u32, BTreeSet<Turn<'_>>> = BTreeMap::new();
    let mut turns: BTreeMap<&str, (Turn<'_>, &Record)> = BTreeMap::new();
    // Offered as they arrived, by a node that died: their turn was never told.
    let mut unplaced: BTreeSet<&str> = BTreeSet::new();
    for (place, record) in events(history) {
        let Op::Event { kind, call: Some(call), priority, .. } = &record.op else { continue };
        let queue = waiting.entry(place.0).or_default();
        match kind.as_str() {
            "contact.queued" => {
                let turn = (priority.unwrap_or(0), place.1, call.as_str());
                turns.insert(call, (turn, record));
                queue.insert(turn);
            }
            "contact.offered" => {
                verdict.checked += 1;
                let first = queue.first().copied();
                let turn = turns.get(call.as_str()).map(|(turn, _)| *turn);
                // A call without a turn was offered as it arrived: right only while nobody waits.
                let passed = first.filter(|first| turn.is_none_or(|turn| *first < turn) && !unplaced.contains(call.as_str()));
                if let Some(first) = passed {
                    let older = turns.get(first.2).map(|(_, line)| *line);
                    verdict.violated(format!("{call} was offered at {place:?} before {}", first.2), older.into_iter().chain([record]));
                }
                if let Some(turn) = turn {
                    queue.remove(&turn);
                }
            }
            "contact.adopted" if !turns.contains_key(call.as_str()) => {
                unplaced.insert(call);
            }
            "contact.adopted" | "contact.rejected" | "contact.offer_timeout" | "contact.rescinded" => {
                queue.extend(turns.get(call.as_str()).map(|(turn, _)| *turn));
            }
            "contact.accepted" | "contact.ended" => {
                if let Some((turn, _)) = turns.remove(call.as_str()) {
                    queue.remove(&turn);
                }
            }
            _ => {}
        }
    }
    verdict.rests_on(history, "events")
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Status, script::event},
        *,
    };

    /// (kind, call, priority), in log order.
    fn judged(rows: &[(&str, &str, u64)]) -> Status {
        let event = |(index, (kind, call, priority)): (u64, &(&str, &str, u64))| {
            event((1, index, 0), &format!("contact.{kind}"), call, "agent", *priority)
        };
        check(&(1..).zip(rows).map(event).collect::<Vec<_>>()).status
    }

    #[test]
    fn the_oldest_of_the_most_urgent_goes_first() {
        let rows =
            [("queued", "a", 5), ("queued", "b", 5), ("queued", "c", 1), ("offered", "c", 0), ("offered", "a", 0), ("offered", "b", 0)];
        assert_eq!(judged(&rows), Status::Holds);
        assert_eq!(judged(&[("queued", "a", 5), ("queued", "b", 5), ("offered", "b", 0)]), Status::Violated);
        assert_eq!(judged(&[("queued", "a", 5), ("queued", "b", 1), ("offered", "a", 0)]), Status::Violated);
        assert_eq!(judged(&[("queued", "a", 5), ("offered", "new", 0)]), Status::Violated);
    }

    #[test]
    fn a_call_that_was_not_accepted_keeps_its_place() {
        let refused = [("queued", "a", 5), ("queued", "b", 5), ("offered", "a", 0), ("rejected", "a", 0)];
        assert_eq!(judged(&[&refused[..], &[("offered", "a", 0)]].concat()), Status::Holds);
        assert_eq!(judged(&[&refused[..], &[("offered", "b", 0)]].concat()), Status::Violated);
    }
}
