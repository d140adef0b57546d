//! Whether this node keeps pace: a leader with a slow disk makes every command of its groups wait, one that applies slowly
//! every command of that group.
//!
//! The disk is judged by the log's own batches, a group by its entries: a proposer waits for its entry to be applied, so
//! what is applied falls behind what is committed just while applying takes long or hangs. A node tells its peers with each
//! ping. What follows (leaderships go to nodes that keep pace) is the steward's.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Node;
use crate::{
    GroupId, NodeId,
    limits::PACE_ROUND,
    pace::{Pace, Work},
};

/// Where a node does not keep pace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Behind {
    /// Its disk is slow, which concerns all its groups.
    pub(crate) disk: bool,
    /// Groups it applies slowly.
    pub(crate) groups: BTreeSet<GroupId>,
}

impl Behind {
    fn in_group(&self, group: GroupId) -> bool {
        self.disk || self.groups.contains(&group)
    }
}

/// Who is slow, as far as this node knows.
#[derive(Default)]
pub(crate) struct Slow {
    me: Mutex<Behind>,
    peers: Mutex<BTreeMap<NodeId, Behind>>,
}

impl Slow {
    /// What this node tells of itself.
    pub(crate) fn me(&self) -> Behind {
        self.me.lock().clone()
    }

    pub(crate) fn peer_disk(&self, node: NodeId) -> bool {
        self.peers.lock().get(&node).is_some_and(|behind| behind.disk)
    }

    pub(crate) fn peer_in(&self, node: NodeId, group: GroupId) -> bool {
        self.peers.lock().get(&node).is_some_and(|behind| behind.in_group(group))
    }

    /// Takes note of what a peer says of itself.
    pub(super) fn hear(&self, node: NodeId, behind: Behind) {
        self.peers.lock().insert(node, behind);
    }
}

/// Starts to watch disk and groups, until the node stops.
pub(super) fn watch(node: &Arc<Node>) {
    node.keep(run(Arc::clone(node)));
}

async fn run(node: Arc<Node>) {
    let mut rounds = interval(PACE_ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut disk, mut groups) = (Pace::default(), BTreeMap::<GroupId, Pace>::new());
    while !node.stopping() {
        rounds.tick().await;
        let now = Instant::now();
        let stats = node.log.stats();
        let written = Work { pieces: stats.batches, total_us: stats.total_us, since: stats.writing_since };
        let mut behind = Behind { disk: disk.look(written, now), groups: BTreeSet::new() };
        for group in node.all_groups() {
            if groups.entry(group.id).or_default().look(group.applying(), now) {
                behind.groups.insert(group.id);
            }
        }
        let before = std::mem::replace(&mut *node.slow.me.lock(), behind.clone());
        if before != behind {
            tracing::warn!(node = node.options.node, disk = behind.disk, groups = ?behind.groups, "this node keeps another pace");
            metrics::gauge!("cluster_disk_slow").set(f64::from(u8::from(behind.disk)));
            metrics::gauge!("cluster_groups_applied_slowly").set(behind.groups.len() as f64);
        }
    }
}
