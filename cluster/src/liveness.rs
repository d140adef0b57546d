//! Who is alive, as leases: a node may act while a majority answered a ping it sent less than a lease ago.
//!
//! A peer that had no ping of a node to answer for a lease may withdraw its support of that life and never renews it; a
//! node is lost once a majority has withdrawn, or its death is proven. The holder counts from the *sending* of a ping, the
//! supporter from its *answer*, which is later: so a life given up by a majority holds no lease any more, and none again.
//! A node whose life was given up takes a new one (`node/failover.rs`).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use parking_lot::Mutex;

use crate::{Incarnation, NodeId, clock::boot as now, electorate::Electorate, limits::WAIT_LEASES};

/// What this node knows of its own lease and of the others'.
pub(crate) struct Liveness {
    lease: Duration,
    me: NodeId,
    started: Duration,
    rows: Mutex<Rows>,
}

#[derive(Default)]
struct Rows {
    /// When the last answered ping to a peer was sent.
    supported_since: BTreeMap<NodeId, Duration>,
    /// Peers that will not support the present life of this node again.
    refused_by: BTreeSet<NodeId>,
    /// Since when too few of the others have been in reach for a majority.
    short_since: Option<Duration>,
    /// When a peer's ping was last answered.
    answered: BTreeMap<NodeId, (Incarnation, Duration)>,
    /// When a ping of a peer's life last came, answered or not: one whose support this node withdrew may well be supported by others.
    heard: BTreeMap<NodeId, (Incarnation, Duration)>,
    /// The same for the life before, which a quick restart leaves no time to mourn.
    heard_before: BTreeMap<NodeId, (Incarnation, Duration)>,
    /// The last lives of this process that were given up, and when it began the next one.
    former: [Option<(Incarnation, Duration)>; 2],
    /// The latest life of a node that this one will never support again; all before it are included.
    withdrawn: BTreeMap<NodeId, Incarnation>,
    /// The latest life known to be over: withdrawn by a majority, or proven.
    lost: BTreeMap<NodeId, Incarnation>,
}

fn reaches(rows: &BTreeMap<NodeId, Incarnation>, node: NodeId, incarnation: Incarnation) -> bool {
    rows.get(&node).is_some_and(|over| *over >= incarnation)
}

fn raise(rows: &mut BTreeMap<NodeId, Incarnation>, node: NodeId, incarnation: Incarnation) -> bool {
    let over = rows.entry(node).or_default();
    let raised = *over < incarnation;
    *over = incarnation.max(*over);
    raised
}

impl Liveness {
    /// `withdrawn` is what this node's earlier processes noted down of the lives they gave up.
    pub(crate) fn new(me: NodeId, lease_ms: u64, withdrawn: BTreeMap<NodeId, Incarnation>) -> Self {
        let rows = Rows { withdrawn, ..Rows::default() };
        Self { lease: Duration::from_millis(lease_ms), me, started: now(), rows: Mutex::new(rows) }
    }

    /// The latest life of each node that this one will never support again.
    pub(crate) fn withdrawn(&self) -> BTreeMap<NodeId, Incarnation> {
        self.rows.lock().withdrawn.clone()
    }

    /// A mark of when a ping is sent; pass it to `supported` with its answer.
    pub(crate) fn sent() -> Duration {
        now()
    }

    pub(crate) fn supported(&self, by: NodeId, sent: Duration) {
        let mut rows = self.rows.lock();
        let since = rows.supported_since.entry(by).or_default();
        *since = sent.max(*since);
    }

    /// A peer said that it gave the present life of this node up.
    pub(crate) fn refused(&self, by: NodeId) {
        self.rows.lock().refused_by.insert(by);
    }

    /// True if this life has no future: of the peers that have not refused it, too few for a majority are left alive or were in
    /// reach lately. A peer that is out of reach for a moment is waited for, since a new life makes all others lose this
    /// node for a moment: on a machine too busy for its leases they would go on ending each other's lives.
    pub(crate) fn must_begin_anew(&self, electorate: &Electorate, reachable: impl Fn(NodeId) -> bool) -> bool {
        let rows = &mut *self.rows.lock();
        if rows.refused_by.is_empty() {
            rows.short_since = None;
            return false;
        }
        let gone = |node: NodeId| rows.answered.get(&node).is_some_and(|(life, _)| reaches(&rows.lost, node, *life));
        let here = |node: NodeId| node == self.me || (reachable(node) && !rows.refused_by.contains(&node));
        if !electorate.majority(|node| here(node) || !(rows.refused_by.contains(&node) || gone(node))) {
            return true;
        }
        if electorate.majority(here) {
            rows.short_since = None;
            return false;
        }
        now().saturating_sub(*rows.short_since.get_or_insert_with(now)) >= self.lease * WAIT_LEASES
    }

