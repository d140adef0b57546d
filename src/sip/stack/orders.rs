//! Orders on legs: queue, ring, answer, refuse, hang up. Each is safe to repeat; an older one than the leg knows is refused.

use std::time::Instant;

use bytes::Bytes;

use super::{
    Destination, Due, QUEUED_EVERY, Stack, T1, T64,
    client::Purpose,
    leg::{Leg, Phase, contact},
    reliable,
};
use crate::{
    core::{
        command::{HangUpCause, LegEvent, LegReport},
        effect::{Action, Order},
        id::{DomainId, LegId},
        party::{Dialog, Sdp},
    },
    sip::message::{Builder, Message, Method, Name},
};

/// How far a survivor's CSeq jumps over what the dead node may have used.
const CSEQ_JUMP: u32 = 1_000;

impl Stack {
    /// Performs an order; an older one than the leg has seen is refused.
    pub fn order(&mut self, now: Instant, order: &Order) {
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
        match &order.action {
            Action::Ring(ring) => {
                if !self.legs.contains_key(&order.leg) {
                    self.ring(now, order, ring);
                }
            }
            Action::HangUp { dialog: Some(dialog), .. } if !self.legs.contains_key(&order.leg) => {
                self.speak_for_the_dead(now, order, dialog)
            }
            _ if !self.legs.contains_key(&order.leg) => self.gone(&order.domain, order.leg),
            Action::Queue { .. } => self.queued(now, order.leg),
            Action::Ringing => self.provisional(now, order.leg, 180, "Ringing"),
            Action::Answer { peer, sdp } => self.answer_caller(now, order.leg, *peer, sdp),
            Action::Reject { status, reason, retry_after_s } => self.reject(now, order.leg, *status, reason, *retry_after_s),
            Action::HangUp { .. } => self.hang_up(now, order.leg),
        }
    }

    /// An order for a leg that is not here (any more).
    fn gone(&mut self, domain: &DomainId, leg: LegId) {
        let report = LegReport { domain: domain.clone(), leg, edge: self.options.edge, seq: u32::MAX, event: LegEvent::Ended };
        self.out.push_back(super::Output::Report(report));
    }

    fn queued(&mut self, now: Instant, id: LegId) {
        self.provisional(now, id, 182, "Queued");
        self.at(now + QUEUED_EVERY, Due::Queued(id));
    }

    pub(super) fn queued_again(&mut self, now: Instant, id: LegId) {
        if self.legs.get(&id).is_some_and(Leg::is_waiting) {
            self.queued(now, id);
        }
    }

