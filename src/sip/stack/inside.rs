//! Requests inside a dialog of this edge: ended, passed to the other leg, or answered here.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{
    Due, Flow, Stack,
    client::{ClientKey, Purpose},
    leg::{Phase, contact, holds, session_of},
    server::ServerKey,
};
use crate::{
    core::{
        command::{HangUpCause, LegEvent},
        id::LegId,
        party::Sdp,
    },
    sip::message::{Message, Method, Name},
};

/// Shortest session timer we take (RFC 4028 §5).
const MIN_SESSION_S: u32 = 90;

impl Stack {
    pub(super) fn inside(&mut self, now: Instant, id: LegId, key: &ServerKey, _flow: Flow, message: &Message) {
        let number = message.cseq().map_or(0, |(number, _)| number);
        let leg = self.legs.get_mut(&id).expect("looked up by the caller");
        if number <= leg.dialog.remote_cseq {
            return self.answer(now, key, 500, "CSeq Out Of Order", &[], b"");
        }
        leg.dialog.remote_cseq = number;
        if let Some(server) = self.servers.get_mut(key) {
            server.leg = Some(id);
        }
        match message.method() {
            Method::Bye => {
                self.answer(now, key, 200, "OK", &[], b"");
                self.finish(id, LegEvent::HungUp { cause: HangUpCause::Bye });
            }
            Method::Prack => self.prack(now, id, key, message),
            Method::Options => self.answer(now, key, 200, "OK", &[("Allow", super::ALLOW.to_owned())], b""),
            Method::Invite | Method::Update | Method::Info => self.pass_on(now, id, key, message),
            Method::Other => self.answer(now, key, 501, "Not Implemented", &[("Allow", super::ALLOW.to_owned())], b""),
            _ => self.answer(now, key, 405, "Method Not Allowed", &[("Allow", super::ALLOW.to_owned())], b""),
        }
    }

    fn prack(&mut self, now: Instant, id: LegId, key: &ServerKey, message: &Message) {
        let named: Option<u32> = message.text(Name::RAck).split_whitespace().next().and_then(|text| text.parse().ok());
        let leg = self.legs.get_mut(&id).expect("looked up by the caller");
        match &mut leg.reliable {
            Some((sequence, _, interval)) if Some(*sequence) == named => {
                // Zero marks it as acknowledged; the number goes on from here.
                *interval = Duration::ZERO;
                self.answer(now, key, 200, "OK", &[], b"");
            }
            _ => self.answer(now, key, 481, "No Such Response", &[], b""),
        }
    }

    /// Sends a re-INVITE, UPDATE or INFO on in the other leg's dialog.
    fn pass_on(&mut self, now: Instant, id: LegId, key: &ServerKey, message: &Message) {
        let invite = message.method() == Method::Invite;
        let session = session_of(message);
        if session > 0 && session < MIN_SESSION_S {
            return self.answer(now, key, 422, "Session Interval Too Small", &[("Min-SE", MIN_SESSION_S.to_string())], b"");
        }
        self.refresh(now, id, message);
        let us = self.address(&self.legs[&id].to);
        if message.method() == Method::Update && message.body.is_empty() {
            let mut headers = vec![("Contact", contact(us, self.legs[&id].to.transport()))];
            headers.extend((session > 0).then(|| ("Session-Expires", format!("{session};refresher=uac"))));
            return self.answer(now, key, 200, "OK", &headers, b"");
        }
        let peer = self.legs[&id].peer.filter(|peer| self.legs.get(peer).is_some_and(|peer| peer.phase == Phase::Confirmed));
        let Some(peer) = peer else { return self.answer(now, key, 491, "Request Pending", &[], b"") };
        // Both sides at once (glare), or one that is not done yet: the other must try again later (§14.2).
        if message.method() != Method::Info && (self.legs[&peer].busy || self.legs[&id].busy) {
            return self.answer(now, key, 491, "Request Pending", &[], b"");
        }
        let address = self.address(&self.legs[&peer].to);
        let other = self.legs.get_mut(&peer).expect("filtered above");
        other.busy = other.busy || message.method() != Method::Info;
        let builder = other.request(message.method().name(), None, &self.options, address);
        let kind = message.get(Name::ContentType).map_or_else(|| "application/sdp".to_owned(), |kind| kind.into_owned());
        let bytes = builder.body(&kind, &message.body);
        let to = other.to.clone();
        if invite {
            self.answer(now, key, 100, "Trying", &[], b"");
        }
        self.send(now, peer, Purpose::Relay { server: key.clone(), from: id }, to, bytes);
    }

