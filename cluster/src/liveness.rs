//! Who is alive, as leases: a node may act while a majority answered a ping it sent less than a lease ago.
//!
//! A peer that stops answering for a lease withdraws its support of that life of the node and never renews it; a node is
//! lost once a majority has withdrawn, or its death is proven. Waiting for the lease and detecting the loss overlap.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};

use crate::{Incarnation, NodeId};

/// Time since boot, suspend included: a node that slept must notice.
fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// What this node knows of its own lease and of the others'.
pub(crate) struct Liveness {
    lease: Duration,
    me: NodeId,
    rows: Mutex<Rows>,
}

#[derive(Default)]
struct Rows {
    /// When the last answered ping to a peer was sent.
    supported_since: BTreeMap<NodeId, Duration>,
    /// When a peer's ping was last answered.
    answered: BTreeMap<NodeId, (Incarnation, Duration)>,
    /// Lives this node will never support again.
    withdrawn: BTreeSet<(NodeId, Incarnation)>,
    /// Lives known to be over: withdrawn by a majority, or proven.
    lost: BTreeSet<(NodeId, Incarnation)>,
}

impl Liveness {
    pub(crate) fn new(me: NodeId, lease_ms: u64) -> Self {
        Self { lease: Duration::from_millis(lease_ms), me, rows: Mutex::default() }
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

    /// Answers a ping, unless this life was given up or has a lease-long gap behind it.
    pub(crate) fn support(&self, node: NodeId, incarnation: Incarnation) -> bool {
        let mut rows = self.rows.lock();
        if rows.withdrawn.contains(&(node, incarnation)) || rows.lost.contains(&(node, incarnation)) {
            return false;
        }
        rows.answered.insert(node, (incarnation, now()));
        true
    }

    /// True while this node may act for what it owns, among `nodes`.
    pub(crate) fn lease_valid(&self, nodes: &BTreeSet<NodeId>) -> bool {
        let rows = self.rows.lock();
        let now = now();
        let fresh =
            |node: &NodeId| *node == self.me || rows.supported_since.get(node).is_some_and(|since| now.saturating_sub(*since) < self.lease);
        nodes.iter().filter(|node| fresh(node)).count() * 2 > nodes.len()
    }

    /// Withdraws support of a life that was not answered for a lease. True if it is withdrawn now.
    pub(crate) fn withdraw(&self, node: NodeId, incarnation: Incarnation) -> bool {
        let mut rows = self.rows.lock();
        let now = now();
        let silent =
            rows.answered.get(&node).is_none_or(|(answered, at)| *answered != incarnation || now.saturating_sub(*at) >= self.lease);
        if silent {
            rows.withdrawn.insert((node, incarnation));
        }
        silent
    }

    /// Notes that a life is over for certain. True the first time.
    pub(crate) fn lose(&self, node: NodeId, incarnation: Incarnation) -> bool {
        self.rows.lock().lost.insert((node, incarnation))
    }

    pub(crate) fn is_lost(&self, node: NodeId, incarnation: Incarnation) -> bool {
        self.rows.lock().lost.contains(&(node, incarnation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_needs_a_majority_and_a_withdrawn_life_gets_no_more_support() {
        let nodes = BTreeSet::from([1, 2, 3]);
        let liveness = Liveness::new(1, 60_000);
        assert!(!liveness.lease_valid(&nodes));
        liveness.supported(2, Liveness::sent());
        assert!(liveness.lease_valid(&nodes));
        assert!(liveness.support(3, 7));
        assert!(!liveness.withdraw(3, 7), "it was answered within the lease");
        assert!(liveness.withdraw(3, 6), "another life was never answered");
        assert!(!liveness.support(3, 6));
        assert!(liveness.lose(3, 7) && !liveness.lose(3, 7));
        assert!(!liveness.support(3, 7));
    }
}
