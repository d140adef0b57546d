//! The handle a product holds on its cluster.

use std::{collections::BTreeMap, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{broadcast, watch},
    time::{Instant, sleep},
};

use crate::{
    Committed, GroupId, GroupStatus, Incarnation, MachineFactory, NodeId, NodeTable, Options, PeerSpec, ProposeError, RequestError,
    RoleChange, Service, Standing, StartError, Token,
    backup::{self, SideFile},
    clock,
    limits::{FORWARD_PAUSE, RUNTIME_THREADS_MAX},
    log::Faults,
    meta::{META, MetaCommand, NOT_FOUNDED},
    node::Node,
};

/// The handle of a running node. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    node: Arc<Node>,
    runtime: Arc<Threads>,
    /// The idempotency key that commands on the cluster itself go out under.
    request: Option<u128>,
}

/// Consensus and QUIC run on threads of their own, so that the product's load is not taken for death. They stop with
/// the last handle, as abruptly as in a crash; [`Cluster::shutdown`] is the orderly way.
struct Threads {
    runtime: Option<tokio::runtime::Runtime>,
    handle: tokio::runtime::Handle,
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
        #[cfg(feature = "sim")]
        if crate::sim::on() {
            return Ok(Self { runtime: None, handle: tokio::runtime::Handle::current() });
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let builder = builder.worker_threads((cores / 4).clamp(1, RUNTIME_THREADS_MAX)).thread_name("tandem-cluster").enable_all();
        let runtime = builder.build().map_err(|error| StartError::Config(error.to_string()))?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    const fn handle(&self) -> &tokio::runtime::Handle {
        &self.handle
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
        Ok(Self { node, runtime, request: None })
    }

    /// A handle whose commands on the cluster itself (membership, drains, shared rows) are done once under an idempotency key:
    /// a repeat within the replicated window returns the first outcome.
    #[must_use]
    pub fn under(&self, request: Option<u128>) -> Self {
        Self { request, ..self.clone() }
    }

    /// Whether a command on the cluster itself was done under this handle's key, and how it came out.
    ///
    /// # Errors
    /// As for [`Cluster::propose`]; `Refused` when it was refused.
    pub async fn done_before(&self, deadline: Duration) -> Result<bool, ProposeError> {
        let Some(request) = self.request else { return Ok(false) };
        self.read_barrier(META, deadline).await?;
        match self.node.meta().requests.answer(request) {
            Some(Err(why)) => Err(ProposeError::Refused(why.clone())),
            first => Ok(first.is_some()),
        }
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

    /// This node's wall clock, milliseconds since the Unix epoch.
    pub fn wall_ms(&self) -> i64 {
        clock::wall_ms(self.node())
    }

    /// The disk errors and the slowness that a drill may bring about on this node.
    pub fn disk_faults(&self) -> &Faults {
        &self.node.options.disk_faults
    }

    /// Ends a simulated life as a loss of power does: it says and hears nothing from here on. What is left of it winds down, and goes once nobody holds it.
    #[cfg(feature = "sim")]
    #[doc(hidden)]
    pub fn cut_power(&self) {
        let node = Arc::clone(&self.node);
        node.transport.cut_power();
        self.runtime.handle().spawn(async move { node.cease("its power was cut").await });
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

    /// Of each replica here its group, its term and whom it takes for the leader; cheap enough to be asked all the time.
    #[cfg(feature = "sim")]
    pub fn leaders(&self) -> Vec<(GroupId, u64, Option<NodeId>)> {
        self.node.leaders()
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

    /// True once this node takes no further part, or is about to close; its process never does again.
    pub fn is_stopping(&self) -> bool {
        self.node.stopping()
    }

    /// How long ago this process last heard that very life of a node, or ended it, if it was its own. `None` if neither is so.
    pub fn heard_ago(&self, node: NodeId, incarnation: Incarnation) -> Option<Duration> {
        self.node.heard_ago(node, incarnation)
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

    /// A row of the shared table as it was committed last when this began.
    ///
    /// # Errors
    /// As for [`Cluster::read_barrier`].
    pub async fn shared_now(&self, key: &str, deadline: Duration) -> Result<Option<Vec<u8>>, ProposeError> {
        self.read_barrier(META, deadline).await?;
        Ok(self.shared(key))
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

    /// Sets a row of the shared table that is as `expect` says (`None`: not there), and leaves another alone.
    ///
    /// # Errors
    /// As for [`Cluster::propose`]; refused when the row is another.
    pub async fn replace(&self, key: &str, expect: Option<Vec<u8>>, value: Vec<u8>, deadline: Duration) -> Result<(), ProposeError> {
        self.meta(MetaCommand::Replace { key: key.to_owned(), expect, value }, deadline).await.map(|_| ())
    }

    /// Commits a meta command; one that was refused is certainly not done.
    async fn meta(&self, command: MetaCommand, deadline: Duration) -> Result<GroupId, ProposeError> {
        let command = match self.request {
            Some(request) => MetaCommand::Once { request, command: Box::new(command) },
            None => command,
        };
        let (node, give_up) = (Arc::clone(&self.node), Instant::now() + deadline);
        let proposed = self.there(async move {
            loop {
                match node.propose_meta(&command, deadline).await? {
                    Err(why) if why == NOT_FOUNDED && Instant::now() < give_up => sleep(FORWARD_PAUSE).await,
                    answer => return Ok(answer),
                }
            }
        });
        proposed.await?.map_err(ProposeError::Refused)
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

    /// Lets every replica of a group pass over an entry that ends each node that applies it: its commands are void. Idempotent.
    /// A replica that did apply it takes no further part; see [`GroupStatus::poisoned`] for the entry that is meant.
    ///
    /// # Errors
    /// As for [`Cluster::propose`]; refused for the meta group, see [`skip_offline`](crate::recovery::skip_offline).
    pub async fn skip(&self, group: GroupId, index: u64, deadline: Duration) -> Result<(), ProposeError> {
        self.meta(MetaCommand::Skip { group, index }, deadline).await.map(|_| ())
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
