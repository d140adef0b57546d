//! Live actors: one partition actor per group this node hosts; call, agent and queue actors where it leads.
//!
//! They converse, wait and retry. No decision is taken here, and no actor is the only holder of anything: all can be
//! killed and are spawned again from the replicated state. This file is the handle the SIP edge and the API hold.

mod agent;
mod archive;
mod audit;
mod call;
mod census;
mod delivery;
mod directory;
mod drill;
mod entity;
mod farewell;
mod fetch;
mod lane;
mod limits;
mod machine;
mod partition;
mod queue;
mod retention;
mod root;
mod search;
mod service;
mod shared;
mod submit;
mod wire;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, OnceLock, atomic::AtomicBool},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use ractor::{Actor, ActorRef};
use serde_bytes::ByteBuf;
use tandem_cluster::{BoxFuture, Cluster, GroupId, Machine, MachineFactory, Service, backup::SideFile};
use tokio::{
    sync::{Semaphore, broadcast, mpsc, watch},
    task::JoinSet,
};

use crate::core::{
    Outcome, State,
    command::{Arrive, Binding, Command, Envelope, LegReport},
    effect::{Event, Order},
    id::{AgentId, CallId, DomainId, LegId, NodeId},
};
pub use archive::ArchiveStatus;
pub use census::{Census, Kind};
pub use directory::{Directory, DomainView};
pub use drill::{Drill, Hurt, Whom};
pub use wire::SERVICE;

use delivery::Delivery;
use lane::Lanes;
use machine::Replicas;
use service::Desk;
use shared::Shared;
use submit::Parcel;
use wire::{Answer, Question};

/// Why an operation could not be carried out. Domain answers are not here: they are [`Outcome::Rejected`].
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Certainly not done: no quorum, no leader, overload. Say so to the client at once.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// May have been done. Repeat with the same idempotency key.
    #[error("outcome unknown: {0}")]
    Indefinite(String),
    /// The records asked for were dropped when their time was up.
    #[error("{0}")]
    NoLongerKept(String),
    #[error("no such domain: {0}")]
    NoDomain(DomainId),
}

/// The SIP edge of this node, as the actors see it. Calls come from many threads and must not block.
pub trait Edge: Send + Sync + 'static {
    /// Takes orders for legs of this node. Repeats are harmless; order within a leg follows the effect ids.
    fn perform(&self, orders: Vec<Order>);

    /// Which of these legs this edge does not have: asked by a new leader, with about a thousand legs at a time. An edge
    /// that cannot tell leaves them to their deadlines.
    fn missing(&self, _legs: Vec<LegId>) -> BoxFuture<Vec<LegId>> {
        Box::pin(async { Vec::new() })
    }

    /// The report that this leg of the edge's answered has come to its end: the call has the leg, or never will. An edge that
    /// acknowledges an answer sooner may leave a phone in a call that nobody knows of.
    fn answer_decided(&self, _leg: LegId, _taken: bool) {}

    /// Takes raw SIP that another node tunnelled here.
    fn tunnelled(&self, from: NodeId, frame: Bytes);
}

/// Bytes after which an archive file is full and another is begun.
const ARCHIVE_SEGMENT_BYTES: u64 = 64 << 20;

/// A node's actors before its cluster runs: the machines and the service that `Cluster::start` needs.
pub struct Prepared {
    replicas: Arc<Replicas>,
    opened: Mutex<Option<mpsc::UnboundedReceiver<GroupId>>>,
    desk: Desk,
    further: OnceLock<Arc<dyn Service>>,
}

impl Prepared {
    /// Archives are kept below `dir`.
    pub fn new(dir: PathBuf) -> Arc<Self> {
        Self::with_segments(dir, ARCHIVE_SEGMENT_BYTES)
    }

    /// As [`Prepared::new`], with archive files of another size.
    pub fn with_segments(dir: PathBuf, archive_segment_bytes: u64) -> Arc<Self> {
        let (replicas, opened) = Replicas::new(dir.join(machine::ARCHIVES), archive_segment_bytes);
        let opened = Mutex::new(Some(opened));
        Arc::new(Self { replicas: Arc::new(replicas), opened, desk: Desk::default(), further: OnceLock::new() })
    }

