//! Live actors: one partition actor per group this node hosts; call, agent and queue actors where it leads.
//!
//! They converse, wait and retry. No decision is taken here, and no actor is the only holder of anything: all can be
//! killed and are spawned again from the replicated state. This file is the handle the SIP edge and the API hold.

mod archive;
mod delivery;
mod directory;
mod entity;
mod limits;
mod machine;
mod partition;
mod service;
mod shared;
mod wire;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use tandem_cluster::{BoxFuture, Cluster, GroupId, Machine, MachineFactory};
use tokio::sync::{broadcast, watch};

pub use archive::Status as ArchiveStatus;

use crate::core::{
    Outcome, State,
    command::{Arrive, Command, Envelope, LegReport},
    effect::{Event, Order},
    id::{AgentId, CallId, DomainId, LegId, NodeId, TrunkId},
    policy::{Ha1, Trunk},
};
use limits::{EVENTS_MAX, PAGE_MAX};
use machine::{CoreMachine, Partition};
use shared::Shared;
use wire::{Answer, Ask};

/// Why an operation could not be carried out. Domain answers are not here: they are [`Outcome::Rejected`].
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Certainly not done: no quorum, no leader, the domain is unknown. Say so to the client at once.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// May have been done. Repeat with the same idempotency key.
    #[error("outcome unknown: {0}")]
    Indefinite(String),
    #[error("no such domain: {0}")]
    NoDomain(DomainId),
}

/// The SIP edge of this node, as the actors see it.
pub trait Edge: Send + Sync + 'static {
    /// Takes orders for legs of this node. Repeats are harmless; order within a leg follows the effect ids.
    fn perform(&self, orders: Vec<Order>);

    /// Takes raw SIP that another node tunnelled here.
    fn tunnelled(&self, from: NodeId, frame: Bytes);
}

/// What the SIP edge must know of every domain, kept current by this module on every node, replica or not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    pub domains: BTreeMap<DomainId, DomainView>,
}

/// The edge's part of a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DomainView {
    pub version: u64,
    pub trunks: BTreeMap<TrunkId, Trunk>,
    /// Digest credentials of agents whose phones register.
    pub agents: BTreeMap<AgentId, Option<Ha1>>,
    pub pass_headers: Vec<String>,
    pub calls_max: u32,
}

/// A page of archived calls.
#[derive(Debug, Clone)]
pub struct CdrPage {
    /// `core::cdr::ClosedCall` records as stored, oldest first, with their archive sequence.
    pub items: Vec<(u64, Vec<u8>)>,
    pub next: Option<u64>,
}

/// The partitions of a node before its cluster runs: what the cluster needs, and what the handle will share.
pub struct Prepared {
    dir: PathBuf,
    partitions: parking_lot::Mutex<BTreeMap<GroupId, Arc<Partition>>>,
    events: broadcast::Sender<Arc<Event>>,
    live: OnceLock<Arc<Shared>>,
    further: OnceLock<Arc<dyn tandem_cluster::Service>>,
}

impl Prepared {
    /// Archives are kept below `dir`.
    pub fn new(dir: PathBuf) -> Arc<Self> {
        let (events, _) = broadcast::channel(EVENTS_MAX);
        Arc::new(Self { dir, partitions: parking_lot::Mutex::default(), events, live: OnceLock::new(), further: OnceLock::new() })
    }

    /// Answers every other service; may be set once.
    pub fn also(&self, service: Arc<dyn tandem_cluster::Service>) {
        // Set by whoever assembles the node, once.
        let _ = self.further.set(service);
    }
}

impl MachineFactory for Prepared {
    fn open(&self, group: GroupId) -> Box<dyn Machine> {
        let partition =
            Partition::open(group, &self.dir, self.events.clone()).expect("an archive that cannot be opened must stop the node");
        self.partitions.lock().insert(group, Arc::clone(&partition));
        Box::new(CoreMachine(partition))
    }
}

impl tandem_cluster::Service for Prepared {
    fn handle(&self, from: u64, service: u8, body: Bytes) -> BoxFuture<Result<Bytes, String>> {
        if service != wire::SERVICE {
            return match self.further.get() {
                Some(further) => further.handle(from, service, body),
                None => Box::pin(async move { Err(format!("no service {service}")) }),
            };
        }
        match self.live.get().cloned() {
            Some(shared) => Box::pin(async move { service::answer(shared, NodeId(from), &body).await }),
            None => Box::pin(async { Err("the node is starting".to_owned()) }),
        }
    }
}