    /// Starts a new life of this node without any support; `former` ends now.
    pub(crate) fn begin_anew(&self, former: Incarnation) {
        let mut rows = self.rows.lock();
        rows.former = [Some((former, now())), rows.former[0]];
        rows.supported_since.clear();
        rows.refused_by.clear();
        rows.short_since = None;
    }

    /// Answers a ping, unless this life was given up or is over.
    pub(crate) fn support(&self, node: NodeId, incarnation: Incarnation) -> bool {
        let mut rows = self.rows.lock();
        if reaches(&rows.lost, node, incarnation) {
            return false;
        }
        if rows.heard.get(&node).is_none_or(|(known, _)| *known <= incarnation) {
            let before = rows.heard.insert(node, (incarnation, now()));
            if let Some(before) = before.filter(|(known, _)| *known < incarnation) {
                rows.heard_before.insert(node, before);
            }
        }
        if reaches(&rows.withdrawn, node, incarnation) || rows.answered.get(&node).is_some_and(|(known, _)| *known > incarnation) {
            return false;
        }
        rows.answered.insert(node, (incarnation, now()));
        true
    }

    /// How long ago this process last had a ping of this very life, or it ended, if it was a life of this process itself. `None`
    /// if neither is so, or too many lives ago.
    pub(crate) fn heard_ago(&self, node: NodeId, incarnation: Incarnation) -> Option<Duration> {
        let rows = self.rows.lock();
        let of = |rows: &BTreeMap<NodeId, (Incarnation, Duration)>| rows.get(&node).copied().filter(|(known, _)| *known == incarnation);
        let own = || rows.former.iter().flatten().copied().find(|(known, _)| node == self.me && *known == incarnation);
        of(&rows.heard).or_else(|| of(&rows.heard_before)).or_else(own).map(|(_, at)| now().saturating_sub(at))
    }

    /// True while this node may act for what it owns.
    pub(crate) fn lease_valid(&self, electorate: &Electorate) -> bool {
        let rows = self.rows.lock();
        let now = now();
        electorate.majority(|node| {
            node == self.me || rows.supported_since.get(&node).is_some_and(|since| now.saturating_sub(*since) < self.lease)
        })
    }

    /// Withdraws support of a life that was not answered for a lease. True if it is withdrawn now; that may be told once it
    /// is noted where a restart finds it.
    pub(crate) fn withdraw(&self, node: NodeId, incarnation: Incarnation) -> bool {
        let mut rows = self.rows.lock();
        // A life this process never answered may have been answered by the process before it.
        let answered = match rows.answered.get(&node) {
            Some((known, _)) if *known > incarnation => None,
            Some((known, at)) if *known == incarnation => Some(*at),
            _ => Some(self.started),
        };
        let silent = answered.is_none_or(|at| now().saturating_sub(at) >= self.lease);
        if silent {
            raise(&mut rows.withdrawn, node, incarnation);
        }
        silent || reaches(&rows.withdrawn, node, incarnation)
    }

    /// Notes that a life, with all before it, is over for certain. True the first time.
    pub(crate) fn lose(&self, node: NodeId, incarnation: Incarnation) -> bool {
        raise(&mut self.rows.lock().lost, node, incarnation)
    }

