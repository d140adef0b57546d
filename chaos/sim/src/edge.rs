//! The model of a SIP edge behind the actors' own trait: it takes orders, carries legs, and reports what parties do.
//!
//! It keeps the promises that `sip` keeps by real SIP: an order for another life is void, a repeated one changes nothing, older
//! ones of a leg are refused, nothing is said without the node's lease, reports of a leg are numbered, a leg that is not here is
//! said to have ended, and a leg with an image is taken over. What SIP makes of it is proven elsewhere.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tandem::{
    actor::{self, Edge, Handle},
    core::{
        command::{Arrive, HangUpCause, LegEvent, LegReport},
        effect::{Action, Order},
        id::{self, AgentId, CallId, EffectId, LegId, NodeId},
        party::{Dialog, Party, Sdp, Target},
    },
};
use tandem_cluster::BoxFuture;
use tokio::time::sleep;

use super::{
    GROUP, domain,
    judge::Judge,
    laws::Laws,
    town::{Answer, Town},
};

/// How long an arrival may take to be committed.
const ARRIVAL_WITHIN: Duration = Duration::from_secs(8);
/// A phone that rings, or waits to be joined with a caller, gives up after this long (RFC 3261: 64 × T1).
const PHONE_WAITS: Duration = Duration::from_secs(32);
/// Pause of an edge without a lease.
const SILENT: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Inner {
    /// The life all the rest belongs to.
    life: u64,
    legs: BTreeMap<LegId, Leg>,
    /// Last report of a leg, kept beyond its end, and the last order.
    seqs: BTreeMap<LegId, u32>,
    orders: BTreeMap<LegId, EffectId>,
    /// Which of the legs are AI agents', by call.
    robots: BTreeMap<CallId, LegId>,
}

/// A leg that is here; reports of one whose arrival is being committed wait.
#[derive(Default)]
struct Leg {
    held: Option<Vec<LegEvent>>,
}

/// What the run counts of its calls.
#[derive(Default)]
pub(super) struct Books {
    pub(super) accepted: Mutex<Vec<CallId>>,
    /// Said to be certainly not done.
    pub(super) unavailable: Mutex<Vec<CallId>>,
    pub(super) unknown: Mutex<Vec<CallId>>,
    pub(super) answered: std::sync::atomic::AtomicU64,
}

/// The edge of one process.
pub(super) struct SimEdge {
    pub(super) node: u64,
    pub(super) town: Arc<Town>,
    laws: Laws,
    judge: Judge,
    books: Arc<Books>,
    /// While the process lives.
    handle: Mutex<Option<Handle>>,
    inner: Mutex<Inner>,
}

impl SimEdge {
    pub(super) fn new(node: u64, town: Arc<Town>, laws: Laws, judge: Judge, books: Arc<Books>) -> Arc<Self> {
        Arc::new(Self { node, town, laws, judge, books, handle: Mutex::default(), inner: Mutex::default() })
    }

    pub(super) fn open(&self, handle: Handle) {
        *self.handle.lock() = Some(handle);
    }

    pub(super) fn die(&self) {
        self.handle.lock().take();
    }

    fn handle(&self) -> Option<Handle> {
        self.handle.lock().clone()
    }

    /// The present life, whose legs are those kept.
    fn life(&self) -> Option<id::Edge> {
        let me = self.handle()?.edge();
        let inner = &mut *self.inner.lock();
        if inner.life != me.incarnation {
            *inner = Inner { life: me.incarnation, ..Inner::default() };
        }
        Some(me)
    }

    fn carrier(self: &Arc<Self>) -> (std::sync::Weak<Self>, u64) {
        (Arc::downgrade(self), self.inner.lock().life)
    }

    /// An AI agent's leg is here from now on.
    pub(super) fn holds(&self, leg: LegId) {
        let inner = &mut *self.inner.lock();
        inner.legs.insert(leg, Leg::default());
        inner.robots.insert(leg.call, leg);
    }

