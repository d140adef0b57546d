//! Whose word counts for node leases: the voters of the meta group, as Raft's own joint steps change them.
//!
//! Every answer to a ping or a question carries the answerer's electorate, and the newest one heard is used. Two
//! successive electorates are joined by one that needs a majority of both, so a majority of one that gave a life up and
//! a majority of the other that supports it always share a node, and that node tells.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::NodeId;

/// The sets of which each must have a majority, and the term and log index of the membership they come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Electorate {
    pub(crate) version: (u64, u64),
    pub(crate) sets: Vec<BTreeSet<NodeId>>,
}

impl Electorate {
    /// True if those for whom `counts` holds are a majority of every set.
    pub(crate) fn majority(&self, counts: impl Fn(NodeId) -> bool) -> bool {
        !self.sets.is_empty() && self.sets.iter().all(|set| set.iter().filter(|node| counts(**node)).count() * 2 > set.len())
    }

    pub(crate) fn nodes(&self) -> BTreeSet<NodeId> {
        self.sets.iter().flatten().copied().collect()
    }

    /// Takes another's view if it is newer.
    pub(crate) fn learn(&mut self, other: Self) {
        if other.version > self.version {
            *self = other;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joint_electorate_needs_a_majority_of_both_sets() {
        let joint = Electorate { version: (1, 7), sets: vec![[1, 2, 3].into(), [3, 4, 5].into()] };
        assert!(joint.majority(|node| [2, 3, 4].contains(&node)));
        assert!(!joint.majority(|node| [1, 2, 3].contains(&node)));
        assert!(!Electorate::default().majority(|_| true), "nobody elects nobody");
    }

    #[test]
    fn the_newer_electorate_is_learnt_and_the_older_one_never() {
        let mut known = Electorate { version: (1, 7), sets: vec![[1].into()] };
        known.learn(Electorate { version: (1, 6), sets: vec![[2].into()] });
        assert_eq!(known.sets, vec![[1].into()]);
        known.learn(Electorate { version: (1, 8), sets: vec![[1, 2].into()] });
        assert_eq!(known.version, (1, 8));
    }
}
