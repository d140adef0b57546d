//! Live actors: one partition actor per group this node hosts; call, agent and queue actors where it leads.
//!
//! They converse, wait and retry. No decision is taken here, and no actor is the only holder of anything: all can be
//! killed and are spawned again from the replicated state. This file is the handle the SIP edge and the API hold.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tandem_cluster::{Cluster, GroupId};
use tokio::sync::{broadcast, watch};

use crate::core::{
    Outcome, State,
    command::{Arrive, Envelope, LegReport},
    effect::{Event, Order},
    id::{AgentId, CallId, DomainId, LegId, NodeId},
    policy::{Ha1, Trunk},
};

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

    /// Takes a frame that another node sent with [`Handle::tunnel`]: SIP to or from one of its flows.
    fn tunnelled(&self, from: NodeId, frame: bytes::Bytes);
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
    pub trunks: BTreeMap<crate::core::id::TrunkId, Trunk>,
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

/// The handle of the live actors of this node. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    cluster: Cluster,
}

impl Handle {
    /// Opens the handle over a running cluster. `edge` performs the orders for legs of this node.
    pub fn start(cluster: Cluster, _edge: Arc<dyn Edge>) -> Self {
        Self { cluster }
    }

    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// This life of this node, as the owner of legs.
    pub fn edge(&self) -> crate::core::id::Edge {
        crate::core::id::Edge { node: NodeId(self.cluster.node()), incarnation: self.cluster.incarnation() }
    }

    /// Commits a caller's arrival. Idempotent by call id, so it is retried inside until `deadline`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Indefinite`]; the caller is then refused with 503 and the call, if it was
    /// committed after all, ends when the edge reports the leg gone.
    pub async fn arrive(&self, _arrive: Arrive, _deadline: Duration) -> Result<Outcome, Error> {
        unimplemented!()
    }

    /// Hands a report over for delivery: in order per leg, retried until the leader committed it or the leg is gone.
    pub fn report(&self, _report: LegReport) {
        unimplemented!()
    }

    /// Commits any other command in the group of `domain`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn command(&self, _domain: &DomainId, _envelope: Envelope, _deadline: Duration) -> Result<Outcome, Error> {
        unimplemented!()
    }

    /// Runs `read` on the local replica of a group after a read barrier, or at once when `stale`. `None` without a replica.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the barrier cannot be had in time.
    pub async fn read<R: Send>(
        &self,
        _group: GroupId,
        _stale: bool,
        _deadline: Duration,
        _read: impl FnOnce(&State) -> R + Send,
    ) -> Result<Option<R>, Error> {
        unimplemented!()
    }

    /// Archived calls of a group from sequence `from` on, from the local replica.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the archive cannot be read.
    pub async fn cdrs(&self, _group: GroupId, _from: u64, _limit: usize) -> Result<CdrPage, Error> {
        unimplemented!()
    }

    /// Events as this node's replicas apply them, for SSE.
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        unimplemented!()
    }

    pub fn directory(&self) -> watch::Receiver<Arc<Directory>> {
        unimplemented!()
    }

    /// The node whose edge owns a leg, from local replicas or by asking their leader. `None`: no such live leg.
    pub async fn owner_of(&self, _leg: LegId) -> Option<crate::core::id::Edge> {
        unimplemented!()
    }

    /// The domain and group of a live call, from local replicas.
    pub fn find_call(&self, _call: CallId) -> Option<(DomainId, GroupId)> {
        unimplemented!()
    }

    /// Sends raw SIP to the edge of another node (tunnel): see `sip::tunnel`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the node does not answer.
    pub async fn tunnel(&self, _node: NodeId, _frame: bytes::Bytes) -> Result<(), Error> {
        unimplemented!()
    }

    /// Live actors and messages handled, by kind.
    pub fn census(&self) -> BTreeMap<&'static str, Census> {
        BTreeMap::new()
    }
}

/// Counts of one kind of actor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    pub live: u64,
    pub messages: u64,
    pub restarts: u64,
}
