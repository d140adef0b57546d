//! Calls this phone makes, and what others answer to its requests.

use std::time::Instant;

use tandem::sip::message::{Message, Method, Name, parse};

use super::{
    Ua,
    transaction::{Client, Purpose},
};
use crate::phone::{
    call::{By, Call, State},
    digest,
    limits::T64,
    sdp::{self, Direction},
    text::{Draft, Hop, uri},
};

impl Ua {
    /// Calls `user` at `hop`. `None` if there are too many calls to remember.
    pub fn dial(&mut self, now: Instant, hop: Hop, user: &str) -> Option<usize> {
        if !self.room() {
            return None;
        }
        let (call_id, tag) = (format!("{}@{}", self.token(), self.options.addr), self.token());
        let local = uri(&self.options.user, self.options.addr, self.options.transport);
        let call = Call::outgoing((call_id, tag), &local, &uri(user, hop.addr, hop.transport), hop);
        self.calls.push(call);
        let n = self.calls.len() - 1;
        self.invite(now, n, hop, None);
        Some(n)
    }

    fn invite(&mut self, now: Instant, n: usize, hop: Hop, authorization: Option<(&str, String)>) {
        let (via, branch) = self.via();
        let contact = self.contact();
        let offer = self.describe(&self.calls[n], None, Direction::SendRecv);
        let session = self.options.session_s;
        let draft = self.calls[n].request("INVITE", None, &via, &contact);
        let draft = with_timer(draft, session).field("Allow", ALLOW);
        let draft = authorization.map_or(draft.clone(), |(name, value)| draft.field(name, value));
        self.ask(now, hop, branch, Method::Invite, draft.end(Some(&offer)), Purpose::Invite(n));
    }

    pub(super) fn response(&mut self, now: Instant, message: &Message) {
        let Some(at) = self.client_of(message) else { return self.answered_again(now, message) };
        let status = message.status();
        let invite = self.clients[at].method == Method::Invite;
        if status < 200 {
            let client = &mut self.clients[at];
            client.proceeding = true;
            if invite {
                (client.next, client.until) = (None, None);
            }
            return self.progressed(now, at, message);
        }
        if invite && status >= 300 {
            let first = self.clients[at].ack.is_none();
            let purpose = self.clients[at].purpose;
            self.ack_refusal(now, at, message);
            if first {
                self.refused(now, purpose, message);
            }
            return;
        }
        let client = self.clients.remove(at);
        match client.purpose {
            Purpose::Invite(n) => self.picked_up(now, n, message),
            Purpose::Reinvite(n, wish) => self.changed(now, n, wish, message),
            Purpose::Register => self.register_answered(now, message, &client),
            Purpose::Bye | Purpose::Cancel(_) => {}
        }
    }

    fn progressed(&mut self, now: Instant, at: usize, message: &Message) {
        let Purpose::Invite(n) = self.clients[at].purpose else { return };
        if message.status() > 100 && !self.calls[n].is_over() {
            self.calls[n].state = State::Proceeding(message.status());
        }
        if self.calls[n].hung_up_at.is_some() {
            self.cancel(now, n);
        }
    }

    /// Somebody picked up: the first, or another fork (RFC 3261 §13.2.2.4).
    fn picked_up(&mut self, now: Instant, n: usize, message: &Message) {
        let audio = sdp::read(&message.body);
        let call = &mut self.calls[n];
        call.establish(now, message);
        call.audio = audio;
        call.grant(now, message, true);
        self.ack(now, n, message);
        if self.calls[n].hung_up_at.is_some() {
            self.bye(now, n);
        }
    }

    /// A 200 to an INVITE whose transaction is over: the same again, or of another fork, which is not wanted any more.
    fn answered_again(&mut self, now: Instant, message: &Message) {
        if !(200..300).contains(&message.status()) || message.method() != Method::Invite {
            return;
        }
        let (Some(tag), Some((cseq, _))) = (message.to_tag(), message.cseq()) else { return };
        let ours = |call: &Call| call.call_id == message.call_id() && message.from_tag().as_deref() == Some(&call.local_tag);
        let Some(n) = self.calls.iter().rposition(ours) else { return };
        if let Some((ack, hop)) = self.calls[n].ack_of(cseq, &tag) {
            return self.send(now, hop, ack);
        }
        let mut fork = self.calls[n].clone();
        fork.establish(now, message);
        std::mem::swap(&mut self.calls[n], &mut fork);
        self.ack(now, n, message);
        self.bye(now, n);
        // Its ACK is remembered with the call that stays.
        let again = self.calls[n].ack_of(cseq, &tag);
        std::mem::swap(&mut self.calls[n], &mut fork);
        if let Some((bytes, hop)) = again {
            self.calls[n].remember_ack(cseq, tag, bytes, hop);
        }
    }

