//! A running node: its groups, its connections, and the answers it gives to peers.

mod failover;

pub use failover::announce_death;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use openraft::BasicNode;
use parking_lot::RwLock;
use tokio::{
    sync::{broadcast, watch},
    time::sleep,
};

use crate::{
    Committed, GroupId, Incarnation, MachineFactory, NodeId, NodeState, NodeStatus, NodeTable, Options, ProposeError, RequestError,
    RoleChange, Service, StartError,
    api::BoxFuture,
    codec,
    limits::{FORWARD_PAUSE, LOCK_WITHIN, ROLE_EVENTS, WIPED_WITHIN},
    liveness::Liveness,
    log::{snapshot::Store, storage::NodeLog},
    meta::{META, MetaCommand, MetaMachine, MetaState, NodeRow, REFUSED},
    raft::{
        group::{Group, Setting},
        machine::Applied,
        network::{self, Router},
    },
    transport::{self, CLOSED_DRAINED, CLOSED_PLAIN, Files, Handler, Transport},
};

/// Kinds of frames above Raft's own.
const PROPOSE: u8 = 10 | transport::APPLICATION;
const READ_INDEX: u8 = 11 | transport::APPLICATION;
const SERVICE: u8 = 12 | transport::APPLICATION;
const PING: u8 = 13;
const DEATH: u8 = 14;
const OPINION: u8 = 15;
/// Which life of me do you know?
const KNOWN: u8 = 16;

/// The answer to the ping of a life that was given up.
const WITHDRAWN: &str = "support was withdrawn from this life";

pub(crate) struct Node {
    pub(crate) options: Options,
    incarnation: AtomicU64,
    groups: RwLock<BTreeMap<GroupId, Group>>,
    pub(crate) transport: Transport,
    pub(crate) roles: broadcast::Sender<RoleChange>,
    meta: watch::Receiver<Arc<MetaState>>,
    pub(crate) table: watch::Sender<Arc<NodeTable>>,
    liveness: Liveness,
    service: Arc<dyn Service>,
    /// Keeps every other process off the data directory.
    _lock: fs::File,
}

/// Takes the data directory for this process; two nodes on one log would destroy it.
async fn lock(dir: &Path) -> Result<fs::File, StartError> {
    let refuse = |error: &dyn std::fmt::Display| StartError::Config(format!("{} cannot be locked: {error}", dir.display()));
    let file = fs::File::create(dir.join("lock")).map_err(|error| refuse(&error))?;
    let give_up = Instant::now() + LOCK_WITHIN;
    loop {
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < give_up => sleep(FORWARD_PAUSE).await,
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(refuse(&"another process runs on it")),
            Err(error) => return Err(refuse(&error)),
        }
    }
}

