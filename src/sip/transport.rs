//! Sockets of a node's SIP edge: UDP, TCP and TLS listeners, the table of connections, next hops by name.
//!
//! It moves framed messages between sockets and a [`Sink`] and knows which flow a message came by. It reads no header
//! field, keeps no transaction and decides nothing about a call.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{
    framer::Fault,
    limits::{CONNECT_TIMEOUT, CONNECTIONS_MAX, FIRST_MESSAGE_TIMEOUT, IDLE_TIMEOUT, MESSAGE_TIMEOUT, WRITE_TIMEOUT},
    stack::{Destination, Flow},
};
use crate::core::party;

mod connection;
mod resolve;
mod table;
mod tls;
mod udp;

use resolve::{Hop, Resolver, call_of};
use table::Table;

/// A socket to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    pub bind: SocketAddr,
    /// The address written into Via and Contact; `bind` unless that is a wildcard or behind a translator. A zero port
    /// stands for the bound one.
    pub advertise: Option<SocketAddr>,
}

impl Listen {
    pub const fn on(bind: SocketAddr) -> Self {
        Self { bind, advertise: None }
    }

    /// What peers are told once the socket is bound to `bound`.
    fn advertised(&self, bound: SocketAddr) -> SocketAddr {
        let mut addr = self.advertise.unwrap_or(bound);
        if addr.port() == 0 {
            addr.set_port(bound.port());
        }
        addr
    }
}

/// How long a connection may take over what. See `limits` for the defaults and their reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    pub first_message: Duration,
    pub message: Duration,
    pub idle: Duration,
    pub write: Duration,
    pub connect: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            first_message: FIRST_MESSAGE_TIMEOUT,
            message: MESSAGE_TIMEOUT,
            idle: IDLE_TIMEOUT,
            write: WRITE_TIMEOUT,
            connect: CONNECT_TIMEOUT,
        }
    }
}

/// Sockets and files of a node.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub udp: Vec<Listen>,
    pub tcp: Vec<Listen>,
    pub tls: Vec<Listen>,
    /// PEM files of the server's chain and key, looked at again when they change; none means a self-signed certificate.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// PEM file of authorities that next hops over TLS must be signed by. None encrypts without knowing the peer, as
    /// phones and many carriers with certificates of their own require.
    pub authorities: Option<PathBuf>,
    pub timeouts: Timeouts,
    /// Open connections at once, incoming and outgoing; 0 stands for `CONNECTIONS_MAX`.
    pub connections_max: usize,
    /// The name server to ask; those the host is configured with otherwise.
    pub nameserver: Option<SocketAddr>,
}

/// Why a node's sockets could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {0} {1}: {2}")]
    Bind(&'static str, SocketAddr, std::io::Error),
    #[error("TLS: {0}")]
    Tls(String),
}

/// What the transport tells.
#[derive(Debug)]
pub enum Event {
    Message {
        flow: Flow,
        message: Bytes,
        received: Instant,
    },
    /// Something SIP-like with a fault. A connection it came on is closed after an answer had its chance.
    Bad {
        flow: Flow,
        fault: Fault,
        bytes: Bytes,
    },
    /// A connection is gone, and with it its flow.
    Closed {
        flow: Flow,
    },
    /// A message could not be delivered: no name, no connection, or the connection broke before it was written.
    Undeliverable {
        to: Destination,
        bytes: Bytes,
    },
}

/// Takes events. A full sink gives a message back: a datagram is then dropped, a connection is read no further.
pub trait Sink: Send + Sync + 'static {
    /// # Errors
    /// Gives the event back when there is no room for it now.
    fn take(&self, event: Event) -> Result<(), Box<Event>>;
}

/// The message could not even be handed to a socket; [`Event::Undeliverable`] will not follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no way to the destination")]
pub struct NoWay;

/// The sockets of a node. Cheap to clone.
#[derive(Clone)]
pub struct Transport {
    inner: Arc<Inner>,
}

