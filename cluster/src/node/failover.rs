//! From silence to a new leader: detect, confirm with the peers, and let the survivor with the longest log succeed.
//!
//! A loss is only a hint until a majority has withdrawn its support; a death notice, a drained close or a newer life of the
//! node is proof and needs no confirmation. Leadership itself comes only from Raft's own vote.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::{
    runtime::Handle,
    sync::broadcast::error::RecvError,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{Node, OPINION, PING, WITHDRAWN, claim::next_incarnation, notes, table::follow_meta};
use crate::{
    GroupId, Incarnation, NodeId, RequestError, codec,
    electorate::Electorate,
    limits::{CONFIRM_PAUSE, CONFIRM_SOON, CONFIRM_TIMEOUT, COURTESY, SUCCESSION_PAUSE, SUCCESSION_TRIES},
    liveness::Liveness,
    meta::{LEFT, MetaCommand},
    offload,
    transport::PeerEvent,
};

/// Patience of one attempt to write something into the meta group.
const PROPOSE_WITHIN: Duration = Duration::from_secs(2);

/// (Term of the last entry, its index) by group.
type Logs = BTreeMap<GroupId, (u64, u64)>;

/// Asks for an opinion, and brings that of the one who asks: both may be a majority, and who is asked acts on it at once then.
#[derive(Debug, Serialize, Deserialize)]
struct Question {
    node: NodeId,
    incarnation: Incarnation,
    withdrawn: bool,
    logs: Logs,
}

/// What a peer thinks of a life of a node, and how long its own logs are.
#[derive(Debug, Serialize, Deserialize)]
struct Opinion {
    withdrawn: bool,
    logs: Logs,
    electorate: Electorate,
}

/// Starts the pings, the table and the reaction to lost peers.
pub(super) fn watch(node: &Arc<Node>) {
    node.keep(ping(Arc::clone(node)));
    node.keep(follow_meta(Arc::clone(node)));
    node.keep(react(Arc::clone(node)));
}

