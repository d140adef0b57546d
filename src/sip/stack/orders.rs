//! Orders on legs: queue, ring, answer, refuse, hang up. Each is safe to repeat; an older one than the leg knows is refused.

use std::time::Instant;

use bytes::Bytes;

use super::{
    Destination, Due, Stack, T1, T2, T64,
    client::Purpose,
    leg::{Phase, Repeat, contact},
    server::ServerKey,
};
use crate::{
    core::{
        command::{HangUpCause, LegEvent, LegReport},
        effect::{Action, Order, TRANSFERRED},
        id::LegId,
        image::Stage,
        party::Sdp,
    },
    sip::message::Message,
};

impl Stack {
    /// Performs an order; an older one than the leg has seen is refused.
    pub fn order(&mut self, now: Instant, order: &Order) {
        if let Action::Media(plan) = &order.action {
            return self.plan(order, plan);
        }
        if self.holds_order_back(order) {
            return;
        }
        if let Some(leg) = self.legs.get_mut(&order.leg) {
            if leg.last_order.is_some_and(|last| order.id <= last) {
                // Whoever repeats it may not have heard what a refused leg came to.
                let last = leg.last_report.as_deref().cloned();
                return self.out.extend(last.map(super::Output::Report));
            }
            leg.last_order = Some(order.id);
        } else if let Some(last) = self.ended.repeated(order) {
            return self.out.push_back(super::Output::Report(last));
        }
        if let Some(image) = order.image.as_deref().filter(|_| !self.knows(order.leg)) {
            self.take_over(now, order, image);
            if let Some(leg) = self.legs.get_mut(&order.leg) {
                leg.last_order = Some(order.id);
            }
            // Whatever else is ordered, a party that talks must be told where we are.
            if matches!(image.stage, Stage::Up { .. }) && !matches!(order.action, Action::HangUp { .. }) {
                self.resume(now, order.leg);
            }
        }
        match &order.action {
            Action::Ring(ring) => {
                if !self.legs.contains_key(&order.leg) {
                    self.ring(now, order, ring);
                }
            }
            Action::Release if !self.legs.contains_key(&order.leg) => {}
            _ if !self.legs.contains_key(&order.leg) => self.gone(order),
            Action::Queue { .. } => self.progress(now, order.leg, 182, "Queued"),
            Action::Treat(treat) => self.treat(now, order.leg, treat),
            Action::Converse { .. } => self.converse(now, order.leg),
            Action::Ringing => self.progress(now, order.leg, 180, "Ringing"),
            Action::Answer { peer, sdp } => self.answer_caller(now, order.leg, *peer, sdp),
            Action::Reject { status, reason, retry_after_s } => self.reject(now, order.leg, *status, reason, *retry_after_s),
            // Done above, and when it was taken over; what is for an AI agent is the edge's.
            Action::Media(_) | Action::Resume | Action::Speak | Action::Write(_) => {}
            Action::Release => self.release(now, order.leg),
            Action::HangUp { cause } => {
                // The word that a REFER came true may be slower than what follows from it.
                self.refer_decided(now, order.leg, if cause == TRANSFERRED { Ok(()) } else { Err((603, "Decline")) });
                self.hang_up(now, order.leg);
            }
        }
    }

    /// An order for a leg that is not here (any more).
    pub(super) fn gone(&mut self, order: &Order) {
        let (leg, edge) = (order.leg, self.options.edge);
        let report = LegReport { domain: order.domain.clone(), leg, edge, seq: u32::MAX, event: LegEvent::Ended };
        if matches!(order.action, Action::HangUp { .. }) {
            // The order to ring it may be on its way still: it must not call a phone for a call that is over.
            self.ended.remember(leg, Some(order.id), report.clone());
        }
        self.out.push_back(super::Output::Report(report));
    }