    /// A target refresh request moves the contact and the session timer.
    fn refresh(&mut self, now: Instant, id: LegId, message: &Message) {
        let leg = self.legs.get_mut(&id).expect("looked up by the caller");
        if let Some(contact) = message.contact().filter(|_| message.method() != Method::Info) {
            leg.dialog.remote_target = contact;
        }
        if leg.dialog.session_expires_s > 0 {
            let until = now + Duration::from_secs(u64::from(leg.dialog.session_expires_s));
            leg.session_until = Some(until);
            self.at(until, Due::Session(id));
        }
    }

    pub(super) fn relay_over(&mut self, id: LegId) {
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.busy = false;
        }
    }

    /// The other leg answered what was passed on to it: `leg` answered, `from` asked.
    pub(super) fn relayed(&mut self, now: Instant, leg: LegId, from: LegId, key: &ClientKey, server: &ServerKey, message: &Message) {
        let status = message.status();
        if status < 200 {
            return;
        }
        self.relay_over(leg);
        let invite = message.method() == Method::Invite;
        let reason = match &message.start {
            crate::sip::message::Start::Response { reason, .. } => reason.clone(),
            crate::sip::message::Start::Request { .. } => String::new(),
        };
        let offer = self.clients.get(key).map(|client| client.request.body.clone()).unwrap_or_default();
        if invite && status < 300 {
            if offer.is_empty() {
                if let Some(leg) = self.legs.get_mut(&leg) {
                    leg.ack_owed = Some(key.clone());
                }
            } else {
                self.ack_phone(leg, key, b"");
            }
        }
        let Some(asker) = self.legs.get(&from) else { return };
        let us = self.address(&asker.to);
        let headers = [("Contact", contact(us, asker.to.transport()))];
        self.answer(now, server, status, &reason, &headers, &message.body);
        if status >= 300 {
            return;
        }
        if invite {
            self.await_ack(now, from, server);
        }
        if !offer.is_empty() {
            self.media_changed(from, &offer);
        }
    }

    fn media_changed(&mut self, id: LegId, offer: &Bytes) {
        if let Some(leg) = self.legs.get(&id) {
            let event = LegEvent::Media { dialog: leg.dialog.clone(), sdp: Sdp::from(offer.to_vec()), held: holds(offer) };
            self.report(id, event);
        }
    }

    /// The ACK of a 200 we sent on this leg.
    pub(super) fn acknowledged(&mut self, _now: Instant, id: LegId, message: &Message) {
        let leg = self.legs.get_mut(&id).expect("looked up by the caller");
        leg.unacked = None;
        if leg.phase == Phase::Answered {
            leg.phase = Phase::Confirmed;
        }
        // A late offer's answer travels on in the ACK to the other leg.
        let Some(peer) = leg.peer else { return };
        if let Some(key) = self.legs.get_mut(&peer).and_then(|peer| peer.ack_owed.take()) {
            self.ack_phone(peer, &key, &message.body);
        }
    }

    /// The session was not refreshed in time.
    pub(super) fn session_due(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get(&id) else { return };
        if leg.session_until.is_some_and(|until| until <= now) && leg.phase == Phase::Confirmed {
            self.report(id, LegEvent::HungUp { cause: HangUpCause::SessionExpired });
            self.hang_up(now, id);
        }
    }
}
