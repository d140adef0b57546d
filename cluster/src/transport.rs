//! QUIC between nodes: one connection per peer and direction, one stream per request, and the loss detector.
//!
//! It carries bytes for whoever handles them and knows nothing of consensus. A connection is trusted after mutual TLS and
//! a hello in which the certificate's node is the one that speaks. Which cluster a node belongs to is said by the
//! authority that signed its certificate; there is no second name for it that could disagree.

mod dial;
mod frame;
mod serve;
mod silence;
#[cfg(test)]
mod tests;
mod tls;

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use quinn::Connection;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, Semaphore, broadcast},
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};

pub(crate) use frame::{APPLICATION, BULK};
pub(crate) use tls::Files;

use crate::{
    Incarnation, NodeId, RequestError, codec,
    limits::{APP_REQUESTS_PER_PEER, BULK_CHUNK_BYTES, BULK_REQUESTS_PER_PEER, CERT_POLL, PEER_EVENTS},
    types::BoxFuture,
};

/// Says how a connection was closed.
pub(crate) const CLOSED_PLAIN: u32 = 0;
/// The node gave all leaderships away and acts no more: as good as proof of death.
pub(crate) const CLOSED_DRAINED: u32 = 1;

/// What the connections to a peer say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PeerEvent {
    Up {
        node: NodeId,
        incarnation: Incarnation,
    },
    /// Silence, a reset or a close; `drained` is the one close that proves the peer has stopped.
    Lost {
        node: NodeId,
        incarnation: Incarnation,
        drained: bool,
    },
}

/// What both sides say first. The protocol's version is in every frame.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Hello {
    node: NodeId,
    incarnation: Incarnation,
    levels: (u32, u32),
}

impl Hello {
    fn read(body: &[u8]) -> Result<Self, String> {
        codec::decode(body).map_err(|error| format!("the hello does not decode: {error}"))
    }

    fn write(&self) -> Result<Bytes, String> {
        codec::encode(self).map(Bytes::from).map_err(|error| error.to_string())
    }

    /// Refuses who is not the node of its certificate, and who could not work with us.
    fn check(self, certified: NodeId, options: &Options) -> Result<(), String> {
        let (ours, theirs) = (options.levels, self.levels);
        if self.node != certified {
            return Err(format!("the certificate names node {certified}, the hello node {}", self.node));
        }
        if ours.0 > theirs.1 || theirs.0 > ours.1 {
            return Err(format!("no common feature level: {}..={} here, {}..={} at node {certified}", ours.0, ours.1, theirs.0, theirs.1));
        }
        Ok(())
    }
}

/// Answers what peers ask.
pub(crate) trait Handler: Send + Sync + 'static {
    fn handle(&self, from: NodeId, kind: u8, group: u32, body: Bytes) -> BoxFuture<Result<Bytes, String>>;
}

#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) listen: SocketAddr,
    pub(crate) files: Files,
    /// Silence after which a connection counts as lost, milliseconds.
    pub(crate) loss_after_ms: u64,
    /// Lowest and highest feature level this binary can apply.
    pub(crate) levels: (u32, u32),
}

struct Peer {
    addr: SocketAddr,
    connection: Option<(Connection, Incarnation)>,
    dialer: JoinHandle<()>,
    /// Told when the peer has met this node from its side.
    greeted: Arc<Notify>,
    application: Arc<Semaphore>,
    bulk: Arc<Semaphore>,
}

struct Inner {
    options: Options,
    /// The present life of this node; it may take a new one while it runs.
    incarnation: AtomicU64,
    identity: tls::Identity,
    endpoint: quinn::Endpoint,
    peers: Mutex<BTreeMap<NodeId, Peer>>,
    /// Connections that peers opened to this node.
    accepted: Mutex<Vec<Connection>>,
    events: broadcast::Sender<PeerEvent>,
}

impl Inner {
    fn hello(&self) -> Hello {
        Hello { node: self.options.node, incarnation: self.incarnation.load(Ordering::Acquire), levels: self.options.levels }
    }
}

/// The node's connections. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Transport {
    inner: Arc<Inner>,
}