    /// The edge lives and has the leg.
    pub(super) fn is_carrying(&self, leg: LegId) -> bool {
        self.life().is_some() && self.has(leg)
    }

    /// The AI agent of a call is gone, and nothing is said of it.
    pub(super) fn drops_robot(&self, call: CallId) {
        let inner = &mut *self.inner.lock();
        if let Some(leg) = inner.robots.remove(&call) {
            inner.legs.remove(&leg);
        }
    }

    fn has(&self, leg: LegId) -> bool {
        self.inner.lock().legs.contains_key(&leg)
    }

    /// Reports something of a leg, or keeps it until the leg's arrival is committed.
    pub(super) fn report(&self, leg: LegId, event: LegEvent) {
        let (Some(me), Some(handle)) = (self.life(), self.handle()) else { return };
        let seq = {
            let inner = &mut *self.inner.lock();
            if let Some(held) = inner.legs.get_mut(&leg).and_then(|leg| leg.held.as_mut()) {
                return held.push(event);
            }
            let seq = inner.seqs.entry(leg).or_insert(0);
            *seq += 1;
            *seq
        };
        self.laws.note(format_args!("report n{} {leg:?} {seq} {event:?}", self.node));
        handle.report(LegReport { domain: domain(), leg, edge: me, seq, event });
    }

    /// A leg ends here, and that is reported. False if it is not here any more.
    pub(super) fn ends(&self, leg: LegId, event: LegEvent) -> bool {
        if self.life().is_none() {
            return false;
        }
        let here = {
            let inner = &mut *self.inner.lock();
            match inner.legs.get_mut(&leg) {
                // Reported, and forgotten, once its arrival is committed.
                Some(Leg { held: Some(held) }) => {
                    held.push(event);
                    return true;
                }
                here => here.is_some(),
            }
        };
        if here {
            self.inner.lock().legs.remove(&leg);
            self.report(leg, event);
        }
        here
    }

    /// A party hung up, and whoever carries its leg hears of it, if that edge still lives its life.
    pub(super) fn party_leaves(town: &Town, leg: LegId, cause: HangUpCause) {
        let Some((carrier, life)) = town.leaves(leg) else { return };
        let Some(edge) = carrier.upgrade() else { return };
        if edge.life().is_some_and(|me| me.incarnation == life) {
            edge.ends(leg, LegEvent::HungUp { cause });
        }
    }

    /// A caller dials; returns when its arrival has an outcome.
    pub(super) async fn call(self: Arc<Self>, call: CallId) {
        let (Some(me), Some(handle)) = (self.life(), self.handle()) else { return };
        let leg = LegId::caller(call);
        self.town.dials(call, self.carrier());
        self.inner.lock().legs.insert(leg, Leg { held: Some(Vec::new()) });
        let outcome = handle.arrive(arrival(call, me), ARRIVAL_WITHIN).await;
        self.laws.note(format_args!("arrived n{} {call:?} {outcome:?}", self.node));
        if let Ok(outcome) = &outcome
            && outcome.is_accepted()
        {
            self.books.accepted.lock().push(call);
        }
        if self.life().is_none_or(|now| now != me) {
            // Whoever waits for this process's word waits in vain.
            return self.books.unknown.lock().push(call);
        }
        let held = self.inner.lock().legs.get_mut(&leg).and_then(|leg| leg.held.take()).unwrap_or_default();
        match outcome {
            Ok(outcome) if outcome.is_accepted() => {
                for event in held {
                    if matches!(event, LegEvent::HungUp { .. } | LegEvent::Ended) {
                        self.inner.lock().legs.remove(&leg);
                    }
                    self.report(leg, event);
                }
            }
            Ok(_) => self.refuse(leg),
            Err(actor::Error::Indefinite(_)) => {
                self.books.unknown.lock().push(call);
                self.refuse(leg);
                self.report(leg, LegEvent::Ended);
            }
            Err(_) => {
                self.books.unavailable.lock().push(call);
                self.refuse(leg);
            }
        }
    }

