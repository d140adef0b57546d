//! What the edge needs of the rest of its node, small enough to be played by a test.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tandem_cluster::{BoxFuture, NodeState};
use tokio::sync::watch;

use crate::{
    actor::{Directory, Error, Handle},
    core::{
        Outcome,
        command::{Arrive, Envelope, LegReport},
        id::{DomainId, Edge, LegId, NodeId},
    },
};

/// The live actors and the cluster, as the edge uses them.
pub trait Backend: Send + Sync + 'static {
    /// This life of this node.
    fn edge(&self) -> Edge;

    /// True while this node may act for its legs.
    fn lease_valid(&self) -> bool;

    /// True once a majority withdrew its support of this life of the node: its legs are no longer its own, for good.
    fn is_lost(&self) -> bool;

    /// Commits an arrival.
    fn arrive(&self, arrive: Arrive, deadline: Duration) -> BoxFuture<Result<Outcome, Error>>;

    /// Hands a report over for delivery.
    fn report(&self, report: LegReport);

    /// Commits any other command.
    fn command(&self, domain: DomainId, envelope: Envelope, deadline: Duration) -> BoxFuture<Result<Outcome, Error>>;

    fn directory(&self) -> watch::Receiver<Arc<Directory>>;

    /// The edge that owns a leg.
    fn owner_of(&self, leg: LegId) -> BoxFuture<Option<Edge>>;

    /// Sends a tunnel frame to another node.
    fn tunnel(&self, node: NodeId, frame: Bytes) -> BoxFuture<Result<(), Error>>;
}

impl Backend for Handle {
    fn edge(&self) -> Edge {
        Self::edge(self)
    }

    fn lease_valid(&self) -> bool {
        self.cluster().lease_valid()
    }

    fn is_lost(&self) -> bool {
        let me = Self::edge(self);
        let nodes = self.cluster().nodes();
        let table = nodes.borrow();
        table.get(&me.node.0).is_some_and(|status| status.incarnation > me.incarnation || status.state == NodeState::Lost)
    }

    fn arrive(&self, arrive: Arrive, deadline: Duration) -> BoxFuture<Result<Outcome, Error>> {
        let this = self.clone();
        Box::pin(async move { Self::arrive(&this, arrive, deadline).await })
    }

    fn report(&self, report: LegReport) {
        Self::report(self, report);
    }

    fn command(&self, domain: DomainId, envelope: Envelope, deadline: Duration) -> BoxFuture<Result<Outcome, Error>> {
        let this = self.clone();
        Box::pin(async move { Self::command(&this, &domain, envelope, deadline).await })
    }

    fn directory(&self) -> watch::Receiver<Arc<Directory>> {
        Self::directory(self)
    }

    fn owner_of(&self, leg: LegId) -> BoxFuture<Option<Edge>> {
        let this = self.clone();
        Box::pin(async move { Self::owner_of(&this, leg).await })
    }

    fn tunnel(&self, node: NodeId, frame: Bytes) -> BoxFuture<Result<(), Error>> {
        let this = self.clone();
        Box::pin(async move { Self::tunnel(&this, node, frame).await })
    }
}
