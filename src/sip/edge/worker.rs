//! The task that drives the stack: takes what waits, lets the stack work, carries out what it wants.
//!
//! What a turn does, in order: messages of calls, findings, orders, what is due, and last a bounded number of requests
//! that want to start something. This file owns the turn and the books; the steps are in the files beside it.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use bytes::Bytes;
use rand::Rng;
use tokio::sync::{mpsc, watch};

use super::{
    Handle, Options, Shared,
    arrivals::Live,
    assistants::Assistants,
    backend::Backend,
    chats::Writing,
    freed::{self, Freed},
    fresh::Caller,
    inbox::{Established, Finding},
    listeners::Listeners,
    metrics as names, stateless,
    targets::Phone,
    verdicts::Verdicts,
};
use crate::{
    actor::Directory,
    core::{
        command::{LegReport, Saved},
        effect::{Action, Order},
        id::{CallId, Edge, LegId, NodeId},
        party::Transport as Wire,
    },
    media::{self, Planes},
    sip::{
        admission::{Admission, Bucket},
        auth,
        brain::Brain,
        limits::{FRESH_BATCH_MAX, STRANGER_ANSWERS_PER_S, TICK},
        message::ParseError,
        registrar::Registrar,
        stack::{self, Destination, Flow, Output, Stack},
        transport::{Event, Sink, Transport},
        trunk::Index,
        tunnel::Frame,
    },
};

/// The inbox as the sockets see it.
pub(super) struct InboxSink(pub(super) Arc<Shared>);

impl Sink for InboxSink {
    fn take(&self, event: Event) -> Result<(), Box<Event>> {
        Sink::take(&self.0.inbox, event)
    }
}

pub(super) struct Worker {
    pub(super) options: Arc<Options>,
    pub(super) shared: Arc<Shared>,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) media: Planes,
    pub(super) brain: Option<Arc<dyn Brain>>,
    pub(super) assistants: Assistants,
    pub(super) listeners: Listeners,
    pub(super) writing: Writing,
    pub(super) transport: Transport,
    pub(super) me: Edge,
    pub(super) stack: Stack,
    pub(super) admission: Admission,
    pub(super) auth: auth::Server,
    /// Whether this node has proposed its own key of nonces for all.
    sharing: bool,
    pub(super) registrar: Registrar,
    pub(super) registers_in_flight: usize,
    pub(super) verdicts: Verdicts,
    /// Answers to sources that are neither trunk nor account, and requests that start no call.
    pub(super) strangers: Bucket,
    pub(super) out_of_dialog: Bucket,
    pub(super) directory: Arc<Directory>,
    directory_changes: watch::Receiver<Arc<Directory>>,
    pub(super) index: Index,
    pub(super) calls: HashMap<CallId, Live>,
    pub(super) phones: HashMap<LegId, Phone>,
    pub(super) freed: Freed,
    /// The admitted caller whose INVITE the stack is taking in right now.
    pub(super) admitted: Option<Caller>,
    /// Whether this node may act, as of the beginning of this turn.
    pub(super) lease: bool,
    /// Set while an answer is written that speaks for no leg.
    pub(super) plain_answer: bool,
    pub(super) withheld: VecDeque<(Destination, Bytes)>,
    pub(super) tunnels: BTreeMap<NodeId, mpsc::Sender<(Destination, Frame)>>,
    /// When the message at hand was read.
    pub(super) read_at: Instant,
    ticked: Instant,
}

