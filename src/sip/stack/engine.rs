//! Calls whose audio another process carries: what a description becomes there is asked first, and whatever brought the
//! description waits so long. Other messages of the call overtake it.
//!
//! It also tells parties anew when their audio moved from one process to another. How processes are asked is `media`'s.

use std::{collections::BTreeMap, time::Instant};

use bytes::Bytes;

use super::{
    Flow, Stack,
    client::{ClientKey, Purpose},
    leg::{Leg, Phase},
    server::ServerKey,
};
use crate::{
    core::{
        command::{HangUpCause, LegEvent},
        effect::{Action, Order},
        id::{CallId, LegId},
        image::{CSEQ_JUMP, Image, Stage},
        party::Sdp,
    },
    media::{Crossing, Kind, MediaPlane},
    sip::{
        limits::HELD_MAX,
        message::{Message, Method, sdp_of},
    },
};

/// Something that brought a description.
#[derive(Debug, Clone, PartialEq)]
enum Input {
    Order(Box<Order>),
    Message { flow: Flow, bytes: Bytes },
}

/// What waits, by call, oldest first.
#[derive(Debug, Default)]
pub(super) struct Held {
    calls: BTreeMap<CallId, Vec<Input>>,
    count: usize,
}

impl Held {
    /// Keeps it, once. False if there is no room.
    fn keep(&mut self, call: CallId, input: Input) -> bool {
        if self.count >= HELD_MAX {
            return false;
        }
        let inputs = self.calls.entry(call).or_default();
        // A repeat of what waits is answered together with it.
        if !inputs.contains(&input) {
            inputs.push(input);
            self.count += 1;
        }
        true
    }

    fn take(&mut self, call: CallId) -> Vec<Input> {
        let inputs = self.calls.remove(&call).unwrap_or_default();
        self.count -= inputs.len();
        inputs
    }

    /// A later order on a leg makes those void that wait.
    fn void(&mut self, leg: LegId) {
        let kept: Vec<Input> = self.take(leg.call);
        for input in kept {
            if !matches!(&input, Input::Order(order) if order.leg == leg) {
                self.keep(leg.call, input);
            }
        }
    }
}

/// A description as it was found in what came.
struct Found {
    from: LegId,
    to: LegId,
    sdp: Bytes,
    kind: Of,
}

enum Of {
    Offer,
    Answer,
    Both { other: Bytes, version: u64 },
}

impl Stack {
    /// What another process carries the leg's audio by.
    pub(super) fn engine_of(&self, leg: LegId) -> Option<&dyn MediaPlane> {
        let engine = self.options.engine.as_deref()?;
        self.legs.get(&leg).filter(|leg| !leg.dialog.carrier.is_empty()).map(|_| engine)
    }

    /// Keeps an order for later whose description is not ready to cross.
    pub(super) fn holds_order_back(&mut self, order: &Order) -> bool {
        if self.options.engine.is_none() {
            return false;
        }
        if matches!(order.action, Action::HangUp { .. } | Action::Release | Action::Reject { .. }) {
            self.held.void(order.leg);
            return false;
        }
        let Some((found, carrier)) = self.brought_by(order) else { return false };
        self.holds(order.leg.call, &found, &carrier, || Input::Order(Box::new(order.clone())))
    }

    /// Keeps a message for later whose description is not ready to cross.
    pub(super) fn holds_back(&mut self, flow: Flow, message: &Message, bytes: &Bytes) -> bool {
        if self.options.engine.is_none() || message.body.is_empty() {
            return false;
        }
        let found = if message.is_request() { self.found_in_request(message) } else { self.found_in_response(message) };
        let Some(found) = found.filter(|found| self.engine_of(found.from).is_some()) else { return false };
        let carrier = self.legs[&found.from].dialog.carrier.clone();
        self.holds(found.from.call, &found, &carrier, || Input::Message { flow, bytes: bytes.clone() })
    }

    fn holds(&mut self, call: CallId, found: &Found, carrier: &str, input: impl FnOnce() -> Input) -> bool {
        let Some(engine) = self.options.engine.as_deref() else { return false };
        let kind = match &found.kind {
            Of::Offer => Kind::Offer,
            Of::Answer => Kind::Answer,
            Of::Both { other, version } => Kind::Both { other, version: *version },
        };
        let crossing = Crossing { from: found.from, to: found.to, sdp: &found.sdp, kind, carrier };
        // Where there is no room it goes on, and is refused as what cannot be carried.
        !engine.prepare(&crossing) && self.held.keep(call, input())
    }

