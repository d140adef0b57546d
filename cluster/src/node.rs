//! A running node: its groups, its connections, and the answers it gives to peers.

mod answer;
mod claim;
mod compaction;
pub(crate) mod failover;
mod herald;
pub(crate) mod notes;
pub(crate) mod pace;
mod propose;
mod table;

pub use herald::Herald;
pub use notes::has_left;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use openraft::BasicNode;
use parking_lot::{Mutex, RwLock};
use tokio::{
    sync::{broadcast, watch},
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    GroupId, Incarnation, MachineFactory, NodeId, NodeTable, Options, ProposeError, RequestError, RoleChange, Service, Standing,
    StartError, codec,
    electorate::Electorate,
    limits::{ADMISSION_PAUSE, FORWARD_PAUSE, LINGER, LINGER_MAX, META_FIRST_WITHIN, ROLE_EVENTS},
    link::Link,
    liveness::Liveness,
    log::{snapshot::Store, storage::NodeLog},
    meta::{Answer, LEFT, META, MetaCommand, MetaMachine, MetaState, NOT_ADMITTED, NodeRow},
    placement::{self, founder},
    raft::{
        group::{Group, Setting},
        machine::Applied,
        network::Router,
        poison::Poison,
    },
    transport::{self, CLOSED_DRAINED, CLOSED_PLAIN, Files, Handler},
};

use answer::LateHandler;

/// Kinds of frames above Raft's own.
const PROPOSE: u8 = 10 | transport::APPLICATION;
const READ_INDEX: u8 = 11 | transport::APPLICATION;
const SERVICE: u8 = 12 | transport::APPLICATION;
const PING: u8 = 13;
pub(crate) const DEATH: u8 = 14;
const OPINION: u8 = 15;
/// Which life of me do you know?
const KNOWN: u8 = 16;

/// The answer to the ping of a life that was given up.
const WITHDRAWN: &str = "support was withdrawn from this life";

pub(crate) struct Node {
    pub(crate) options: Options,
    incarnation: AtomicU64,
    groups: RwLock<BTreeMap<GroupId, Group>>,
    pub(crate) transport: Link,
    pub(crate) roles: broadcast::Sender<RoleChange>,
    meta: watch::Receiver<Arc<MetaState>>,
    log: NodeLog,
    poison: Poison,
    /// Who should not lead for now, because its disk is slow.
    pub(crate) slow: pace::Slow,
    pub(crate) table: watch::Sender<Arc<NodeTable>>,
    liveness: Liveness,
    /// The lives of peers given up, as last noted on disk.
    withdrawn: tokio::sync::Mutex<BTreeMap<NodeId, Incarnation>>,
    /// Where peers said they are.
    told: Mutex<BTreeMap<NodeId, SocketAddr>>,
    /// Where the peers are, as last noted on disk.
    noted: Mutex<BTreeMap<NodeId, SocketAddr>>,
    /// Electorates the peers told, and when.
    heard: Mutex<BTreeMap<NodeId, (Instant, Electorate)>>,
    stopping: AtomicBool,
    /// Requests of peers that are being answered.
    answering: AtomicUsize,
    pub(crate) standing: watch::Sender<Standing>,
    service: Arc<dyn Service>,
    /// What looks after things as long as the node takes part.
    keepers: Mutex<JoinSet<()>>,
    /// Keeps every other process off the data directory.
    _lock: fs::File,
}

/// Binds the node's socket; from here on peers are answered by `handler`.
fn open_transport(options: &Options, incarnation: Incarnation, handler: &Arc<LateHandler>) -> Result<Link, StartError> {
    let wanted = transport::Options {
        node: options.node,
        incarnation,
        listen: options.listen,
        files: Files { ca: options.ca.clone(), cert: options.cert.clone(), key: options.key.clone() },
        loss_after_ms: options.timing.loss_after_ms,
        levels: (0, options.feature_level),
    };
    Link::start(wanted, Arc::clone(handler) as Arc<dyn Handler>).map_err(|error| StartError::Transport(error.to_string()))
}

