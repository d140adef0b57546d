//! The INVITE to an agent: sent, answered, refused, tried again elsewhere or with credentials.

use std::time::Instant;

use bytes::Bytes;

use super::{
    Destination, Due, Flow, Output, Stack, T64,
    carry::NotCarried,
    client::{ClientKey, Purpose},
    leg::{Leg, Phase},
    phone::Attempt,
    session::least_of,
};
use crate::{
    core::{
        command::{HangUpCause, LegEvent, LegReport},
        effect::{Order, Ring},
        id::LegId,
        party::{Sdp, Target},
    },
    sip::{
        limits::{CONTACTS_MAX, RING_ATTEMPTS_MAX},
        message::{Message, Name, Start, angle_uri, sdp_of},
    },
};

/// What a leg is offered that belongs to nobody's call yet. Where its audio goes is said by its answer.
const OFFER_IPV4: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=audio 9 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";
const OFFER_IPV6: &str =
    "v=0\r\no=- 0 0 IN IP6 ::1\r\ns=-\r\nc=IN IP6 ::\r\nt=0 0\r\nm=audio 9 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";

fn names_ipv6(target: &Target) -> bool {
    match target {
        Target::Contact { uri } => uri.contains('['),
        Target::Binding { remote, .. } => remote.starts_with('['),
        Target::Trunk { .. } | Target::Assistant(_) => false,
    }
}

impl Stack {
    pub(super) fn ring(&mut self, now: Instant, order: &Order, ring: &Ring) {
        let attempt = self.offer_to(order.leg, ring).map(|offer| Attempt { cseq: 1, least_s: None, offer });
        let made = attempt.map(|attempt| Leg::phone(order.leg, order.domain.clone(), ring, attempt, &self.options, |to| self.address(to)));
        let caller = LegId::caller(order.leg.call);
        if made.is_err() && self.engine_of(caller).is_some() {
            // What should carry the call is gone, which is no fault of the agent who would be rung.
            self.media_lost(now, caller);
            return self.gone(order);
        }
        let status = if made.is_ok() { 503 } else { 488 };
        let Ok(Some((mut leg, invite))) = made else {
            let event = LegEvent::Unreachable { status };
            let report = LegReport { domain: order.domain.clone(), leg: order.leg, edge: self.options.edge, seq: 1, event };
            self.ended.remember(order.leg, Some(order.id), report.clone());
            return self.out.push_back(Output::Report(report));
        };
        leg.last_order = Some(order.id);
        self.invite(now, leg, invite);
    }

    /// The caller's offer as the phone is told it; nothing for a late offer.
    fn offer_to(&self, id: LegId, ring: &Ring) -> Result<Bytes, NotCarried> {
        let offer = ring.sdp.as_ref().map_or_else(Bytes::new, |sdp| Bytes::copy_from_slice(sdp));
        if ring.aside && offer.is_empty() {
            // Nobody's description is there to go by: G.711 of the family that the target is in.
            let offer = if names_ipv6(&ring.target) { OFFER_IPV6 } else { OFFER_IPV4 };
            return self.options.media.offer(id, id, offer.as_bytes()).map_err(|_| NotCarried);
        }
        if ring.aside {
            return self.options.media.offer(LegId::caller(id.call), id, &offer).map_err(|_| NotCarried);
        }
        let caller = LegId::caller(id.call);
        if ring.anchored || self.engine_of(caller).is_some() { self.carry(caller, id, &offer) } else { Ok(offer) }
    }

    fn invite(&mut self, now: Instant, mut leg: Leg, invite: Bytes) {
        let (id, to) = (leg.id, leg.to.clone());
        leg.dialog.carrier = self.legs.get(&LegId::caller(id.call)).map(|caller| caller.dialog.carrier.clone()).unwrap_or_default();
        leg.ring = Some(self.send(now, id, Purpose::Ring, to, invite));
        self.legs.insert(id, leg);
    }

    /// Sends the INVITE of a refused leg once more, to another target or with further header fields, as `ring` says.
    /// False if the leg is not waiting for that, was tried too often or the target cannot be addressed.
    pub fn retry(&mut self, now: Instant, id: LegId, ring: &Ring) -> bool {
        self.legs.get(&id).is_some_and(|leg| leg.phase == Phase::Refused) && self.ring_again(now, id, ring, None)
    }

    /// Where a leg's requests go, and its Call-ID.
    pub fn hop(&self, id: LegId) -> Option<(&Destination, &str)> {
        self.legs.get(&id).map(|leg| (&leg.to, &*leg.dialog.call_id))
    }

    fn ring_again(&mut self, now: Instant, id: LegId, ring: &Ring, least_s: Option<u32>) -> bool {
        let Some(old) = self.legs.get(&id).filter(|leg| leg.attempts < RING_ATTEMPTS_MAX) else { return false };
        let (cseq, domain) = (old.dialog.local_cseq + 1, old.domain.clone());
        let Ok(offer) = self.offer_to(id, ring) else { return false };
        let made = Leg::phone(id, domain, ring, Attempt { cseq, least_s, offer }, &self.options, |to| self.address(to));
        let Some((mut leg, invite)) = made else { return false };
        (leg.seq, leg.last_order, leg.attempts) = (old.seq, old.last_order, old.attempts + 1);
        self.invite(now, leg, invite);
        true
    }

    /// No answer came at all, or the next hop could not be reached.
    pub(super) fn ring_failed(&mut self, now: Instant, id: LegId, status: u16) {
        self.refused(now, id, LegEvent::Unreachable { status }, Bytes::new());
    }