    /// The caller gets a final refusal.
    fn refuse(&self, leg: LegId) {
        self.inner.lock().legs.remove(&leg);
        self.town.leaves(leg);
    }

    async fn take(self: Arc<Self>, order: Order) {
        // Nothing is said for a leg without the lease.
        loop {
            match (self.life(), self.handle()) {
                (Some(me), Some(handle)) if me == order.edge => {
                    if handle.cluster().lease_valid() {
                        break;
                    }
                }
                _ => return,
            }
            sleep(SILENT).await;
        }
        let newer = {
            let orders = &mut self.inner.lock().orders;
            let newer = orders.get(&order.leg).is_none_or(|last| order.id > *last);
            if newer {
                orders.insert(order.leg, order.id);
            }
            newer
        };
        if newer {
            self.laws.note(format_args!("order n{} {:?} {:?}", self.node, order.leg, order.id));
            self.perform_one(order).await;
        }
    }

    async fn perform_one(self: &Arc<Self>, order: Order) {
        let leg = order.leg;
        match &order.action {
            Action::Ring(ring) if matches!(ring.target, Target::Assistant(_)) => return self.engages(leg).await,
            Action::Speak => return self.speaks(leg).await,
            Action::HangUp { .. } if self.inner.lock().robots.get(&leg.call) == Some(&leg) => return self.fences(leg.call),
            Action::Converse { .. } | Action::Media(_) => {}
            _ if leg == LegId::caller(leg.call) => self.fences(leg.call),
            _ => {}
        }
        if let Action::Ring(ring) = &order.action {
            return self.ring(leg, agent_of(&ring.target)).await;
        }
        if let Action::Release = order.action {
            // Somebody else carries it; the party follows there.
            self.inner.lock().legs.remove(&leg);
            return;
        }
        if !self.has(leg) {
            if order.image.is_none() {
                return self.report(leg, LegEvent::Ended);
            }
            sleep(self.town.ms(5, 80)).await;
            if !self.town.follows(leg, self.carrier()) {
                let event = if self.town.chance(50) { HangUpCause::Bye } else { HangUpCause::NotAdopted };
                return self.report(leg, LegEvent::HungUp { cause: event });
            }
            self.inner.lock().legs.insert(leg, Leg::default());
            self.report(leg, LegEvent::Adopted { dialog: Dialog::default() });
        }
        match order.action {
            Action::Answer { peer, .. } => self.join(leg, peer).await,
            Action::Converse { peer } => self.converses(peer).await,
            Action::Reject { .. } | Action::HangUp { .. } => {
                self.town.leaves(leg);
                self.inner.lock().legs.remove(&leg);
                sleep(self.town.ms(2, 40)).await;
                self.report(leg, LegEvent::Ended);
            }
            Action::Queue { .. }
            | Action::Treat(_)
            | Action::Ringing
            | Action::Resume
            | Action::Speak
            | Action::Ring(_)
            | Action::Release
            | Action::Media(_)
            | Action::Write(_) => {}
        }
    }

    async fn ring(self: &Arc<Self>, leg: LegId, agent: AgentId) {
        self.inner.lock().legs.insert(leg, Leg::default());
        let (answer, busy) = self.town.rings(&agent, leg, self.carrier());
        if let Some(other) = busy.filter(|other| self.judge.is_talking(GROUP, *other)) {
            self.judge.violated(format!("A1: {agent} was rung for {leg:?} while talking on {other:?}"));
        }
        let town = Arc::clone(&self.town);
        tokio::spawn(async move {
            sleep(PHONE_WAITS).await;
            if !town.is_joined_with(leg) {
                Self::party_leaves(&town, leg, HangUpCause::Bye);
            }
        });
        let after = match answer {
            Answer::Known => return,
            Answer::Never => return self.rings_back(leg).await,
            Answer::Refuse { after, .. } | Answer::Unreachable { after } => after,
            Answer::After(after) => {
                self.rings_back(leg).await;
                after
            }
        };
        sleep(after).await;
        match answer {
            Answer::Refuse { status, .. } => {
                self.ends(leg, LegEvent::Refused { status, reason: String::new(), contacts: Vec::new() });
            }
            Answer::Unreachable { .. } => {
                self.ends(leg, LegEvent::Unreachable { status: 408 });
            }
            Answer::After(_) | Answer::Never | Answer::Known => {
                // What a phone says to an edge that is gone, or does not know the leg any more, is not heard.
                let here = self.life().is_some() && self.has(leg);
                if here && self.town.lifts(leg) {
                    self.report(leg, LegEvent::Answered { dialog: Dialog::default(), sdp: Sdp::from(b"v=0".to_vec()) });
                } else {
                    self.town.leaves(leg);
                }
            }
        }
    }

