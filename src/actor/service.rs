//! The door for other nodes: every question of `wire` is answered here, on the product's own threads.

use std::{
    io,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use bytes::Bytes;
use serde_bytes::ByteBuf;
use tandem_cluster::{BoxFuture, GroupId, NodeId, codec, offload};

use super::{
    archive::Rows,
    limits::{COMMIT_DEADLINE, PAGE_RECORDS_MAX},
    partition,
    shared::{Job, Shared},
    wire::{Address, Answer, Question},
};
use crate::core::id::{self, Edge, LegId};

/// Answers peers while the node's actors are there. The cluster holds it, so it must not hold the cluster.
#[derive(Default)]
pub(super) struct Desk(OnceLock<Weak<Shared>>);

impl Desk {
    pub(super) fn open(&self, shared: &Arc<Shared>) {
        assert!(self.0.set(Arc::downgrade(shared)).is_ok(), "a node starts its actors once");
    }

    /// Answers a batch of questions.
    pub(super) fn answer(&self, from: NodeId, body: &Bytes) -> BoxFuture<Result<Bytes, String>> {
        let shared = self.0.get().and_then(Weak::upgrade);
        let questions: Result<Vec<Question>, _> = codec::decode(body);
        Box::pin(async move {
            let shared = shared.ok_or("the node is starting or stopping")?;
            let questions = questions.map_err(|error| error.to_string())?;
            // What is only handed on to the edge is handed on here: the product's threads would be one more to wake.
            let handed_on = questions.iter().all(|question| matches!(question, Question::Orders(_) | Question::Tunnel(_)));
            let here = Arc::clone(&shared);
            let answers = async move { futures::future::join_all(questions.into_iter().map(|question| here.answer(from, question))).await };
            let answers = if handed_on { answers.await } else { shared.runtime.spawn(answers).await.map_err(|error| error.to_string())? };
            codec::encode(&answers).map(Bytes::from).map_err(|error| error.to_string())
        })
    }
}

impl Shared {
    /// Answers a question of node `from`, which may be this one.
    pub(super) async fn answer(&self, from: NodeId, question: Question) -> Answer {
        match question {
            Question::Commit { group, to, command } => self.answer_commit(group, to, command).await,
            Question::Orders(orders) => {
                let refused = |_| Answer::Refused("this life of the node may not act for these legs".to_owned());
                self.hand(orders).map_or_else(refused, |()| Answer::Taken)
            }
            Question::Tunnel(frame) => {
                self.edge.tunnelled(id::NodeId(from), Bytes::from(frame.into_vec()));
                Answer::Taken
            }
            Question::Missing(legs) => Answer::Missing(self.edge.missing(legs).await),
            Question::OwnerOf(leg) => Answer::Owner(self.owner_here(leg)),
            Question::Records { group, from, limit } => match self.records(group, from, (limit as usize).min(PAGE_RECORDS_MAX)).await {
                Ok((items, _)) => Answer::Records(items.into_iter().map(|(seq, bytes)| (seq, ByteBuf::from(bytes))).collect()),
                Err(error) => Answer::Refused(error.to_string()),
            },
            Question::Archive(group) => Answer::Archive(self.replicas.get(group).map(|replica| replica.archive.lock().status())),
        }
    }

    async fn answer_commit(&self, group: GroupId, to: Address, command: ByteBuf) -> Answer {
        let Some(actor) = self.replicas.get(group).and_then(|replica| replica.leader()) else {
            return Answer::Refused(format!("node {} does not lead partition {group}", self.cluster.node()));
        };
        let (job, told) = Job::new(command.into_vec().into());
        if actor.cast(partition::Message::Commit(to, job)).is_err() {
            return Answer::Refused("the partition's actor is being spawned again".to_owned());
        }
        match tokio::time::timeout(COMMIT_DEADLINE + Duration::from_secs(1), told).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Answer::Unknown("the actor that held the command fell".to_owned()),
            Err(_) => Answer::Unknown("no answer in time".to_owned()),
        }
    }

    /// The edge of a leg, live or on its way out, as far as the local replicas know.
    pub(super) fn owner_here(&self, leg: LegId) -> Option<Edge> {
        self.replicas.all().iter().find_map(|replica| {
            let state = replica.state.read();
            state.domains().values().find_map(|domain| {
                let call = domain.calls().get(&leg.call).filter(|call| call.has_leg(leg.n));
                let parting = || domain.parting().find(|order| order.leg == leg).map(|order| order.edge);
                call.map(|call| call.edge).or_else(parting)
            })
        })
    }

    /// Records of the local archive.
    pub(super) async fn records(&self, group: GroupId, from: u64, limit: usize) -> io::Result<(Rows, Option<u64>)> {
        let replica = self.replicas.get(group).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no replica here"))?;
        let read = offload(self.runtime.clone(), move || {
            let plan = replica.archive.lock().plan(from, limit)?;
            plan.read()
        });
        read.await.map_err(io::Error::other)?
    }
}