struct Inner {
    udp: Vec<udp::Socket>,
    table: Table,
    resolver: Resolver,
    shared: Arc<Shared>,
    streams: parking_lot::Mutex<Option<Vec<connection::Listener>>>,
    certificates: Option<tls::Reloader>,
}

/// What every connection needs of its node.
struct Shared {
    timeouts: Timeouts,
    client_tls: Arc<rustls::ClientConfig>,
    /// Advertised addresses of the stream listeners, for connections we open: (TCP, TLS).
    advertised: [Option<SocketAddr>; 2],
    sink: std::sync::OnceLock<Arc<dyn Sink>>,
    stop: CancellationToken,
}

impl Shared {
    fn emit(&self, event: Event) -> Result<(), Box<Event>> {
        self.sink.get().map_or(Ok(()), |sink| sink.take(event))
    }

    fn local(&self, transport: party::Transport) -> Option<SocketAddr> {
        self.advertised[usize::from(transport == party::Transport::Tls)]
    }
}

impl Transport {
    /// Binds every socket. Nothing is read before [`Transport::start`].
    ///
    /// # Errors
    /// When a socket cannot be bound or a certificate cannot be read.
    pub async fn bind(options: &Options) -> Result<Self, Error> {
        let udp = options.udp.iter().map(udp::Socket::bind).collect::<Result<Vec<_>, _>>()?;
        let mut streams = Vec::new();
        for listen in &options.tcp {
            streams.push(connection::Listener::bind(listen, None)?);
        }
        let mut certificates = None;
        if !options.tls.is_empty() {
            let (config, reloader) = tls::server(options.certificate.clone())?;
            certificates = Some(reloader);
            for listen in &options.tls {
                streams.push(connection::Listener::bind(listen, Some(config.clone()))?);
            }
        }
        let first = |transport| streams.iter().find(|l| l.transport() == transport).map(|l| l.advertised);
        let shared = Shared {
            timeouts: options.timeouts,
            client_tls: tls::client(options.authorities.as_deref())?,
            advertised: [first(party::Transport::Tcp), first(party::Transport::Tls)],
            sink: std::sync::OnceLock::new(),
            stop: CancellationToken::new(),
        };
        let streams = parking_lot::Mutex::new(Some(streams));
        let table = Table::new(if options.connections_max == 0 { CONNECTIONS_MAX } else { options.connections_max });
        let inner = Inner { udp, table, resolver: Resolver::new(options.nameserver), shared: Arc::new(shared), streams, certificates };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The advertised addresses of the listeners, in the order they were given.
    pub fn advertised(&self, transport: party::Transport) -> Vec<SocketAddr> {
        match transport {
            party::Transport::Udp => self.inner.udp.iter().map(|s| s.advertised).collect(),
            _ => self.inner.shared.local(transport).into_iter().collect(),
        }
    }

    /// Starts reading. A second call does nothing.
    pub fn start(&self, sink: Arc<dyn Sink>) {
        let Some(streams) = self.inner.streams.lock().take() else { return };
        let _ = self.inner.shared.sink.set(sink);
        for socket in &self.inner.udp {
            tokio::spawn(socket.clone().read(self.inner.shared.clone()));
        }
        for listener in streams {
            tokio::spawn(listener.accept(self.clone()));
        }
        if let Some(reloader) = self.inner.certificates.clone() {
            tokio::spawn(reloader.watch(self.inner.shared.stop.clone()));
        }
    }

    /// Sends a message. It returns before the bytes are on the wire; a failure found later is an
    /// [`Event::Undeliverable`].
    ///
    /// # Errors
    /// [`NoWay`] when it is certain at once that the message cannot go.
    pub fn send(&self, to: &Destination, bytes: &Bytes) -> Result<(), NoWay> {
        match to {
            Destination::Flow(flow) => match flow.conn {
                _ if flow.transport == party::Transport::Udp => self.send_datagram(Some(flow.local), flow.remote, bytes),
                Some(conn) => self.inner.table.write(conn, to, bytes),
                None => self.send_stream(flow.transport, flow.remote, &flow.remote.ip().to_string(), to, bytes),
            },
            Destination::Host { transport, host, port } => {
                let hop = (*transport, host.clone(), *port);
                if let Some(addr) = self.inner.resolver.known(&hop, || call_of(bytes)) {
                    return self.send_to(*transport, addr, host, to, bytes);
                }
                let place = self.inner.resolver.place().ok_or(NoWay)?;
                let (this, to, bytes) = (self.clone(), to.clone(), bytes.clone());
                tokio::spawn(async move { this.send_resolved(place, hop, to, bytes).await });
                Ok(())
            }
        }
    }

    async fn send_resolved(&self, _place: tokio::sync::OwnedSemaphorePermit, hop: Hop, to: Destination, bytes: Bytes) {
        self.inner.resolver.look_up(&hop).await;
        let sent = match self.inner.resolver.known(&hop, || call_of(&bytes)) {
            Some(addr) => self.send_to(hop.0, addr, &hop.1, &to, &bytes),
            None => Err(NoWay),
        };
        if sent.is_err() {
            let _ = self.inner.shared.emit(Event::Undeliverable { to, bytes });
        }
    }

    fn send_to(&self, transport: party::Transport, addr: SocketAddr, name: &str, to: &Destination, bytes: &Bytes) -> Result<(), NoWay> {
        match transport {
            party::Transport::Udp => self.send_datagram(None, addr, bytes),
            _ => self.send_stream(transport, addr, name, to, bytes),
        }
    }

    fn send_datagram(&self, local: Option<SocketAddr>, remote: SocketAddr, bytes: &Bytes) -> Result<(), NoWay> {
        let same = |s: &&udp::Socket| Some(s.advertised) == local;
        let family = |s: &&udp::Socket| s.advertised.is_ipv4() == remote.is_ipv4();
        let socket = self.inner.udp.iter().find(same).or_else(|| self.inner.udp.iter().find(family)).ok_or(NoWay)?;
        socket.send(remote, bytes)
    }

    /// Writes to the connection with a peer, opening one where there is none.
    fn send_stream(&self, transport: party::Transport, addr: SocketAddr, name: &str, to: &Destination, bytes: &Bytes) -> Result<(), NoWay> {
        if let Some(conn) = self.inner.table.to_peer(transport, addr) {
            return self.inner.table.write(conn, to, bytes);
        }
        let local = self.inner.shared.local(transport).or_else(|| self.inner.udp.first().map(|s| s.advertised)).unwrap_or(addr);
        let seat = self.inner.table.open(transport, local, addr).ok_or(NoWay)?;
        let conn = seat.flow.conn.expect("the table numbers every connection");
        tokio::spawn(connection::dial(self.clone(), seat, name.to_owned()));
        self.inner.table.write(conn, to, bytes)
    }

    /// The request of a call to a named next hop timed out, could not be delivered or was answered 503. True if the name has
    /// another server to try; the call's next request goes there (RFC 3263 §4.3).
    pub fn has_another(&self, to: &Destination, call_id: &str) -> bool {
        let Destination::Host { transport, host, port } = to else { return false };
        self.inner.resolver.failed(&(*transport, host.clone(), *port), resolve::hash(call_id.as_bytes()))
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.inner.table.len()
    }

    /// Whether a flow can still be written to.
    pub fn is_open(&self, flow: &Flow) -> bool {
        flow.conn.is_none_or(|conn| self.inner.table.flow(conn).is_some())
    }

    /// The flow of an open connection.
    pub fn flow(&self, conn: u64) -> Option<Flow> {
        self.inner.table.flow(conn)
    }

    /// Closes a connection.
    pub fn close(&self, conn: u64) {
        self.inner.table.cut(conn);
    }

    /// Closes every socket.
    pub fn shutdown(&self) {
        self.inner.shared.stop.cancel();
    }
}
