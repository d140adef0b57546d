//! Server transactions: one per request, answering repeats with the last response (RFC 3261 §17.2, RFC 6026).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{Destination, Due, Flow, Output, Stack, T1, T2, T4, T64, TxId, client::ClientKey, leg::Leg, names, reliable, via};
use crate::{
    core::{
        command::{HangUpCause, LegEvent},
        id::LegId,
    },
    sip::{
        limits::{PENDING_MAX, TRANSACTIONS_MAX, TRANSACTIONS_RESERVED},
        message::{Builder, Message, Method},
    },
};

/// Branch, sent-by and method; an ACK or CANCEL looks for its INVITE's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ServerKey {
    branch: Arc<str>,
    sent_by: Arc<str>,
    method: Method,
}

impl ServerKey {
    pub(super) fn of(message: &Message) -> Option<Self> {
        let (mut branch, sent_by) = message.top_via()?;
        if branch.len() <= "z9hG4bK".len() || !branch.starts_with("z9hG4bK") {
            // RFC 2543 peers: the fields that made a transaction then.
            branch = format!("{}|{}|{}", message.call_id(), message.from_tag().unwrap_or_default(), message.cseq()?.0);
        }
        Some(Self { branch: branch.into(), sent_by: sent_by.into(), method: message.method() })
    }

    fn of_invite(&self) -> Self {
        Self { method: Method::Invite, ..self.clone() }
    }
}

pub(super) struct Server {
    /// Where the request came from.
    pub(super) flow: Flow,
    /// Where answers go.
    pub(super) back: Flow,
    /// The request, until it has a final answer.
    pub(super) request: Option<Arc<Message>>,
    /// The response a repeat gets.
    pub(super) last: Option<Bytes>,
    /// Awaits the edge's answer.
    pub(super) tx: Option<TxId>,
    pub(super) leg: Option<LegId>,
    /// The request it was passed on as, for its CANCEL.
    pub(super) passed_as: Option<ClientKey>,
    /// A refusal waits for its ACK: the interval of repeats.
    resend: Option<Duration>,
    /// When it is forgotten; `None` while a leg owns it.
    until: Option<Instant>,
}

impl Stack {
    /// Opens the transaction of a new request. False if there is no room: it was refused with 503.
    pub(super) fn open_server(&mut self, now: Instant, key: &ServerKey, flow: Flow, request: &Arc<Message>) -> bool {
        let reserve = if request.to_tag().is_some() { TRANSACTIONS_RESERVED } else { 0 };
        let room = TRANSACTIONS_MAX + reserve;
        while self.servers.len() >= room
            && let Some(oldest) = self.answered.pop_front()
        {
            // One that has its final answer only absorbs repeats: the newcomer matters more.
            if self.servers.get(&oldest).is_some_and(|server| server.request.is_none()) {
                self.servers.remove(&oldest);
            }
        }
        let back = via::way_back(request, flow);
        if self.servers.len() >= room {
            let answer = Builder::response(request, 503, "Service Unavailable", Some("full")).named("Retry-After", "5").empty();
            self.transmit(Destination::Flow(back), answer);
            return false;
        }
        let request = Some(Arc::clone(request));
        let until = Some(now + T64);
        let server = Server { flow, back, request, last: None, tx: None, leg: None, passed_as: None, resend: None, until };
        self.servers.insert(key.clone(), server);
        self.at(now + T64, Due::ServerEnd(key.clone()));
        true
    }

    /// Hands an open transaction to the edge for its answer, which must come in time.
    pub(super) fn pend(&mut self, now: Instant, key: &ServerKey) -> TxId {
        self.counter += 1;
        let tx = TxId(self.counter);
        self.pending.insert(tx, key.clone());
        if let Some(server) = self.servers.get_mut(key) {
            server.tx = Some(tx);
            server.until = Some(now + PENDING_MAX);
            self.at(now + PENDING_MAX, Due::ServerEnd(key.clone()));
        }
        tx
    }

    /// A leg answers for this transaction from now on, as late as it likes.
    pub(super) fn owned(&mut self, key: &ServerKey, leg: LegId) {
        if let Some(server) = self.servers.get_mut(key) {
            server.leg = Some(leg);
            server.until = None;
        }
    }