impl Node {
    pub(crate) async fn start(
        options: Options,
        factory: Arc<dyn MachineFactory>,
        service: Arc<dyn Service>,
    ) -> Result<Arc<Self>, StartError> {
        let (lock, incarnation) = claim::take(&options).await?;
        let log = NodeLog::open(&options.data_dir.join("wal"), options.wal_segment_bytes, Arc::clone(&options.disk_faults))
            .map_err(|error| StartError::Log(error.to_string()))?;
        let store = Store::open(&options.data_dir.join("snapshots")).map_err(|error| StartError::Log(error.to_string()))?;
        let handler = Arc::new(LateHandler { node: OnceLock::new(), fresh: incarnation == 1 });
        let transport = open_transport(&options, incarnation, &handler)?;
        transport.set_peers(&notes::known(&options));
        let founded = incarnation == 1 && claim::begin_first(&options, &transport).await?;
        let (roles, _) = broadcast::channel(ROLE_EVENTS);
        let (publish, meta) = watch::channel(Arc::new(MetaState::default()));
        let setting = Setting {
            node: options.node,
            timing: options.timing.clone(),
            snapshot_every: options.snapshot_every,
            router: Router::new(transport.clone()),
            roles: roles.clone(),
        };
        let withdrawn = notes::withdrawn(&options.data_dir).map_err(|error| StartError::Log(error.to_string()))?;
        let poison = Poison::open(&options.data_dir, meta.clone());
        let mut groups = BTreeMap::new();
        for id in 0..=options.groups {
            let machine = if id == META { Box::new(MetaMachine::new(publish.clone())) } else { factory.open(id) };
            let applied = Applied::open(id, machine, store.clone(), poison.clone()).map_err(|error| StartError::Log(error.to_string()))?;
            let group = Group::open(id, log.group(id), applied, &setting).await.map_err(StartError::Raft)?;
            if id == META {
                // It says what the others must skip.
                group.applied_what_is_committed(META_FIRST_WITHIN).await;
            }
            groups.insert(id, group);
        }
        let node = Arc::new(Self {
            liveness: Liveness::new(options.node, options.timing.lease_ms, withdrawn.clone()),
            withdrawn: tokio::sync::Mutex::new(withdrawn),
            incarnation: AtomicU64::new(incarnation),
            groups: RwLock::new(groups),
            transport,
            roles,
            meta,
            log,
            poison,
            slow: pace::Slow::default(),
            table: watch::channel(Arc::default()).0,
            told: Mutex::default(),
            noted: Mutex::default(),
            heard: Mutex::default(),
            stopping: AtomicBool::new(false),
            answering: AtomicUsize::new(0),
            standing: watch::Sender::new(Standing::Waiting),
            service,
            keepers: Mutex::default(),
            options,
            _lock: lock,
        });
        // Set once: this is the only place.
        let _ = handler.node.set(Arc::downgrade(&node));
        if !founded {
            node.found().await?;
        }
        failover::watch(&node);
        placement::watch(&node);
        compaction::watch(&node);
        pace::watch(&node);
        tokio::spawn(Arc::clone(&node).register());
        Ok(node)
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        self.incarnation.load(Ordering::Acquire)
    }

    /// At the very first start of the cluster, founds the groups whose founder this node is.
    async fn found(&self) -> Result<(), StartError> {
        let members: BTreeMap<_, _> = self.options.bootstrap.iter().map(|peer| (peer.id, BasicNode::new(peer.addr))).collect();
        let mut founded = None;
        for group in self.all_groups() {
            let mine = founder(group.id, &self.options.bootstrap) == Some(self.options.node);
            if !mine || group.initialized().await.map_err(StartError::Raft)? {
                continue;
            }
            // A node that joined and restarted before it heard anything must not found a second cluster.
            let asked = match founded {
                Some(known) => known,
                None => claim::ask_peers(&self.options, &self.transport, self.incarnation()).await?,
            };
            founded = Some(asked);
            if !asked {
                group.initialize(members.clone()).await.map_err(StartError::Raft)?;
            }
        }
        Ok(())
    }