    /// Acknowledges a 200 to an INVITE, to where its Contact says.
    pub(super) fn ack(&mut self, now: Instant, n: usize, message: &Message) {
        let Some((cseq, _)) = message.cseq() else { return };
        let (via, _) = self.via();
        let contact = self.contact();
        let call = &mut self.calls[n];
        let ack = call.request("ACK", Some(cseq), &via, &contact).end(None);
        let hop = call.hop();
        call.remember_ack(cseq, message.to_tag().unwrap_or_default(), ack.clone(), hop);
        self.send(now, hop, ack);
    }

    fn refused(&mut self, now: Instant, purpose: Purpose, message: &Message) {
        let status = message.status();
        match purpose {
            Purpose::Invite(n) if matches!(status, 401 | 407) && self.calls[n].local_cseq == 1 => {
                if let Some(authorization) = self.authorization(message, "INVITE", &self.calls[n].target.clone()) {
                    let hop = self.calls[n].hop();
                    return self.invite(now, n, hop, Some(authorization));
                }
                self.calls[n].end(now, By::Refused(status));
            }
            Purpose::Invite(n) => {
                let by = if self.calls[n].hung_up_at.is_some() { By::Us } else { By::Refused(status) };
                self.calls[n].end(now, by);
            }
            Purpose::Reinvite(n, wish) => self.change_refused(now, n, wish, status),
            Purpose::Bye | Purpose::Cancel(_) | Purpose::Register => {}
        }
    }

    /// The answer to a challenge, if we have one.
    pub(super) fn authorization(&mut self, message: &Message, method: &str, uri: &str) -> Option<(&'static str, String)> {
        let who = self.options.credentials.clone()?;
        let (asked, name) = if message.status() == 407 {
            (Name::ProxyAuthenticate, "Proxy-Authorization")
        } else {
            (Name::WwwAuthenticate, "Authorization")
        };
        let challenges: Vec<String> = message
            .fields
            .iter()
            .filter(|field| field.name == asked)
            .map(|field| String::from_utf8_lossy(&field.value).into_owned())
            .collect();
        let cnonce = self.random.draw();
        digest::answer(challenges.iter().map(String::as_str), method, uri, &who, cnonce).map(|value| (name, value))
    }

    /// Withdraws an INVITE that has a provisional answer (RFC 3261 §9.1).
    pub(super) fn cancel(&mut self, now: Instant, n: usize) {
        let of_call = |client: &Client, purpose| client.purpose == purpose && client.ack.is_none();
        if self.clients.iter().any(|client| of_call(client, Purpose::Cancel(n))) {
            return;
        }
        let Some(client) = self.clients.iter_mut().find(|client| of_call(client, Purpose::Invite(n)) && client.proceeding) else { return };
        // No final answer within this is none at all.
        client.until = Some(now + T64);
        let (hop, branch) = (client.hop, client.branch.clone());
        let Ok(invite) = parse(&client.request) else { return };
        let cseq = invite.cseq().map_or(1, |(number, _)| number);
        let cancel = Draft::request("CANCEL", invite.uri())
            .field("Via", invite.all(Name::Via).into_iter().next().unwrap_or_default())
            .field("Max-Forwards", "70")
            .field("From", invite.text(Name::From))
            .field("To", invite.text(Name::To))
            .field("Call-ID", invite.call_id())
            .field("CSeq", format!("{cseq} CANCEL"))
            .end(None);
        self.ask(now, hop, branch, Method::Cancel, cancel, Purpose::Cancel(n));
    }
}

pub(super) const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO";

/// What we say of session timers in a request.
pub(super) fn with_timer(draft: Draft, session_s: Option<u32>) -> Draft {
    let draft = draft.field("Supported", "timer");
    session_s.map_or(draft.clone(), |seconds| draft.field("Session-Expires", seconds.to_string()))
}
