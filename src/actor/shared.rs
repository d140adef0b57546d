//! What every actor and task of a node holds: the cluster, the replicas, the edge, the way to other nodes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tandem_cluster::{Cluster, GroupId, ProposeError};
use tokio::{sync::oneshot, time::Instant};

use super::{
    Edge,
    census::Counters,
    lane::{self, Lanes},
    limits::{COMMIT_DEADLINE, REDELIVERIES_MAX},
    machine::{Replicas, encode},
    wire::{Answer, Question},
};
use crate::core::{
    Command,
    command::Envelope,
    effect::{Action, Order},
    id::{self, NodeId},
};

pub(super) struct Shared {
    pub(super) cluster: Cluster,
    pub(super) replicas: Arc<Replicas>,
    pub(super) lanes: Lanes,
    pub(super) counters: Counters,
    pub(super) edge: Arc<dyn Edge>,
    /// Off only in drills: an actor that stopped is then not spawned again.
    pub(super) respawn: AtomicBool,
    /// The product's threads; requests of peers come in on the cluster's.
    pub(super) runtime: tokio::runtime::Handle,
}

impl Shared {
    /// This life of this node, as the owner of legs.
    pub(super) fn me(&self) -> id::Edge {
        id::Edge { node: NodeId(self.cluster.node()), incarnation: self.cluster.incarnation() }
    }

    /// Gives orders to the edge of this node if they are all for this life of it and it may act for its legs; else gives them back. A
    /// life without its lease may have been given up by the others: what it took, it would never do. It may always forget a leg.
    pub(super) fn hand(&self, orders: Vec<Order>) -> Result<(), Vec<Order>> {
        let me = self.me();
        let acts = orders.iter().any(|order| !matches!(order.action, Action::Release));
        if (acts && !self.cluster.lease_valid()) || orders.iter().any(|order| order.edge != me) {
            return Err(orders);
        }
        self.edge.perform(orders);
        Ok(())
    }

    /// Brings orders of one edge to it, wherever it is. Returns whether it has them.
    pub(super) async fn bring(&self, edge: id::Edge, orders: Vec<Order>) -> bool {
        if edge.node == self.me().node {
            return self.hand(orders).is_ok();
        }
        matches!(self.lanes.ask(edge.node.0, lane::Kind::Orders, Question::Orders(orders)).await, Ok(Answer::Taken))
    }

    pub(super) fn respawns(&self) -> bool {
        self.respawn.load(Relaxed)
    }

    /// Proposes bytes on a group this node leads.
    pub(super) async fn commit(&self, group: GroupId, command: Bytes) -> Answer {
        match self.cluster.propose(group, command, COMMIT_DEADLINE).await {
            Ok(committed) => Answer::Committed(committed.reply.to_vec().into()),
            Err(ProposeError::Definite(why) | ProposeError::Refused(why)) => Answer::Refused(why),
            Err(ProposeError::Indefinite(why)) => Answer::Unknown(why),
        }
    }

    /// Proposes a command of the actors' own, which nobody waits for. True if it was committed, whatever came of it.
    pub(super) async fn propose(&self, group: GroupId, command: Command) -> bool {
        let answer = self.commit(group, encode(&Envelope { request: None, command })).await;
        matches!(answer, Answer::Committed(_))
    }
}

/// A command on its way through an actor, and who waits for the answer. A copy is kept while it is handled.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) command: Bytes,
    pub(super) since: Instant,
    tell: Arc<Mutex<Option<oneshot::Sender<Answer>>>>,
    redelivered: u8,
}

impl Job {
    pub(super) fn new(command: Bytes) -> (Self, oneshot::Receiver<Answer>) {
        let (tell, told) = oneshot::channel();
        (Self { command, since: Instant::now(), tell: Arc::new(Mutex::new(Some(tell))), redelivered: 0 }, told)
    }

    pub(super) fn answer(self, answer: Answer) {
        if let Some(tell) = self.tell.lock().take() {
            // Whoever asked may have given up.
            tell.send(answer).ok();
        }
    }

    /// The same again, for the actor that follows one it killed.
    pub(super) fn again(mut self) -> Option<Self> {
        self.redelivered += 1;
        (self.redelivered <= REDELIVERIES_MAX).then_some(self)
    }
}

/// Twice as long, up to a bound.
pub(super) fn longer(pause: Duration, max: Duration) -> Duration {
    (pause * 2).min(max)
}
