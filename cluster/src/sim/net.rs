//! The transport between simulated nodes: what `transport` promises its callers, over a network that is made up.
//!
//! As QUIC does it keeps a connection to each peer, notices silence, and brings a request at most once and whole, or fails it
//! with its connection: a frame that is lost is late. The one thing it does that QUIC does not is to bring frames between
//! replicas a second time, long after, because Raft must bear that.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    sync::broadcast,
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{World, world};
use crate::{
    Incarnation, NodeId, RequestError, codec,
    limits::{HANDSHAKE_TIMEOUT, PEER_EVENTS, REDIAL_MAX, REDIAL_MIN},
    node::DEATH,
    raft::network::TRANSFER,
    transport::{CLOSED_DRAINED, Handler, Options, PeerEvent},
};

/// After this long a frame that did not get through is sent again.
const SEND_AGAIN: Duration = Duration::from_millis(60);
/// How long a node that closes tries to say so.
const CLOSE_WITHIN: Duration = Duration::from_millis(200);

/// A connection as both its ends hold it.
#[derive(Clone)]
struct Connection {
    incarnation: Incarnation,
    target: Weak<Inner>,
    /// Cancelled when it is over, for whatever reason.
    over: CancellationToken,
    /// The other end closed it and said that it was drained.
    drained: Arc<AtomicBool>,
}

struct Peer {
    addr: SocketAddr,
    connection: Option<Connection>,
    dialer: JoinHandle<()>,
}

pub(super) struct Inner {
    world: Arc<World>,
    node: NodeId,
    incarnation: AtomicU64,
    listen: SocketAddr,
    loss_after: Duration,
    handler: Arc<dyn Handler>,
    events: broadcast::Sender<PeerEvent>,
    peers: Mutex<BTreeMap<NodeId, Peer>>,
    /// Connections that peers opened to this node, and who.
    accepted: Mutex<Vec<(NodeId, Connection)>>,
    /// Closed, or without power: it neither speaks nor hears.
    silent: AtomicBool,
}

impl Inner {
    fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Acquire)
    }

    fn tell(&self, event: PeerEvent) {
        if !self.is_silent() {
            // Nobody listens during start-up.
            let _ = self.events.send(event);
        }
    }
}

impl Inner {
    /// Takes note of a connection that `from` opens to this node.
    fn accept(self: &Arc<Self>, from: NodeId) -> Connection {
        let connection = Connection {
            incarnation: self.incarnation.load(Ordering::Acquire),
            target: Arc::downgrade(self),
            over: CancellationToken::new(),
            drained: Arc::default(),
        };
        let mut accepted = self.accepted.lock();
        accepted.retain(|(_, old)| !old.over.is_cancelled());
        accepted.push((from, connection.clone()));
        connection
    }
}

/// A simulated node's connections. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Port(Arc<Inner>);

/// A frame on its way. It is sent again until the way is open.
async fn travel(world: &World, from: NodeId, to: NodeId) {
    while !world.physics.open(from, to) {
        sleep(SEND_AGAIN).await;
    }
    sleep(world.physics.delay(from, to)).await;
}