    fn answer_caller(&mut self, now: Instant, id: LegId, peer: LegId, sdp: &Sdp) {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| leg.phase != Phase::Leaving) else { return };
        (leg.peer, leg.music) = (Some(peer), None);
        let (waiting, invite) = (leg.is_waiting(), leg.invite.clone());
        if let Some(other) = self.legs.get_mut(&peer) {
            other.peer = Some(id);
        }
        let Ok(told) = self.carry(peer, id, &Bytes::copy_from_slice(sdp)) else {
            if self.engine_of(id).is_some() {
                return self.media_lost(now, id);
            }
            // The phone agreed to what it was not offered.
            self.report(peer, LegEvent::HungUp { cause: HangUpCause::NoMedia });
            return self.hang_up(now, peer);
        };
        self.bridge(id, peer);
        self.accepted(peer);
        match invite.filter(|_| waiting) {
            Some((key, invite)) => self.answer_with(now, id, &key, &invite, &told),
            None => self.describe(now, id, told),
        }
    }

    /// Sends the 200 of a caller's leg.
    pub(super) fn answer_with(&mut self, now: Instant, id: LegId, key: &ServerKey, invite: &Message, sdp: &Bytes) {
        let us = contact(self.address(&self.legs[&id].to), self.legs[&id].to.transport());
        let leg = self.legs.get_mut(&id).expect("the caller looked it up");
        let mut headers = vec![("Contact", us), ("Allow", super::ALLOW.to_owned())];
        (leg.phase, leg.progress, leg.described) = (Phase::Answered, None, sdp.clone());
        headers.extend(leg.session.agree(invite));
        self.answer(now, key, 200, "OK", &headers, sdp);
        self.await_ack(now, id, key, invite.cseq().map_or(0, |(number, _)| number));
        self.session_renewed(now, id);
    }

    /// Repeats a 200 to an INVITE until its ACK, over any transport (§13.3.1.4).
    pub(super) fn await_ack(&mut self, now: Instant, id: LegId, key: &ServerKey, cseq: u32) {
        let Some(server) = self.servers.get(key) else { return };
        let (Some(bytes), to) = (server.last.clone(), Destination::Flow(server.back)) else { return };
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.unacked = Some(Repeat { bytes, to, cseq, interval: T1, next: now + T1, until: now + T64 });
            self.at(now + T1, Due::AnswerResend(id));
        }
    }

    pub(super) fn answer_resend(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(repeat) = leg.unacked.as_mut().filter(|repeat| now >= repeat.next) else { return };
        if now >= repeat.until {
            leg.unacked = None;
            if !leg.cancel_wanted {
                self.report(id, LegEvent::HungUp { cause: HangUpCause::NoAck });
            }
            return self.hang_up(now, id);
        }
        repeat.interval = (repeat.interval * 2).min(T2);
        repeat.next = (now + repeat.interval).min(repeat.until);
        let (to, bytes, next) = (repeat.to.clone(), repeat.bytes.clone(), repeat.next);
        self.at(next, Due::AnswerResend(id));
        self.transmit(to, bytes);
    }

    /// Refuses a call that the core would not take: its leg is gone without a report.
    pub fn refuse_call(&mut self, now: Instant, call: crate::core::id::CallId, status: u16, reason: &str, retry_after_s: Option<u32>) {
        let id = LegId::caller(call);
        let Some(leg) = self.legs.get(&id).filter(|leg| leg.is_waiting()) else { return };
        let Some((key, _)) = leg.invite.clone() else { return };
        let mut headers = vec![("Reason", format!("SIP;cause={status};text=\"{}\"", reason.replace(['"', '\\'], "'")))];
        headers.extend(retry_after_s.map(|seconds| ("Retry-After", seconds.to_string())));
        self.answer(now, &key, status, phrase(status), &headers, b"");
        self.remove(id);
    }

    fn reject(&mut self, now: Instant, id: LegId, status: u16, reason: &str, retry_after_s: Option<u32>) {
        let Some(leg) = self.legs.get(&id) else { return };
        if !leg.is_waiting() {
            return self.hang_up(now, id);
        }
        let Some((key, _)) = leg.invite.clone() else { return };
        let mut headers = vec![("Reason", format!("SIP;cause={status};text=\"{reason}\""))];
        headers.extend(retry_after_s.map(|seconds| ("Retry-After", seconds.to_string())));
        self.answer(now, &key, status, phrase(status), &headers, b"");
        self.parted(id);
    }

    /// Ends a leg the way its state wants: refusal, CANCEL or BYE.
    pub(super) fn hang_up(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if leg.ringing_elsewhere && leg.phase == Phase::Confirmed {
            return self.cancel_elsewhere(now, id);
        }
        match (leg.phase, leg.ring.is_some()) {
            (Phase::Waiting, false) => self.reject(now, id, 480, "hang up", None),
            (Phase::Waiting, true) => {
                if !leg.cancel_wanted {
                    leg.cancel_wanted = true;
                    if let Some(key) = leg.ring.clone().filter(|_| leg.proceeding) {
                        self.cancel_client(now, &key);
                    }
                }
            }
            // A 200 of ours must be acknowledged, or given up, before a BYE may follow it (§15).
            (Phase::Answered, false) if leg.unacked.is_some() => leg.cancel_wanted = true,
            (Phase::Answered | Phase::Confirmed, _) => {
                if let Some(key) = leg.ack_owed.take() {
                    // The dialog must be confirmed before it can be ended.
                    self.ack_phone(id, &key, b"");
                }
                self.bye(now, id);
            }
            (Phase::Refused, _) => self.parted(id),
            (Phase::Leaving, _) => {}
        }
    }

    pub(super) fn bye(&mut self, now: Instant, id: LegId) {
        let us = self.address(&self.legs[&id].to);
        let leg = self.legs.get_mut(&id).expect("looked up by the caller");
        leg.phase = Phase::Leaving;
        leg.unacked = None;
        let bytes = leg.request("BYE", None, &self.options, us).empty();
        let to = leg.to.clone();
        self.send(now, id, Purpose::Bye, to, bytes);
    }

    /// The leg is over and this edge knows it no more.
    pub(super) fn parted(&mut self, id: LegId) {
        self.finish(id, LegEvent::Ended);
    }
}

/// The reason phrase of a status we send.
pub(crate) const fn phrase(status: u16) -> &'static str {
    match status {
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        480 => "Temporarily Unavailable",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        503 => "Service Unavailable",
        600 => "Busy Everywhere",
        603 => "Decline",
        _ => "Call Ended",
    }
}