    /// Announces this life of the node in the meta group, however long that takes.
    async fn register(self: Arc<Self>) {
        let incarnation = self.incarnation();
        let row = NodeRow {
            incarnation,
            addr: self.options.advertise,
            witness: self.options.witness,
            draining: false,
            feature_level: self.options.feature_level,
            attributes: self.options.attributes.clone(),
        };
        while !self.stopping() && self.incarnation() == incarnation {
            let command = MetaCommand::Register { node: self.options.node, row: row.clone() };
            match self.propose_meta(&command, Duration::from_secs(2)).await {
                Ok(Ok(_)) => return,
                Ok(Err(why)) if why == NOT_ADMITTED => sleep(ADMISSION_PAUSE).await,
                Ok(Err(why)) if why == LEFT => return self.leave().await,
                // The cluster knows a later life of this node than its own disk does: the disk was lost or put back, and
                // with it votes and entries others count on.
                Ok(Err(why)) if self.incarnation() == incarnation => return self.cease(&why).await,
                Ok(Err(_)) => return,
                Err(error) => tracing::debug!(%error, "not registered yet"),
            }
            sleep(FORWARD_PAUSE).await;
        }
    }

    /// Stops taking part, because going on would be wrong. The product is refused from now on.
    pub(super) async fn cease(&self, why: &str) {
        tracing::error!(node = self.options.node, incarnation = self.incarnation(), why, "this node takes no further part");
        self.end(Standing::Stopped(why.to_owned())).await;
    }

    /// The cluster has forgotten this node: its part is done.
    async fn leave(&self) {
        tracing::info!(node = self.options.node, "this node has left the cluster");
        if let Err(error) = notes::note_left(&self.options.data_dir) {
            tracing::warn!(%error, "that this node has left could not be noted; another start would be refused by the cluster");
        }
        self.end(Standing::Left).await;
    }

    async fn end(&self, standing: Standing) {
        self.stop_groups().await;
        self.transport.close(CLOSED_PLAIN).await;
        self.standing.send_replace(standing);
        self.dismiss_keepers();
    }

    async fn stop_groups(&self) {
        self.stopping.store(true, Ordering::Release);
        self.poison.stop();
        for group in self.all_groups() {
            // An error means it has stopped already.
            let _ = group.raft.shutdown().await;
        }
    }

    /// Runs a task that looks after something for as long as the node takes part.
    pub(crate) fn keep(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.keepers.lock().spawn(task);
    }

    /// The last thing a node does, since one of them may have brought about the end.
    fn dismiss_keepers(&self) {
        self.keepers.lock().abort_all();
    }

    /// True once the node takes no further part; it never does again.
    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Commits a command of the meta group; the inner error says why it was refused there.
    pub(crate) async fn propose_meta(&self, command: &MetaCommand, deadline: Duration) -> Result<Answer, ProposeError> {
        let bytes = codec::encode(command).map_err(|error| ProposeError::Definite(error.to_string()))?;
        let committed = self.propose(META, bytes.into(), deadline).await?;
        codec::decode(&committed.reply).map_err(|error| ProposeError::Indefinite(error.to_string()))
    }

    pub(crate) fn group(&self, id: GroupId) -> Option<Group> {
        self.groups.read().get(&id).cloned()
    }

    #[cfg(feature = "sim")]
    pub(crate) fn leaders(&self) -> Vec<(GroupId, u64, Option<NodeId>)> {
        self.groups.read().values().map(Group::led_by).collect()
    }

    pub(crate) fn all_groups(&self) -> Vec<Group> {
        self.groups.read().values().cloned().collect()
    }

