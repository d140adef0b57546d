//! Which nodes should vote and who should lead, as pure functions of what is known. Nothing is moved here.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    GroupId, NodeId, PeerSpec,
    limits::{LEADERS_IMBALANCE_MIN, VOTERS_MAX},
};

/// A node of the cluster, registered or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) addr: std::net::SocketAddr,
    pub(crate) witness: bool,
    /// Its votes are being moved off; it follows on until it is released.
    pub(crate) leaving: bool,
    /// It has nothing left to do, or is dead: no group needs to keep it up to date.
    pub(crate) released: bool,
}

pub(crate) type Members = BTreeMap<NodeId, Member>;

/// The one node that founds a group at the very first start: one is enough, and spares a split first vote.
pub(crate) fn founder(group: GroupId, bootstrap: &[PeerSpec]) -> Option<NodeId> {
    let data: BTreeSet<NodeId> = bootstrap.iter().filter(|peer| !peer.witness).map(|peer| peer.id).collect();
    data.iter().nth(group as usize % data.len().max(1)).copied()
}

/// The voters of every group: data nodes before witnesses, those that vote before newcomers, up to the bound.
pub(crate) fn wanted_voters(members: &Members, voters: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let mut staying: Vec<_> = members.iter().filter(|(_, member)| !member.leaving).collect();
    staying.sort_by_key(|(id, member)| (member.witness, !voters.contains(id), **id));
    staying.into_iter().take(VOTERS_MAX).map(|(id, _)| *id).collect()
}

/// The next set of voters to ask Raft for, if it is not the present one. Newcomers vote as soon as they are level;
/// nobody stops voting before all wanted newcomers do, so that the number of copies never falls on the way.
pub(crate) fn next_voters(wanted: &BTreeSet<NodeId>, voters: &BTreeSet<NodeId>, level: &BTreeSet<NodeId>) -> Option<BTreeSet<NodeId>> {
    let can: BTreeSet<NodeId> = voters.union(level).copied().collect();
    let next: BTreeSet<NodeId> = if wanted.is_subset(&can) { wanted.clone() } else { voters.union(&(wanted & level)).copied().collect() };
    (!next.is_empty() && next != *voters).then_some(next)
}

/// A leadership that this node should give away, and to whom: only while it leads at least two more groups than the node
/// that leads the fewest. So a transfer always narrows the spread, and none goes back and forth.
pub(crate) fn next_transfer(
    leaders: &BTreeMap<GroupId, Option<NodeId>>,
    me: NodeId,
    may_lead: &BTreeSet<NodeId>,
    may_move: impl Fn(GroupId) -> bool,
) -> Option<(GroupId, NodeId)> {
    let led = |node: NodeId| leaders.values().filter(|leader| **leader == Some(node)).count();
    let to = may_lead.iter().copied().filter(|node| *node != me).min_by_key(|node| (led(*node), *node))?;
    if led(me) < led(to) + LEADERS_IMBALANCE_MIN {
        return None;
    }
    let group = leaders.iter().find(|(group, leader)| **leader == Some(me) && may_move(**group))?;
    Some((*group.0, to))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(data: u64, witnesses: u64) -> Members {
        let addr = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        (1..=data + witnesses).map(|id| (id, Member { addr, witness: id > data, leaving: false, released: false })).collect()
    }

    fn set<const N: usize>(nodes: [NodeId; N]) -> BTreeSet<NodeId> {
        nodes.into()
    }

    #[test]
    fn data_nodes_vote_before_witnesses_and_old_voters_before_newcomers() {
        assert_eq!(wanted_voters(&members(2, 1), &set([])), set([1, 2, 3]));
        assert_eq!(wanted_voters(&members(6, 1), &set([2, 3, 4, 5, 6])), set([2, 3, 4, 5, 6]));
        let mut leaving = members(4, 0);
        leaving.get_mut(&1).expect("there").leaving = true;
        assert_eq!(wanted_voters(&leaving, &set([1, 2, 3])), set([2, 3, 4]));
    }

    #[test]
    fn a_newcomer_votes_when_it_is_level_and_nobody_goes_before() {
        let voters = set([1, 2, 3]);
        assert_eq!(next_voters(&set([2, 3, 4]), &voters, &set([])), None);
        assert_eq!(next_voters(&set([2, 3, 4]), &voters, &set([4])), Some(set([2, 3, 4])));
        assert_eq!(next_voters(&set([1, 2, 3, 4, 5]), &voters, &set([4])), Some(set([1, 2, 3, 4])));
        assert_eq!(next_voters(&set([1, 2]), &voters, &set([])), Some(set([1, 2])));
        assert_eq!(next_voters(&voters, &voters, &set([4])), None);
    }

    #[test]
    fn the_founders_of_the_groups_are_spread_over_data_nodes() {
        let peer = |id, witness| PeerSpec { id, addr: std::net::SocketAddr::from(([127, 0, 0, 1], 1)), witness };
        let peers = [peer(1, false), peer(2, false), peer(3, true)];
        let founders: Vec<_> = (0..4).map(|group| founder(group, &peers)).collect();
        assert_eq!(founders, [Some(1), Some(2), Some(1), Some(2)]);
        assert_eq!(founder(0, &[]), None);
    }

    proptest! {
        #[test]
        fn leaderships_spread_until_they_differ_by_one(nodes in 2u64..8, groups in 1u32..40, seed in prop::collection::vec(0u64..8, 40)) {
            let may_lead: BTreeSet<NodeId> = (1..=nodes).collect();
            let mut leaders: BTreeMap<GroupId, Option<NodeId>> =
                (0..groups).map(|group| (group, Some(1 + seed[group as usize] % nodes))).collect();
            for step in 0.. {
                // Every node acts on the same view at once, as the stewards may.
                let moves: Vec<_> = may_lead.iter().filter_map(|me| next_transfer(&leaders, *me, &may_lead, |_| true)).collect();
                if moves.is_empty() {
                    break;
                }
                prop_assert!(step < 200, "it goes back and forth");
                // One of them wins the race each time.
                let (group, to) = moves[step % moves.len()];
                leaders.insert(group, Some(to));
            }
            let led = |node: NodeId| leaders.values().filter(|leader| **leader == Some(node)).count();
            let counts: Vec<_> = may_lead.iter().map(|node| led(*node)).collect();
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
        }
    }
}