    /// Answers every other service; may be set once.
    pub fn also(&self, service: Arc<dyn Service>) {
        assert!(self.further.set(service).is_ok(), "a node has one set of further services");
    }

    /// Looks at what the replica of a group holds at this moment. `None` without a replica.
    #[cfg(feature = "sim")]
    pub fn look<R>(&self, group: GroupId, look: impl FnOnce(&State) -> R) -> Option<R> {
        Some(look(&self.replicas.get(group)?.state.read()))
    }
}

impl MachineFactory for Prepared {
    fn open(&self, group: GroupId) -> Box<dyn Machine> {
        self.replicas.open(group)
    }
}

impl Service for Prepared {
    fn handle(&self, from: u64, service: u8, body: Bytes) -> BoxFuture<Result<Bytes, String>> {
        match self.further.get() {
            _ if service == SERVICE => self.desk.answer(from, &body),
            Some(further) => further.handle(from, service, body),
            None => Box::pin(async move { Err(format!("no service {service}")) }),
        }
    }
}

struct Inner {
    shared: Arc<Shared>,
    root: ActorRef<root::Message>,
    delivery: Arc<Delivery>,
    directory: watch::Receiver<Arc<Directory>>,
    arrivals: Semaphore,
    commands: Semaphore,
    /// The node's housekeeping.
    _tasks: JoinSet<()>,
}

/// The actors go with the last handle.
impl Drop for Inner {
    fn drop(&mut self) {
        self.root.kill();
    }
}

/// A page of archived calls.
#[derive(Debug, Clone)]
pub struct CdrPage {
    /// `core::cdr::ClosedCall` records as stored, oldest first, with their archive sequence.
    pub items: Vec<(u64, Vec<u8>)>,
    pub next: Option<u64>,
}

/// The handle of the live actors of this node. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

impl Handle {
    /// Brings the actors to life over a running cluster, on the runtime this is called on; on a witness there are none. `edge` performs the orders
    /// for legs of this node. To be called once for what was prepared. They live as long as a handle of them is held.
    pub async fn start(cluster: Cluster, prepared: &Prepared, edge: Arc<dyn Edge>) -> Self {
        let opened = prepared.opened.lock().take().expect("what was prepared is started once");
        let replicas = Arc::clone(&prepared.replicas);
        let shared = Arc::new(Shared {
            lanes: Lanes::new(cluster.clone()),
            cluster,
            replicas: Arc::clone(&replicas),
            counters: census::Counters::default(),
            edge,
            respawn: AtomicBool::new(true),
            runtime: tokio::runtime::Handle::current(),
        });
        prepared.desk.open(&shared);
        let (root, _) = Actor::spawn(None, root::RootActor, Arc::clone(&shared)).await.expect("an actor without a name always starts");
        let mut tasks = JoinSet::new();
        // A witness keeps log and state; what its groups order waits for the node it hands them to.
        if !shared.cluster.is_witness() {
            tasks.spawn(root::follow_groups(opened, root.clone()));
        }
        tasks.spawn(root::follow_roles(Arc::clone(&shared)));
        tasks.spawn(root::follow_nodes(Arc::clone(&shared)));
        tasks.spawn(fetch::run(Arc::clone(&shared)));
        tasks.spawn(audit::run(Arc::clone(&shared)));
        tasks.spawn(retention::run(Arc::clone(&shared)));
        let (publish, directory) = watch::channel(Arc::default());
        tasks.spawn(directory::follow(replicas, publish));
        let inner = Inner {
            delivery: Delivery::new(Arc::clone(&shared)),
            shared,
            root,
            directory,
            arrivals: Semaphore::new(limits::ARRIVALS_MAX),
            commands: Semaphore::new(limits::COMMANDS_MAX),
            _tasks: tasks,
        };
        Self { inner: Arc::new(inner) }
    }

    pub fn cluster(&self) -> &Cluster {
        &self.inner.shared.cluster
    }

    /// This life of this node, as the owner of legs.
    pub fn edge(&self) -> crate::core::id::Edge {
        self.inner.shared.me()
    }