    /// The description that is to cross for an order, and who carried the call last.
    fn brought_by(&self, order: &Order) -> Option<(Found, String)> {
        let bytes = |sdp: &Sdp| Bytes::copy_from_slice(sdp);
        let leg = order.leg;
        if self.legs.get(&leg).is_some_and(|leg| leg.last_order.is_some_and(|last| order.id <= last)) {
            return None;
        }
        if let Some(image) = order.image.as_deref().filter(|_| !self.knows(leg)) {
            return Some((taken_over(leg, image)?, image.dialog.carrier.clone()));
        }
        match &order.action {
            Action::Ring(ring) if !self.knows(leg) && !ring.aside => {
                let from = LegId::caller(leg.call);
                let carrier = self.engine_of(from).map(|_| self.legs[&from].dialog.carrier.clone())?;
                let sdp = ring.sdp.as_ref().map(bytes).filter(|sdp| !sdp.is_empty())?;
                Some((Found { from, to: leg, sdp, kind: Of::Offer }, carrier))
            }
            Action::Answer { peer, sdp } if !sdp.is_empty() => {
                self.engine_of(leg)?;
                let caller = &self.legs[&leg];
                // A caller that made no offer gets the agent's in its 200.
                let kind = if caller.media.1.is_empty() { Of::Offer } else { Of::Answer };
                Some((Found { from: *peer, to: leg, sdp: bytes(sdp), kind }, caller.dialog.carrier.clone()))
            }
            _ => None,
        }
    }

    fn found_in_request(&self, message: &Message) -> Option<Found> {
        let (from, _) = message.to_tag().as_deref().and_then(super::names::read_tag)?;
        let leg = self.legs.get(&from)?;
        let (to, peer) = leg.peer.and_then(|peer| Some((peer, self.legs.get(&peer)?)))?;
        let sdp = sdp_of(message).ok().flatten()?;
        let kind = match message.method() {
            Method::Invite | Method::Update => {
                // A repeat is answered from its transaction, and an offer that crosses another is refused.
                let is_new = ServerKey::of(message).is_some_and(|key| !self.servers.contains_key(&key));
                let is_free = |leg: &Leg| !leg.busy && leg.unacked.is_none() && leg.phase == Phase::Confirmed;
                (is_new && is_free(leg) && is_free(peer)).then_some(Of::Offer)?
            }
            Method::Ack => peer.ack_owed.as_ref().map(|_| Of::Answer)?,
            _ => return None,
        };
        Some(Found { from, to, sdp, kind })
    }

    fn found_in_response(&self, message: &Message) -> Option<Found> {
        if !(200..300).contains(&message.status()) {
            return None;
        }
        let client = self.clients.get(&ClientKey::of(message)?).filter(|client| client.is_open())?;
        let (from, sdp) = (client.leg, sdp_of(message).ok().flatten()?);
        let leg = self.legs.get(&from)?;
        match &client.purpose {
            Purpose::Relay { from: asker, .. } => {
                let kind = if client.request.body.is_empty() { Of::Offer } else { Of::Answer };
                Some(Found { from, to: *asker, sdp, kind })
            }
            // What it says in answer to us concerns its own side only.
            Purpose::Resume | Purpose::Retell if leg.media.1 != sdp => {
                let to = leg.peer?;
                let other = self.legs.get(&to).map(|peer| peer.media.1.clone()).filter(|other| !other.is_empty())?;
                Some(Found { from, to, sdp, kind: Of::Both { other, version: 0 } })
            }
            _ => None,
        }
    }

    /// What was asked for a call has been answered: whatever waited for it goes on, or asks for the next.
    pub fn ready(&mut self, now: Instant, call: CallId) {
        for input in self.held.take(call) {
            match input {
                // Nobody is rung for a caller who left meanwhile.
                Input::Order(order) if matches!(order.action, Action::Ring(_)) && !self.legs.contains_key(&LegId::caller(call)) => {
                    self.gone(&order);
                }
                Input::Order(order) => self.order(now, &order),
                Input::Message { flow, bytes } => self.receive(now, flow, bytes),
            }
        }
    }

    /// Something may have been answered unnoticed.
    pub fn ready_all(&mut self, now: Instant) {
        for call in self.held.calls.keys().copied().collect::<Vec<_>>() {
            self.ready(now, call);
        }
    }

    /// The leg's audio goes another way from now on, and its party is told so.
    pub fn moved(&mut self, now: Instant, id: LegId, told: Bytes, carrier: &str) {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| matches!(leg.phase, Phase::Answered | Phase::Confirmed)) else { return };
        if leg.dialog.carrier != carrier {
            carrier.clone_into(&mut leg.dialog.carrier);
            let event = LegEvent::Media { dialog: leg.dialog.clone(), sdp: Sdp::from(leg.media.1.to_vec()), held: leg.media.0 };
            self.report(id, event);
        }
        self.describe(now, id, told);
    }

    /// Nobody carries the call's audio any more, and nobody will.
    pub fn media_lost(&mut self, now: Instant, id: LegId) {
        if self.legs.get(&id).is_some_and(|leg| leg.phase != Phase::Leaving) {
            self.report(id, LegEvent::HungUp { cause: HangUpCause::MediaLost });
            self.hang_up(now, id);
        }
    }
}

/// Both sides of a leg that talks and was another edge's.
fn taken_over(leg: LegId, image: &Image) -> Option<Found> {
    let talks = matches!(image.stage, Stage::Up { .. }) && !image.dialog.carrier.is_empty();
    let (peer, sdp, other) = (image.peer.filter(|_| talks)?, image.sdp.as_ref()?, image.other.as_ref()?);
    let version = u64::from(image.adoptions) * u64::from(CSEQ_JUMP);
    let kind = Of::Both { other: Bytes::copy_from_slice(other), version };
    Some(Found { from: leg, to: peer, sdp: Bytes::copy_from_slice(sdp), kind })
}
