//! What a node answers its peers.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{DEATH, KNOWN, Node, OPINION, PING, PROPOSE, READ_INDEX, SERVICE, WITHDRAWN, claim::Known, failover, notes, pace::Behind};
use crate::{
    GroupId, Incarnation, NodeId, ProposeError, codec,
    meta::{LEFT, NOT_ADMITTED},
    raft::{
        group::Group,
        heartbeats::{self, HEARTBEATS},
        network,
    },
    transport::Handler,
    types::BoxFuture,
};

/// Lets the transport start before the node it answers for exists. The node holds the transport, so this must not hold the node.
pub(super) struct LateHandler {
    pub(super) node: OnceLock<Weak<Node>>,
    /// True in the first life of a disk, which can know nothing of the others'.
    pub(super) fresh: bool,
}

impl Handler for LateHandler {
    fn handle(&self, from: NodeId, kind: u8, group: u32, body: Bytes) -> BoxFuture<Result<Bytes, String>> {
        match self.node.get().map(Weak::upgrade) {
            Some(Some(node)) => Box::pin(async move { node.answer(from, kind, group, body).await }),
            Some(None) => Box::pin(async { Err("the node is gone".to_owned()) }),
            None if kind == KNOWN && self.fresh => Box::pin(async { encode(&Known::default()) }),
            None => Box::pin(async { Err("the node is starting".to_owned()) }),
        }
    }
}

/// Counts a request while it is being answered, however that ends.
struct Answering<'a>(&'a AtomicUsize);

impl<'a> Answering<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn encode<T: serde::Serialize>(value: &T) -> Result<Bytes, String> {
    codec::encode(value).map(Bytes::from).map_err(|error| error.to_string())
}

impl Node {
    async fn answer(self: Arc<Self>, from: NodeId, kind: u8, group: GroupId, body: Bytes) -> Result<Bytes, String> {
        if self.meta().departed.contains(&from) {
            return Err(LEFT.to_owned());
        }
        match kind {
            PROPOSE => {
                let _answering = Answering::begin(&self.answering);
                self.answer_proposal(group, &body).await
            }
            READ_INDEX => {
                let group = self.group(group).ok_or("no such group")?;
                group.read_index().await.map(|index| Bytes::copy_from_slice(&index.to_le_bytes())).map_err(|error| error.to_string())
            }
            SERVICE => {
                let _answering = Answering::begin(&self.answering);
                self.service.handle(from, u8::try_from(group).map_err(|_| "no such service")?, body).await
            }
            PING => self.answer_ping(from, &body),
            DEATH => {
                let (node, incarnation): (NodeId, Incarnation) = codec::decode(&body).map_err(|error| error.to_string())?;
                if node != from {
                    return Err("only a node's own watcher may report its death".to_owned());
                }
                tokio::spawn(failover::proven_dead(self, node, incarnation));
                Ok(Bytes::new())
            }
            OPINION => self.opinion(from, &body).await,
            HEARTBEATS => heartbeats::answer(&body, |id| self.group(id).inspect(|group| self.heard(group, from))).await,
            KNOWN => {
                let meta = self.meta();
                let joins = !meta.members.is_empty() && !meta.founders.contains(&from);
                let known: Known = (meta.nodes.get(&from).map_or(0, |row| row.incarnation), joins);
                encode(&known)
            }
            kind => {
                let group = self.group(group).ok_or("no such group")?;
                if kind == network::APPEND {
                    self.heard(&group, from);
                }
                network::answer(&group.raft, kind, body).await
            }
        }
    }

    /// A witness leads only to hand over; the time in which nobody served goes on.
    fn heard(&self, group: &Group, from: NodeId) {
        if !self.is_witness(from) {
            group.heard_leader();
        }
    }

    /// Supports a life of a peer, learns where it is, and tells whose word counts.
    fn answer_ping(&self, from: NodeId, body: &[u8]) -> Result<Bytes, String> {
        let (incarnation, addr, behind): (Incarnation, SocketAddr, Behind) = codec::decode(body).map_err(|error| error.to_string())?;
        if !self.members().contains(&from) {
            return Err(NOT_ADMITTED.to_owned());
        }
        let fenced = self.meta().fenced.get(&from).is_some_and(|life| *life >= incarnation);
        if fenced || !self.liveness.support(from, incarnation) {
            return Err(WITHDRAWN.to_owned());
        }
        self.slow.hear(from, behind);
        if self.told.lock().insert(from, addr) != Some(addr) {
            self.meet_peers();
        }
        encode(&self.electorate())
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
            Err(ProposeError::Definite(why) | ProposeError::Refused(why)) => {
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

    /// Connects to every member, where it was last heard from.
    pub(super) fn meet_peers(&self) {
        let meta = self.meta();
        let told = self.told.lock().clone();
        let listed = |id: &NodeId| self.options.bootstrap.iter().find(|peer| peer.id == *id).map(|peer| peer.addr);
        let ids: BTreeSet<NodeId> = self.members();
        let addr = |id: &NodeId| {
            let known = meta.members.get(id).map(|member| member.addr);
            told.get(id).copied().or_else(|| listed(id)).or(known)
        };
        let peers = ids.into_iter().filter_map(|id| Some((id, addr(&id)?))).collect();
        self.transport.set_peers(&peers);
        let mut noted = self.noted.lock();
        if *noted != peers {
            if let Err(error) = notes::note_peers(&self.options.data_dir, &peers) {
                tracing::debug!(%error, "the addresses of the peers could not be noted");
            }
            *noted = peers;
        }
    }
}
