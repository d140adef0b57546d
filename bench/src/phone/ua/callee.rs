//! Requests to this phone: calls that come in, and those of no call.

use std::time::{Duration, Instant};

use tandem::sip::message::{Message, Method, Name};

use super::{OnRing, Ua, caller::ALLOW};
use crate::phone::{
    call::{By, Call, State, Unacked},
    limits::{T1, T64},
    sdp,
    text::Hop,
};

/// What the tag of a second device adds to the first one's.
pub const ELSEWHERE: &str = "-elsewhere";

impl Ua {
    pub(super) fn request(&mut self, now: Instant, message: &Message, source: Hop) {
        let method = message.method();
        if method == Method::Ack {
            return self.acknowledged(message);
        }
        if let Some(at) = self.server_of(message, method) {
            return self.respond_again(now, at);
        }
        match method {
            Method::Cancel => self.cancelled(now, message, source),
            _ if message.to_tag().is_some() => self.inside(now, message, source),
            Method::Invite => self.invited(now, message, source),
            Method::Options => self.plain(now, message, source, 200),
            Method::Bye | Method::Update | Method::Info | Method::Prack => self.plain(now, message, source, 481),
            _ => self.plain(now, message, source, 405),
        }
    }

    /// Answers a request that needs no thought.
    pub(super) fn plain(&mut self, now: Instant, message: &Message, source: Hop, status: u16) {
        let (at, tag) = (self.serve(now, message, source, None), self.token());
        self.respond(now, at, status, &tag, |draft| draft.field("Allow", ALLOW).end(None));
    }

    fn acknowledged(&mut self, message: &Message) {
        if let Some(at) = self.server_of(message, Method::Invite) {
            return self.stop_repeating(at);
        }
        let Some(n) = self.find(message) else { return };
        let call = &mut self.calls[n];
        let Some(unacked) = call.unacked.take_if(|unacked| message.cseq().is_some_and(|(cseq, _)| cseq == unacked.cseq)) else { return };
        if unacked.late_offer {
            call.audio = sdp::read(&message.body);
        }
    }

    /// CANCEL is matched by the branch of its INVITE, wherever it comes from (RFC 3261 §9.2).
    fn cancelled(&mut self, now: Instant, message: &Message, source: Hop) {
        let Some(invite) = self.server_of(message, Method::Invite) else { return self.plain(now, message, source, 481) };
        let call = self.servers[invite].call;
        // The tag of the dialog, where there is one.
        let tag = match call {
            Some(n) => self.calls[n].local_tag.clone(),
            None => self.token(),
        };
        let at = self.serve(now, message, source, None);
        self.respond(now, at, 200, &tag, |draft| draft.field("Allow", ALLOW).end(None));
        let Some(n) = call.filter(|n| self.calls[*n].state == State::Ringing) else { return };
        let tag = self.calls[n].local_tag.clone();
        self.respond(now, invite, 487, &tag, |draft| draft.end(None));
        self.calls[n].end(now, By::Them);
    }

    fn invited(&mut self, now: Instant, message: &Message, source: Hop) {
        // The same request by another way (RFC 3261 §8.2.2.2).
        let (call_id, cseq) = (message.call_id(), message.cseq().map_or(0, |(number, _)| number));
        let merged = self.servers.iter().any(|server| server.method == Method::Invite && server.call_id == call_id && server.cseq == cseq);
        let busy = self.live().count() >= self.options.lines || !self.room();
        if merged || busy {
            self.faults.busy += u64::from(!merged);
            return self.plain(now, message, source, if merged { 482 } else { 486 });
        }
        match self.on_ring {
            OnRing::Ignore => {}
            OnRing::Refuse(status) => self.plain(now, message, source, status),
            OnRing::Ring | OnRing::Answer { .. } | OnRing::AnswerTwice { .. } => self.ring(now, message, source),
        }
    }