    /// Sends a response in a transaction, with the leg's tag if it has one.
    pub(super) fn answer(&mut self, now: Instant, key: &ServerKey, status: u16, reason: &str, headers: &[(&str, String)], body: &[u8]) {
        let node = self.options.edge.node;
        let Some(server) = self.servers.get_mut(key) else { return };
        let Some(request) = server.request.clone() else { return };
        let tag = match server.leg {
            Some(leg) => names::tag(leg, node),
            None => format!("{:x}", crc32fast::hash(request.call_id().as_bytes())),
        };
        let mut builder = Builder::response(&request, status, reason, (status > 100).then_some(tag.as_str()));
        for (name, value) in headers {
            builder = builder.named(name, value);
        }
        if status > 100 {
            builder = builder.named("Server", &self.options.user_agent);
        }
        let typed = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("Content-Type"));
        let bytes = builder.body(if typed { "" } else { "application/sdp" }, body);
        server.last = Some(bytes.clone());
        let back = server.back;
        if status >= 200 {
            self.settled(now, key, status);
        }
        self.transmit(Destination::Flow(back), bytes);
    }

    /// A final answer was given: it is repeated on demand, or on its own until the ACK, and then forgotten.
    fn settled(&mut self, now: Instant, key: &ServerKey, status: u16) {
        let Some(server) = self.servers.get_mut(key) else { return };
        server.request = None;
        server.until = Some(now + T64);
        if let Some(tx) = server.tx.take() {
            self.pending.remove(&tx);
        }
        let repeats = key.method == Method::Invite && status >= 300 && !reliable(server.back.transport);
        server.resend = repeats.then_some(T1);
        if repeats {
            self.at(now + T1, Due::ServerResend(key.clone()));
        }
        self.at(now + T64, Due::ServerEnd(key.clone()));
        self.answered.push_back(key.clone());
        if self.answered.len() > 2 * TRANSACTIONS_MAX {
            self.answered.pop_front();
        }
    }

    pub(super) fn server_resend(&mut self, now: Instant, key: &ServerKey) {
        let Some(server) = self.servers.get_mut(key) else { return };
        let (Some(interval), Some(last)) = (server.resend, server.last.clone()) else { return };
        let next = (interval * 2).min(T2);
        server.resend = Some(next);
        let to = Destination::Flow(server.back);
        self.at(now + next, Due::ServerResend(key.clone()));
        self.transmit(to, last);
    }

    pub(super) fn server_end(&mut self, now: Instant, key: &ServerKey) {
        let Some(server) = self.servers.get(key) else { return };
        if server.until.is_none_or(|until| now < until) {
            return;
        }
        if server.request.is_some() {
            // Nobody answered it in time: say so, once; the answer makes it end by itself.
            return self.answer(now, key, 503, "Service Unavailable", &[("Retry-After", "5".to_owned())], b"");
        }
        self.servers.remove(key);
    }

    /// An ACK: of a refusal (by its transaction) or of our 200 (by its dialog).
    pub(super) fn ack(&mut self, now: Instant, key: &ServerKey, message: &Message, flow: Flow, bytes: Bytes) {
        let invite = key.of_invite();
        if let Some(server) = self.servers.get_mut(&invite).filter(|server| server.resend.is_some()) {
            server.resend = None;
            server.until = Some(now + T4);
            return self.at(now + T4, Due::ServerEnd(invite));
        }
        let Some((leg, node)) = message.to_tag().as_deref().and_then(names::read_tag) else { return };
        if self.legs.contains_key(&leg) {
            self.acknowledged(now, leg, message);
        } else if node != self.options.edge.node && flow.via.is_none() {
            self.out.push_back(Output::Foreign { node, flow, bytes });
        }
    }

    pub(super) fn cancel(&mut self, now: Instant, flow: Flow, key: &ServerKey, message: &Message, bytes: Bytes) {
        let invite = key.of_invite();
        let back = via::way_back(message, flow);
        let Some(server) = self.servers.get(&invite) else {
            let minted = message.to_tag().as_deref().and_then(names::read_tag);
            if let Some((_, node)) = minted.filter(|(_, node)| *node != self.options.edge.node && flow.via.is_none()) {
                return self.out.push_back(Output::Foreign { node, flow, bytes });
            }
            let answer = Builder::response(message, 481, "Call/Transaction Does Not Exist", Some("none")).empty();
            return self.transmit(Destination::Flow(back), answer);
        };
        let (leg, open, passed_as) = (server.leg, server.request.is_some(), server.passed_as.clone());
        let tag = leg.map_or_else(|| "cancel".to_owned(), |leg| names::tag(leg, self.options.edge.node));
        self.transmit(Destination::Flow(back), Builder::response(message, 200, "OK", Some(&tag)).empty());
        if !open {
            return;
        }
        if let Some(passed) = passed_as {
            // A re-INVITE that was passed on: the other side answers 487, which is passed back.
            return self.cancel_client(now, &passed);
        }
        if leg.is_none_or(|leg| self.legs.get(&leg).is_some_and(Leg::is_waiting)) {
            self.answer(now, &invite, 487, "Request Terminated", &[], b"");
            if let Some(leg) = leg {
                self.finish(leg, LegEvent::HungUp { cause: HangUpCause::Cancel });
            }
        }
    }
}
