//! A running node: its groups, its connections, and the answers it gives to peers.

mod answer;
mod claim;
mod compaction;
pub(crate) mod failover;
pub(crate) mod notes;
mod table;

pub use failover::announce_death;
pub use notes::has_left;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use openraft::BasicNode;
use parking_lot::{Mutex, RwLock};
use tokio::{
    sync::{broadcast, watch},
    time::sleep,
};

use crate::{
    Committed, GroupId, Incarnation, MachineFactory, NodeId, NodeTable, Options, ProposeError, RequestError, RoleChange, Service, Standing,
    StartError, codec,
    electorate::Electorate,
    limits::{ADMISSION_PAUSE, FORWARD_PAUSE, ROLE_EVENTS},
    liveness::Liveness,
    log::{snapshot::Store, storage::NodeLog},
    meta::{Answer, LEFT, META, MetaCommand, MetaMachine, MetaState, NOT_ADMITTED, NodeRow},
    placement::{self, founder},
    raft::{
        group::{Group, Setting},
        machine::Applied,
        network::Router,
    },
    transport::{self, CLOSED_DRAINED, CLOSED_PLAIN, Files, Handler, Transport},
};

use answer::LateHandler;

/// Kinds of frames above Raft's own.
const PROPOSE: u8 = 10 | transport::APPLICATION;
const READ_INDEX: u8 = 11 | transport::APPLICATION;
const SERVICE: u8 = 12 | transport::APPLICATION;
const PING: u8 = 13;
const DEATH: u8 = 14;
const OPINION: u8 = 15;
/// Which life of me do you know?
const KNOWN: u8 = 16;
const LEFT_FOR_GOOD: &str = "has left its cluster for good";

/// The answer to the ping of a life that was given up.
const WITHDRAWN: &str = "support was withdrawn from this life";

pub(crate) struct Node {
    pub(crate) options: Options,
    incarnation: AtomicU64,
    groups: RwLock<BTreeMap<GroupId, Group>>,
    pub(crate) transport: Transport,
    pub(crate) roles: broadcast::Sender<RoleChange>,
    meta: watch::Receiver<Arc<MetaState>>,
    log: NodeLog,
    pub(crate) table: watch::Sender<Arc<NodeTable>>,
    liveness: Liveness,
    /// Where peers said they are.
    told: Mutex<BTreeMap<NodeId, SocketAddr>>,
    /// Where the peers are, as last noted on disk.
    noted: Mutex<BTreeMap<NodeId, SocketAddr>>,
    /// Electorates the peers told, and when.
    heard: Mutex<BTreeMap<NodeId, (Instant, Electorate)>>,
    stopping: AtomicBool,
    pub(crate) standing: watch::Sender<Standing>,
    service: Arc<dyn Service>,
    /// Keeps every other process off the data directory.
    _lock: fs::File,
}

