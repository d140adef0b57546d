//! The handle a product holds on its cluster, and the plain data it exchanges with it.

use std::{collections::BTreeMap, future::Future, net::SocketAddr, path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, watch};

use crate::{
    GroupId, Incarnation, MachineFactory, NodeId,
    backup::{self, SideFile},
    limits::RUNTIME_THREADS,
    meta::MetaCommand,
    node::Node,
};

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
        Self { heartbeat_ms: 300, election_min_ms: 1500, election_max_ms: 3000, loss_after_ms: 300, lease_ms: 300 }
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
    /// It should finish what it has and then [`Cluster::release`] itself.
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

/// The handle of a running node. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    node: Arc<Node>,
    runtime: Arc<Threads>,
}

/// Consensus and QUIC run on threads of their own, so that the product's load is not taken for death. They stop with
/// the last handle, as abruptly as in a crash; [`Cluster::shutdown`] is the orderly way.
struct Threads {
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Threads {
    fn start() -> Result<Self, StartError> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let builder = builder.worker_threads(RUNTIME_THREADS).thread_name("tandem-cluster").enable_all();
        builder.build().map(|runtime| Self { runtime: Some(runtime) }).map_err(|error| StartError::Config(error.to_string()))
    }

    fn handle(&self) -> &tokio::runtime::Handle {
        self.runtime.as_ref().expect("taken only when dropped").handle()
    }
}

impl Cluster {
    /// Opens the log, recovers every group this node hosts, and joins its peers.
    ///
    /// # Errors
    /// When the log is corrupt, the certificate is unusable or the socket cannot be bound.
    pub async fn start(options: Options, factory: Arc<dyn MachineFactory>, service: Arc<dyn Service>) -> Result<Self, StartError> {
        let runtime = Arc::new(Threads::start()?);
        let started = runtime.handle().spawn(Node::start(options, factory, service)).await;
        let node = started.map_err(|error| StartError::Config(error.to_string()))??;
        Ok(Self { node, runtime })
    }

    /// Runs on the cluster's own threads.
    async fn there<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        match self.runtime.handle().spawn(work).await {
            Ok(value) => value,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    pub fn node(&self) -> NodeId {
        self.node.options.node
    }

    /// The present life of this node. It changes while the node runs if the peers gave the life up (after a long pause,
    /// say): what an earlier life owned is then no longer this node's.
    pub fn incarnation(&self) -> Incarnation {
        self.node.incarnation()
    }

    /// The address the transport listens on; of use when port 0 was asked for.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.node.transport.local_addr()
    }

    /// Commits a command on `group` from any node: locally when this node leads, through the leader otherwise.
    ///
    /// # Errors
    /// [`ProposeError`] says whether the command can still be in the log. Without a quorum it fails at once.
    pub async fn propose(&self, group: GroupId, command: Bytes, deadline: Duration) -> Result<Committed, ProposeError> {
        let node = Arc::clone(&self.node);
        self.there(async move { node.propose(group, command, deadline).await }).await
    }

    /// Waits until the local replica of `group` has applied all that was committed when the call began (ReadIndex).
    ///
    /// # Errors
    /// As for [`Cluster::propose`], or when this node holds no replica of the group.
    pub async fn read_barrier(&self, group: GroupId, deadline: Duration) -> Result<u64, ProposeError> {
        let node = Arc::clone(&self.node);
        self.there(async move { node.read_barrier(group, deadline).await }).await
    }

    /// The leader of a group as far as this node knows.
    pub fn leader(&self, group: GroupId) -> Option<NodeId> {
        self.node.group(group)?.leader()
    }

    /// The fencing token when this node leads `group`.
    pub fn leads(&self, group: GroupId) -> Option<Token> {
        self.node.group(group)?.leading()
    }

    /// True while the local replica exists.
    pub fn hosts(&self, group: GroupId) -> bool {
        self.node.group(group).is_some()
    }

    pub fn roles(&self) -> broadcast::Receiver<RoleChange> {
        self.node.roles.subscribe()
    }

    /// Every group this node hosts, the meta group first.
    pub fn groups(&self) -> Vec<GroupStatus> {
        self.node.all_groups().iter().map(crate::raft::group::Group::status).collect()
    }

    pub fn nodes(&self) -> watch::Receiver<Arc<NodeTable>> {
        self.node.table.subscribe()
    }