impl Port {
    /// A port on this thread's world, if it simulates one.
    pub(crate) fn start(options: &Options, handler: &Arc<dyn Handler>) -> Option<Self> {
        let world = world()?;
        let inner = Arc::new(Inner {
            node: options.node,
            incarnation: AtomicU64::new(options.incarnation),
            listen: options.listen,
            loss_after: Duration::from_millis(options.loss_after_ms),
            handler: Arc::clone(handler),
            events: broadcast::channel(PEER_EVENTS).0,
            peers: Mutex::default(),
            accepted: Mutex::default(),
            silent: AtomicBool::new(false),
            world: Arc::clone(&world),
        });
        world.ports.lock().insert(options.node, Arc::downgrade(&inner));
        Some(Self(inner))
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.0.listen
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<PeerEvent> {
        self.0.events.subscribe()
    }

    pub(crate) fn set_peers(&self, wanted: &BTreeMap<NodeId, SocketAddr>) {
        let mut peers = self.0.peers.lock();
        peers.retain(|node, peer| {
            let keep = wanted.get(node) == Some(&peer.addr);
            if !keep {
                peer.dialer.abort();
                peer.connection.iter().for_each(|connection| connection.over.cancel());
            }
            keep
        });
        for (node, addr) in wanted.iter().filter(|(node, _)| **node != self.0.node) {
            peers.entry(*node).or_insert_with(|| {
                let dialer = tokio::spawn(keep_connected(Arc::clone(&self.0), *node));
                Peer { addr: *addr, connection: None, dialer }
            });
        }
    }

    fn connection(&self, node: NodeId) -> Option<Connection> {
        self.0.peers.lock().get(&node)?.connection.clone()
    }

    pub(crate) fn connected(&self, node: NodeId) -> Option<Incarnation> {
        self.connection(node).map(|connection| connection.incarnation)
    }

    pub(crate) fn begin_anew(&self, incarnation: Incarnation) {
        self.0.incarnation.store(incarnation, Ordering::Release);
        self.hang_up(false);
    }

    pub(crate) fn cut(&self, node: NodeId, incarnation: Incarnation) {
        if let Some(connection) = self.connection(node).filter(|connection| connection.incarnation <= incarnation) {
            connection.over.cancel();
        }
    }

    /// Closes what peers opened to this node; they hear of it as soon as the way is open, or by the silence.
    fn hang_up(&self, drained: bool) {
        for (peer, connection) in std::mem::take(&mut *self.0.accepted.lock()) {
            let (world, node) = (Arc::clone(&self.0.world), self.0.node);
            tokio::spawn(async move {
                if timeout(CLOSE_WITHIN, travel(&world, node, peer)).await.is_ok() {
                    connection.drained.store(drained, Ordering::Release);
                    connection.over.cancel();
                }
            });
        }
    }

    pub(crate) async fn request(&self, node: NodeId, kind: u8, group: u32, body: &[u8], deadline: Duration) -> Result<Bytes, RequestError> {
        let connection = self.connection(node).filter(|_| !self.0.is_silent());
        let Some(connection) = connection else { return Err(RequestError::Unreachable(node, "not connected".to_owned())) };
        let body = Bytes::copy_from_slice(body);
        tokio::select! {
            biased;
            () = connection.over.cancelled() => Err(RequestError::Unreachable(node, "the connection was lost".to_owned())),
            answer = timeout(deadline, exchange(&self.0, node, &connection, kind, group, body)) => match answer {
                Ok(answer) => answer.map_err(RequestError::Refused),
                Err(_) => Err(RequestError::Deadline),
            },
        }
    }

    pub(crate) async fn close(&self, code: u32) {
        for peer in self.0.peers.lock().values() {
            peer.dialer.abort();
            peer.connection.iter().for_each(|connection| connection.over.cancel());
        }
        self.hang_up(code == CLOSED_DRAINED);
        self.0.silent.store(true, Ordering::Release);
        sleep(CLOSE_WITHIN).await;
    }

    /// Loses power: from here on it says nothing and hears nothing, and nobody is told.
    pub(crate) fn cut_power(&self) {
        self.0.silent.store(true, Ordering::Release);
        for peer in self.0.peers.lock().values() {
            peer.dialer.abort();
        }
    }
}

/// Brings a request to the other end, and its answer back.
async fn exchange(here: &Arc<Inner>, to: NodeId, connection: &Connection, kind: u8, group: u32, body: Bytes) -> Result<Bytes, String> {
    let (world, from) = (&here.world, here.node);
    travel(world, from, to).await;
    if here.is_silent() {
        return std::future::pending().await;
    }
    let Some(there) = connection.target.upgrade().filter(|there| !there.is_silent()) else { return std::future::pending().await };
    world.physics.arrived(from, to, kind, group, &body);
    if kind <= TRANSFER
        && let Some(later) = world.physics.again(from, to)
    {
        let (there, body) = (connection.target.clone(), body.clone());
        tokio::spawn(async move {
            sleep(later).await;
            if let Some(there) = there.upgrade().filter(|there| !there.is_silent()) {
                // Its answer comes too late for anybody.
                drop(there.handler.handle(from, kind, group, body).await);
            }
        });
    }
    // Goes on at the other end even if this one no longer waits.
    let answer = tokio::spawn(there.handler.handle(from, kind, group, body)).await;
    let Ok(answer) = answer else { return std::future::pending().await };
    if there.is_silent() {
        return std::future::pending().await;
    }
    drop(there);
    travel(world, to, from).await;
    answer
}

/// Brings the notice of a death to every other node.
pub(super) fn announce(world: &Arc<World>, node: NodeId, incarnation: Incarnation) {
    let Ok(notice) = codec::encode(&(node, incarnation)).map(Bytes::from) else { return };
    let peers: Vec<_> = world.ports.lock().iter().filter(|(peer, _)| **peer != node).map(|(peer, port)| (*peer, port.clone())).collect();
    for (peer, port) in peers {
        let (world, notice) = (Arc::clone(world), notice.clone());
        tokio::spawn(async move {
            travel(&world, node, peer).await;
            if let Some(there) = port.upgrade().filter(|there| !there.is_silent()) {
                world.physics.arrived(node, peer, DEATH, 0, &notice);
                drop(there.handler.handle(node, DEATH, 0, notice).await);
            }
        });
    }
}

/// Connects, waits for the loss, and connects again.
async fn keep_connected(here: Arc<Inner>, node: NodeId) {
    let mut pause = REDIAL_MIN;
    while !here.is_silent() {
        if let Ok(Some(connection)) = timeout(HANDSHAKE_TIMEOUT, greet(&here, node)).await {
            pause = REDIAL_MIN;
            let incarnation = connection.incarnation;
            if let Some(peer) = here.peers.lock().get_mut(&node) {
                peer.connection = Some(connection.clone());
            }
            here.tell(PeerEvent::Up { node, incarnation });
            lost(&here, node, &connection).await;
            connection.over.cancel();
            if let Some(peer) = here.peers.lock().get_mut(&node) {
                peer.connection = None;
            }
            here.tell(PeerEvent::Lost { node, incarnation, drained: connection.drained.load(Ordering::Acquire) });
        }
        sleep(pause).await;
        pause = (pause * 2).min(REDIAL_MAX);
    }
}

async fn greet(here: &Arc<Inner>, node: NodeId) -> Option<Connection> {
    travel(&here.world, here.node, node).await;
    let there = here.world.ports.lock().get(&node).and_then(Weak::upgrade).filter(|there| !there.is_silent())?;
    let connection = there.accept(here.node);
    drop(there);
    travel(&here.world, node, here.node).await;
    Some(connection)
}

/// Waits until the connection is over: closed by either end, or silent for too long.
async fn lost(here: &Arc<Inner>, node: NodeId, connection: &Connection) {
    let mut heard = Instant::now();
    loop {
        let beat = async {
            sleep(here.loss_after / 4).await;
            travel(&here.world, here.node, node).await;
            match connection.target.upgrade() {
                Some(there) if !there.is_silent() => {}
                // A process that is there again knows nothing of the connection and says so.
                _ if here.world.ports.lock().get(&node).and_then(Weak::upgrade).is_some_and(|there| !there.is_silent()) => return false,
                _ => std::future::pending().await,
            }
            travel(&here.world, node, here.node).await;
            true
        };
        tokio::select! {
            biased;
            () = connection.over.cancelled() => return,
            alive = timeout_at(heard + here.loss_after, beat) => match alive {
                Ok(true) => heard = Instant::now(),
                Ok(false) | Err(_) => return,
            },
        }
    }
}