impl Node {
    pub(crate) async fn start(
        options: Options,
        factory: Arc<dyn MachineFactory>,
        service: Arc<dyn Service>,
    ) -> Result<Arc<Self>, StartError> {
        fs::create_dir_all(&options.data_dir).map_err(|error| StartError::Config(error.to_string()))?;
        let lock = claim::lock(&options.data_dir).await?;
        if notes::has_left(&options.data_dir) {
            let dir = options.data_dir.display();
            return Err(StartError::Config(format!("node {} {LEFT_FOR_GOOD}; clear {dir} and join under a new id", options.node)));
        }
        notes::name(&options.data_dir, options.node).map_err(|error| StartError::Config(error.to_string()))?;
        let incarnation = claim::next_incarnation(&options.data_dir).map_err(|error| StartError::Log(error.to_string()))?;
        let log =
            NodeLog::open(&options.data_dir.join("wal"), options.wal_segment_bytes).map_err(|error| StartError::Log(error.to_string()))?;
        let store = Store::open(&options.data_dir.join("snapshots")).map_err(|error| StartError::Log(error.to_string()))?;
        let handler = Arc::new(LateHandler { node: OnceLock::new(), fresh: incarnation == 1 });
        let transport = Transport::start(
            transport::Options {
                node: options.node,
                incarnation,
                listen: options.listen,
                files: Files { ca: options.ca.clone(), cert: options.cert.clone(), key: options.key.clone() },
                loss_after_ms: options.timing.loss_after_ms,
                levels: (0, options.feature_level),
            },
            Arc::clone(&handler) as Arc<dyn Handler>,
        )
        .map_err(|error| StartError::Transport(error.to_string()))?;
        transport.set_peers(&notes::known(&options));
        let founded = incarnation == 1 && claim::ask_peers(&options, &transport, incarnation).await?;
        let (roles, _) = broadcast::channel(ROLE_EVENTS);
        let (publish, meta) = watch::channel(Arc::new(MetaState::default()));
        let setting = Setting {
            node: options.node,
            timing: options.timing.clone(),
            snapshot_every: options.snapshot_every,
            router: Router { transport: Arc::new(transport.clone()) },
            roles: roles.clone(),
        };
        let mut groups = BTreeMap::new();
        for id in 0..=options.groups {
            let machine = if id == META { Box::new(MetaMachine::new(publish.clone())) } else { factory.open(id) };
            let applied = Applied::open(id, machine, store.clone()).map_err(|error| StartError::Log(error.to_string()))?;
            groups.insert(id, Group::open(id, log.group(id), applied, &setting).await.map_err(StartError::Raft)?);
        }
        let node = Arc::new(Self {
            liveness: Liveness::new(options.node, options.timing.lease_ms),
            incarnation: AtomicU64::new(incarnation),
            groups: RwLock::new(groups),
            transport,
            roles,
            meta,
            log,
            table: watch::channel(Arc::default()).0,
            told: Mutex::default(),
            noted: Mutex::default(),
            heard: Mutex::default(),
            stopping: AtomicBool::new(false),
            standing: watch::Sender::new(Standing::Waiting),
            service,
            options,
            _lock: lock,
        });
        // Set once: this is the only place.
        let _ = handler.node.set(Arc::clone(&node));
        if !founded {
            node.found().await?;
        }
        failover::watch(&node);
        placement::watch(&node);
        compaction::watch(&node);
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
    async fn cease(&self, why: &str) {
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
    }

    async fn stop_groups(&self) {
        self.stopping.store(true, Ordering::Release);
        for group in self.all_groups() {
            // An error means it has stopped already.
            let _ = group.raft.shutdown().await;
        }
    }

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
        let mut newest = self.group(META).map(|group| group.electorate()).unwrap_or_default();
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

    /// True if too few voters of a group can be reached for anything to be committed.
    fn without_quorum(&self, group: &Group) -> bool {
        let mut voters = group.electorate();
        if voters.sets.is_empty() {
            voters = self.electorate();
        }
        !voters.majority(|node| node == self.options.node || self.transport.connected(node).is_some())
    }

    /// Commits here or through the leader; waits for a leader while a quorum is in reach.
    pub(crate) async fn propose(&self, id: GroupId, command: Bytes, within: Duration) -> Result<Committed, ProposeError> {
        let deadline = Instant::now() + within;
        let group = self.group(id).ok_or_else(|| ProposeError::Definite(format!("no group {id}")))?;
        loop {
            let result = match group.leader() {
                Some(leader) if leader == self.options.node => group.propose(command.clone(), deadline).await,
                Some(leader) => self.forward(leader, id, &command, deadline).await,
                None if self.without_quorum(&group) => Err(ProposeError::Definite("no quorum: most nodes cannot be reached".to_owned())),
                None => Err(ProposeError::Definite("no leader".to_owned())),
            };
            match result {
                Err(ProposeError::Definite(why)) if Instant::now() + FORWARD_PAUSE < deadline && !self.without_quorum(&group) => {
                    tracing::trace!(group = id, %why, "proposing again");
                    sleep(FORWARD_PAUSE).await;
                }
                result => return result,
            }
        }
    }

    async fn forward(&self, leader: NodeId, group: GroupId, command: &Bytes, deadline: Instant) -> Result<Committed, ProposeError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut body = (left.as_millis() as u64).to_le_bytes().to_vec();
        body.extend_from_slice(command);
        match self.transport.request(leader, PROPOSE, group, &body, left).await {
            Ok(answer) => match answer.split_first() {
                Some((0, rest)) if rest.len() >= 8 => {
                    let (index, reply) = rest.split_at(8);
                    let index = u64::from_le_bytes(index.try_into().expect("eight bytes were split off"));
                    Ok(Committed { index, reply: answer.slice_ref(reply) })
                }
                Some((1, why)) => Err(ProposeError::Definite(String::from_utf8_lossy(why).into_owned())),
                _ => Err(ProposeError::Indefinite(String::from_utf8_lossy(answer.get(1..).unwrap_or_default()).into_owned())),
            },
            Err(RequestError::Unreachable(_, why)) if why == "not connected" => Err(ProposeError::Definite(why)),
            Err(RequestError::Refused(why)) => Err(ProposeError::Definite(why)),
            Err(error) => Err(ProposeError::Indefinite(error.to_string())),
        }
    }

    /// Waits until the local replica has everything that was committed when this was called.
    pub(crate) async fn read_barrier(&self, id: GroupId, within: Duration) -> Result<u64, ProposeError> {
        let deadline = Instant::now() + within;
        let group = self.group(id).ok_or_else(|| ProposeError::Definite(format!("no replica of group {id} here")))?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let index = match group.leader() {
                Some(leader) if leader == self.options.node => group.read_index().await,
                Some(leader) => match self.transport.request(leader, READ_INDEX, id, &[], left).await {
                    Ok(answer) => answer
                        .first_chunk::<8>()
                        .map(|index| u64::from_le_bytes(*index))
                        .ok_or_else(|| ProposeError::Definite("a garbled answer".to_owned())),
                    Err(error) => Err(ProposeError::Definite(error.to_string())),
                },
                None => Err(ProposeError::Definite("no leader".to_owned())),
            };
            match index {
                Ok(index) => return group.applied_to(index, left).await.map(|()| index),
                Err(error) if self.without_quorum(&group) || Instant::now() + FORWARD_PAUSE >= deadline => return Err(error),
                Err(_) => sleep(FORWARD_PAUSE).await,
            }
        }
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
        self.transport.close(CLOSED_DRAINED).await;
        self.stop_groups().await;
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