/// Counts this start in a file that is durable before anything else happens.
fn next_incarnation(dir: &Path) -> io::Result<Incarnation> {
    let path = dir.join("incarnation");
    let last: Incarnation = match fs::read_to_string(&path) {
        Ok(text) => {
            text.trim().parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged", path.display())))?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    let temporary = path.with_extension("new");
    fs::write(&temporary, format!("{}\n", last + 1))?;
    fs::File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, &path)?;
    fs::File::open(dir)?.sync_all()?;
    Ok(last + 1)
}

/// Asks the peers whether a node with an empty disk has lived before: then its votes and its log are gone, and it must
/// not vote again under that name. Peers that are not up yet are not waited for long; the meta group refuses it later.
async fn refuse_a_wiped_disk(options: &Options, transport: &Transport) -> Result<(), StartError> {
    let give_up = Instant::now() + WIPED_WITHIN;
    let mut silent: BTreeSet<NodeId> = options.bootstrap.iter().map(|peer| peer.id).filter(|id| *id != options.node).collect();
    while !silent.is_empty() && Instant::now() < give_up {
        for peer in silent.clone() {
            let Ok(answer) = transport.request(peer, KNOWN, 0, &[], WIPED_WITHIN).await else { continue };
            silent.remove(&peer);
            let known = answer.first_chunk::<8>().map_or(0, |life| Incarnation::from_le_bytes(*life));
            if known > 0 {
                transport.close(CLOSED_PLAIN).await;
                return Err(StartError::Config(format!(
                    "node {} has lived before (incarnation {known}, says node {peer}) and {} is empty: what it voted and stored is lost. \
                     Give it its disk back, or remove it from the cluster and join under a new id",
                    options.node,
                    options.data_dir.display()
                )));
            }
        }
        sleep(FORWARD_PAUSE).await;
    }
    Ok(())
}

/// Lets the transport start before the node it answers for exists.
struct LateHandler {
    node: OnceLock<Arc<Node>>,
    /// True in the first life of a disk, which can know nothing of the others'.
    fresh: bool,
}

impl Handler for LateHandler {
    fn handle(&self, from: NodeId, kind: u8, group: u32, body: Bytes) -> BoxFuture<Result<Bytes, String>> {
        match self.node.get().cloned() {
            Some(node) => Box::pin(async move { node.answer(from, kind, group, body).await }),
            None if kind == KNOWN && self.fresh => Box::pin(async { Ok(Bytes::copy_from_slice(&0_u64.to_le_bytes())) }),
            None => Box::pin(async { Err("the node is starting".to_owned()) }),
        }
    }
}

impl Node {
    pub(crate) async fn start(
        options: Options,
        factory: Arc<dyn MachineFactory>,
        service: Arc<dyn Service>,
    ) -> Result<Arc<Self>, StartError> {
        fs::create_dir_all(&options.data_dir).map_err(|error| StartError::Config(error.to_string()))?;
        let lock = lock(&options.data_dir).await?;
        let incarnation = next_incarnation(&options.data_dir).map_err(|error| StartError::Log(error.to_string()))?;
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
        transport.set_peers(&options.bootstrap.iter().map(|peer| (peer.id, peer.addr)).collect());
        if incarnation == 1 {
            refuse_a_wiped_disk(&options, &transport).await?;
        }
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
            table: watch::channel(Arc::default()).0,
            service,
            options,
            _lock: lock,
        });
        // Set once: this is the only place.
        let _ = handler.node.set(Arc::clone(&node));
        node.found().await?;
        failover::watch(&node);
        tokio::spawn(Arc::clone(&node).register());
        Ok(node)
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        self.incarnation.load(Ordering::Acquire)
    }

    /// At the very first start, founds every group with them as its voters.
    async fn found(&self) -> Result<(), StartError> {
        let groups: Vec<_> = self.groups.read().values().cloned().collect();
        for group in groups {
            let members: BTreeMap<_, _> = self.options.bootstrap.iter().map(|peer| (peer.id, BasicNode::new(peer.addr))).collect();
            // One founder is enough and spares a split first vote; the least id founds, spread by group.
            let founder = members.keys().nth(group.id as usize % members.len().max(1)).copied();
            if founder == Some(self.options.node) {
                group.initialize(members).await.map_err(StartError::Raft)?;
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
        loop {
            let command = MetaCommand::Register { node: self.options.node, row: row.clone() };
            match self.propose_meta(&command, Duration::from_secs(2)).await {
                Ok(REFUSED) if self.incarnation() == incarnation => return self.cease().await,
                Ok(_) => return,
                Err(error) => tracing::debug!(%error, "not registered yet"),
            }
            sleep(FORWARD_PAUSE).await;
        }
    }

    /// The cluster knows a later life of this node than its own disk does: the disk was lost or put back, and with it
    /// votes and entries others count on.
    async fn cease(&self) {
        tracing::error!(
            node = self.options.node,
            incarnation = self.incarnation(),
            "the cluster knows a later life of this node: its data directory was lost or restored. It stops here; \
             clear the directory and join under a new node id"
        );
        for group in self.all_groups() {
            // An error means it has stopped already.
            let _ = group.raft.shutdown().await;
        }
        self.transport.close(CLOSED_PLAIN).await;
    }

    pub(crate) async fn propose_meta(&self, command: &MetaCommand, deadline: Duration) -> Result<GroupId, ProposeError> {
        let bytes = codec::encode(command).map_err(|error| ProposeError::Definite(error.to_string()))?;
        let committed = self.propose(META, bytes.into(), deadline).await?;
        let reply = committed.reply.first_chunk::<4>().copied().unwrap_or_default();
        Ok(GroupId::from_le_bytes(reply))
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

    pub(crate) fn meta_changes(&self) -> watch::Receiver<Arc<MetaState>> {
        self.meta.clone()
    }

    fn voters(&self) -> BTreeSet<NodeId> {
        self.options.bootstrap.iter().map(|peer| peer.id).collect()
    }

    pub(crate) fn lease_valid(&self) -> bool {
        self.liveness.lease_valid(&self.voters())
    }

    /// True if too few nodes can be reached for anything to be committed.
    fn without_quorum(&self) -> bool {
        let voters = self.voters();
        let reached = voters.iter().filter(|node| **node == self.options.node || self.transport.connected(**node).is_some()).count();
        reached * 2 <= voters.len()
    }

    /// Commits here or through the leader; waits for a leader while a quorum is in reach.
    pub(crate) async fn propose(&self, id: GroupId, command: Bytes, within: Duration) -> Result<Committed, ProposeError> {
        let deadline = Instant::now() + within;
        let group = self.group(id).ok_or_else(|| ProposeError::Definite(format!("no group {id}")))?;
        loop {
            let result = match group.leader() {
                Some(leader) if leader == self.options.node => group.propose(command.clone(), deadline).await,
                Some(leader) => self.forward(leader, id, &command, deadline).await,
                None if self.without_quorum() => Err(ProposeError::Definite("no quorum: most nodes cannot be reached".to_owned())),
                None => Err(ProposeError::Definite("no leader".to_owned())),
            };
            match result {
                Err(ProposeError::Definite(why)) if Instant::now() + FORWARD_PAUSE < deadline && !self.without_quorum() => {
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
                Err(error) if self.without_quorum() || Instant::now() + FORWARD_PAUSE >= deadline => return Err(error),
                Err(_) => sleep(FORWARD_PAUSE).await,
            }
        }
    }

    async fn answer(self: Arc<Self>, from: NodeId, kind: u8, group: GroupId, body: Bytes) -> Result<Bytes, String> {
        match kind {
            PROPOSE => self.answer_proposal(group, &body).await,
            READ_INDEX => {
                let group = self.group(group).ok_or("no such group")?;
                group.read_index().await.map(|index| Bytes::copy_from_slice(&index.to_le_bytes())).map_err(|error| error.to_string())
            }
            SERVICE => self.service.handle(from, u8::try_from(group).map_err(|_| "no such service")?, body).await,
            PING => {
                let incarnation = body.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes)).ok_or("a ping without an incarnation")?;
                let fenced = self.meta().fenced.get(&from).is_some_and(|life| *life >= incarnation);
                if !fenced && self.liveness.support(from, incarnation) { Ok(Bytes::new()) } else { Err(WITHDRAWN.to_owned()) }
            }
            DEATH => {
                let (node, incarnation): (NodeId, Incarnation) = codec::decode(&body).map_err(|error| error.to_string())?;
                if node != from {
                    return Err("only a node's own watcher may report its death".to_owned());
                }
                tokio::spawn(failover::proven_dead(self, node, incarnation));
                Ok(Bytes::new())
            }
            OPINION => self.opinion(&body),
            KNOWN => {
                let life = self.meta().nodes.get(&from).map_or(0, |row| row.incarnation);
                Ok(Bytes::copy_from_slice(&life.to_le_bytes()))
            }
            kind => {
                let group = self.group(group).ok_or("no such group")?;
                if kind == network::APPEND {
                    group.heard_leader();
                }
                network::answer(&group.raft, kind, &body).await
            }
        }
    }

    async fn answer_proposal(&self, group: GroupId, body: &Bytes) -> Result<Bytes, String> {
        let group = self.group(group).ok_or("no such group")?;
        let (left_ms, _) = body.split_first_chunk::<8>().ok_or("a proposal without a deadline")?;
        let deadline = Instant::now() + Duration::from_millis(u64::from_le_bytes(*left_ms));
        let mut answer = Vec::new();
        match group.propose(body.slice(8..), deadline).await {
            Ok(committed) => {
                answer.push(0);
                answer.extend_from_slice(&committed.index.to_le_bytes());
                answer.extend_from_slice(&committed.reply);
            }
            Err(ProposeError::Definite(why)) => {
                answer.push(1);
                answer.extend_from_slice(why.as_bytes());
            }
            Err(ProposeError::Indefinite(why)) => {
                answer.push(2);
                answer.extend_from_slice(why.as_bytes());
            }
        }
        Ok(answer.into())
    }

    pub(crate) async fn request(&self, node: NodeId, service: u8, body: Bytes, deadline: Duration) -> Result<Bytes, RequestError> {
        if node == self.options.node {
            let answer = tokio::time::timeout(deadline, self.service.handle(node, service, body)).await;
            return answer.map_err(|_| RequestError::Deadline)?.map_err(RequestError::Refused);
        }
        self.transport.request(node, SERVICE, u32::from(service), &body, deadline).await
    }

    /// The nodes as seen from here, from the meta group and the leases.
    fn publish_table(&self) {
        let meta = self.meta();
        let row = |(id, row): (&NodeId, &NodeRow)| {
            let here = *id == self.options.node;
            let state = if self.liveness.is_lost(*id, row.incarnation) {
                NodeState::Lost
            } else if row.draining {
                NodeState::Draining
            } else if here || self.transport.connected(*id).is_some() {
                NodeState::Up
            } else {
                NodeState::Suspect
            };
            let status = NodeStatus {
                id: *id,
                incarnation: row.incarnation,
                addr: row.addr,
                witness: row.witness,
                state,
                attributes: row.attributes.clone(),
            };
            (*id, status)
        };
        let table: NodeTable = meta.nodes.iter().map(row).collect();
        self.table.send_if_modified(|current| {
            let changed = **current != table;
            if changed {
                *current = Arc::new(table);
            }
            changed
        });
    }

    /// Gives every leadership to the most caught-up live voter, then closes so that the peers need no proof.
    pub(crate) async fn shutdown(&self) {
        for group in self.all_groups() {
            self.give_away(&group).await;
        }
        self.transport.close(CLOSED_DRAINED).await;
        for group in self.all_groups() {
            // An error means it has stopped already.
            let _ = group.raft.shutdown().await;
        }
    }

    /// Transfers a led group; tries again until somebody else leads or two election times have passed.
    pub(crate) async fn give_away(&self, group: &Group) {
        let give_up = Instant::now() + Duration::from_millis(2 * self.options.timing.election_max_ms);
        while group.leader() == Some(self.options.node) && Instant::now() < give_up {
            let replication = group.metrics().replication.unwrap_or_default();
            let live = replication.into_iter().filter(|(node, _)| *node != self.options.node && self.transport.connected(*node).is_some());
            let Some((best, _)) = live.max_by_key(|(_, matched)| matched.as_ref().map(|id| id.index)) else { return };
            if let Err(error) = group.give_leadership_to(best).await {
                tracing::warn!(group = group.id, %error, "a leadership could not be given away");
            }
            sleep(FORWARD_PAUSE).await;
        }
    }
}