impl Worker {
    pub(super) fn new(handle: &Handle, backend: Arc<dyn Backend>, media: Planes, brain: Option<Arc<dyn Brain>>) -> Self {
        let now = Instant::now();
        let options = handle.options.clone();
        let directory_changes = backend.directory();
        let directory = directory_changes.borrow().clone();
        let me = backend.edge();
        Self {
            stack: new_stack(&handle.transport, &options, me, media.clone()),
            admission: Admission::new(now, options.calls_max, options.calls_per_s_max),
            // Until all nodes share one, this node's nonces are good at this node.
            auth: auth::Server::new(rand::rng().random()),
            sharing: false,
            registrar: Registrar::default(),
            registers_in_flight: 0,
            verdicts: Verdicts::new(now),
            strangers: Bucket::new(now, STRANGER_ANSWERS_PER_S),
            out_of_dialog: Bucket::new(now, crate::sip::limits::OUT_OF_DIALOG_PER_S),
            index: Index::build(&directory),
            directory,
            directory_changes,
            calls: HashMap::new(),
            phones: HashMap::new(),
            freed: Freed::default(),
            admitted: None,
            lease: backend.lease_valid(),
            plain_answer: false,
            withheld: VecDeque::new(),
            tunnels: BTreeMap::new(),
            read_at: now,
            // The first turn ticks.
            ticked: now.checked_sub(TICK).unwrap_or(now),
            transport: handle.transport.clone(),
            shared: handle.shared.clone(),
            options,
            backend,
            media,
            brain,
            assistants: Assistants::default(),
            listeners: Listeners::default(),
            writing: Writing::new(),
            me,
        }
    }

