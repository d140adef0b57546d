//! What an operator decides about this node while it runs: drained, taken back, sent away.
//!
//! The decision is a row of the meta group; this reads it and moves the edge. What SIGTERM does is in `node`.

use std::time::Duration;

use tandem_cluster::{Cluster, Standing};
use tokio::time::sleep;

use crate::{config::node::Node, sip::edge};

/// Patience of one attempt to say that this node has nothing left to do.
const RELEASE_WITHIN: Duration = Duration::from_secs(2);
/// Pause between two such attempts.
const RELEASE_PAUSE: Duration = Duration::from_millis(200);

/// Follows the standing of this node until its part is done.
///
/// # Errors
/// Why it had to stop, when it did not leave in peace.
pub(super) async fn follow(config: &Node, cluster: &Cluster, edge: &edge::Handle) -> Result<(), String> {
    let mut standing = cluster.standing();
    let is_founder = config.cluster.peers.iter().any(|peer| peer.id == config.node);
    let mut before = Standing::Serving;
    loop {
        let now = standing.borrow_and_update().clone();
        if now != before {
            tracing::info!(node = cluster.node(), standing = ?now, "standing changed");
        }
        edge.refuse_new(!matches!(now, Standing::Serving));
        match &now {
            Standing::Waiting if !is_founder => {
                tracing::info!("not a member yet: waiting for `tandem join --id {} --addr {}`", config.node, config.advertise());
            }
            Standing::Leaving if before != Standing::Leaving => {
                depart(cluster, edge, Duration::from_secs(config.drain_timeout_s)).await;
            }
            Standing::Waiting | Standing::Serving | Standing::Draining | Standing::Leaving => {}
            Standing::Left => return Ok(()),
            Standing::Stopped(why) => return Err(why.clone()),
        }
        before = now;
        if standing.changed().await.is_err() {
            return Err("the cluster ended under its node".to_owned());
        }
    }
}

/// Lets the calls that are here end, then lets the cluster forget this node.
async fn depart(cluster: &Cluster, edge: &edge::Handle, drain_timeout: Duration) {
    let left = edge.drain(drain_timeout).await;
    if left > 0 {
        tracing::warn!(calls = left, "calls were still here when this node left");
    }
    while let Err(error) = cluster.release(RELEASE_WITHIN).await {
        // The release before this one may have been committed unseen, and the node be forgotten by now.
        if matches!(&*cluster.standing().borrow(), Standing::Left | Standing::Stopped(_)) {
            return;
        }
        tracing::debug!(%error, "not released yet");
        sleep(RELEASE_PAUSE).await;
    }
}
