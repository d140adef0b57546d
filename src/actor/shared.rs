//! What all actors of a node share: the cluster, the partitions, the edge, and the ways to ask and to commit.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use ractor::{Actor, ActorRef};
use tandem_cluster::{Cluster, GroupId, NodeState, ProposeError};
use tokio::{
    sync::{Semaphore, broadcast, watch},
    time::sleep,
};

use super::{
    Census, Directory, Edge as EdgePort, Error, directory,
    limits::{HOUSEKEEPING, IN_FLIGHT_MAX, PAGE_MAX, RETRY_PAUSE, TRY_WITHIN},
    machine::Partition,
    partition::{self, PartitionActor},
    wire::{self, Answer, Ask},
};
use crate::core::{
    Outcome, codec,
    command::{Envelope, LegReport},
    effect::Event,
    id::{CallId, DomainId, Edge, LegId, NodeId},
};

/// How long one commit of an actor may take.
const COMMIT_WITHIN: Duration = Duration::from_secs(5);

pub(super) struct Shared {
    pub(super) cluster: Cluster,
    pub(super) partitions: BTreeMap<GroupId, Arc<Partition>>,
    pub(super) actors: Mutex<BTreeMap<GroupId, ActorRef<partition::Message>>>,
    pub(super) events: broadcast::Sender<Arc<Event>>,
    pub(super) directory: watch::Sender<Arc<Directory>>,
    pub(super) edge: Arc<dyn EdgePort>,
    pub(super) census: Counts,
    pub(super) admitted: Semaphore,
    /// Reports of this node's edge that wait, in order, per call.
    pub(super) reports: Mutex<BTreeMap<CallId, VecDeque<LegReport>>>,
}

/// Counts by kind.
#[derive(Default)]
pub(super) struct Counts(Mutex<BTreeMap<&'static str, Census>>);

impl Counts {
    pub(super) fn born(&self, kind: &'static str) {
        self.change(kind, |census| census.live += 1);
    }

    pub(super) fn died(&self, kind: &'static str) {
        self.change(kind, |census| census.live = census.live.saturating_sub(1));
    }

    pub(super) fn message(&self, kind: &'static str) {
        self.change(kind, |census| census.messages += 1);
    }

    pub(super) fn restarted(&self, kind: &'static str) {
        self.change(kind, |census| census.restarts += 1);
    }

    fn change(&self, kind: &'static str, change: impl FnOnce(&mut Census)) {
        change(self.0.lock().entry(kind).or_default());
    }

    pub(super) fn counts(&self) -> BTreeMap<&'static str, Census> {
        self.0.lock().clone()
    }
}

impl Shared {
    pub(super) async fn start(
        cluster: Cluster,
        partitions: BTreeMap<GroupId, Arc<Partition>>,
        events: broadcast::Sender<Arc<Event>>,
        edge: Arc<dyn EdgePort>,
    ) -> Arc<Self> {
        let shared = Arc::new(Self {
            cluster,
            partitions,
            actors: Mutex::default(),
            events,
            directory: watch::channel(Arc::default()).0,
            edge,
            census: Counts::default(),
            admitted: Semaphore::new(IN_FLIGHT_MAX),
            reports: Mutex::default(),
        });
        for (group, partition) in shared.partitions.clone() {
            let arguments = (Arc::clone(&partition), Arc::clone(&shared));
            let Ok((actor, _)) = Actor::spawn(None, PartitionActor, arguments).await else { continue };
            shared.actors.lock().insert(group, actor.clone());
            let inbox = partition.inbox.lock().take();
            if let Some(mut inbox) = inbox {
                tokio::spawn(async move {
                    while let Some(effects) = inbox.recv().await {
                        // The actor lives as long as the node.
                        let _ = actor.cast(partition::Message::Effects(Box::new(effects)));
                    }
                });
            }
        }
        tokio::spawn(follow_roles(Arc::clone(&shared)));
        tokio::spawn(directory::keep(Arc::clone(&shared)));
        tokio::spawn(fill_archives(Arc::clone(&shared)));
        shared
    }

    pub(super) fn me(&self) -> Edge {
        Edge { node: NodeId(self.cluster.node()), incarnation: self.cluster.incarnation() }
    }

    /// Asks a node once.
    pub(super) async fn ask(&self, node: u64, ask: &Ask) -> Result<Answer, String> {
        let body = Bytes::from(codec::encode(ask));
        let answer = self.cluster.request(node, wire::SERVICE, body, TRY_WITHIN).await.map_err(|error| error.to_string())?;
        codec::decode(&answer).map_err(|error| error.to_string())
    }

    /// Commits where this node leads, or through the leader.
    pub(super) async fn propose(&self, group: GroupId, envelope: &Envelope) -> Answer {
        match self.cluster.propose(group, codec::encode(envelope).into(), COMMIT_WITHIN).await {
            Ok(committed) => codec::decode(&committed.reply).map_or_else(|error| Answer::Unknown(error.to_string()), Answer::Outcome),
            Err(ProposeError::Definite(why)) => Answer::Retry(why),
            Err(ProposeError::Indefinite(why)) => Answer::Unknown(why),
        }
    }

