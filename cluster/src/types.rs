//! The plain data a product exchanges with its cluster: options, states, errors. Nothing here does anything.

use std::{collections::BTreeMap, future::Future, net::SocketAddr, path::PathBuf, pin::Pin, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{GroupId, Incarnation, NodeId, log::Faults};

/// Fencing token of a leadership: a later leader of the same group always has a greater one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Token {
    pub term: u64,
    pub node: NodeId,
}

/// A node this cluster is told about at its first start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerSpec {
    pub id: NodeId,
    pub addr: SocketAddr,
    /// A witness votes and keeps log and state, but runs no product shell and leads only to hand over.
    pub witness: bool,
}

/// Time constants of consensus and failure detection. All in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    pub heartbeat_ms: u64,
    pub election_min_ms: u64,
    pub election_max_ms: u64,
    /// A QUIC connection silent this long counts as a hint that the peer is gone.
    pub loss_after_ms: u64,
    /// Length of a node lease.
    pub lease_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self { heartbeat_ms: 300, election_min_ms: 1500, election_max_ms: 3000, loss_after_ms: 250, lease_ms: 270 }
    }
}

/// How to start a node of the cluster.
#[derive(Debug, Clone)]
pub struct Options {
    pub node: NodeId,
    pub listen: SocketAddr,
    /// The address the peers dial; `listen` unless behind a translator.
    pub advertise: SocketAddr,
    pub data_dir: PathBuf,
    /// PEM files: the cluster's authority, this node's chain and its key. Re-read when they change.
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
    pub witness: bool,
    /// Number of partitions, fixed at the first start of the cluster.
    pub groups: u32,
    /// The nodes of the first start; empty for a node that will join a running cluster.
    pub bootstrap: Vec<PeerSpec>,
    /// What the peers and clients should know of this node (its SIP and HTTP addresses); opaque here.
    pub attributes: BTreeMap<String, String>,
    /// The highest feature level this binary can apply.
    pub feature_level: u32,
    pub timing: Timing,
    /// Size of one log segment in bytes.
    pub wal_segment_bytes: u64,
    /// Entries between two snapshots of a group.
    pub snapshot_every: u64,
    /// Disk errors and slowness that a test or an experiment brings about; the default brings none.
    pub disk_faults: Arc<Faults>,
}

/// The result of a committed command.
#[derive(Debug, Clone)]
pub struct Committed {
    pub index: u64,
    pub reply: Bytes,
}

/// Why a proposal did not return a commit.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// The command is certainly not, and will not be, in the log.
    #[error("not committed: {0}")]
    Definite(String),
    /// The command may or may not be committed; repeat it only if it is idempotent.
    #[error("outcome unknown: {0}")]
    Indefinite(String),
    /// The cluster considered it and says no, for a reason that another try does not change.
    #[error("refused: {0}")]
    Refused(String),
}

/// Why a request to another node failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("node {0} is unreachable: {1}")]
    Unreachable(NodeId, String),
    #[error("no answer in time")]
    Deadline,
    #[error("refused by the peer: {0}")]
    Refused(String),
}

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Config(String),
    #[error("log: {0}")]
    Log(String),
    #[error("transport: {0}")]
    Transport(String),
    #[error("consensus: {0}")]
    Raft(String),
}

/// What the cluster knows of the life of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeState {
    Up,
    /// Out of contact from here; no decision follows from it.
    Suspect,
    /// A majority withdrew its support of this incarnation, or its death is proven: it can no longer act.
    Lost,
    Draining,
    Left,
}

/// What this node is in its cluster, as it knows itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is not admitted yet, or has not said so itself yet.
    Waiting,
    Serving,
    /// It should take nothing new on until the mark is taken back.
    Draining,
    /// It should finish what it has and then [`Cluster::release`](crate::Cluster::release) itself.
    Leaving,
    /// The cluster has forgotten it; the process may end.
    Left,
    /// Going on would be wrong, and why; the process should end.
    Stopped(String),
}

/// A row of the node table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub id: NodeId,
    pub incarnation: Incarnation,
    pub addr: SocketAddr,
    pub witness: bool,
    pub state: NodeState,
    /// The highest feature level its binary can apply; 0 until it was heard of.
    pub feature_level: u32,
    pub attributes: BTreeMap<String, String>,
}

/// All known nodes by id, as seen from here.
pub type NodeTable = BTreeMap<NodeId, NodeStatus>;

/// This node began or ceased to lead a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleChange {
    pub group: GroupId,
    pub leading: Option<Token>,
    /// How long the group had heard no leader before this one, milliseconds: the grace its timers are owed.
    pub gap_ms: u64,
}

/// A group as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    pub group: GroupId,
    pub leader: Option<NodeId>,
    pub term: u64,
    pub last_log: u64,
    pub applied: u64,
    /// The entry the local replica waits at because it ended the node before; see [`Cluster::skip`](crate::Cluster::skip).
    pub poisoned: Option<u64>,
    pub voters: Vec<NodeId>,
    pub learners: Vec<NodeId>,
}

/// Boxed future of a service call.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The product's side of node-to-node requests.
pub trait Service: Send + Sync + 'static {
    /// Answers a request that `from` sent to `service`. An `Err` reaches the sender as [`RequestError::Refused`].
    fn handle(&self, from: NodeId, service: u8, body: Bytes) -> BoxFuture<Result<Bytes, String>>;
}