async fn ping(node: Arc<Node>) {
    // Two of three may be lost or late before the lease lapses.
    let mut ticks = interval(Duration::from_millis((node.options.timing.lease_ms / 3).max(10)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !node.stopping() {
        ticks.tick().await;
        let mut peers = node.electorate().nodes();
        peers.extend(node.members());
        for peer in peers.into_iter().filter(|peer| *peer != node.options.node) {
            tokio::spawn(ping_one(Arc::clone(&node), peer));
        }
        if node.liveness.must_begin_anew(&node.electorate(), |peer| node.transport.connected(peer).is_some()) {
            begin_anew(&node);
        }
        node.publish_table();
    }
}

async fn ping_one(node: Arc<Node>, peer: NodeId) {
    let life = node.incarnation();
    let Ok(body) = codec::encode(&(life, node.options.advertise, node.slow.me())) else { return };
    let sent = Liveness::sent();
    let answer = node.transport.request(peer, PING, 0, &body, Duration::from_millis(node.options.timing.lease_ms)).await;
    if life != node.incarnation() {
        return;
    }
    match answer {
        Ok(answer) => {
            // The electorate first: support counts only among those whose word counts by now.
            if let Ok(electorate) = codec::decode(&answer) {
                node.hear(peer, electorate);
                node.liveness.supported(peer, sent);
            }
        }
        Err(RequestError::Refused(why)) if why == WITHDRAWN => node.liveness.refused(peer),
        Err(RequestError::Refused(why)) if why == LEFT && !node.stopping() => node.leave().await,
        Err(_) => {}
    }
}

/// The peers gave this life up, falsely or after a pause of this node. What it owned is no longer its own; with a new life
/// it can serve again, without a restart.
fn begin_anew(node: &Arc<Node>) {
    match next_incarnation(&node.options.data_dir) {
        Ok(incarnation) => {
            tracing::warn!(incarnation, "the peers gave this life of the node up; it begins a new one");
            metrics::counter!("cluster_lives_begun_anew_total").increment(1);
            let former = node.incarnation.swap(incarnation, Ordering::AcqRel);
            node.liveness.begin_anew(former);
            node.transport.begin_anew(incarnation);
            tokio::spawn(Arc::clone(node).register());
        }
        Err(error) => tracing::error!(%error, "a new life of the node cannot be made durable"),
    }
}

async fn react(node: Arc<Node>) {
    let mut events = node.transport.events();
    loop {
        match events.recv().await {
            Ok(PeerEvent::Lost { node: peer, incarnation, drained: true }) => {
                tokio::spawn(proven_dead(Arc::clone(&node), peer, incarnation));
            }
            Ok(PeerEvent::Lost { node: peer, incarnation, drained: false }) => {
                tokio::spawn(confirm(Arc::clone(&node), peer, incarnation));
            }
            Ok(PeerEvent::Up { .. }) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
        node.publish_table();
    }
}

/// Asks the peers about a node that went silent here, until a majority has given it up or it is back.
async fn confirm(node: Arc<Node>, peer: NodeId, incarnation: Incarnation) {
    // The leases that peers granted lapse within moments of each other.
    let pauses = std::iter::repeat_n(CONFIRM_PAUSE, CONFIRM_SOON).chain(std::iter::repeat(SUCCESSION_PAUSE));
    for pause in pauses {
        let back = node.transport.connected(peer).is_some();
        if back || node.stopping() || node.liveness.is_lost(peer, incarnation) || give_up_if_lost(&node, peer, incarnation).await {
            return;
        }
        sleep(pause).await;
    }
}

/// Asks the peers once whether they gave a life up; acts on it if a majority did.
pub(crate) async fn give_up_if_lost(node: &Arc<Node>, peer: NodeId, incarnation: Incarnation) -> bool {
    let (withdrawn, logs) = poll(node, peer, incarnation).await;
    let given_up = node.electorate().majority(|by| withdrawn.contains(&by));
    if given_up {
        tracing::warn!(node = peer, incarnation, "a majority gave this node up");
        lost(node, peer, incarnation, &logs, Duration::ZERO);
    }
    given_up
}

/// Opinions of all reachable nodes, this one's included: who gave the node up, and everybody's logs.
async fn poll(node: &Arc<Node>, peer: NodeId, incarnation: Incarnation) -> (BTreeSet<NodeId>, BTreeMap<NodeId, Logs>) {
    let mut withdrawn = BTreeSet::new();
    if node.gives_up(peer, incarnation).await {
        withdrawn.insert(node.options.node);
    }
    let question = Question { node: peer, incarnation, withdrawn: !withdrawn.is_empty(), logs: node.logs() };
    let mut logs = BTreeMap::from([(node.options.node, question.logs.clone())]);
    let Ok(question) = codec::encode(&question) else { return (withdrawn, logs) };
    let others: Vec<_> = node.members().into_iter().filter(|other| *other != peer && *other != node.options.node).collect();
    let asked = others.into_iter().map(|other| {
        let (node, question) = (Arc::clone(node), question.clone());
        async move { (other, node.transport.request(other, OPINION, 0, &question, CONFIRM_TIMEOUT).await) }
    });
    for (other, answer) in futures::future::join_all(asked).await {
        if let Some(opinion) = answer.ok().and_then(|answer| codec::decode::<Opinion>(&answer).ok()) {
            if opinion.withdrawn {
                withdrawn.insert(other);
            }
            node.hear(other, opinion.electorate);
            logs.insert(other, opinion.logs);
        }
    }
    (withdrawn, logs)
}

/// Writes the loss down, so that nobody renews that life after a restart.
async fn fence(node: Arc<Node>, peer: NodeId, incarnation: Incarnation) {
    let command = MetaCommand::Fence { node: peer, incarnation };
    for _ in 0..SUCCESSION_TRIES {
        if node.stopping() || node.propose_meta(&command, PROPOSE_WITHIN).await.is_ok() {
            return;
        }
        sleep(SUCCESSION_PAUSE).await;
    }
}

/// A death that somebody vouches for.
pub(super) async fn proven_dead(node: Arc<Node>, peer: NodeId, incarnation: Incarnation) {
    tracing::warn!(node = peer, incarnation, "the death of this node is proven");
    // Groups that others lead need not wait for the peers' opinions.
    publish_loss(&node, peer, incarnation);
    let (_, logs) = poll(&node, peer, incarnation).await;
    elect_heirs(&node, peer, incarnation, &logs, Duration::ZERO);
}

/// Publishes the loss and elects successors for every group the lost node led.
fn lost(node: &Arc<Node>, peer: NodeId, incarnation: Incarnation, logs: &BTreeMap<NodeId, Logs>, courtesy: Duration) {
    publish_loss(node, peer, incarnation);
    elect_heirs(node, peer, incarnation, logs, courtesy);
}

fn publish_loss(node: &Arc<Node>, peer: NodeId, incarnation: Incarnation) {
    if node.liveness.lose(peer, incarnation) {
        metrics::counter!("cluster_nodes_lost_total").increment(1);
        tokio::spawn(fence(Arc::clone(node), peer, incarnation));
    }
    node.transport.cut(peer, incarnation);
    node.publish_table();
}

/// Elects successors for every group the lost node led, by the length of their logs. This node stands itself only after `courtesy`.
fn elect_heirs(node: &Arc<Node>, peer: NodeId, incarnation: Incarnation, logs: &BTreeMap<NodeId, Logs>, courtesy: Duration) {
    if node.transport.connected(peer).is_some_and(|life| life > incarnation) {
        return;
    }
    let meta = node.meta();
    let witness = |heir: &NodeId| meta.members.get(heir).is_some_and(|member| member.witness);
    for group in node.all_groups().into_iter().filter(|group| group.leader() == Some(peer)) {
        let length = |candidate: &NodeId| logs[candidate].get(&group.id).copied().unwrap_or_default();
        let voters = group.voters();
        let mut heirs: Vec<_> = logs.keys().copied().filter(|heir| voters.contains(heir)).collect();
        // The longest log first; among equals data nodes, spread by group, the same on every survivor.
        let place = |heir: &NodeId| (Reverse(length(heir)), witness(heir), (heir + u64::from(group.id)) % 2, *heir);
        heirs.sort_by_key(place);
        if heirs.is_empty() {
            continue;
        }
        let courtesy = if heirs[0] == node.options.node { courtesy } else { Duration::ZERO };
        let node = Arc::clone(node);
        tokio::spawn(async move {
            sleep(courtesy).await;
            for attempt in 0..SUCCESSION_TRIES {
                if node.stopping() || group.leader().is_some_and(|leader| leader != peer) {
                    return;
                }
                group.succeed(heirs[attempt % heirs.len()]).await;
                sleep(SUCCESSION_PAUSE).await;
            }
        });
    }
}

impl Node {
    fn logs(&self) -> Logs {
        let last = |group: &crate::raft::group::Group| group.data().last_log.map_or((0, 0), |id| (id.committed_leader_id().term, id.index));
        self.all_groups().iter().map(|group| (group.id, last(group))).collect()
    }

    /// True if this node will never support that life again, and has noted it down: others act on that word, and a process that
    /// is started again must not take it back.
    async fn gives_up(&self, peer: NodeId, incarnation: Incarnation) -> bool {
        if !self.liveness.withdraw(peer, incarnation) {
            return false;
        }
        let mut noted = self.withdrawn.lock().await;
        if noted.get(&peer).is_some_and(|life| *life >= incarnation) {
            return true;
        }
        let (dir, lives) = (self.options.data_dir.clone(), self.liveness.withdrawn());
        let note = offload(Handle::current(), move || notes::note_withdrawn(&dir, &lives).map(|()| lives)).await;
        match note.map_err(io::Error::other).flatten() {
            Ok(lives) => *noted = lives,
            Err(error) => {
                tracing::error!(node = peer, incarnation, %error, "that this node gave another one up cannot be made durable");
                return false;
            }
        }
        true
    }

    /// What this node thinks of another that `from` has lost sight of. It needs no loss of its own for that: a lease that
    /// was not renewed is enough.
    pub(super) async fn opinion(self: &Arc<Self>, from: NodeId, body: &[u8]) -> Result<Bytes, String> {
        let Question { node: peer, incarnation, withdrawn: agreed, logs } = codec::decode(body).map_err(|error| error.to_string())?;
        let withdrawn = self.gives_up(peer, incarnation).await;
        let opinion = Opinion { withdrawn, logs: self.logs(), electorate: self.electorate() };
        let gives_up = |by: NodeId| (by == self.options.node && withdrawn) || (by == from && agreed);
        if opinion.electorate.majority(gives_up) && !self.liveness.is_lost(peer, incarnation) {
            tracing::warn!(node = peer, incarnation, with = from, "a majority gave this node up");
            let logs = BTreeMap::from([(self.options.node, opinion.logs.clone()), (from, logs)]);
            // Whoever asked must have this opinion before its vote is asked for: until then it stands by the old leader.
            lost(self, peer, incarnation, &logs, COURTESY);
        }
        codec::encode(&opinion).map(Bytes::from).map_err(|error| error.to_string())
    }
}