    fn ring(&mut self, now: Instant, message: &Message, source: Hop) {
        let tag = self.token();
        let mut call = Call::incoming(now, tag.clone(), message, source);
        call.audio = sdp::read(&message.body);
        if !message.body.is_empty() && call.audio.is_none() {
            return self.plain(now, message, source, 488);
        }
        if let OnRing::Answer { after_ms } | OnRing::AnswerTwice { after_ms } = self.on_ring {
            call.answer_at = Some(now + Duration::from_millis(after_ms));
        }
        self.calls.push(call);
        let n = self.calls.len() - 1;
        let (at, contact) = (self.serve(now, message, source, Some(n)), self.contact());
        self.respond(now, at, 100, "", |draft| draft.end(None));
        self.respond(now, at, 180, &tag, |draft| draft.field("Contact", contact).end(None));
        self.double(now, at);
    }

    /// The last response once more, if this phone says everything twice.
    fn double(&mut self, now: Instant, at: usize) {
        if matches!(self.on_ring, OnRing::AnswerTwice { .. }) {
            self.respond_again(now, at);
        }
    }

    /// The 200 of another device that was called as well and picked up, too.
    fn pick_up_elsewhere(&mut self, now: Instant, at: usize, tag: &str) {
        let Some((bytes, hop)) = self.answer_of(at).filter(|_| matches!(self.on_ring, OnRing::AnswerTwice { .. })) else { return };
        let text = String::from_utf8_lossy(&bytes).replace(tag, &format!("{tag}{ELSEWHERE}"));
        self.send(now, hop, text.into());
    }

    fn ringing(&self, n: usize) -> Option<usize> {
        let open = |server: &super::Server| server.method == Method::Invite && server.call == Some(n) && server.request.is_some();
        self.servers.iter().position(open).filter(|_| self.calls[n].state == State::Ringing)
    }

    /// Picks up a ringing call.
    pub(super) fn pick_up(&mut self, now: Instant, n: usize) {
        let Some(at) = self.ringing(n) else { return };
        let call = &mut self.calls[n];
        (call.state, call.up_at) = (State::Up, Some(now));
        let tag = call.local_tag.clone();
        self.accept(now, at, n, Duration::ZERO);
        self.double(now, at);
        self.pick_up_elsewhere(now, at, &tag);
    }

    /// Refuses a ringing call.
    pub(super) fn refuse(&mut self, now: Instant, n: usize, status: u16) {
        let Some(at) = self.ringing(n) else { return };
        let tag = self.calls[n].local_tag.clone();
        self.respond(now, at, status, &tag, |draft| draft.end(None));
        self.calls[n].end(now, By::Refused(status));
    }

    /// 200 to an INVITE or UPDATE of call `n`, with our description and the session timer it asked for.
    pub(super) fn accept(&mut self, now: Instant, at: usize, n: usize, delay: Duration) {
        let Some(request) = self.servers[at].request.clone() else { return };
        let (contact, call) = (self.contact(), &self.calls[n]);
        let theirs = sdp::read(&request.body);
        let is_invite = request.method() == Method::Invite;
        let late_offer = is_invite && request.body.is_empty();
        let body = (is_invite || theirs.is_some()).then(|| self.describe(call, theirs.as_ref(), call.wish));
        let (tag, timer) = (call.local_tag.clone(), granted(&request));
        self.respond_after(now, at, 200, &tag, delay, |draft| {
            let draft = draft.field("Contact", contact).field("Allow", ALLOW).field("Supported", "timer");
            let draft = timer.iter().fold(draft, |draft, value| draft.field("Require", "timer").field("Session-Expires", value));
            draft.end(body.as_deref())
        });
        let granting = self.answer_of(at).and_then(|(bytes, hop)| Some((tandem::sip::message::parse(&bytes).ok()?, bytes, hop)));
        let Some((granting, bytes, hop)) = granting else { return };
        let call = &mut self.calls[n];
        call.grant(now, &granting, false);
        if is_invite {
            let cseq = request.cseq().map_or(0, |(number, _)| number);
            // One at a time: an INVITE after it says that the answer before it arrived.
            let next = now + delay + T1;
            call.unacked = Some(Unacked { cseq, bytes, hop, next, interval: T1, until: now + delay + T64, late_offer });
        }
    }
}

/// The Session-Expires of our answer: as asked, refreshed by whoever asks unless it names another (RFC 4028 §9).
fn granted(request: &Message) -> Option<String> {
    let value = request.get(Name::SessionExpires)?;
    let named = tandem::sip::message::param(&value, "refresher").is_some();
    Some(if named { value.into_owned() } else { format!("{value};refresher=uac") })
}