    pub(crate) fn meta(&self) -> Arc<MetaState> {
        Arc::clone(&self.meta.borrow())
    }

    /// Every node of the cluster; those of the first start until the founders are written down.
    pub(crate) fn members(&self) -> BTreeSet<NodeId> {
        let meta = self.meta();
        if meta.members.is_empty() {
            return self.options.bootstrap.iter().map(|peer| peer.id).collect();
        }
        meta.members.keys().copied().collect()
    }

    /// Whose word counts for leases: the newest electorate among ours and those heard of lately.
    pub(crate) fn electorate(&self) -> Electorate {
        let mut newest = self.groups.read().get(&META).map(Group::electorate).unwrap_or_default();
        if newest.sets.is_empty() && !self.options.bootstrap.is_empty() {
            newest.sets = vec![self.options.bootstrap.iter().map(|peer| peer.id).collect()];
        }
        let lately = 2 * Duration::from_millis(self.options.timing.lease_ms);
        for (_, heard) in self.heard.lock().values().filter(|(at, _)| at.elapsed() <= lately) {
            newest.learn(heard.clone());
        }
        newest
    }

    fn hear(&self, from: NodeId, electorate: Electorate) {
        self.heard.lock().insert(from, (Instant::now(), electorate));
    }

    pub(crate) fn lease_valid(&self) -> bool {
        !self.stopping() && self.liveness.lease_valid(&self.electorate())
    }

    pub(crate) fn heard_ago(&self, node: NodeId, incarnation: Incarnation) -> Option<Duration> {
        self.liveness.heard_ago(node, incarnation)
    }

    pub(crate) async fn request(&self, node: NodeId, service: u8, body: Bytes, deadline: Duration) -> Result<Bytes, RequestError> {
        if node == self.options.node {
            let answer = tokio::time::timeout(deadline, self.service.handle(node, service, body)).await;
            return answer.map_err(|_| RequestError::Deadline)?.map_err(RequestError::Refused);
        }
        self.transport.request(node, SERVICE, u32::from(service), &body, deadline).await
    }

    /// Gives every leadership to the most caught-up live voter, then closes so that the peers need no proof.
    pub(crate) async fn shutdown(&self) {
        for group in self.all_groups() {
            self.give_away(&group).await;
        }
        self.linger().await;
        // The close proves the end of this life: peers adopt what it owned at once, so its lease must be over before they hear.
        self.stopping.store(true, Ordering::Release);
        self.transport.close(CLOSED_DRAINED).await;
        self.stop_groups().await;
        self.dismiss_keepers();
    }

    /// Answers what peers have asked already, and goes on refusing until they know the successors: a connection that closes on
    /// a request leaves its asker without an outcome.
    async fn linger(&self) {
        let give_up = Instant::now() + LINGER_MAX;
        while self.answering.load(Ordering::Acquire) > 0 && Instant::now() < give_up {
            sleep(FORWARD_PAUSE).await;
        }
        sleep(LINGER).await;
    }

    /// Transfers a led group; tries again until somebody else leads or two election times have passed.
    async fn give_away(&self, group: &Group) {
        let give_up = Instant::now() + Duration::from_millis(2 * self.options.timing.election_max_ms);
        let meta = self.meta();
        let data = |node: &NodeId| meta.members.get(node).is_some_and(|member| !member.witness);
        while group.leader() == Some(self.options.node) && Instant::now() < give_up {
            let (_, matched) = group.progress();
            let voters = group.voters();
            let live = matched
                .into_iter()
                .filter(|(node, _)| *node != self.options.node && voters.contains(node) && self.transport.connected(*node).is_some());
            let Some((best, _)) = live.max_by_key(|(node, matched)| (data(node), *matched)) else { return };
            if let Err(error) = group.give_leadership_to(best).await {
                tracing::warn!(group = group.id, %error, "a leadership could not be given away");
            }
            sleep(FORWARD_PAUSE).await;
        }
    }
}
