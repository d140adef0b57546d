//! Frees log segments that a quiet group holds back.
//!
//! All groups share one log, and a segment can go only when no group needs an entry in it. A group that is seldom written
//! to reaches the count for a snapshot late or never, while its neighbours fill segment after segment behind its last
//! entry. So the groups that the log names are snapshotted and purged out of turn; when that is due, the log knows
//! (`WAL_PINNED_AFTER_SEGMENTS`).

use std::sync::Arc;

use tokio::time::{MissedTickBehavior, interval};

use super::Node;
use crate::{limits::UNPIN_ROUND, raft::group::Compaction};

/// Starts the task, which ends with the node.
pub(super) fn watch(node: &Arc<Node>) {
    node.keep(run(Arc::clone(node)));
}

async fn run(node: Arc<Node>) {
    let mut rounds = interval(UNPIN_ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !node.stopping() {
        rounds.tick().await;
        for group in node.log.pinned().into_iter().filter_map(|id| node.group(id)) {
            match group.compact().await {
                Compaction::Snapshot => {
                    metrics::counter!("cluster_forced_snapshots_total").increment(1);
                    tracing::info!(group = group.id, "snapshotted out of turn: its old entries hold log segments back");
                }
                Compaction::Purge | Compaction::Nothing => {}
            }
        }
    }
}
