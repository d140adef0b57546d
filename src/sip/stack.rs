//! The sans-IO SIP stack: transactions (RFC 3261 §17, RFC 6026), dialogs and B2BUA legs of one edge.
//!
//! It opens no socket and reads no clock. The caller feeds it framed messages, orders and the time, then drains `poll`
//! until `None` and sleeps until `next_timeout`.

use std::{net::SocketAddr, time::Instant};

use bytes::Bytes;

use crate::core::{
    command::LegReport,
    effect::Order,
    id::{CallId, DomainId, NodeId},
    party::{Dialog, Sdp, Transport},
};

/// Where a message came from, and so the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    pub transport: Transport,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// The connection, for TCP and TLS; unique on its node.
    pub conn: Option<u64>,
    /// The node that holds the socket, when it is not this one: bytes for it are tunnelled there.
    pub via: Option<NodeId>,
}

/// Where a message is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    Flow(Flow),
    /// A next hop by name or address; the edge resolves it and opens a connection where needed.
    Host {
        transport: Transport,
        host: String,
        port: Option<u16>,
    },
}

/// A server transaction awaiting an answer of the transaction user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxId(pub u64);

/// What the stack wants done.
#[derive(Debug)]
pub enum Output {
    Transmit {
        to: Destination,
        bytes: Bytes,
    },
    /// A request outside every dialog: INVITE (100 Trying is already on its way), REGISTER, OPTIONS, …
    /// The edge answers with [`Stack::respond`], or for an INVITE with [`Stack::take_call`].
    Request {
        tx: TxId,
        flow: Flow,
        request: Bytes,
    },
    /// Something happened on a leg.
    Report(LegReport),
    /// A message for a leg or transaction that another node minted: to be tunnelled there.
    Foreign {
        node: NodeId,
        flow: Flow,
        bytes: Bytes,
    },
}

/// What an INVITE that becomes a call tells the core.
#[derive(Debug, Clone)]
pub struct TakenCall {
    pub dialog: Dialog,
    pub sdp: Option<Sdp>,
}

/// The stack of one edge.
#[derive(Debug, Default)]
pub struct Stack {}

impl Stack {
    /// Takes in one framed message.
    pub fn receive(&mut self, _now: Instant, _flow: Flow, _message: Bytes) {}

    /// Answers a pending request with a final or provisional status.
    pub fn respond(&mut self, _now: Instant, _tx: TxId, _status: u16, _reason: &str, _headers: &[(&str, String)], _body: &[u8]) {}

    /// Makes a pending INVITE the caller leg of a call. `None` if it was cancelled or timed out meanwhile.
    pub fn take_call(&mut self, _now: Instant, _tx: TxId, _domain: &DomainId, _call: CallId) -> Option<TakenCall> {
        None
    }

    /// Performs an order; an older one than the leg has seen is refused.
    pub fn order(&mut self, _now: Instant, _order: &Order) {}

    /// The transport could not deliver to this destination.
    pub fn unreachable(&mut self, _now: Instant, _to: &Destination, _message: &Bytes) {}

    /// Fires what is due.
    pub fn timeout(&mut self, _now: Instant) {}

    pub fn next_timeout(&self) -> Option<Instant> {
        None
    }

    pub fn poll(&mut self) -> Option<Output> {
        None
    }
}
