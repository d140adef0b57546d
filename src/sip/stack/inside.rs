//! Requests inside a dialog of this edge: ended, passed to the other leg, or answered here.

use std::time::Instant;

use bytes::Bytes;

use super::{
    ALLOW, Flow, Stack,
    client::{ClientKey, Purpose},
    leg::{Phase, contact, holds},
    server::ServerKey,
    session,
};
use crate::{
    core::{
        command::{HangUpCause, LegEvent},
        id::LegId,
        party::Sdp,
    },
    sip::message::{Message, Method, Name, Start, sdp_of},
};

/// Header fields that go with the body of a request passed on.
const PASSED: [Name; 4] = [Name::ContentType, Name::ContentDisposition, Name::InfoPackage, Name::Reason];

impl Stack {
    pub(super) fn inside(&mut self, now: Instant, id: LegId, key: &ServerKey, flow: Flow, message: &Message) {
        let number = message.cseq().map_or(0, |(number, _)| number);
        let leg = self.legs.get_mut(&id).expect("looked up by the caller");
        if !leg.owns(message) {
            return self.answer(now, key, 481, "Call/Transaction Does Not Exist", &[], b"");
        }
        if let Some(server) = self.servers.get_mut(key) {
            server.leg = Some(id);
        }
        if number < leg.dialog.remote_cseq || (number == leg.dialog.remote_cseq && number > 0) {
            return self.answer(now, key, 500, "CSeq Out Of Order", &[], b"");
        }
        leg.dialog.remote_cseq = number;
        leg.dialog.remote_addr = flow.remote.to_string();
        match message.method() {
            Method::Bye => self.bye_received(now, id, key),
            Method::Prack => self.prack(now, id, key, message),
            Method::Options => self.answer(now, key, 200, "OK", &[("Allow", ALLOW.to_owned())], b""),
            Method::Invite | Method::Update | Method::Info | Method::Message => self.pass_on(now, id, key, message),
            Method::Refer => self.refer(now, id, key, message),
            Method::Other => self.answer(now, key, 501, "Not Implemented", &[("Allow", ALLOW.to_owned())], b""),
            _ => self.answer(now, key, 405, "Method Not Allowed", &[("Allow", ALLOW.to_owned())], b""),
        }
    }

    fn bye_received(&mut self, now: Instant, id: LegId, key: &ServerKey) {
        self.answer(now, key, 200, "OK", &[], b"");
        let leg = self.legs.get_mut(&id).expect("looked up by the caller");
        let (waiting, owed) = (leg.is_waiting(), leg.ack_owed.take());
        if let Some((invite, _)) = leg.invite.clone().filter(|_| waiting) {
            // A caller may give up with BYE instead of CANCEL; its INVITE still wants an answer (§15.1.2).
            self.answer(now, &invite, 487, "Request Terminated", &[], b"");
        }
        if let Some(invite) = owed {
            self.ack_phone(id, &invite, b"");
        }
        let cause = if waiting { HangUpCause::Cancel } else { HangUpCause::Bye };
        self.finish(id, LegEvent::HungUp { cause });
    }

    /// Sends a re-INVITE, UPDATE, INFO or MESSAGE on in the other leg's dialog.
    fn pass_on(&mut self, now: Instant, id: LegId, key: &ServerKey, message: &Message) {
        let method = message.method();
        let offers = matches!(method, Method::Invite | Method::Update);
        if offers && let Some((status, reason, extra)) = session::refuses(message) {
            return self.answer(now, key, status, reason, &extra, b"");
        }
        let leg = self.legs.get_mut(&id).expect("looked up by the caller");
        if offers && let Some(contact) = message.contact() {
            leg.dialog.remote_target = contact;
        }
        let us = contact(self.address(&self.legs[&id].to), self.legs[&id].to.transport());
        if method == Method::Update && message.body.is_empty() {
            // A refresh of the session concerns this leg alone.
            let leg = self.legs.get_mut(&id).expect("looked up above");
            let mut headers = vec![("Contact", us)];
            headers.extend(leg.session.agree(message));
            self.answer(now, key, 200, "OK", &headers, b"");
            return self.session_renewed(now, id);
        }
        let described = if offers { sdp_of(message).ok().flatten().unwrap_or_default() } else { Bytes::new() };
        if !described.is_empty() && self.is_alone(id) {
            return self.answer_alone(now, id, key, message, &described);
        }
        let asker = &self.legs[&id];
        let peer = asker.peer.and_then(|peer| self.legs.get(&peer)).filter(|peer| peer.phase == Phase::Confirmed);
        // Both sides at once (glare), or one that is not done yet: the asker must try again later (§14.2).
        let free = peer.filter(|peer| !offers || !(peer.busy || asker.busy || peer.unacked.is_some() || asker.unacked.is_some()));
        let Some(peer) = free.map(|peer| peer.id) else { return self.answer(now, key, 491, "Request Pending", &[], b"") };
        if method == Method::Invite {
            self.answer(now, key, 100, "Trying", &[], b"");
        }
        let Ok(told) = self.carry(id, peer, &described) else { return self.answer(now, key, 488, "Not Acceptable Here", &[], b"") };
        let body = if described.is_empty() { message.body.clone() } else { told };
        self.owned(key, id);
        let passed = self.send_on(now, (id, peer), key, message, &body);
        if let Some(server) = self.servers.get_mut(key) {
            server.passed_as = Some(passed);
        }
    }

