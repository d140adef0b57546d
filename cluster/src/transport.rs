//! QUIC between nodes: one connection per peer and direction, one stream per request, and the loss detector.
//!
//! It carries bytes for whoever handles them and knows nothing of consensus. A connection is trusted after mutual TLS and
//! a hello in which the certificate's node is the one that speaks.

mod dial;
mod tls;

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{sync::broadcast, task::JoinHandle, time::timeout};

pub(crate) use tls::Files;

use crate::{
    Incarnation, NodeId, RequestError,
    api::BoxFuture,
    codec,
    limits::{BULK_FRAME_MAX_BYTES, HANDSHAKE_TIMEOUT, HANDSHAKES_MAX, HELLO_MAX_BYTES, PEER_EVENTS},
};

/// Says how a connection was closed.
pub(crate) const CLOSED_PLAIN: u32 = 0;
/// The node gave all leaderships away and acts no more: as good as proof of death.
pub(crate) const CLOSED_DRAINED: u32 = 1;

const MAGIC: [u8; 2] = *b"TD";
const VERSION: u8 = 1;
/// Bytes before a request's body: magic, version, kind, group.
const HEAD: usize = 8;
/// The first stream of a connection says who speaks.
const KIND_HELLO: u8 = 0;

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

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Hello {
    node: NodeId,
    incarnation: Incarnation,
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
    pub(crate) loss_after_ms: u64,
}

struct Peer {
    addr: SocketAddr,
    connection: Option<(quinn::Connection, Incarnation)>,
    dialer: JoinHandle<()>,
}

struct Inner {
    options: Options,
    /// The present life of this node; it may take a new one while it runs.
    incarnation: AtomicU64,
    endpoint: quinn::Endpoint,
    peers: Mutex<BTreeMap<NodeId, Peer>>,
    /// Connections that peers opened to this node.
    accepted: Mutex<Vec<quinn::Connection>>,
    events: broadcast::Sender<PeerEvent>,
}

/// The node's connections. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Transport {
    inner: Arc<Inner>,
}

impl Inner {
    fn hello(&self) -> Hello {
        Hello { node: self.options.node, incarnation: self.incarnation.load(Ordering::Acquire) }
    }
}

