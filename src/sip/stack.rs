//! The sans-IO SIP stack: transactions (RFC 3261 §17, RFC 6026), dialogs and B2BUA legs of one edge.
//!
//! It opens no socket and reads no clock. The caller feeds it framed messages, orders and the time, then drains `poll`
//! until `None` and sleeps until `next_timeout`. Every identifier it makes follows from the leg's id, so that a repeat is
//! a retransmission and any node can say whose leg a message belongs to.

mod adopt;
mod carry;
mod client;
mod ended;
mod engine;
mod inside;
mod intake;
mod leg;
mod names;
mod orders;
mod phone;
mod plan;
mod progress;
mod refer;
mod retell;
mod ring;
mod server;
mod session;
#[cfg(test)]
mod tests;
mod unasked;
mod via;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    core::{
        command::{LegEvent, LegReport},
        id::{CallId, DomainId, Edge, LegId, NodeId},
        party::{Dialog, Sdp, Transport},
    },
    media::MediaPlane,
    sip::{
        limits::LEGS_MAX,
        message::{read_own, sdp_of},
    },
};

use adopt::Resuming;
use client::{Client, ClientKey};
use ended::Ended;
use engine::Held;
use leg::Leg;
use plan::Planned;
use server::{Server, ServerKey};

/// RFC 3261 §17.1.1.1: the round-trip estimate, the longest retransmission interval, and how long a transaction may take.
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
const T4: Duration = Duration::from_secs(5);
const T64: Duration = Duration::from_secs(32);
const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO, PRACK, MESSAGE, REFER";

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

impl Destination {
    pub const fn transport(&self) -> Transport {
        match self {
            Self::Flow(flow) => flow.transport,
            Self::Host { transport, .. } => *transport,
        }
    }
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
    /// A request in a dialog this node minted and no longer knows: to be looked up before it is answered 481.
    Unknown {
        tx: TxId,
        leg: LegId,
        flow: Flow,
        request: Bytes,
    },
    /// A phone answers an INVITE of an earlier life of this node, or of another that tunnelled it here: whoever has its leg is
    /// to be told, and if nobody has, [`Stack::unwanted`].
    Unasked {
        leg: LegId,
        flow: Flow,
        response: Bytes,
    },
    /// Something happened on a leg.
    Report(LegReport),
    /// A leg's INVITE was refused or could not be delivered. The edge tries again elsewhere or with credentials
    /// ([`Stack::retry`], any time within 32 s), or lets the report go on. `response` is empty when none came.
    Refused {
        report: LegReport,
        response: Bytes,
    },
    /// An agent's phone wants its call to go on with whoever `user` means: to be decided with [`Stack::referred`].
    Refer {
        tx: TxId,
        leg: LegId,
        domain: DomainId,
        user: String,
    },
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

/// Who this stack speaks as.
#[derive(Clone)]
pub struct Options {
    pub edge: Edge,
    /// What Via and Contact say, per transport.
    pub addresses: BTreeMap<Transport, SocketAddr>,
    pub user_agent: String,
    pub media: Arc<dyn MediaPlane>,
    /// What has calls carried by another process, if there is any.
    pub engine: Option<Arc<dyn MediaPlane>>,
}

/// Who carries the audio of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carried {
    /// This node: an offer that it cannot carry is refused.
    Here,
    /// Nobody: from party to party.
    Past,
    /// The process of this name, as `engine` knows it.
    By(String),
}

/// What is due; the row it names decides whether it still stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    ClientResend(ClientKey),
    ClientEnd(ClientKey),
    ServerResend(ServerKey),
    ServerEnd(ServerKey),
    /// 200 again until it is acknowledged.
    AnswerResend(LegId),
    /// A waiting caller hears its last provisional answer again.
    Progress(LegId),
    Reliable(LegId),
    Session(LegId),
    /// A party is to be told anew what we say of ourselves.
    Retell(LegId),
    /// A party is told again where we are.
    Resume(LegId),
    ResumeSlot(LegId),
    /// A phone that another edge had ringing was sent its CANCEL.
    CancelOver(LegId),
    /// The audio of a leg that was handed over ends.
    Linger(LegId),
    /// A refused leg is forgotten unless it was tried again.
    Refused(LegId),
}

