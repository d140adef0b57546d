//! The SIP edge of a node: sockets and stack joined, calls taken in, orders performed, reports sent on.
//!
//! It asks who calls and hands the call to the core; it decides nothing about routing. Without a valid lease it sends
//! nothing that acts for its legs.

mod backend;
mod inbox;
pub mod metrics;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    message::{Method, Name, angle_uri, host_port, parse, user_of},
    stack::{self, Destination, Flow, Output, Stack, TxId},
    transport::{self, Event, Sink, Transport},
    trunk::Index,
    tunnel::{self, Frame},
};
use crate::{
    actor::{self, Handle},
    core::{
        Outcome, Reason,
        command::Arrive,
        effect::Order,
        id::{CallId, Edge as Life, NodeId},
        party,
    },
};

/// Events, orders and answers that wait for the stack; more are dropped (a datagram) or held back (a connection).
const INBOX_MAX: usize = 16_384;
/// Arrivals waiting for their commit; more callers get 503.
const ARRIVALS_MAX: u32 = 2_048;
/// How long an arrival may wait for its commit: a caller hears something before 5 s.
const ARRIVE_WITHIN: Duration = Duration::from_millis(4_000);

enum Work {
    Event(Event),
    Orders(Vec<Order>),
    Tunnelled(NodeId, Bytes),
    /// What the core said to an arrival.
    Arrived(TxId, Result<Outcome, String>),
    /// Whose a leg is that this node does not know.
    Owner {
        tx: TxId,
        flow: Flow,
        request: Bytes,
        owner: Option<Life>,
    },
}

/// The edge as transport and actors see it.
pub struct Edge {
    work: mpsc::Sender<Work>,
    inbox: parking_lot::Mutex<Option<mpsc::Receiver<Work>>>,
    transport: Transport,
    handle: OnceLock<Handle>,
    draining: AtomicBool,
    legs: AtomicU32,
}

struct Entrance(mpsc::Sender<Work>);

impl Sink for Entrance {
    fn take(&self, event: Event) -> Result<(), Event> {
        self.0.try_send(Work::Event(event)).map_err(|error| match error.into_inner() {
            Work::Event(event) => event,
            _ => unreachable!("an event was sent"),
        })
    }
}

impl actor::Edge for Edge {
    fn perform(&self, orders: Vec<Order>) {
        // Full: the order is still a row of the outbox and will come again.
        let _ = self.work.try_send(Work::Orders(orders));
    }

    fn tunnelled(&self, from: NodeId, frame: Bytes) {
        // Full: SIP repeats.
        let _ = self.work.try_send(Work::Tunnelled(from, frame));
    }
}

impl Edge {
    /// Binds the sockets. Nothing is read before [`Edge::run`].
    ///
    /// # Errors
    /// When a socket cannot be bound or a certificate cannot be read.
    pub async fn bind(options: &transport::Options) -> Result<Arc<Self>, transport::Error> {
        let transport = Transport::bind(options).await?;
        let (work, inbox) = mpsc::channel(INBOX_MAX);
        Ok(Arc::new(Self {
            work,
            inbox: parking_lot::Mutex::new(Some(inbox)),
            transport,
            handle: OnceLock::new(),
            draining: AtomicBool::new(false),
            legs: AtomicU32::new(0),
        }))
    }

    /// Starts taking calls.
    pub fn run(self: &Arc<Self>, handle: Handle) {
        let Some(inbox) = self.inbox.lock().take() else { return };
        // The inbox can be taken once, so this is the only place.
        let _ = self.handle.set(handle.clone());
        let addresses = [party::Transport::Udp, party::Transport::Tcp, party::Transport::Tls];
        let addresses = addresses.into_iter().filter_map(|kind| Some((kind, *self.transport.advertised(kind).first()?))).collect();
        let stack = Stack::new(stack::Options {
            edge: handle.edge(),
            addresses,
            user_agent: concat!("Tandem/", env!("CARGO_PKG_VERSION")).to_owned(),
        });
        let desk = Desk { edge: Arc::clone(self), handle, stack, index: Index::default(), arrivals: 0, calls: BTreeMap::new() };
        tokio::spawn(desk.work(inbox));
        self.transport.start(Arc::new(Entrance(self.work.clone())));
    }

