//! The table of stream connections: who they are with, how to write to them, how many there may be.
//!
//! It holds the writing end of each connection's queue; the tasks that read and write are in `connection`.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::NoWay;
use crate::{
    core::party::Transport,
    sip::{
        edge::metrics as names,
        limits::{CONNECTIONS_PER_SOURCE_MAX, WRITE_QUEUE_MAX},
        stack::{Destination, Flow},
    },
};

/// A message in a connection's queue, with where it was to go in case it cannot be written.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// `None` for keep-alives, whose loss nobody need hear of.
    pub(super) to: Option<Destination>,
    pub(super) bytes: Bytes,
}

#[derive(Debug)]
struct Row {
    flow: Flow,
    queue: mpsc::Sender<Outgoing>,
    cut: CancellationToken,
    incoming: bool,
}

#[derive(Debug)]
struct Rows {
    connections_max: usize,
    rows: BTreeMap<u64, Row>,
    peers: BTreeMap<(Transport, SocketAddr), u64>,
    incoming: BTreeMap<IpAddr, usize>,
    last: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Table(Arc<Mutex<Rows>>);

/// A connection's place in the table, given up when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    table: Table,
    pub(super) flow: Flow,
    pub(super) queue: mpsc::Receiver<Outgoing>,
    pub(super) cut: CancellationToken,
}

impl Table {
    pub(super) fn new(connections_max: usize) -> Self {
        let (rows, peers, incoming) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self(Arc::new(Mutex::new(Rows { connections_max, rows, peers, incoming, last: 0 })))
    }

    /// A place for a connection that a peer opened; `None` when it or the node has too many.
    pub(super) fn accept(&self, transport: Transport, local: SocketAddr, remote: SocketAddr) -> Option<Seat> {
        let mut rows = self.0.lock();
        let of_source = rows.incoming.entry(remote.ip()).or_default();
        if *of_source >= CONNECTIONS_PER_SOURCE_MAX {
            return None;
        }
        *of_source += 1;
        let seat = self.seat(&mut rows, transport, local, remote, true);
        if seat.is_none() {
            rows.release(remote.ip());
        }
        seat
    }

    /// A place for a connection to be opened to a peer.
    pub(super) fn open(&self, transport: Transport, local: SocketAddr, remote: SocketAddr) -> Option<Seat> {
        let mut rows = self.0.lock();
        self.seat(&mut rows, transport, local, remote, false)
    }

    fn seat(&self, rows: &mut Rows, transport: Transport, local: SocketAddr, remote: SocketAddr, incoming: bool) -> Option<Seat> {
        if rows.rows.len() >= rows.connections_max {
            return None;
        }
        rows.last += 1;
        let conn = rows.last;
        let flow = Flow { transport, local, remote, conn: Some(conn), via: None };
        let (sender, queue) = mpsc::channel(WRITE_QUEUE_MAX);
        let cut = CancellationToken::new();
        rows.rows.insert(conn, Row { flow, queue: sender, cut: cut.clone(), incoming });
        rows.peers.insert((transport, remote), conn);
        metrics::gauge!(names::CONNECTIONS).set(rows.rows.len() as f64);
        Some(Seat { table: self.clone(), flow, queue, cut })
    }

    /// Queues a message. A peer whose queue is full is cut: it is slower than its calls.
    pub(super) fn write(&self, conn: u64, to: &Destination, bytes: &Bytes) -> Result<(), NoWay> {
        let rows = self.0.lock();
        let row = rows.rows.get(&conn).ok_or(NoWay)?;
        let outgoing = Outgoing { to: Some(to.clone()), bytes: bytes.clone() };
        row.queue.try_send(outgoing).map_err(|_| {
            row.cut.cancel();
            NoWay
        })
    }

    /// Queues a keep-alive; dropped when the queue is full.
    pub(super) fn pong(&self, conn: u64) {
        if let Some(row) = self.0.lock().rows.get(&conn) {
            let _ = row.queue.try_send(Outgoing { to: None, bytes: Bytes::from_static(b"\r\n") });
        }
    }

    pub(super) fn to_peer(&self, transport: Transport, remote: SocketAddr) -> Option<u64> {
        self.0.lock().peers.get(&(transport, remote)).copied()
    }

    pub(super) fn flow(&self, conn: u64) -> Option<Flow> {
        self.0.lock().rows.get(&conn).map(|row| row.flow)
    }

    pub(super) fn cut(&self, conn: u64) {
        if let Some(row) = self.0.lock().rows.get(&conn) {
            row.cut.cancel();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().rows.len()
    }
}

impl Rows {
    fn release(&mut self, source: IpAddr) {
        if let Some(count) = self.incoming.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.incoming.remove(&source);
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let conn = self.flow.conn.expect("the table numbers every connection");
        let mut rows = self.table.0.lock();
        if let Some(row) = rows.rows.remove(&conn)
            && row.incoming
        {
            rows.release(self.flow.remote.ip());
        }
        let peer = (self.flow.transport, self.flow.remote);
        if rows.peers.get(&peer) == Some(&conn) {
            rows.peers.remove(&peer);
        }
        metrics::gauge!(names::CONNECTIONS).set(rows.rows.len() as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_a_bounded_number_of_connections_and_gets_them_back() {
        let table = Table::new(CONNECTIONS_PER_SOURCE_MAX + 9);
        let at = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let mut seats: Vec<_> = (0..CONNECTIONS_PER_SOURCE_MAX).map(|n| table.accept(Transport::Tcp, at(1), at(n as u16 + 2))).collect();
        assert!(seats.iter().all(Option::is_some));
        assert!(table.accept(Transport::Tcp, at(1), at(60_000)).is_none());
        assert!(table.accept(Transport::Tcp, at(1), SocketAddr::from(([10, 0, 0, 2], 9))).is_some());
        seats.pop();
        assert!(table.accept(Transport::Tcp, at(1), at(60_000)).is_some());
    }

    #[test]
    fn a_full_node_opens_and_takes_no_more_connections_until_one_closes() {
        let table = Table::new(2);
        let at = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let first = table.accept(Transport::Tcp, at(1), at(2)).unwrap();
        let _second = table.open(Transport::Tls, at(1), at(3)).unwrap();
        assert!(table.accept(Transport::Tcp, at(1), at(4)).is_none() && table.open(Transport::Tcp, at(1), at(5)).is_none());
        drop(first);
        assert!(table.accept(Transport::Tcp, at(1), at(4)).is_some());
    }

    #[test]
    fn a_peer_that_does_not_read_is_cut() {
        let table = Table::new(9);
        let peer = SocketAddr::from(([10, 0, 0, 1], 5060));
        let seat = table.open(Transport::Tcp, peer, peer).unwrap();
        let to = Destination::Flow(seat.flow);
        let sent = (0..=WRITE_QUEUE_MAX).filter(|_| table.write(1, &to, &Bytes::from_static(b"x")).is_ok()).count();
        assert_eq!(sent, WRITE_QUEUE_MAX);
        assert!(seat.cut.is_cancelled());
    }
}