    pub(crate) fn is_lost(&self, node: NodeId, incarnation: Incarnation) -> bool {
        reaches(&self.rows.lock().lost, node, incarnation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Electorate {
        Electorate { version: (0, 0), sets: vec![BTreeSet::from([1, 2, 3])] }
    }

    fn expired() -> Liveness {
        Liveness::new(1, 0, BTreeMap::new())
    }

    #[test]
    fn a_life_that_was_given_up_stays_so_over_a_restart() {
        let liveness = Liveness::new(1, 60_000, BTreeMap::from([(3, 6)]));
        assert!(!liveness.support(3, 6) && !liveness.support(3, 5));
        assert!(liveness.withdraw(3, 6), "no lease of this process need be waited for");
        assert!(liveness.support(3, 7), "a new life is another matter");
        assert_eq!(liveness.withdrawn(), BTreeMap::from([(3, 6)]));
    }

    #[test]
    fn a_lease_needs_a_majority_and_a_fresh_answer() {
        let nodes = three();
        let liveness = Liveness::new(1, 60_000, BTreeMap::new());
        assert!(!liveness.lease_valid(&nodes));
        liveness.supported(2, Liveness::sent());
        assert!(liveness.lease_valid(&nodes));
        let liveness = expired();
        liveness.supported(2, Liveness::sent());
        assert!(!liveness.lease_valid(&nodes));
    }

    #[test]
    fn no_support_is_withdrawn_while_the_lease_it_granted_can_still_run() {
        let liveness = Liveness::new(1, 60_000, BTreeMap::new());
        assert!(liveness.support(3, 7));
        assert!(!liveness.withdraw(3, 7), "it was answered within the lease");
        assert!(!liveness.withdraw(2, 1), "an earlier process of this node may have answered it");
        assert!(liveness.withdraw(3, 6), "a newer life has spoken");
    }

    #[test]
    fn a_life_given_up_is_never_supported_again_but_the_next_one_is() {
        let liveness = expired();
        assert!(liveness.support(3, 7));
        assert!(liveness.withdraw(3, 7));
        assert!(!liveness.support(3, 7));
        assert!(liveness.support(3, 8));
        assert!(!liveness.support(3, 7), "the newer life has spoken");
        assert!(liveness.lose(3, 8) && !liveness.lose(3, 8) && liveness.is_lost(3, 7));
        assert!(!liveness.support(3, 8));
    }

    #[test]
    fn only_a_life_that_spoke_to_this_process_is_remembered_and_the_one_before_it() {
        let liveness = expired();
        assert!(liveness.heard_ago(3, 7).is_none());
        for incarnation in 7..=9 {
            liveness.support(3, incarnation);
        }
        assert!(liveness.heard_ago(3, 9).is_some() && liveness.heard_ago(3, 8).is_some() && liveness.heard_ago(3, 7).is_none());
    }

    #[test]
    fn a_life_that_this_node_alone_gave_up_is_still_heard() {
        let liveness = expired();
        assert!(liveness.support(3, 7) && liveness.withdraw(3, 7) && !liveness.support(3, 7));
        let withdrawn_before = Liveness::new(1, 60_000, BTreeMap::from([(3, 7)]));
        assert!(withdrawn_before.heard_ago(3, 7).is_none());
        assert!(!withdrawn_before.support(3, 7) && withdrawn_before.heard_ago(3, 7).is_some(), "others may support it, and its calls live");
        assert!(withdrawn_before.lose(3, 7) && !withdrawn_before.support(3, 7));
    }

    #[test]
    fn a_life_of_its_own_that_was_given_up_is_remembered_like_a_peers() {
        let liveness = Liveness::new(1, 60_000, BTreeMap::new());
        assert!(liveness.heard_ago(1, 4).is_none());
        liveness.begin_anew(4);
        liveness.begin_anew(5);
        assert!(liveness.heard_ago(1, 5).is_some() && liveness.heard_ago(1, 4).is_some());
        assert!(liveness.heard_ago(1, 6).is_none() && liveness.heard_ago(2, 5).is_none());
    }

    #[test]
    fn a_node_begins_anew_when_too_few_could_support_its_life() {
        let nodes = three();
        let liveness = Liveness::new(1, 60_000, BTreeMap::new());
        assert!(!liveness.must_begin_anew(&nodes, |_| false), "nobody refused: a quorum is merely out of reach");
        liveness.refused(2);
        assert!(!liveness.must_begin_anew(&nodes, |_| true), "node 3 is enough");
        assert!(!liveness.must_begin_anew(&nodes, |node| node == 2), "node 3 may be back in a moment");
        assert!(liveness.support(3, 7) && liveness.lose(3, 7));
        assert!(liveness.must_begin_anew(&nodes, |node| node == 2), "that life of node 3 will not");
        liveness.begin_anew(1);
        assert!(!liveness.must_begin_anew(&nodes, |_| true));
        [2, 3].iter().for_each(|peer| liveness.refused(*peer));
        assert!(liveness.must_begin_anew(&nodes, |_| true), "a majority will never support it again");
    }

    #[test]
    fn a_peer_out_of_reach_is_not_waited_for_for_ever() {
        let (nodes, liveness) = (three(), expired());
        liveness.refused(2);
        assert!(liveness.must_begin_anew(&nodes, |node| node == 2));
    }
}