    /// Refuses new calls from here on and waits until the legs of this node are gone, or the deadline.
    pub async fn drain(&self, within: Duration) {
        self.draining.store(true, Ordering::Relaxed);
        let give_up = Instant::now() + within;
        while self.legs.load(Ordering::Relaxed) > 0 && Instant::now() < give_up {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

struct Desk {
    edge: Arc<Edge>,
    handle: Handle,
    stack: Stack,
    index: Index,
    arrivals: u32,
    /// Calls taken whose arrival is not answered yet, by transaction.
    calls: BTreeMap<TxId, CallId>,
}

impl Desk {
    async fn work(mut self, mut inbox: mpsc::Receiver<Work>) {
        let mut directory = self.handle.directory();
        loop {
            let next = self.stack.next_timeout().unwrap_or_else(|| Instant::now() + Duration::from_secs(1));
            tokio::select! {
                work = inbox.recv() => match work {
                    Some(work) => self.take(work),
                    None => return,
                },
                changed = directory.changed() => {
                    if changed.is_err() { return }
                    self.index = Index::build(&directory.borrow_and_update().clone());
                },
                () = tokio::time::sleep_until(next.into()) => {}
            }
            self.stack.timeout(Instant::now());
            self.drain();
            self.edge.legs.store(self.stack.legs().count() as u32, Ordering::Relaxed);
        }
    }

    fn take(&mut self, work: Work) {
        let now = Instant::now();
        match work {
            Work::Event(Event::Message { flow, message, .. }) => self.stack.receive(now, flow, message),
            Work::Event(Event::Bad { flow, bytes, .. }) => self.stack.receive(now, flow, bytes),
            Work::Event(Event::Undeliverable { to, bytes }) => self.stack.unreachable(now, &to, &bytes),
            Work::Event(Event::Closed { .. }) => {}
            Work::Orders(orders) => orders.iter().for_each(|order| self.stack.order(now, order)),
            Work::Tunnelled(from, frame) => match Frame::decode(from, &frame) {
                Ok(Frame::To(flow, bytes)) => drop(self.edge.transport.send(&Destination::Flow(flow), &bytes)),
                Ok(Frame::From(flow, bytes)) => self.stack.receive(now, flow, bytes),
                Err(error) => tracing::warn!(%from, %error, "a tunnel frame was not understood"),
            },
            Work::Arrived(tx, outcome) => self.arrived(now, tx, outcome),
            Work::Owner { tx, flow, request, owner } => match owner.filter(|owner| *owner != self.handle.edge()) {
                Some(owner) => self.tunnel(owner.node, &Frame::From(flow, request)),
                None => self.stack.respond(now, tx, 481, "Call/Transaction Does Not Exist", &[], b""),
            },
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.stack.poll() {
            match output {
                Output::Transmit { to, bytes } => self.transmit(&to, bytes),
                Output::Request { tx, flow, request } => self.request(tx, flow, &request),
                Output::Report(report) | Output::Refused { report, .. } => self.handle.report(report),
                Output::Foreign { node, flow, bytes } => self.tunnel(node, &Frame::From(flow, bytes)),
                Output::Unknown { tx, leg, flow, request } => {
                    let (handle, work) = (self.handle.clone(), self.edge.work.clone());
                    tokio::spawn(async move {
                        let owner = handle.owner_of(leg).await;
                        // The edge lives as long as the node.
                        let _ = work.send(Work::Owner { tx, flow, request, owner }).await;
                    });
                }
            }
        }
    }

    fn transmit(&mut self, to: &Destination, bytes: Bytes) {
        match tunnel::holder(to, self.handle.edge().node) {
            Some((node, flow)) => self.tunnel(node, &Frame::To(flow, bytes)),
            None => {
                if self.edge.transport.send(to, &bytes).is_err() {
                    self.stack.unreachable(Instant::now(), to, &bytes);
                }
            }
        }
    }

    fn tunnel(&self, node: NodeId, frame: &Frame) {
        let (handle, frame) = (self.handle.clone(), frame.encode());
        tokio::spawn(async move {
            if let Err(error) = handle.tunnel(node, frame).await {
                tracing::debug!(%node, %error, "a frame was not tunnelled; SIP repeats it");
            }
        });
    }

    fn request(&mut self, tx: TxId, flow: Flow, bytes: &Bytes) {
        let now = Instant::now();
        let Ok(request) = parse(bytes) else { return };
        let healthy = self.handle.cluster().lease_valid() && !self.edge.draining.load(Ordering::Relaxed);
        let retry = [("Retry-After", "3".to_owned())];
        match request.method() {
            Method::Options if healthy => self.stack.respond(
                now,
                tx,
                200,
                "OK",
                &[("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO, PRACK".to_owned())],
                b"",
            ),
            Method::Options => self.stack.respond(now, tx, 503, "Service Unavailable", &retry, b""),
            Method::Invite if !healthy || self.arrivals >= ARRIVALS_MAX => {
                ::metrics::counter!("sip_admission_refused_total").increment(1);
                self.stack.respond(now, tx, 503, "Service Unavailable", &retry, b"");
            }
            Method::Invite => {
                let host = host_port(request.uri()).0;
                match self.index.by_source(flow.remote.ip(), &host).cloned() {
                    Some((domain, trunk)) => self.invite(now, tx, &request, domain, trunk),
                    None => self.stack.respond(now, tx, 403, "Forbidden", &[], b""),
                }
            }
            _ => self.stack.respond(now, tx, 405, "Method Not Allowed", &[], b""),
        }
    }

    fn invite(
        &mut self,
        now: Instant,
        tx: TxId,
        request: &super::message::Message,
        domain: crate::core::id::DomainId,
        trunk: crate::core::id::TrunkId,
    ) {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let me = self.handle.edge();
        let call = CallId::compose(wall, me.node, rand::Rng::random(&mut rand::rng()));
        let Some(taken) = self.stack.take_call(now, tx, &domain, call) else { return };
        let from = request.text(Name::From);
        let uri = angle_uri(&from).to_owned();
        let display = from.split('<').next().unwrap_or_default().trim().trim_matches('"').to_owned();
        let arrive = Arrive {
            domain,
            call,
            edge: me,
            trunk: Some(trunk),
            to_user: user_of(request.uri()).to_owned(),
            from: party::Party { user: user_of(&uri).to_owned(), display: if from.contains('<') { display } else { String::new() }, uri },
            dialog: taken.dialog,
            sdp: taken.sdp,
            headers: passed_on(request),
            priority: None,
            skills: Vec::new(),
            prefer: None,
        };
        self.arrivals += 1;
        self.calls.insert(tx, call);
        let (handle, work) = (self.handle.clone(), self.edge.work.clone());
        tokio::spawn(async move {
            let outcome = handle.arrive(arrive, ARRIVE_WITHIN).await.map_err(|error| error.to_string());
            // The edge lives as long as the node.
            let _ = work.send(Work::Arrived(tx, outcome)).await;
        });
    }

    /// The core's word on an arrival: an order follows a yes, a no is said here.
    fn arrived(&mut self, now: Instant, tx: TxId, outcome: Result<Outcome, String>) {
        self.arrivals -= 1;
        let Some(call) = self.calls.remove(&tx) else { return };
        let (status, retry) = match &outcome {
            Ok(Outcome::Rejected(reason)) => status_of(reason),
            Ok(_) => return,
            Err(why) => {
                tracing::debug!(%call, why, "an arrival was not committed");
                (503, Some(3))
            }
        };
        let reason = outcome.map_or_else(|why| why, |outcome| format!("{outcome:?}"));
        self.stack.refuse_call(now, call, status, &reason, retry);
    }
}

/// The SIP status of a refusal, and when to try again.
fn status_of(reason: &Reason) -> (u16, Option<u32>) {
    match reason {
        Reason::NoRoute(_) | Reason::NoQueue(_) | Reason::NoDomain => (404, None),
        Reason::QueueFull => (486, None),
        Reason::TooManyCalls(_) => (503, Some(5)),
        Reason::Invalid(_) => (400, None),
        _ => (480, None),
    }
}

/// What a B2BUA passes on: identity, privacy, history, user data and `X-` fields.
fn passed_on(request: &super::message::Message) -> party::Headers {
    let standard = [Name::Identity, Name::AssertedIdentity, Name::Privacy, Name::Diversion, Name::HistoryInfo, Name::UserToUser];
    let fields = request
        .fields
        .iter()
        .filter(|field| standard.contains(&field.name) || field.spelt.len() > 2 && field.spelt[..2].eq_ignore_ascii_case(b"x-"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    fields.take(crate::core::limits::HEADERS_MAX).map(|field| (text(&field.spelt), text(&field.value))).collect()
}

/// Where peers reach a node's SIP, from what it told the cluster.
pub fn advertised(attributes: &BTreeMap<String, String>) -> BTreeMap<party::Transport, SocketAddr> {
    let read = |key: &str| attributes.get(key).and_then(|text| text.parse().ok());
    let sip = [(party::Transport::Udp, read("sip")), (party::Transport::Tcp, read("sip")), (party::Transport::Tls, read("sip_tls"))];
    sip.into_iter().filter_map(|(transport, address)| Some((transport, address?))).collect()
}