    async fn rings_back(&self, leg: LegId) {
        sleep(self.town.ms(2, 60)).await;
        if self.life().is_some() && self.has(leg) {
            self.report(leg, LegEvent::Ringing { dialog: Dialog::default() });
        }
    }

    /// Caller and agent talk, until one of them has had enough.
    async fn join(&self, leg: LegId, peer: LegId) {
        if self.town.joined(leg.call, peer) {
            self.books.answered.fetch_add(1, Ordering::Relaxed);
            let (talk, town) = (self.town.ms(500, 6_000), Arc::clone(&self.town));
            let first = if town.chance(60) { leg } else { peer };
            tokio::spawn(async move {
                sleep(talk).await;
                Self::party_leaves(&town, first, HangUpCause::Bye);
                // The other hears silence, and hangs up too if nobody tells it.
                sleep(Duration::from_secs(20)).await;
                Self::party_leaves(&town, if first == leg { peer } else { leg }, HangUpCause::Bye);
            });
        }
        sleep(self.town.ms(5, 60)).await;
        if self.life().is_some() && self.has(leg) {
            self.report(leg, LegEvent::Confirmed { dialog: Dialog::default() });
        }
    }

    pub(super) fn note_missing(&self, legs: &[LegId]) -> Vec<LegId> {
        if self.life().is_none() {
            return Vec::new();
        }
        let inner = self.inner.lock();
        legs.iter().copied().filter(|leg| !inner.legs.contains_key(leg)).collect()
    }
}

/// The edge as the actors hold it.
pub(super) struct Door(pub(super) Arc<SimEdge>);

impl Edge for Door {
    fn perform(&self, orders: Vec<Order>) {
        for order in orders {
            self.0.judge.brought(order.id);
            tokio::spawn(Arc::clone(&self.0).take(order));
        }
    }

    fn missing(&self, legs: Vec<LegId>) -> BoxFuture<Vec<LegId>> {
        let missing = self.0.note_missing(&legs);
        Box::pin(async move { missing })
    }

    fn tunnelled(&self, _: NodeId, _: Bytes) {}
}

fn agent_of(target: &Target) -> AgentId {
    match target {
        Target::Contact { uri } | Target::Binding { uri, .. } => {
            let user = uri.strip_prefix("sip:").unwrap_or(uri).split('@').next().unwrap_or_default();
            AgentId::new(user)
        }
        Target::Trunk { number, .. } => AgentId::new(number),
        Target::Assistant(engage) => engage.agent.clone(),
    }
}

fn arrival(call: CallId, edge: id::Edge) -> Arrive {
    Arrive {
        domain: domain(),
        call,
        edge,
        trunk: None,
        to_user: "support".into(),
        from: Party { user: "5551000".into(), display: String::new(), uri: "sip:5551000@carrier".into() },
        dialog: Dialog::default(),
        sdp: Some(Sdp::from(b"v=0".to_vec())),
        headers: Vec::new(),
        priority: None,
        skills: Vec::new(),
        prefer: None,
        // Some callers' audio comes to the edge, and so they may be heard by AI agents.
        anchored: call.0.is_multiple_of(3),
    }
}