    /// A provisional answer to the caller, reliably if it required that (RFC 3262).
    fn provisional(&mut self, now: Instant, id: LegId, status: u16, reason: &str) {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| leg.is_waiting()) else { return };
        let Some((key, _)) = leg.invite.clone() else { return };
        let us = self.address(&self.legs[&id].to);
        let leg = self.legs.get_mut(&id).expect("looked up above");
        let mut headers = vec![("Contact", contact(us, leg.to.transport()))];
        let sequence = leg.reliable.as_ref().map_or(1, |(sequence, ..)| sequence + 1);
        let wants_reliable = leg.wants_reliable;
        if wants_reliable {
            headers.extend([("Require", "100rel".to_owned()), ("RSeq", sequence.to_string())]);
        }
        self.answer(now, &key, status, reason, &headers, b"");
        if wants_reliable && let Some(bytes) = self.servers.get(&key).and_then(|server| server.last.clone()) {
            let leg = self.legs.get_mut(&id).expect("looked up above");
            leg.reliable = Some((sequence, bytes, T1));
            self.at(now + T1, Due::Reliable(id));
        }
    }

    pub(super) fn reliable_resend(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| leg.is_waiting()) else { return };
        let Some((_, bytes, interval)) = leg.reliable.as_mut().filter(|(_, _, interval)| !interval.is_zero()) else { return };
        *interval *= 2;
        let (bytes, next) = (bytes.clone(), *interval);
        let Some(flow) = leg.invite.as_ref().and_then(|(key, _)| self.servers.get(key)).map(|server| server.flow) else { return };
        if next < T64 {
            self.at(now + next, Due::Reliable(id));
        }
        self.transmit(Destination::Flow(flow), bytes);
    }

    fn answer_caller(&mut self, now: Instant, id: LegId, peer: LegId, sdp: &Sdp) {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| leg.is_waiting()) else { return };
        let Some((key, invite)) = leg.invite.clone() else { return };
        (leg.phase, leg.peer) = (Phase::Answered, Some(peer));
        let (session, until) = (leg.dialog.session_expires_s, leg.session_until);
        let us = self.address(&self.legs[&id].to);
        if let Some(other) = self.legs.get_mut(&peer) {
            other.peer = Some(id);
        }
        let transport = self.legs[&id].to.transport();
        let mut headers = vec![("Contact", contact(us, transport)), ("Allow", super::ALLOW.to_owned()), ("Supported", "timer".to_owned())];
        if session > 0 {
            headers.push(("Session-Expires", format!("{session};refresher=uac")));
            if invite.wants(Name::Supported, "timer") || invite.wants(Name::Require, "timer") {
                headers.push(("Require", "timer".to_owned()));
            }
        }
        self.answer(now, &key, 200, "OK", &headers, sdp);
        if let Some(until) = until {
            self.at(until, Due::Session(id));
        }
        self.await_ack(now, id, &key);
    }

    /// Repeats a 200 to an INVITE until its ACK, over any transport (§13.3.1.4).
    pub(super) fn await_ack(&mut self, now: Instant, id: LegId, key: &super::server::ServerKey) {
        let Some(bytes) = self.servers.get(key).and_then(|server| server.last.clone()) else { return };
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.unacked = Some((bytes, T1, now + T64));
            self.at(now + T1, Due::AnswerResend(id));
        }
    }

    pub(super) fn answer_resend(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some((bytes, interval, until)) = &mut leg.unacked else { return };
        if now >= *until {
            leg.unacked = None;
            self.report(id, LegEvent::HungUp { cause: HangUpCause::NoAck });
            return self.hang_up(now, id);
        }
        *interval = (*interval * 2).min(super::T2);
        let (bytes, next) = (bytes.clone(), *interval);
        let flow = leg.invite.as_ref().and_then(|(key, _)| self.servers.get(key)).map(|server| Destination::Flow(server.flow));
        let to = flow.unwrap_or_else(|| leg.to.clone());
        self.at(now + next, Due::AnswerResend(id));
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
        self.legs.remove(&id);
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
        match (leg.phase, leg.ring.is_some()) {
            (Phase::Waiting, false) => self.reject(now, id, 480, "hang up", None),
            (Phase::Waiting, true) => {
                if !leg.cancel_wanted {
                    leg.cancel_wanted = true;
                    if leg.proceeding {
                        self.send_cancel(now, id);
                    }
                }
            }
            (Phase::Answered | Phase::Confirmed, _) => {
                if let Some(key) = leg.ack_owed.take() {
                    // A late offer nobody answered: the dialog must be confirmed before it can be ended.
                    self.ack_phone(id, &key, b"");
                }
                self.bye(now, id);
            }
            (Phase::Refused, _) => self.parted(id),
            (Phase::Leaving, _) => {}
        }
    }

    fn bye(&mut self, now: Instant, id: LegId) {
        let us = self.address(&self.legs[&id].to);
        let leg = self.legs.get_mut(&id).expect("looked up by the caller");
        leg.phase = Phase::Leaving;
        leg.unacked = None;
        let bytes = leg.request("BYE", None, &self.options, us).empty();
        let to = leg.to.clone();
        self.send(now, id, Purpose::Bye, to, bytes);
    }

    /// A CANCEL repeats the INVITE's Via, request-URI and CSeq number (§9.1).
    pub(super) fn send_cancel(&mut self, now: Instant, id: LegId) {
        let Some(client) = self.legs[&id].ring.as_ref().and_then(|key| self.clients.get(key)) else { return };
        let (bytes, to) = (cancel_of(&client.request), client.to.clone());
        self.send(now, id, Purpose::Cancel, to, bytes);
    }

    pub(super) fn bye_answered(&mut self, id: LegId, bye: bool) {
        // A CANCEL's 200 says nothing yet: the INVITE's own 487, or a 200 that was faster, ends the leg.
        if bye {
            self.parted(id);
        }
    }

    /// The leg is over and this edge knows it no more.
    pub(super) fn parted(&mut self, id: LegId) {
        self.finish(id, LegEvent::Ended);
    }

    /// Ends a dead node's leg from its replicated dialog.
    fn speak_for_the_dead(&mut self, now: Instant, order: &Order, dialog: &Dialog) {
        let hop = dialog.route_set.first().map_or(dialog.remote_target.as_str(), |route| crate::sip::message::angle_uri(route));
        let flow = dialog.transport.filter(|transport| reliable(*transport)).is_none();
        let to = super::leg::by_uri(hop).filter(|_| flow || !hop.is_empty());
        let Some(to) = to else { return self.gone(&order.domain, order.leg) };
        let ringing = order.leg.n > 0 && dialog.remote_tag.is_empty();
        let mut leg = Leg::heir(order, dialog, to.clone());
        let us = self.address(&to);
        let bytes: Bytes = if ringing {
            Builder::request("CANCEL", &dialog.remote_target)
                .field(Name::Via, &dialog.invite_via)
                .field(Name::MaxForwards, "70")
                .field(Name::From, &dialog.local)
                .field(Name::To, &dialog.remote)
                .field(Name::CallId, &dialog.call_id)
                .field(Name::CSeq, format!("{} CANCEL", dialog.local_cseq))
                .empty()
        } else {
            leg.dialog.local_cseq += CSEQ_JUMP;
            leg.request("BYE", None, &self.options, us).empty()
        };
        self.legs.insert(order.leg, leg);
        self.send(now, order.leg, Purpose::Bye, to, bytes);
    }
}

impl Leg {
    /// A leg taken over only to be ended.
    fn heir(order: &Order, dialog: &Dialog, to: Destination) -> Self {
        let mut leg = Self::empty(order.leg, order.domain.clone(), dialog.clone(), to);
        leg.phase = Phase::Leaving;
        leg.last_order = Some(order.id);
        leg
    }
}

fn cancel_of(invite: &Message) -> Bytes {
    let via = invite.all(Name::Via).into_iter().next().unwrap_or_default();
    let number = invite.cseq().map_or(1, |(number, _)| number);
    let mut cancel = Builder::request(Method::Cancel.name(), invite.uri())
        .field(Name::Via, via)
        .field(Name::MaxForwards, "70")
        .field(Name::From, invite.text(Name::From))
        .field(Name::To, invite.text(Name::To))
        .field(Name::CallId, invite.call_id())
        .field(Name::CSeq, format!("{number} CANCEL"));
    for route in invite.all(Name::Route) {
        cancel = cancel.field(Name::Route, route);
    }
    cancel.empty()
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