    fn refused(&mut self, now: Instant, id: LegId, event: LegEvent, response: Bytes) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if leg.cancel_wanted {
            return self.parted(id);
        }
        leg.phase = Phase::Refused;
        if let Some(report) = self.numbered(id, event) {
            if let Some(leg) = self.legs.get_mut(&id) {
                leg.last_report = Some(Box::new(report.clone()));
            }
            self.at(now + T64, Due::Refused(id));
            self.out.push_back(Output::Refused { report, response });
        }
    }

    pub(super) fn refused_over(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| leg.phase == Phase::Refused) else { return };
        if let Some(last) = leg.last_report.take() {
            self.forget(id, *last);
        }
    }

    pub(super) fn ring_answered(&mut self, now: Instant, id: LegId, key: &ClientKey, flow: Flow, message: &Message, bytes: Bytes) {
        let status = message.status();
        let Some(leg) = self.legs.get_mut(&id) else { return };
        match status {
            100..=199 => {
                let first = !leg.proceeding;
                leg.proceeding = true;
                if leg.cancel_wanted && first {
                    self.cancel_client(now, key);
                } else if status > 100 && !leg.cancel_wanted && (!leg.rang || status == 180) {
                    leg.rang = true;
                    leg.learn(message, flow);
                    // Some phones describe themselves while they ring and not again in the 200.
                    leg.media.1 = sdp_of(message).ok().flatten().unwrap_or_default();
                    let dialog = leg.dialog.clone();
                    self.report(id, LegEvent::Ringing { dialog });
                }
            }
            422 if !leg.cancel_wanted => {
                let (rung, least) = (leg.rung.take(), least_of(message));
                if !rung.is_some_and(|ring| self.ring_again(now, id, &ring, Some(least))) {
                    self.refused(now, id, LegEvent::Refused { status, reason: String::new(), contacts: Vec::new() }, bytes);
                }
            }
            200..=299 => self.picked_up(now, id, key, flow, message),
            _ => {
                let reason = match &message.start {
                    Start::Response { reason, .. } => reason.clone(),
                    Start::Request { .. } => String::new(),
                };
                let contacts = if status < 400 { message.all(Name::Contact) } else { Vec::new() };
                let contacts = contacts.iter().take(CONTACTS_MAX).map(|contact| angle_uri(contact).to_owned()).collect();
                self.refused(now, id, LegEvent::Refused { status, reason, contacts }, bytes);
            }
        }
    }

    fn picked_up(&mut self, now: Instant, id: LegId, key: &ClientKey, flow: Flow, message: &Message) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.learn(message, flow);
        (leg.phase, leg.rung) = (Phase::Answered, None);
        leg.session.taken(message);
        if let Ok(Some(sdp)) = sdp_of(message) {
            leg.media.1 = sdp;
        }
        leg.ack_owed = Some(key.clone());
        if leg.cancel_wanted {
            return self.hang_up(now, id);
        }
        self.session_renewed(now, id);
        let Some(leg) = self.legs.get(&id) else { return };
        if leg.aside && self.options.media.answer(id, &leg.media.1).is_err() {
            // It agreed to what it was not offered.
            self.report(id, LegEvent::HungUp { cause: HangUpCause::NoMedia });
            return self.hang_up(now, id);
        }
        let Some(leg) = self.legs.get(&id) else { return };
        let event = LegEvent::Answered { dialog: leg.dialog.clone(), sdp: Sdp::from(leg.media.1.to_vec()) };
        self.report(id, event);
    }

    /// The core has this phone's answer: only now is it acknowledged, for a phone that was acknowledged and whose answer is
    /// never committed would be left in a call with nobody. Until then it repeats its 200 (RFC 3261 §13.3.1.4). After a late
    /// offer the ACK waits for the caller's answer besides.
    pub(super) fn accepted(&mut self, id: LegId) {
        let Some(key) = self.legs.get(&id).and_then(|leg| leg.ack_owed.clone()) else { return };
        if self.clients.get(&key).is_some_and(|client| !client.request.body.is_empty()) {
            self.ack_phone(id, &key, b"");
        }
    }

    /// What became of the report that a phone answered: the call has the leg, or never will.
    pub fn answer_decided(&mut self, now: Instant, id: LegId, taken: bool) {
        if taken {
            self.accepted(id);
        } else if self.legs.get(&id).is_some_and(|leg| leg.phase == Phase::Answered && id.n > 0) {
            self.hang_up(now, id);
        }
    }

    /// Acknowledges a phone's 200, with the answer to its offer if the offer was late.
    pub(super) fn ack_phone(&mut self, id: LegId, key: &ClientKey, answer: &[u8]) {
        let Some(leg) = self.legs.get(&id) else { return };
        let us = self.address(&leg.to);
        let leg = self.legs.get_mut(&id).expect("looked up above");
        leg.ack_owed = None;
        let number = self.clients.get(key).and_then(|client| client.request.cseq()).map_or(1, |(number, _)| number);
        if !answer.is_empty() {
            leg.described = Bytes::copy_from_slice(answer);
        }
        let ack = leg.request("ACK", Some(number), &self.options, us).body("application/sdp", answer);
        if leg.phase == Phase::Answered {
            leg.phase = Phase::Confirmed;
        }
        let to = leg.to.clone();
        self.keep_ack(key, to.clone(), ack.clone());
        self.transmit(to, ack);
    }
}