/// The stack of one edge.
pub struct Stack {
    options: Options,
    /// What Via and Contact must say for a flow that another node holds.
    nodes: BTreeMap<NodeId, BTreeMap<Transport, SocketAddr>>,
    servers: HashMap<ServerKey, Server>,
    pending: BTreeMap<TxId, ServerKey>,
    /// Transactions with a final answer, oldest first: what is given up when there is no room.
    answered: VecDeque<ServerKey>,
    clients: HashMap<ClientKey, Client>,
    legs: BTreeMap<LegId, Leg>,
    /// Legs that are over: a repeated order must not raise them again, and hears their last report once more.
    ended: Ended,
    resuming: Resuming,
    /// How the media of calls is to be, by call, where somebody said so.
    plans: BTreeMap<CallId, Planned>,
    /// What waits until the engine knows how to carry a description.
    held: Held,
    /// Files of recordings that are being written, and whose.
    tapes: BTreeMap<(LegId, u32), DomainId>,
    /// Legs that were handed over whose audio goes on for a moment.
    lingering: usize,
    due: BTreeMap<(Instant, u64), Due>,
    counter: u64,
    out: VecDeque<Output>,
}

impl Stack {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            nodes: BTreeMap::new(),
            servers: HashMap::new(),
            pending: BTreeMap::new(),
            answered: VecDeque::new(),
            clients: HashMap::new(),
            legs: BTreeMap::new(),
            ended: Ended::default(),
            resuming: Resuming::default(),
            plans: BTreeMap::new(),
            held: Held::default(),
            tapes: BTreeMap::new(),
            lingering: 0,
            due: BTreeMap::new(),
            counter: 0,
            out: VecDeque::new(),
        }
    }

    /// Sets what the other nodes' flows are addressed as.
    pub fn set_nodes(&mut self, nodes: BTreeMap<NodeId, BTreeMap<Transport, SocketAddr>>) {
        self.nodes = nodes;
    }

    /// Live legs, for reconciliation.
    pub fn legs(&self) -> impl Iterator<Item = LegId> {
        self.legs.keys().copied()
    }

    /// True if the leg is here, or was.
    pub fn knows(&self, leg: LegId) -> bool {
        self.legs.contains_key(&leg) || self.ended.knows(leg)
    }

    /// Legs that were handed over and are still heard.
    pub const fn lingering(&self) -> usize {
        self.lingering
    }

    pub fn transactions(&self) -> usize {
        self.servers.len() + self.clients.len()
    }

    /// Answers a pending request with a final or provisional status.
    pub fn respond(&mut self, now: Instant, tx: TxId, status: u16, reason: &str, headers: &[(&str, String)], body: &[u8]) {
        let Some(key) = self.pending.get(&tx).cloned() else { return };
        if status >= 200 {
            self.pending.remove(&tx);
        }
        self.answer(now, &key, status, reason, headers, body);
    }

    /// Forgets a pending request that somebody else answers.
    pub fn dismiss(&mut self, tx: TxId) {
        if let Some(key) = self.pending.remove(&tx) {
            self.servers.remove(&key);
        }
    }

    /// Makes a pending INVITE the caller leg of a call. `None` if it was cancelled or timed out meanwhile.
    /// An offer that who is to carry its media cannot carry is refused.
    pub fn take_call(&mut self, now: Instant, tx: TxId, domain: &DomainId, call: CallId, carried: Carried) -> Option<TakenCall> {
        let key = self.pending.remove(&tx)?;
        let server = self.servers.get_mut(&key)?;
        let invite = server.request.clone()?;
        let id = LegId::caller(call);
        server.tx = None;
        if self.legs.len() >= LEGS_MAX {
            self.answer(now, &key, 503, "Service Unavailable", &[("Retry-After", "5".to_owned())], b"");
            return None;
        }
        let flow = server.flow;
        let offer = sdp_of(&invite).ok().flatten().unwrap_or_default();
        if !self.can_carry(&carried, &offer) {
            self.answer(now, &key, 488, "Not Acceptable Here", &[], b"");
            return None;
        }
        self.owned(&key, id);
        let mut leg = Leg::caller(id, domain.clone(), key, invite, flow, &self.options);
        leg.anchored = carried == Carried::Here;
        if let Carried::By(name) = carried {
            leg.dialog.carrier = name;
        }
        let taken = TakenCall { dialog: leg.dialog.clone(), sdp: leg.offer() };
        self.legs.insert(id, leg);
        Some(taken)
    }

    /// The transport could not deliver to this destination.
    pub fn unreachable(&mut self, now: Instant, _to: &Destination, message: &Bytes) {
        let Some(message) = read_own(message) else { return };
        if let Some(key) = ClientKey::of(&message).filter(|key| message.is_request() && self.clients.contains_key(key)) {
            self.undelivered(now, &key);
        }
    }

    /// Fires what is due.
    pub fn timeout(&mut self, now: Instant) {
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= now) {
            match entry.remove() {
                Due::ClientResend(key) => self.client_resend(now, &key),
                Due::ClientEnd(key) => self.client_end(now, &key),
                Due::ServerResend(key) => self.server_resend(now, &key),
                Due::ServerEnd(key) => self.server_end(now, &key),
                Due::AnswerResend(leg) => self.answer_resend(now, leg),
                Due::Progress(leg) => self.progress_again(now, leg),
                Due::Reliable(leg) => self.reliable_resend(now, leg),
                Due::Session(leg) => self.session_due(now, leg),
                Due::Retell(leg) => self.retell_due(now, leg),
                Due::Resume(leg) => self.resume_again(now, leg),
                Due::ResumeSlot(leg) => self.resume_slot(now, leg),
                Due::CancelOver(leg) => self.cancel_over(now, leg),
                Due::Linger(leg) => self.linger_over(leg),
                Due::Refused(leg) => self.refused_over(leg),
            }
        }
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.due.keys().next().map(|(at, _)| *at)
    }

    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn at(&mut self, when: Instant, due: Due) {
        self.counter += 1;
        self.due.insert((when, self.counter), due);
    }

    fn transmit(&mut self, to: Destination, bytes: Bytes) {
        self.out.push_back(Output::Transmit { to, bytes });
    }

    /// Reports on a leg, numbered; unknown legs have nothing to say.
    fn report(&mut self, id: LegId, event: LegEvent) {
        if let Some(report) = self.numbered(id, event) {
            self.out.push_back(Output::Report(report));
        }
    }

    fn numbered(&mut self, id: LegId, event: LegEvent) -> Option<LegReport> {
        let leg = self.legs.get_mut(&id)?;
        leg.seq += 1;
        Some(LegReport { domain: leg.domain.clone(), leg: id, edge: self.options.edge, seq: leg.seq, event })
    }

    /// The last report on a leg; this edge knows it no more.
    fn finish(&mut self, id: LegId, event: LegEvent) {
        if let Some(report) = self.numbered(id, event) {
            self.out.push_back(Output::Report(report.clone()));
            self.forget(id, report);
        }
    }

    fn forget(&mut self, id: LegId, last: LegReport) {
        if let Some(leg) = self.remove(id) {
            self.ended.remember(id, leg.last_order, last);
        }
    }

    /// Our address as seen by whoever is at the other end of `to`.
    fn address(&self, to: &Destination) -> SocketAddr {
        let (transport, via) = match to {
            Destination::Flow(flow) => (flow.transport, flow.via),
            Destination::Host { transport, .. } => (*transport, None),
        };
        let own = self.options.addresses.get(&transport).copied();
        let theirs = via.and_then(|node| self.nodes.get(&node)).and_then(|addresses| addresses.get(&transport)).copied();
        theirs.or(own).unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 5060)))
    }
}

/// True for transports that retransmit by themselves.
const fn reliable(transport: Transport) -> bool {
    matches!(transport, Transport::Tcp | Transport::Tls)
}

const fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP",
        Transport::Tls => "TLS",
    }
}