    /// Commits a command through the actor of its row on the leader. `repeatable` ones are tried again when in doubt.
    pub(super) async fn command(
        &self,
        domain: &DomainId,
        envelope: Envelope,
        within: Duration,
        repeatable: bool,
    ) -> Result<Outcome, Error> {
        let _permit = self.admitted.try_acquire().map_err(|_| Error::Unavailable("overloaded".to_owned()))?;
        let group = self.cluster.group_of(domain.as_str()).ok_or_else(|| Error::NoDomain(domain.clone()))?;
        let deadline = Instant::now() + within;
        let ask = Ask::Command { group, envelope: Box::new(envelope) };
        let mut last = Error::Unavailable("no leader".to_owned());
        while Instant::now() < deadline {
            if let Some(leader) = self.cluster.leader(group) {
                match self.ask(leader, &ask).await {
                    Ok(Answer::Outcome(outcome)) => return Ok(outcome),
                    Ok(Answer::Retry(why)) => last = Error::Unavailable(why),
                    Ok(Answer::Unknown(why)) | Err(why) if repeatable => last = Error::Indefinite(why),
                    Ok(Answer::Unknown(why)) | Err(why) => return Err(Error::Indefinite(why)),
                    Ok(_) => last = Error::Unavailable("a garbled answer".to_owned()),
                }
            } else if !self.cluster.lease_valid() {
                // Most nodes cannot be reached: say so at once.
                return Err(Error::Unavailable("no quorum: most nodes cannot be reached".to_owned()));
            }
            sleep(RETRY_PAUSE).await;
        }
        Err(last)
    }

    pub(super) fn owner_of(&self, leg: LegId) -> Option<Edge> {
        self.partitions.values().find_map(|partition| {
            let state = partition.state.read();
            let call = state.domains().values().find_map(|domain| domain.calls().get(&leg.call))?;
            (leg.n == 0 || call.legs.contains_key(&leg.n)).then_some(call.edge)
        })
    }

    /// True for a life of a node that is over for certain.
    pub(super) fn is_lost(&self, edge: Edge) -> bool {
        let nodes = self.cluster.nodes();
        let nodes = nodes.borrow();
        nodes
            .get(&edge.node.0)
            .is_some_and(|row| row.incarnation > edge.incarnation || (row.incarnation == edge.incarnation && row.state == NodeState::Lost))
    }

    /// A live edge that may speak for a dead one: this node, unless it has none itself.
    pub(super) fn heir(&self) -> Option<Edge> {
        let nodes = self.cluster.nodes();
        let nodes = nodes.borrow();
        let edge = |row: &tandem_cluster::NodeStatus| Edge { node: NodeId(row.id), incarnation: row.incarnation };
        let up = |row: &&tandem_cluster::NodeStatus| row.state == NodeState::Up && !row.witness;
        let here = nodes.get(&self.cluster.node()).filter(|row| !row.witness);
        here.or_else(|| nodes.values().find(up)).map(edge)
    }

    pub(super) fn stop_actors(&self, panic: bool) {
        for actor in self.actors.lock().values() {
            // The actor lives as long as the node.
            let _ = actor.cast(partition::Message::StopAll { panic });
        }
    }
}

async fn follow_roles(shared: Arc<Shared>) {
    let mut roles = shared.cluster.roles();
    let tell = |group: GroupId, message: partition::Message| {
        if let Some(actor) = shared.actors.lock().get(&group) {
            // The actor lives as long as the node.
            let _ = actor.cast(message);
        }
    };
    // Leaderships won before anybody listened.
    for group in shared.partitions.keys().filter(|group| shared.cluster.leads(**group).is_some()) {
        tell(*group, partition::Message::Lead { grace_ms: 0 });
    }
    loop {
        match roles.recv().await {
            Ok(change) if change.leading.is_some() => tell(change.group, partition::Message::Lead { grace_ms: change.gap_ms.min(2_000) }),
            Ok(change) => tell(change.group, partition::Message::Step),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Fetches archive records that a snapshot skipped, from the group's leader.
async fn fill_archives(shared: Arc<Shared>) {
    loop {
        sleep(HOUSEKEEPING).await;
        for (group, partition) in &shared.partitions {
            let expected = partition.state.read().archive().next_seq;
            let from = partition.archive.lock().next();
            let Some(leader) = shared.cluster.leader(*group).filter(|leader| from < expected && *leader != shared.cluster.node()) else {
                continue;
            };
            if let Ok(Answer::Records(records)) = shared.ask(leader, &Ask::Archive { group: *group, from }).await {
                let mut archive = partition.archive.lock();
                for record in records.iter().take(PAGE_MAX) {
                    if let Err(error) = archive.append(record) {
                        tracing::error!(group, %error, "a fetched archive record was not taken");
                        break;
                    }
                }
            }
        }
    }
}