    pub(super) async fn run(mut self) {
        while !self.shared.stopping.load(Ordering::Relaxed) {
            if self.turn() {
                tokio::task::yield_now().await;
                continue;
            }
            let tick = self.ticked + TICK;
            let wake = self.stack.next_timeout().map_or(tick, |due| due.min(tick));
            let shared = self.shared.clone();
            tokio::select! {
                () = shared.inbox.rung() => {}
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    /// One turn. True if there was anything to do but the clock.
    fn turn(&mut self) -> bool {
        let now = Instant::now();
        self.renew(now);
        let batch = self.shared.inbox.take(FRESH_BATCH_MAX);
        let busy = !batch.is_empty();
        for message in batch.established {
            self.established(now, message);
        }
        for finding in batch.findings {
            self.finding(now, finding);
        }
        for order in batch.orders {
            self.order(now, &order);
        }
        self.stack.timeout(now);
        self.drain(now);
        for fresh in batch.fresh {
            self.fresh(Instant::now(), fresh);
        }
        self.shared.calls.store(self.calls.len() + self.stack.lingering(), Ordering::Relaxed);
        busy
    }

    /// Looks at what changes by itself: lease, directory, drain; and every `TICK` at what changes seldom.
    fn renew(&mut self, now: Instant) {
        let (lease, life) = (self.backend.lease_valid(), self.backend.edge());
        if life != self.me {
            self.lose(life);
        }
        if lease && !self.lease {
            self.lease = true;
            self.release();
        }
        self.lease = lease;
        if self.directory_changes.has_changed().unwrap_or(false) {
            self.directory = self.directory_changes.borrow_and_update().clone();
            self.index = Index::build(&self.directory);
        }
        self.admission.set_draining(self.shared.draining.load(Ordering::Relaxed));
        if now.saturating_duration_since(self.ticked) < TICK {
            return;
        }
        self.ticked = now;
        *self.shared.ticked.lock() = Some(now);
        self.stack.set_nodes(self.backend.nodes());
        self.renew_nonce_key();
        self.registrar.expire(now);
        self.assistants_due(now);
        self.listeners_due();
        metrics::gauge!(names::CALLS).set(self.calls.len() as f64);
        metrics::gauge!(names::REGISTRATIONS).set(self.registrar.len() as f64);
        metrics::gauge!(names::ARRIVALS_BOUND).set(self.admission.bound() as f64);
    }

    /// Takes the key of nonces that all nodes share, or offers this node's own as such. Should several offer theirs at once,
    /// the last one counts, and a phone in between is challenged once more.
    fn renew_nonce_key(&mut self) {
        match self.backend.nonce_key() {
            Some(key) => self.auth.rekey(key),
            None if self.lease && !std::mem::replace(&mut self.sharing, true) => {
                let (backend, shared, key) = (self.backend.clone(), self.shared.clone(), self.auth.key());
                tokio::spawn(async move {
                    backend.share_nonce_key(key).await;
                    shared.inbox.found(Finding::Shared);
                });
            }
            None => {}
        }
    }

    /// A majority gave this life of the node up and it began another: the legs of the old one belong to others, and
    /// nothing more is said for them. Whoever still asks is told that they are gone.
    fn lose(&mut self, life: Edge) {
        tracing::warn!(calls = self.calls.len(), incarnation = life.incarnation, "this node was given up by the others and begins anew");
        self.me = life;
        for leg in self.stack.legs() {
            self.media.own.close(leg);
            if let Some(engine) = &self.media.engine {
                engine.leave(leg);
            }
        }
        self.stack = new_stack(&self.transport, &self.options, life, self.media.clone());
        self.stack.set_nodes(self.backend.nodes());
        self.withheld.clear();
        self.assistants.clear();
        self.listeners.clear();
        self.phones.clear();
        for (_, live) in self.calls.drain() {
            self.admission.gone(&live.account);
            if live.is_arriving() {
                // Its commit still comes to an end, which finds no call any more.
                self.admission.committed(Instant::now(), std::time::Duration::ZERO);
            }
        }
    }

    fn established(&mut self, now: Instant, message: Established) {
        self.read_at = message.received;
        if let Some(method) = method_of(&message.bytes) {
            metrics::counter!(names::REQUESTS_TOTAL, "method" => method).increment(1);
        }
        self.stack.receive(now, message.flow, message.bytes);
        self.drain(now);
    }

    fn finding(&mut self, now: Instant, finding: Finding) {
        match finding {
            Finding::Arrived { call, outcome } => self.arrived(now, call, outcome),
            Finding::Referred { tx, leg, outcome } => self.referred(now, tx, leg, outcome),
            Finding::AnswerDecided { leg, taken } => {
                self.stack.answer_decided(now, leg, taken);
                self.drain(now);
            }
            Finding::Registered { tx, plan, done } => self.registered(now, tx, &plan, done),
            Finding::Owner { tx, owner, flow, bytes } => self.owner_found(now, tx, owner, flow, bytes),
            Finding::Homeless { flow, bytes } => self.homeless(flow, bytes),
            Finding::Coming { tx, leg, flow, bytes, tries } => self.coming(now, tx, leg, flow, bytes, tries),
            Finding::Undeliverable { to, bytes } => {
                self.stack.unreachable(now, &to, &bytes);
                self.drain(now);
            }
            Finding::Closed { flow } => self.closed(&flow),
            Finding::Media(media::Event::PlayDone { leg }) => {
                if !self.spoken(now, leg) {
                    self.stack.played(leg);
                }
            }
            Finding::Media(media::Event::Digit { leg, digit, .. }) => self.key_pressed(now, leg, digit),
            Finding::Media(media::Event::Speaks { leg }) => self.speaks(now, leg),
            Finding::Media(media::Event::Utterance { leg, samples }) => {
                self.uttered(leg, &samples);
                self.overheard(leg, &samples);
            }
            Finding::Wrote(report) => self.written(*report),
            Finding::Assistant { leg, step, found } => self.found_for(now, leg, step, found),
            Finding::Media(media::Event::Latched { leg, source }) => {
                self.stack.latched(leg, source);
                self.drain(now);
            }
            Finding::Media(media::Event::Recorded { leg, part, ms, masked, .. }) => {
                self.recorded(leg, part, Some(Saved { ms, masked: masked.to_vec() }));
            }
            Finding::Media(media::Event::RecordFailed { leg, part }) => self.recorded(leg, part, None),
            Finding::Media(media::Event::Ready { call }) => {
                self.stack.ready(now, call);
                self.drain(now);
            }
            Finding::Media(media::Event::Moved { leg, told, carrier }) => {
                self.stack.moved(now, leg, told, &carrier);
                self.drain(now);
            }
            Finding::Media(media::Event::Lost { leg }) => {
                self.stack.media_lost(now, leg);
                self.drain(now);
            }
            Finding::MediaMissed => {
                self.stack.ready_all(now);
                self.drain(now);
            }
            // Silences are for those who ask for them.
            Finding::Media(_) => {}
            Finding::Shared => self.sharing = false,
            Finding::Bad { flow, error } => self.bad(now, flow, error),
        }
    }

    fn bad(&mut self, now: Instant, flow: Flow, error: ParseError) {
        metrics::counter!(names::MALFORMED_TOTAL, "kind" => "message").increment(1);
        tracing::debug!(remote = %flow.remote, reason = error.reason, "malformed message");
        let Some(partial) = error.partial.filter(|m| m.top_via().is_some()) else { return };
        if self.strangers.take(now, STRANGER_ANSWERS_PER_S)
            && let Some(bytes) = stateless::answer(&partial, flow.remote, error.status, error.reason, &[])
        {
            self.write(Destination::Flow(flow), bytes);
        }
    }

    fn order(&mut self, now: Instant, order: &Order) {
        if order.edge != self.me {
            // For another life of this node: that leg died with it, and the core was told by the loss of the edge.
            return;
        }
        let told = self.told_where(order);
        let order = told.as_ref().unwrap_or(order);
        let image = order.image.as_ref().filter(|_| !self.stack.knows(order.leg));
        if let Some(trunk) = image.map(|image| image.trunk.clone()) {
            self.adopt_call(now, order, trunk);
        }
        if self.assist(now, order) {
            return self.drain(now);
        }
        match &order.action {
            Action::Ring(ring) => self.ring(now, order, ring),
            Action::Release => {
                if let Some(live) = self.calls.remove(&order.leg.call) {
                    self.admission.gone(&live.account);
                }
                self.stack.order(now, order);
            }
            Action::HangUp { .. } => {
                let waited = self.freed.hang_up(order.leg.call, order.id);
                freed::count(waited);
                self.stack.order(now, order);
            }
            _ => self.stack.order(now, order),
        }
        self.put_through(now, order);
        self.drain(now);
    }

    /// Carries out what the stack wants.
    pub(super) fn drain(&mut self, now: Instant) {
        while let Some(output) = self.stack.poll() {
            match output {
                Output::Transmit { to, bytes } => self.transmit(to, bytes),
                Output::Request { tx, flow, request } => self.request(now, tx, flow, &request),
                Output::Unknown { tx, leg, flow, request } => self.look_up(Some(tx), leg, flow, request, 0),
                Output::Unasked { leg, flow, response } => {
                    // It says whose it is and could be anybody's. A phone that did answer says so again.
                    if self.strangers.take(now, STRANGER_ANSWERS_PER_S) {
                        self.look_up(None, leg, flow, response, 0);
                    }
                }
                Output::Report(report) => self.report(report),
                Output::Refused { report, response } => self.refused(now, report, &response),
                Output::Refer { tx, leg, domain, user } => self.refer(tx, leg, domain, user),
                Output::Foreign { node, flow, bytes } => self.tunnel_from(node, flow, bytes),
            }
        }
    }

    /// Passes a report on, after this node's own books are up to date.
    pub(super) fn report(&mut self, report: LegReport) {
        self.note_phone(&report);
        self.note_call(report);
    }

    /// False while this node starts and has not read its tenants: nobody can be told yet whether he is known.
    pub(super) fn caught_up(&self) -> bool {
        self.shared.caught_up.load(Ordering::Relaxed)
    }

    pub(super) fn random(&self) -> u64 {
        rand::rng().random()
    }

    /// Seconds after which a refused caller may try again, different for each.
    pub(super) fn retry_after_s(&self) -> u32 {
        rand::rng().random_range(crate::sip::limits::RETRY_AFTER_S)
    }

    pub(super) fn wall_ms(&self) -> i64 {
        tandem_cluster::process_wall_ms()
    }
}

fn new_stack(transport: &Transport, options: &Options, edge: Edge, media: Planes) -> Stack {
    let first = |wire| transport.advertised(wire).first().map(|addr| (wire, *addr));
    let addresses = [Wire::Udp, Wire::Tcp, Wire::Tls].into_iter().filter_map(first).collect();
    Stack::new(stack::Options { edge, addresses, user_agent: options.user_agent.clone(), media: media.own, engine: media.engine })
}

/// Method of a request for the metric; one of a fixed set.
pub(super) fn method_of(bytes: &[u8]) -> Option<&'static str> {
    const METHODS: [&str; 13] =
        ["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "PRACK", "UPDATE", "INFO", "REFER", "MESSAGE", "NOTIFY", "SUBSCRIBE"];
    if bytes.starts_with(b"SIP/") {
        return None;
    }
    let word = bytes.split(|b| *b == b' ').next().unwrap_or_default();
    Some(METHODS.into_iter().find(|method| method.as_bytes() == word).unwrap_or("other"))
}