    /// Who is to make calls that nobody's INVITE brought here: this node if it takes calls, else another that does.
    pub fn edge_for_calls(&self) -> Option<crate::core::id::Edge> {
        let able = partition::able_edges(&self.cluster().nodes().borrow());
        let me = self.edge();
        if able.contains(&me) { Some(me) } else { able.first().copied() }
    }

    /// Commits a caller's arrival. Idempotent by call id, so it is retried inside until `deadline`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Indefinite`]; the caller is then refused with 503 and the call, if it was
    /// committed after all, ends when the edge reports the leg gone.
    pub async fn arrive(&self, arrive: Arrive, deadline: Duration) -> Result<Outcome, Error> {
        let _permit = self.inner.arrivals.try_acquire().map_err(|_| overloaded())?;
        let domain = arrive.domain.clone();
        let parcel = Parcel::new(&domain, &Envelope { request: None, command: Command::Arrive(Box::new(arrive)) }, true);
        self.inner.shared.submit(&parcel, deadline).await
    }

    /// Hands a report over for delivery: in order per leg, retried until the leader committed it or the leg is gone.
    pub fn report(&self, report: LegReport) {
        self.inner.delivery.report(report);
    }

    /// Commits any other command in the group of `domain`. Repeated inside, while its fate is unknown, only if it
    /// carries an idempotency key.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn command(&self, domain: &DomainId, envelope: Envelope, deadline: Duration) -> Result<Outcome, Error> {
        let _permit = self.inner.commands.try_acquire().map_err(|_| overloaded())?;
        if !self.cluster().lease_valid() {
            // What a leader without a majority takes in may still be committed one day; what was never sent cannot.
            return Err(no_quorum());
        }
        self.inner.shared.submit(&Parcel::new(domain, &envelope, false), deadline).await
    }

    /// Commits a command that concerns a whole partition. It must be the same twice as once: it is repeated while its fate is unknown.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn command_group(&self, group: GroupId, envelope: Envelope, deadline: Duration) -> Result<Outcome, Error> {
        let _permit = self.inner.commands.try_acquire().map_err(|_| overloaded())?;
        if !self.cluster().lease_valid() {
            return Err(no_quorum());
        }
        self.inner.shared.submit(&Parcel::to_group(group, &envelope), deadline).await
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
        let Some(replica) = self.inner.shared.replicas.get(group) else { return Ok(None) };
        if !stale {
            self.cluster().read_barrier(group, deadline).await.map_err(|error| Error::Unavailable(error.to_string()))?;
        }
        let state = replica.state.read();
        Ok(Some(read(&state)))
    }

    /// How long ago the local replica of a group applied something: what a stale read may lag behind by, at most.
    pub fn applied_ago(&self, group: GroupId) -> Option<Duration> {
        self.inner.shared.replicas.get(group).map(|replica| replica.since_applied())
    }

    /// Archived calls of a group from sequence `from` on, from the local replica.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the archive cannot be read, or those records are still on their way here;
    /// [`Error::NoLongerKept`] when their time was up.
    pub async fn cdrs(&self, group: GroupId, from: u64, limit: usize) -> Result<CdrPage, Error> {
        let page = self.inner.shared.records(group, from, limit).await;
        page.map(|(items, next)| CdrPage { items, next }).map_err(|error| unreadable(&error))
    }

    /// The archived record of a call, from the local replica of its group.
    ///
    /// # Errors
    /// As for [`Handle::cdrs`].
    pub async fn cdr(&self, group: GroupId, call: CallId) -> Result<Option<Vec<u8>>, Error> {
        self.inner.shared.find_record(group, call).await.map_err(|error| unreadable(&error))
    }

    /// How far the local archive of a group is; its hash is read off the records as they were written. `None` without
    /// a replica.
    pub fn archive(&self, group: GroupId) -> Option<ArchiveStatus> {
        self.inner.shared.replicas.get(group).map(|replica| replica.archive.lock().status())
    }

    /// The archives' files, open to be copied into a backup.
    ///
    /// # Errors
    /// When a file cannot be opened, or records are still on their way here.
    pub fn archive_files(&self) -> std::io::Result<Vec<SideFile>> {
        let mut files = Vec::new();
        for replica in self.inner.shared.replicas.all() {
            files.extend(machine::side_files(&replica)?);
        }
        Ok(files)
    }

    /// Groups with a replica on this node, the meta group aside.
    pub fn groups(&self) -> Vec<GroupId> {
        self.inner.shared.replicas.all().iter().map(|replica| replica.group).collect()
    }

    /// Events as this node's replicas apply them, for SSE.
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.inner.shared.replicas.hub.events.subscribe()
    }

    pub fn directory(&self) -> watch::Receiver<Arc<Directory>> {
        self.inner.directory.clone()
    }

    /// The node whose edge owns a leg, from local replicas or by asking the others. `None`: no such live leg.
    pub async fn owner_of(&self, leg: LegId) -> Option<crate::core::id::Edge> {
        if let Some(edge) = self.inner.shared.owner_here(leg) {
            return Some(edge);
        }
        let nodes: Vec<_> = self.cluster().nodes().borrow().keys().copied().filter(|node| *node != self.cluster().node()).collect();
        let asked = nodes.into_iter().map(|node| self.inner.shared.lanes.ask(node, lane::Kind::Orders, Question::OwnerOf(leg)));
        futures::future::join_all(asked).await.into_iter().find_map(|answer| match answer {
            Ok(Answer::Owner(owner)) => owner,
            _ => None,
        })
    }

    /// The domain and group of a live call, from local replicas.
    pub fn find_call(&self, call: CallId) -> Option<(DomainId, GroupId)> {
        self.inner.shared.replicas.all().iter().find_map(|replica| {
            let state = replica.state.read();
            state.find_call(call).map(|domain| (domain.clone(), replica.group))
        })
    }

    /// The phones an agent registered and the seconds each registration has left, from a local replica. `None` without one.
    pub fn bindings(&self, domain: &DomainId, agent: &AgentId) -> Option<Vec<(Binding, u32)>> {
        self.inner.shared.replicas.all().iter().find_map(|replica| {
            let state = replica.state.read();
            let agent = state.domains().get(domain)?.agents().get(agent)?;
            let left_s = |instance: &str| agent.expires.get(instance).map_or(0, |until| until.ms_since(state.now()) / 1_000);
            let row = |(instance, binding): (&String, &Binding)| (binding.clone(), u32::try_from(left_s(instance)).unwrap_or(u32::MAX));
            Some(agent.bindings.iter().map(row).collect())
        })
    }

    /// Sends raw SIP to the edge of another node (tunnel): see `sip::tunnel`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the node does not answer.
    pub async fn tunnel(&self, node: NodeId, frame: Bytes) -> Result<(), Error> {
        let question = Question::Tunnel(ByteBuf::from(frame.to_vec()));
        let answer = if node == self.edge().node {
            Ok(self.inner.shared.answer(node.0, question).await)
        } else {
            self.inner.shared.lanes.ask(node.0, lane::Kind::Orders, question).await
        };
        match answer {
            Ok(Answer::Taken) => Ok(()),
            Ok(Answer::Refused(why)) => Err(Error::Unavailable(why)),
            Ok(_) => Err(Error::Unavailable(format!("node {node} answered another question"))),
            Err(error) => Err(Error::Unavailable(error.to_string())),
        }
    }

    /// Live actors and messages handled, by kind.
    pub fn census(&self) -> BTreeMap<&'static str, Census> {
        self.inner.shared.counters.read()
    }
}

/// What is said while most nodes do not answer this one.
pub fn no_quorum() -> Error {
    Error::Unavailable("no quorum: most nodes are out of reach, and nothing can be committed".to_owned())
}

fn unreadable(error: &std::io::Error) -> Error {
    let gone = error.get_ref().is_some_and(|inner| inner.is::<archive::NoLongerKept>());
    if gone { Error::NoLongerKept(error.to_string()) } else { Error::Unavailable(error.to_string()) }
}

fn overloaded() -> Error {
    Error::Unavailable("overloaded".to_owned())
}
