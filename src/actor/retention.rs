//! Drops archived records whose time is up: the leader of a partition proposes it, every replica's files follow.
//!
//! What is to go is decided by `core::retention` when the command is applied.

use std::sync::Arc;

use super::{limits::RETENTION_EVERY, shared::Shared};
use crate::core::{Command, time::WallTime};

/// Looks at the partitions this node leads, for ever.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(RETENTION_EVERY).await;
        let now = shared.cluster.wall_ms();
        for replica in shared.replicas.all() {
            if replica.leading().is_some() && replica.state.read().retention_is_due(WallTime(now)) {
                shared.propose(replica.group, Command::DropOld).await;
            }
        }
    }
}
