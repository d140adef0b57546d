//! The task that carries one phone: its socket or listener, its connections, its timers. It moves messages and asks the user
//! agent what to do.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    sync::mpsc,
};

use super::{
    limits::{DATAGRAM_BYTES_MAX, IDLE, QUEUE_MAX},
    media::Stream,
    stream::{self, Conn, Event},
    text::{Hop, Transport},
    tls::Tls,
    ua::{Send, Ua},
};

/// What a phone's handles and its task share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) ua: Mutex<Ua>,
    /// Something happened in the user agent.
    pub(super) changed: Condvar,
    pub(super) audio: Stream,
}

impl Shared {
    /// Lets the user agent do something and returns what it wants sent.
    pub(super) fn with(&self, act: impl FnOnce(&mut Ua, Instant)) -> Vec<Send> {
        let mut ua = self.ua.lock();
        act(&mut ua, Instant::now());
        self.audio.speak_to(ua.speak());
        self.changed.notify_all();
        ua.take_output()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.audio.speak_to(None);
    }
}

/// The socket a phone is reached by.
#[derive(Debug)]
pub(super) enum Door {
    Datagrams(UdpSocket),
    Connections(TcpListener, Transport),
}

impl Door {
    pub(super) async fn open(transport: Transport, addr: SocketAddr) -> std::io::Result<Self> {
        Ok(match transport {
            Transport::Udp => Self::Datagrams(UdpSocket::bind(addr).await?),
            Transport::Tcp | Transport::Tls => Self::Connections(TcpListener::bind(addr).await?, transport),
        })
    }

    pub(super) fn addr(&self) -> std::io::Result<SocketAddr> {
        match self {
            Self::Datagrams(socket) => socket.local_addr(),
            Self::Connections(listener, _) => listener.local_addr(),
        }
    }
}

/// A phone's task.
pub(super) struct Line {
    shared: Arc<Shared>,
    door: Door,
    tls: Arc<Tls>,
    orders: mpsc::Receiver<Vec<Send>>,
    conns: BTreeMap<u64, Conn>,
    next_conn: u64,
    events: mpsc::Receiver<Event>,
    tell: mpsc::Sender<Event>,
}

/// What woke the task.
enum Woken {
    Datagram(SocketAddr, Bytes),
    Accepted(TcpStream, SocketAddr),
    Stream(Event),
    Orders(Vec<Send>),
    Due,
    Nothing,
    Over,
}

impl Line {
    pub(super) fn new(shared: Arc<Shared>, door: Door, tls: Arc<Tls>, orders: mpsc::Receiver<Vec<Send>>) -> Self {
        let (tell, events) = mpsc::channel(QUEUE_MAX);
        Self { shared, door, tls, orders, conns: BTreeMap::new(), next_conn: 1, events, tell }
    }

    pub(super) async fn run(mut self) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let due = self.shared.ua.lock().next_due();
            let sends = match self.wait(&mut buffer, due).await {
                Woken::Over => return,
                Woken::Nothing => continue,
                Woken::Orders(sends) => sends,
                Woken::Due => self.shared.with(|ua, now| ua.tick(now)),
                Woken::Datagram(peer, bytes) => self.shared.with(|ua, now| ua.received(now, Hop::to(Transport::Udp, peer), &bytes)),
                Woken::Accepted(socket, peer) => {
                    let Door::Connections(_, transport) = self.door else { continue };
                    self.connect(Some(socket), peer, transport);
                    continue;
                }
                Woken::Stream(event) => self.streamed(event),
            };
            self.send(sends).await;
        }
    }

    async fn wait(&mut self, buffer: &mut [u8], due: Option<Instant>) -> Woken {
        let until = due.map_or(IDLE, |due| due.saturating_duration_since(Instant::now()));
        let door = async {
            match &self.door {
                Door::Datagrams(socket) => match socket.recv_from(buffer).await {
                    Ok((length, peer)) => Woken::Datagram(peer, Bytes::copy_from_slice(&buffer[..length])),
                    // An ICMP error of an earlier datagram.
                    Err(_) => Woken::Nothing,
                },
                Door::Connections(listener, _) => {
                    listener.accept().await.map_or(Woken::Nothing, |(socket, peer)| Woken::Accepted(socket, peer))
                }
            }
        };
        tokio::select! {
            woken = door => woken,
            Some(event) = self.events.recv() => Woken::Stream(event),
            orders = self.orders.recv() => orders.map_or(Woken::Over, Woken::Orders),
            () = tokio::time::sleep(until) => Woken::Due,
        }
    }

    fn streamed(&mut self, event: Event) -> Vec<Send> {
        match event {
            Event::Message { conn, bytes } => {
                let Some(from) = self.conns.get(&conn) else { return Vec::new() };
                let source = Hop { transport: from.transport, addr: from.peer, conn: Some(conn) };
                self.shared.with(|ua, now| ua.received(now, source, &bytes))
            }
            Event::Closed { conn, unsent } => {
                let Some(gone) = self.conns.remove(&conn) else { return Vec::new() };
                self.shared.with(|ua, now| {
                    ua.connection_lost(now, gone.peer);
                    for bytes in &unsent {
                        ua.undeliverable(now, bytes);
                    }
                })
            }
        }
    }

    fn connect(&mut self, accepted: Option<TcpStream>, peer: SocketAddr, transport: Transport) -> u64 {
        let conn = self.next_conn;
        self.next_conn += 1;
        let opened = stream::run(conn, accepted, peer, transport, Arc::clone(&self.tls), self.tell.clone());
        self.conns.insert(conn, opened);
        conn
    }

    /// Sends by the connection asked for while it lasts, by another to the same peer, or by a new one.
    async fn send(&mut self, sends: Vec<Send>) {
        for Send { to, bytes } in sends {
            if let Door::Datagrams(socket) = &self.door {
                // A full socket is a lost datagram; timers send it again.
                socket.send_to(&bytes, to.addr).await.ok();
                continue;
            }
            let open = |conn: &Conn| !conn.write.is_closed();
            let asked = to.conn.filter(|conn| self.conns.get(conn).is_some_and(open));
            let same = || self.conns.iter().find(|(_, conn)| conn.peer == to.addr && conn.transport == to.transport && open(conn));
            let conn = asked.or_else(|| same().map(|(conn, _)| *conn));
            let conn = conn.unwrap_or_else(|| self.connect(None, to.addr, to.transport));
            if let Some(conn) = self.conns.get(&conn) {
                // A peer that reads nothing loses messages, and its timers notice.
                conn.write.try_send(bytes).ok();
            }
        }
    }
}

/// Longest time a phone's handle waits for its task to take an order.
pub(super) const ORDER_WITHIN: Duration = Duration::from_secs(5);