impl Transport {
    /// Binds the socket and answers peers with `handler`.
    pub(crate) fn start(options: Options, handler: Arc<dyn Handler>) -> io::Result<Self> {
        let identity = tls::Identity::load(options.files.clone(), tls::transport_config(options.loss_after_ms))?;
        let endpoint = quinn::Endpoint::server(identity.server(), options.listen)?;
        let (events, _) = broadcast::channel(PEER_EVENTS);
        let incarnation = AtomicU64::new(options.incarnation);
        let (peers, accepted) = (Mutex::default(), Mutex::default());
        let inner = Arc::new(Inner { options, incarnation, identity, endpoint, peers, accepted, events });
        tokio::spawn(serve::accept(Arc::clone(&inner), handler));
        tokio::spawn(watch_files(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.endpoint.local_addr()
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<PeerEvent> {
        self.inner.events.subscribe()
    }

    /// Reads the certificate files if they changed; new connections use them, existing ones stay. Returns whether they did.
    ///
    /// # Errors
    /// When the files cannot be used; the former ones stay in force.
    pub(crate) fn reload(&self) -> io::Result<bool> {
        let changed = self.inner.identity.reload()?;
        if changed {
            self.inner.endpoint.set_server_config(Some(self.inner.identity.server()));
            tracing::info!(node = self.inner.options.node, "certificates were read anew");
        }
        Ok(changed)
    }

    /// Sets whom to stay connected to; peers with another address are dialled anew.
    pub(crate) fn set_peers(&self, wanted: &BTreeMap<NodeId, SocketAddr>) {
        let me = self.inner.options.node;
        let mut peers = self.inner.peers.lock();
        peers.retain(|node, peer| {
            let keep = wanted.get(node) == Some(&peer.addr);
            if !keep {
                peer.dialer.abort();
                if let Some((connection, _)) = &peer.connection {
                    connection.close(CLOSED_PLAIN.into(), b"no longer dialled here");
                }
            }
            keep
        });
        for (node, addr) in wanted.iter().filter(|(node, _)| **node != me) {
            peers.entry(*node).or_insert_with(|| {
                let greeted = Arc::new(Notify::new());
                Peer {
                    addr: *addr,
                    connection: None,
                    dialer: tokio::spawn(dial::keep_connected(Arc::clone(&self.inner), *node, *addr, Arc::clone(&greeted))),
                    greeted,
                    application: Arc::new(Semaphore::new(APP_REQUESTS_PER_PEER)),
                    bulk: Arc::new(Semaphore::new(BULK_REQUESTS_PER_PEER)),
                }
            });
        }
    }

    /// The life of `node` this node is connected to.
    pub(crate) fn connected(&self, node: NodeId) -> Option<Incarnation> {
        self.inner.peers.lock().get(&node)?.connection.as_ref().map(|(_, incarnation)| *incarnation)
    }

    /// Takes a new life: the peers are met again and told.
    pub(crate) fn begin_anew(&self, incarnation: Incarnation) {
        self.inner.incarnation.store(incarnation, Ordering::Release);
        for connection in self.inner.accepted.lock().drain(..) {
            connection.close(CLOSED_PLAIN.into(), b"a new life");
        }
    }

    /// Cuts the connection to a life that is over, so that nobody waits for its answers until the silence is noticed.
    pub(crate) fn cut(&self, node: NodeId, incarnation: Incarnation) {
        let peers = self.inner.peers.lock();
        if let Some((connection, _)) = peers.get(&node).and_then(|peer| peer.connection.as_ref()).filter(|(_, life)| *life <= incarnation) {
            connection.close(CLOSED_PLAIN.into(), b"that life is over");
        }
    }

    /// Sends a request and waits for its answer. Kinds with [`BULK`] or [`APPLICATION`] may wait for their turn first.
    pub(crate) async fn request(&self, node: NodeId, kind: u8, group: u32, body: &[u8], deadline: Duration) -> Result<Bytes, RequestError> {
        let (connection, turns) = self.route(node, kind).ok_or_else(|| RequestError::Unreachable(node, "not connected".to_owned()))?;
        let answer = async {
            let _turn = match &turns {
                // A semaphore that nobody closes.
                Some(turns) => turns.acquire().await.ok(),
                None => None,
            };
            exchange(&connection, kind, group, body).await
        };
        match timeout(deadline, answer).await {
            Err(_) => Err(RequestError::Deadline),
            Ok(Err(error @ frame::Error::TooLarge { .. })) => Err(RequestError::Refused(error.to_string())),
            Ok(Err(error)) => Err(RequestError::Unreachable(node, error.to_string())),
            Ok(Ok(answer)) => answer.map_err(RequestError::Refused),
        }
    }

    /// As [`Transport::request`], for a body in several places that may take long to send: it has no deadline while it moves,
    /// and the answer is waited for from its end.
    pub(crate) async fn send_bulk(
        &self,
        node: NodeId,
        kind: u8,
        group: u32,
        parts: &[&[u8]],
        answer_within: Duration,
    ) -> Result<Bytes, RequestError> {
        let unreachable = |error: frame::Error| match error {
            frame::Error::TooLarge { .. } => RequestError::Refused(error.to_string()),
            error => RequestError::Unreachable(node, error.to_string()),
        };
        let (connection, turns) = self.route(node, kind).ok_or_else(|| RequestError::Unreachable(node, "not connected".to_owned()))?;
        let _turn = match &turns {
            Some(turns) => turns.acquire().await.ok(),
            None => None,
        };
        let (mut send, mut receive) =
            connection.open_bi().await.map_err(|error| unreachable(frame::Error::Connection(error.to_string())))?;
        match frame::send_parts(&mut send, kind, group, parts, BULK_CHUNK_BYTES).await {
            Ok(()) | Err(frame::Error::Connection(_)) => {}
            Err(error) => return Err(unreachable(error)),
        }
        let answer = timeout(answer_within, frame::receive_answer(&mut receive, kind)).await.map_err(|_| RequestError::Deadline)?;
        answer.map_err(unreachable)?.map_err(RequestError::Refused)
    }

    fn route(&self, node: NodeId, kind: u8) -> Option<(Connection, Option<Arc<Semaphore>>)> {
        let peers = self.inner.peers.lock();
        let peer = peers.get(&node)?;
        let turns = match kind {
            kind if kind & BULK != 0 => Some(Arc::clone(&peer.bulk)),
            kind if kind & APPLICATION != 0 => Some(Arc::clone(&peer.application)),
            _ => None,
        };
        Some((peer.connection.as_ref()?.0.clone(), turns))
    }

    /// Closes every connection with a code, and dials nobody any more.
    pub(crate) fn hang_up(&self, code: u32) {
        for peer in self.inner.peers.lock().values() {
            peer.dialer.abort();
        }
        self.inner.endpoint.close(code.into(), b"");
    }

    /// As [`Transport::hang_up`], and waits until the peers must have heard of it.
    pub(crate) async fn close(&self, code: u32) {
        self.hang_up(code);
        // The close frames leave within a few milliseconds; a peer that is gone must not hold us up.
        let _ = timeout(Duration::from_millis(200), self.inner.endpoint.wait_idle()).await;
    }
}

async fn exchange(connection: &Connection, kind: u8, group: u32, body: &[u8]) -> Result<Result<Bytes, String>, frame::Error> {
    let (mut send, mut receive) = connection.open_bi().await.map_err(|error| frame::Error::Connection(error.to_string()))?;
    match frame::send_request(&mut send, kind, group, body).await {
        // A peer that refuses stops reading and says why; the answer is worth more than the broken stream.
        Ok(()) | Err(frame::Error::Connection(_)) => frame::receive_answer(&mut receive, kind).await,
        Err(error) => Err(error),
    }
}

/// Looks for new certificate files for as long as the transport lives.
async fn watch_files(inner: Weak<Inner>) {
    let mut tick = interval(CERT_POLL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut complaint = String::new();
    loop {
        tick.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        match (Transport { inner }).reload() {
            Ok(_) => complaint.clear(),
            // Half-written files are normal for a moment; what stays wrong is said once.
            Err(error) if error.to_string() != complaint => {
                complaint = error.to_string();
                tracing::warn!(%error, "new certificate files cannot be used; the former ones stay in force");
            }
            Err(_) => {}
        }
    }
}
