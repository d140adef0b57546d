//! What the edge needs of the rest of its node, small enough to be played by a test.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tandem_cluster::{BoxFuture, NodeStatus};
use tokio::sync::watch;

use crate::{
    actor::{Directory, Error, Handle},
    core::{
        Outcome, State,
        command::{Arrive, Envelope, LegReport},
        id::{DomainId, Edge, LegId, NodeId},
        party::Transport,
    },
    sip::{
        limits::{BIND_TIMEOUT, CATCH_UP_TIMEOUT},
        registrar::{Owner, Replicated},
    },
};

/// The group that holds the cluster's own tables.
const META_GROUP: u32 = 0;
/// Its row in the cluster's shared table. It is made at random and never leaves the nodes, but for their backups.
const NONCE_KEY: &str = "sip/nonce-key";

/// What Via and Contact say for the flows of each node, by transport.
pub type NodeAddresses = BTreeMap<NodeId, BTreeMap<Transport, SocketAddr>>;

/// The live actors and the cluster, as the edge uses them.
pub trait Backend: Send + Sync + 'static {
    /// This life of this node; it changes when a majority gave the last one up.
    fn edge(&self) -> Edge;

    /// True while this node may act for its legs.
    fn lease_valid(&self) -> bool;

    /// How the nodes' flows are addressed.
    fn nodes(&self) -> NodeAddresses;

    /// Whether the directory holds all that was committed when this was asked.
    fn caught_up(&self) -> BoxFuture<bool>;

    /// The key of digest nonces that all nodes share. None until one of them made it.
    fn nonce_key(&self) -> Option<[u8; 32]>;

    /// Makes this the shared key of digest nonces.
    fn share_nonce_key(&self, key: [u8; 32]) -> BoxFuture<()>;

    /// What an agent's phones registered anywhere, as this node's replica has it. `None` if it has none of the domain.
    fn bindings(&self, owner: &Owner) -> Option<Vec<Replicated>>;

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

    /// Nodes announce their sockets in the attributes `sip` (UDP and TCP), `sip_tcp` where that differs, and `sip_tls`.
    fn nodes(&self) -> NodeAddresses {
        let nodes = self.cluster().nodes();
        let table = nodes.borrow();
        let addresses = |status: &NodeStatus| {
            let of = |key: &str| status.attributes.get(key).and_then(|text| text.parse().ok());
            let wires = [(Transport::Udp, of("sip")), (Transport::Tcp, of("sip_tcp").or(of("sip"))), (Transport::Tls, of("sip_tls"))];
            wires.into_iter().filter_map(|(wire, addr)| Some((wire, addr?))).collect()
        };
        table.iter().map(|(id, status)| (NodeId(*id), addresses(status))).collect()
    }

    fn caught_up(&self) -> BoxFuture<bool> {
        let this = self.clone();
        Box::pin(async move {
            // The meta group first: it says which groups hold domains.
            if this.cluster().read_barrier(META_GROUP, CATCH_UP_TIMEOUT).await.is_err() {
                return false;
            }
            let groups: BTreeSet<_> = this.cluster().domains().into_values().collect();
            for group in groups {
                let domains = |state: &State| state.domains().keys().cloned().collect::<Vec<_>>();
                let Ok(Some(domains)) = this.read(group, false, CATCH_UP_TIMEOUT, domains).await else { return false };
                let directory = Self::directory(&this);
                if !domains.iter().all(|domain| directory.borrow().domains.contains_key(domain)) {
                    return false;
                }
            }
            true
        })
    }

    fn nonce_key(&self) -> Option<[u8; 32]> {
        self.cluster().shared(NONCE_KEY)?.try_into().ok()
    }

    fn share_nonce_key(&self, key: [u8; 32]) -> BoxFuture<()> {
        let cluster = self.cluster().clone();
        Box::pin(async move {
            if let Err(error) = cluster.share(NONCE_KEY, Some(key.to_vec()), BIND_TIMEOUT).await {
                tracing::info!(%error, "the key of digest nonces is not shared yet");
            }
        })
    }

    fn bindings(&self, owner: &Owner) -> Option<Vec<Replicated>> {
        Self::bindings(self, &owner.0, &owner.1)
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