    /// What this node is in its cluster, and every change of that.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.node.standing.subscribe()
    }

    /// True if this node was started to vote only.
    pub fn is_witness(&self) -> bool {
        self.node.options.witness
    }

    /// True while this node may act for what it owns: a majority answered a ping sent less than a lease ago.
    pub fn lease_valid(&self) -> bool {
        self.node.lease_valid()
    }

    /// Sends a request to the product on another node (or on this one, without the network).
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn request(&self, node: NodeId, service: u8, body: Bytes, deadline: Duration) -> Result<Bytes, RequestError> {
        let here = Arc::clone(&self.node);
        self.there(async move { here.request(node, service, body, deadline).await }).await
    }

    /// The partition a routing domain lives in, if it was ever assigned.
    pub fn group_of(&self, domain: &str) -> Option<GroupId> {
        self.node.meta().domains.get(domain).copied()
    }

    /// Every assigned domain and its partition.
    pub fn domains(&self) -> BTreeMap<String, GroupId> {
        self.node.meta().domains.clone()
    }

    /// Assigns a domain to a partition, for good. Idempotent.
    ///
    /// # Errors
    /// As for [`Cluster::propose`].
    pub async fn assign_domain(&self, domain: &str, deadline: Duration) -> Result<GroupId, ProposeError> {
        if let Some(group) = self.group_of(domain) {
            return Ok(group);
        }
        self.meta(MetaCommand::Assign { domain: domain.to_owned(), groups: self.node.options.groups }, deadline).await
    }

    /// Marks a node as draining or takes the mark back; a draining node gives its leaderships away.
    ///
    /// # Errors
    /// As for [`Cluster::propose`].
    pub async fn set_draining(&self, node: NodeId, draining: bool, deadline: Duration) -> Result<(), ProposeError> {
        self.meta(MetaCommand::Drain { node, draining }, deadline).await.map(|_| ())
    }

    /// A row of the product's small shared table, as last seen here.
    pub fn shared(&self, key: &str) -> Option<Vec<u8>> {
        self.node.meta().directory.get(key).cloned()
    }

    /// The rows of the shared table whose key begins with `prefix`, in order, as last seen here.
    pub fn shared_under(&self, prefix: &str) -> BTreeMap<String, Vec<u8>> {
        let meta = self.node.meta();
        let rows = meta.directory.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        rows.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Sets or removes a row of the product's small shared table, on every node.
    ///
    /// # Errors
    /// As for [`Cluster::propose`].
    pub async fn share(&self, key: &str, value: Option<Vec<u8>>, deadline: Duration) -> Result<(), ProposeError> {
        self.meta(MetaCommand::Put { key: key.to_owned(), value }, deadline).await.map(|_| ())
    }

    /// Commits a meta command; one that was refused is certainly not done.
    async fn meta(&self, command: MetaCommand, deadline: Duration) -> Result<GroupId, ProposeError> {
        let node = Arc::clone(&self.node);
        self.there(async move { node.propose_meta(&command, deadline).await }).await?.map_err(ProposeError::Definite)
    }

    /// Admits a new node: it is dialled, follows every group, and votes once it is level, up to five voters in all. An id
    /// that was a member before is refused. Idempotent.
    ///
    /// # Errors
    /// As for [`Cluster::propose`].
    pub async fn join(&self, peer: PeerSpec, deadline: Duration) -> Result<(), ProposeError> {
        self.meta(MetaCommand::Join { peer }, deadline).await.map(|_| ())
    }

    /// Decides that a node leaves: its leaderships and votes are moved off. Once it released itself, or is dead, it is
    /// forgotten and vanishes from [`Cluster::nodes`]; its id is never used again. Returns once that is decided, not when
    /// it is done. Idempotent.
    ///
    /// # Errors
    /// As for [`Cluster::propose`]; the last data node cannot leave.
    pub async fn leave(&self, node: NodeId, deadline: Duration) -> Result<(), ProposeError> {
        self.meta(MetaCommand::Leave { node }, deadline).await.map(|_| ())
    }

    /// Says that this node, which is leaving, has nothing left to do: it may be forgotten.
    ///
    /// # Errors
    /// As for [`Cluster::propose`]; refused while the node is not leaving.
    pub async fn release(&self, deadline: Duration) -> Result<(), ProposeError> {
        self.meta(MetaCommand::Release { node: self.node() }, deadline).await.map(|_| ())
    }

    /// The level of behaviour the whole cluster has agreed on; the product gates changes of what `apply` does by it.
    pub fn feature_level(&self) -> u32 {
        self.node.meta().feature_level
    }

    /// Raises the cluster's feature level for good. A node whose binary is too old to apply it stops.
    ///
    /// # Errors
    /// As for [`Cluster::propose`]; refused while a member's binary does not support the level.
    pub async fn raise_feature_level(&self, level: u32, deadline: Duration) -> Result<(), ProposeError> {
        self.meta(MetaCommand::Raise { level }, deadline).await.map(|_| ())
    }

    /// Writes a backup of all groups and of the files that `side_files` opens, once all states are written. It goes on with
    /// what it does meanwhile. See [`crate::backup`].
    ///
    /// # Errors
    /// When a group has no quorum, or `out` takes no more; what was written then counts for nothing.
    pub async fn backup(
        &self,
        out: impl std::io::Write + Send + 'static,
        side_files: impl FnOnce() -> std::io::Result<Vec<SideFile>> + Send + 'static,
    ) -> Result<(), backup::Error> {
        let node = Arc::clone(&self.node);
        self.there(async move { backup::take(node, out, side_files).await }).await
    }

    /// Transfers every leadership, tells the peers *drained and fenced*, closes. After it returns the process may exit.
    pub async fn shutdown(&self) {
        let node = Arc::clone(&self.node);
        self.there(async move { node.shutdown().await }).await;
    }
}
