//! P1, S1, L1: leaders in one order, equal archives, and after healing one leader per group that every member agrees on.

use std::collections::BTreeMap;

use super::Verdict;
use crate::history::{Op, Record};

/// Group, leader, term.
type Belief = (u32, Option<u64>, u64);

/// Term and node of a leader, and the line that names it.
type Named<'a> = ((u64, u64), &'a Record);

pub(super) fn check(history: &[Record]) -> Vec<Verdict> {
    vec![
        leaders_in_order(history).rests_on(history, "leaders"),
        archives(history).rests_on(history, "archives"),
        rest(history).rests_on(history, "rest"),
    ]
}

/// A leader is named by its term and its node, which are ordered in this sense: two nodes may win the same term, one after the
/// other. What a node has granted is on its disk, so that it never believes in an earlier leader again.
fn leaders_in_order(history: &[Record]) -> Verdict {
    let mut verdict = Verdict::new("P1", "no node goes back to a leader that was followed by another");
    let mut known: BTreeMap<(u16, u32), Named<'_>> = BTreeMap::new();
    for record in history {
        let Op::Leader { node, group, leader: Some(leader), term } = &record.op else { continue };
        verdict.checked += 1;
        let (last, line) = known.entry((*node, *group)).or_insert(((*term, *leader), record));
        if (*term, *leader) < *last {
            let (term_before, before) = *last;
            let what =
                format!("node {node} believes in leader {leader} of term {term} of group {group} after {before} of term {term_before}");
            verdict.violated(what, [*line, record]);
        }
        (*last, *line) = ((*term, *leader), record);
    }
    verdict
}

fn archives(history: &[Record]) -> Verdict {
    let mut verdict = Verdict::new("S1", "at rest every member's archive has the same length and hash");
    let mut first: BTreeMap<u32, (&(u32, u64, String), &Record)> = BTreeMap::new();
    for record in history {
        let Op::Archive { node, heads } = &record.op else { continue };
        verdict.checked += 1;
        for head in heads {
            let (known, line) = first.entry(head.0).or_insert((head, record));
            if *known != head {
                verdict
                    .violated(format!("the archive of group {} differs on node {node}: {known:?} and {head:?}", head.0), [*line, record]);
            }
        }
    }
    if verdict.checked == 1 {
        verdict.unknown("only one member could be asked");
    }
    verdict
}

fn rest(history: &[Record]) -> Verdict {
    let mut verdict = Verdict::new("L1", "after healing every member is ready and all agree on one leader per group");
    let mut first: BTreeMap<u32, (Belief, &Record)> = BTreeMap::new();
    for record in history {
        let Op::Rest { node, ready, groups } = &record.op else { continue };
        verdict.checked += 1;
        if !ready || groups.is_empty() {
            verdict.violated(format!("node {node} is not ready after healing"), [record]);
        }
        for row in groups {
            let (known, line) = first.entry(row.0).or_insert((*row, record));
            if row.1.is_none() || *known != *row {
                verdict.violated(format!("of group {}, node {node} says {row:?} and another {known:?}", row.0), [*line, record]);
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
    use crate::history::Phase;

    fn status(history: &[Record], id: &str) -> Status {
        check(history).into_iter().find(|verdict| verdict.id == id).unwrap().status
    }

    fn of(node: u16, op: Op) -> Record {
        at(0.0, &format!("node{node}"), "cluster", Phase::Info, op)
    }

    #[test]
    fn leaders_follow_one_another_by_term_and_node() {
        let leader = |node, leader, term| of(node, Op::Leader { node, group: 3, leader: Some(leader), term });
        assert_eq!(status(&[leader(1, 1, 4), leader(2, 1, 4), leader(1, 2, 5)], "P1"), Status::Holds);
        assert_eq!(
            status(&[leader(1, 1, 4), leader(2, 2, 4), leader(1, 2, 4)], "P1"),
            Status::Holds,
            "the second won the term after the first"
        );
        assert_eq!(status(&[leader(1, 2, 4), leader(2, 1, 4)], "P1"), Status::Holds, "one heard of it sooner");
        assert_eq!(status(&[leader(1, 2, 4), leader(1, 1, 4)], "P1"), Status::Violated);
        assert_eq!(status(&[leader(1, 1, 5), leader(1, 2, 4)], "P1"), Status::Violated);
    }

    #[test]
    fn archives_must_be_equal() {
        let archive = |node, hash: &str| of(node, Op::Archive { node, heads: vec![(1, 7, hash.into())] });
        assert_eq!(status(&[archive(1, "aa"), archive(2, "aa")], "S1"), Status::Holds);
        assert_eq!(status(&[archive(1, "aa"), archive(2, "ab")], "S1"), Status::Violated);
        assert_eq!(status(&[archive(1, "aa")], "S1"), Status::Unknown);
    }

    #[test]
    fn at_rest_everybody_is_ready_and_agrees() {
        let rest = |node, ready, leader| of(node, Op::Rest { node, ready, groups: vec![(1, leader, 2)] });
        assert_eq!(status(&[rest(1, true, Some(1)), rest(2, true, Some(1))], "L1"), Status::Holds);
        assert_eq!(status(&[rest(1, true, Some(1)), rest(2, false, Some(1))], "L1"), Status::Violated);
        assert_eq!(status(&[rest(1, true, Some(1)), rest(2, true, Some(2))], "L1"), Status::Violated);
        assert_eq!(status(&[rest(1, true, None)], "L1"), Status::Violated);
    }
}