    fn send_on(&mut self, now: Instant, (from, peer): (LegId, LegId), key: &ServerKey, message: &Message, body: &Bytes) -> ClientKey {
        let method = message.method();
        let offers = matches!(method, Method::Invite | Method::Update);
        let us = self.address(&self.legs[&peer].to);
        let other = self.legs.get_mut(&peer).expect("looked up by the caller");
        other.busy |= offers;
        let mut request = other.request(method.name(), None, &self.options, us);
        for (name, value) in if offers { other.session.ask() } else { Vec::new() } {
            request = request.named(name, value);
        }
        for name in PASSED {
            if let Some(value) = message.get(name) {
                request = request.field(name, value);
            }
        }
        let (bytes, to) = (request.body("", body), other.to.clone());
        self.send(now, peer, Purpose::Relay { server: key.clone(), from }, to, bytes)
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
        let offer = self.servers.get(server).and_then(|server| server.request.as_ref()).map(|request| request.body.clone());
        let offer = offer.unwrap_or_default();
        let offers = matches!(message.method(), Method::Invite | Method::Update);
        if offers && status < 300 {
            self.changed(now, leg, key, message, &offer);
        }
        let described = if offers { sdp_of(message).ok().flatten().unwrap_or_default() } else { Bytes::new() };
        let Ok(told) = self.carry(leg, from, &described) else {
            return self.answer(now, server, 488, "Not Acceptable Here", &[], b"");
        };
        let body = if described.is_empty() { message.body.clone() } else { told };
        if let Some(asker) = self.legs.get(&from) {
            let mut headers = vec![("Contact", contact(self.address(&asker.to), asker.to.transport()))];
            if let Some(kind) = message.get(Name::ContentType) {
                headers.push(("Content-Type", kind.into_owned()));
            }
            let request = self.servers.get(server).and_then(|server| server.request.clone());
            let asker = self.legs.get_mut(&from).expect("looked up above");
            if let Some(request) = request.as_ref().filter(|_| offers && status < 300) {
                headers.extend(asker.session.agree(request));
                asker.described = body.clone();
            }
            let reason = match &message.start {
                Start::Response { reason, .. } => reason.as_str(),
                Start::Request { .. } => "",
            };
            self.answer(now, server, status, reason, &headers, &body);
            if offers && status < 300 {
                self.session_renewed(now, from);
                if let Some(cseq) = request.filter(|_| message.method() == Method::Invite).and_then(|request| request.cseq()) {
                    self.await_ack(now, from, server, cseq.0);
                }
                self.media_changed(from, &offer);
            }
        }
        self.dialog_lost(now, leg, status);
    }

    /// A re-INVITE or UPDATE passed on to `leg` was accepted there.
    fn changed(&mut self, now: Instant, id: LegId, key: &ClientKey, message: &Message, offer: &Bytes) {
        if message.method() == Method::Invite && !offer.is_empty() {
            self.ack_phone(id, key, b"");
        }
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if message.method() == Method::Invite && offer.is_empty() {
            leg.ack_owed = Some(key.clone());
        }
        if let Some(contact) = message.contact() {
            leg.dialog.remote_target = contact;
        }
        if !offer.is_empty() {
            leg.described = self.clients.get(key).map(|client| client.request.body.clone()).unwrap_or_default();
        }
        if !message.body.is_empty() {
            leg.media.1 = message.body.clone();
        }
        leg.session.taken(message);
        self.session_renewed(now, id);
    }

    /// The party of this leg described itself anew.
    pub(super) fn media_changed(&mut self, id: LegId, description: &Bytes) {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| !description.is_empty() && leg.media.1 != *description) else { return };
        leg.media = (holds(description), description.clone());
        let event = LegEvent::Media { dialog: leg.dialog.clone(), sdp: Sdp::from(description.to_vec()), held: leg.media.0 };
        self.report(id, event);
    }

    /// The ACK of a 200 we sent on this leg.
    pub(super) fn acknowledged(&mut self, now: Instant, id: LegId, message: &Message) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let number = message.cseq().map(|(number, _)| number);
        if !leg.owns(message) || leg.unacked.as_ref().is_none_or(|repeat| Some(repeat.cseq) != number) {
            return;
        }
        leg.unacked = None;
        if leg.phase == Phase::Answered {
            leg.phase = Phase::Confirmed;
        }
        if leg.cancel_wanted {
            return self.hang_up(now, id);
        }
        // A late offer's answer travels on in the ACK to the other leg.
        let Some(peer) = leg.peer else { return };
        if let Some(key) = self.legs.get_mut(&peer).and_then(|peer| peer.ack_owed.take()) {
            let told = self.carry(id, peer, &message.body).unwrap_or_default();
            self.ack_phone(peer, &key, &told);
            self.media_changed(id, &message.body);
        }
    }
}