impl Transport {
    /// Binds the socket and answers peers with `handler`.
    pub(crate) fn start(options: Options, handler: Arc<dyn Handler>) -> io::Result<Self> {
        let server = options.files.server(tls::transport_config(options.loss_after_ms))?;
        let endpoint = quinn::Endpoint::server(server, options.listen)?;
        let (events, _) = broadcast::channel(PEER_EVENTS);
        let incarnation = AtomicU64::new(options.incarnation);
        let inner = Arc::new(Inner { options, incarnation, endpoint, peers: Mutex::default(), accepted: Mutex::default(), events });
        tokio::spawn(accept(Arc::clone(&inner), handler));
        Ok(Self { inner })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.endpoint.local_addr()
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<PeerEvent> {
        self.inner.events.subscribe()
    }

    /// Sets whom to stay connected to; peers with another address are dialled anew.
    pub(crate) fn set_peers(&self, wanted: &BTreeMap<NodeId, SocketAddr>) {
        let me = self.inner.options.node;
        let mut peers = self.inner.peers.lock();
        peers.retain(|node, peer| {
            let keep = wanted.get(node) == Some(&peer.addr);
            if !keep {
                peer.dialer.abort();
            }
            keep
        });
        for (node, addr) in wanted.iter().filter(|(node, _)| **node != me) {
            peers.entry(*node).or_insert_with(|| {
                let dialer = tokio::spawn(dial::keep_connected(Arc::clone(&self.inner), *node, *addr));
                Peer { addr: *addr, connection: None, dialer }
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
        let mut accepted = self.inner.accepted.lock();
        for connection in accepted.drain(..) {
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

    /// Sends a request and waits for its answer.
    pub(crate) async fn request(&self, node: NodeId, kind: u8, group: u32, body: &[u8], deadline: Duration) -> Result<Bytes, RequestError> {
        let connection =
            self.inner.peers.lock().get(&node).and_then(|peer| peer.connection.as_ref().map(|(connection, _)| connection.clone()));
        let connection = connection.ok_or_else(|| RequestError::Unreachable(node, "not connected".to_owned()))?;
        match timeout(deadline, exchange(&connection, kind, group, body)).await {
            Err(_) => Err(RequestError::Deadline),
            Ok(Err(error)) => Err(RequestError::Unreachable(node, error.to_string())),
            Ok(Ok(answer)) => match answer.split_first() {
                Some((0, body)) => Ok(answer.slice_ref(body)),
                Some((_, text)) => Err(RequestError::Refused(String::from_utf8_lossy(text).into_owned())),
                None => Err(RequestError::Unreachable(node, "an empty answer".to_owned())),
            },
        }
    }

    /// Closes every connection with a code and waits until the peers must have heard of it.
    pub(crate) async fn close(&self, code: u32) {
        for peer in self.inner.peers.lock().values() {
            peer.dialer.abort();
        }
        self.inner.endpoint.close(code.into(), b"");
        // The close frames leave within a few milliseconds; a peer that is gone must not hold us up.
        let _ = timeout(Duration::from_millis(200), self.inner.endpoint.wait_idle()).await;
    }
}

async fn exchange(connection: &quinn::Connection, kind: u8, group: u32, body: &[u8]) -> io::Result<Bytes> {
    let (mut send, mut receive) = connection.open_bi().await.map_err(io::Error::other)?;
    let mut head = [0_u8; HEAD];
    head[..2].copy_from_slice(&MAGIC);
    (head[2], head[3]) = (VERSION, kind);
    head[4..].copy_from_slice(&group.to_le_bytes());
    let mut frame = Vec::with_capacity(HEAD + body.len());
    frame.extend_from_slice(&head);
    frame.extend_from_slice(body);
    send.write_all(&frame).await.map_err(io::Error::other)?;
    send.finish().map_err(io::Error::other)?;
    receive.read_to_end(BULK_FRAME_MAX_BYTES).await.map(Bytes::from).map_err(io::Error::other)
}

async fn accept(inner: Arc<Inner>, handler: Arc<dyn Handler>) {
    let handshakes = Arc::new(tokio::sync::Semaphore::new(HANDSHAKES_MAX));
    while let Some(incoming) = inner.endpoint.accept().await {
        let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        // Read anew, so that a rotated certificate is shown from now on.
        let config = inner.options.files.server(tls::transport_config(inner.options.loss_after_ms));
        let (handler, inner) = (Arc::clone(&handler), Arc::clone(&inner));
        tokio::spawn(async move {
            let from = incoming.remote_address();
            let connecting = match config {
                Ok(config) => incoming.accept_with(Arc::new(config)),
                Err(_) => incoming.accept(),
            };
            let connected = match connecting {
                Ok(connecting) => timeout(HANDSHAKE_TIMEOUT, connecting)
                    .await
                    .map_err(|_| "handshake timed out".to_owned())
                    .and_then(|done| done.map_err(|error| error.to_string())),
                Err(error) => Err(error.to_string()),
            };
            drop(permit);
            match connected {
                Ok(connection) => serve(&inner, connection, handler).await,
                Err(error) => {
                    metrics::counter!("cluster_connections_refused_total").increment(1);
                    tracing::warn!(%from, %error, "a connection was refused");
                }
            }
        });
    }
}

/// Answers the streams of one accepted connection.
async fn serve(inner: &Arc<Inner>, connection: quinn::Connection, handler: Arc<dyn Handler>) {
    let Some(node) = tls::peer_node(&connection) else {
        tracing::warn!(from = %connection.remote_address(), "a certificate without a node was refused");
        connection.close(CLOSED_PLAIN.into(), b"no node in the certificate");
        return;
    };
    {
        let mut accepted = inner.accepted.lock();
        accepted.retain(|connection| connection.close_reason().is_none());
        accepted.push(connection.clone());
    }
    while let Ok((send, receive)) = connection.accept_bi().await {
        tokio::spawn(answer(node, send, receive, Arc::clone(&handler), inner.hello()));
    }
}

async fn answer(from: NodeId, mut send: quinn::SendStream, mut receive: quinn::RecvStream, handler: Arc<dyn Handler>, hello: Hello) {
    let Ok(frame) = receive.read_to_end(BULK_FRAME_MAX_BYTES).await else { return };
    let frame = Bytes::from(frame);
    let reply = match frame.split_first_chunk::<HEAD>() {
        Some((head, body)) if head[..2] == MAGIC && head[2] == VERSION => {
            let group = u32::from_le_bytes(head[4..].try_into().expect("four bytes were sliced"));
            let names_itself = || body.len() <= HELLO_MAX_BYTES && codec::decode::<Hello>(body).is_ok_and(|theirs| theirs.node == from);
            match head[3] {
                KIND_HELLO if names_itself() => codec::encode(&hello).map(Bytes::from).map_err(|error| error.to_string()),
                KIND_HELLO => Err("the certificate names another node".to_owned()),
                kind => handler.handle(from, kind, group, frame.slice_ref(body)).await,
            }
        }
        _ => Err("not a frame of this protocol".to_owned()),
    };
    let mut bytes = Vec::with_capacity(1 + reply.as_ref().map_or(64, Bytes::len));
    match &reply {
        Ok(body) => {
            bytes.push(0);
            bytes.extend_from_slice(body);
        }
        Err(text) => {
            bytes.push(1);
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    if send.write_all(&bytes).await.is_ok() {
        // The peer may have gone; its request ends with its connection then.
        let _ = send.finish();
    }
}