/// The handle of the live actors of this node. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// Starts the partition actors over a running cluster. `edge` performs the orders for legs of this node.
    pub async fn start(cluster: Cluster, prepared: &Prepared, edge: Arc<dyn Edge>) -> Self {
        let partitions = prepared.partitions.lock().clone();
        let shared = Shared::start(cluster, partitions, prepared.events.clone(), edge).await;
        // Set here and nowhere else.
        let _ = prepared.live.set(Arc::clone(&shared));
        Self { shared }
    }

    pub fn cluster(&self) -> &Cluster {
        &self.shared.cluster
    }

    /// This life of this node, as the owner of legs.
    pub fn edge(&self) -> crate::core::id::Edge {
        self.shared.me()
    }

    /// Commits a caller's arrival. Idempotent by call id, so it is retried inside until `deadline`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Indefinite`]; the caller is then refused with 503 and the call, if it was
    /// committed after all, ends when the edge reports the leg gone.
    pub async fn arrive(&self, arrive: Arrive, deadline: Duration) -> Result<Outcome, Error> {
        let domain = arrive.domain.clone();
        let envelope = Envelope { request: None, command: Command::Arrive(Box::new(arrive)) };
        self.shared.command(&domain, envelope, deadline, true).await
    }

    /// Hands a report over for delivery: in order per leg, retried until the leader committed it or the leg is gone.
    pub fn report(&self, report: LegReport) {
        delivery::report(&self.shared, report);
    }

    /// Commits any other command in the group of `domain`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn command(&self, domain: &DomainId, envelope: Envelope, deadline: Duration) -> Result<Outcome, Error> {
        let repeatable = envelope.request.is_some();
        self.shared.command(domain, envelope, deadline, repeatable).await
    }

    /// Runs `read` on the local replica of a group after a read barrier, or at once when `stale`. `None` without a replica.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the barrier cannot be had in time.
    pub async fn read<R: Send>(
        &self,
        group: GroupId,
        stale: bool,
        deadline: Duration,
        read: impl FnOnce(&State) -> R + Send,
    ) -> Result<Option<R>, Error> {
        let Some(partition) = self.shared.partitions.get(&group) else { return Ok(None) };
        if !stale {
            self.shared.cluster.read_barrier(group, deadline).await.map_err(|error| Error::Unavailable(error.to_string()))?;
        }
        Ok(Some(read(&partition.state.read())))
    }

    /// Archived calls of a group from sequence `from` on, from the local replica.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the archive cannot be read.
    pub async fn cdrs(&self, group: GroupId, from: u64, limit: usize) -> Result<CdrPage, Error> {
        let partition =
            self.shared.partitions.get(&group).ok_or_else(|| Error::Unavailable(format!("no replica of partition {group} here")))?;
        let limit = limit.min(PAGE_MAX);
        let archive = partition.archive.lock();
        let records = archive.read(from, limit).map_err(|error| Error::Unavailable(error.to_string()))?;
        let next = records.last().map(|record| record.seq + 1).filter(|next| *next < archive.next());
        Ok(CdrPage { items: records.into_iter().map(|record| (record.seq, record.bytes)).collect(), next })
    }

    /// How far the local archive of a group is.
    pub fn archive(&self, group: GroupId) -> Option<ArchiveStatus> {
        let partition = self.shared.partitions.get(&group)?;
        let expected = partition.state.read().archive().next_seq;
        Some(partition.archive.lock().status(expected))
    }

    /// Events as this node's replicas apply them, for SSE.
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.shared.events.subscribe()
    }

    pub fn directory(&self) -> watch::Receiver<Arc<Directory>> {
        self.shared.directory.subscribe()
    }

    /// The node whose edge owns a leg, from local replicas or by asking the others. `None`: no such live leg.
    pub async fn owner_of(&self, leg: LegId) -> Option<crate::core::id::Edge> {
        if let Some(edge) = self.shared.owner_of(leg) {
            return Some(edge);
        }
        let others: Vec<_> =
            self.shared.cluster.nodes().borrow().keys().copied().filter(|node| *node != self.shared.cluster.node()).collect();
        for node in others {
            if let Ok(Answer::Owner(Some(edge))) = self.shared.ask(node, &Ask::OwnerOf(leg)).await {
                return Some(edge);
            }
        }
        None
    }

    /// The domain and group of a live call, from local replicas.
    pub fn find_call(&self, call: CallId) -> Option<(DomainId, GroupId)> {
        let found = |(group, partition): (&GroupId, &Arc<Partition>)| {
            partition.state.read().find_call(call).cloned().map(|domain| (domain, *group))
        };
        self.shared.partitions.iter().find_map(found)
    }

    /// Sends raw SIP to the edge of another node (tunnel): see `sip::tunnel`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the node does not answer.
    pub async fn tunnel(&self, node: NodeId, frame: Bytes) -> Result<(), Error> {
        match self.shared.ask(node.0, &Ask::Tunnel(frame.to_vec())).await {
            Ok(Answer::Done) => Ok(()),
            Ok(_) => Err(Error::Unavailable("the node refused the frame".to_owned())),
            Err(why) => Err(Error::Unavailable(why)),
        }
    }

    /// Stops every entity actor of this node at once, or makes each panic: a test of supervision, for operators too.
    pub fn stop_actors(&self, panic: bool) {
        self.shared.stop_actors(panic);
    }

    /// Live actors and messages handled, by kind.
    pub fn census(&self) -> BTreeMap<&'static str, Census> {
        self.shared.census.counts()
    }
}

/// Counts of one kind of actor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    pub live: u64,
    pub messages: u64,
    pub restarts: u64,
}
