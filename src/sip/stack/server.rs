//! Server transactions: one per request, answering repeats with the last response (RFC 3261 §17.2, RFC 6026).

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Destination, Due, Flow, Stack, T1, T2, T64, TxId, names, reliable};
use crate::{
    core::{
        command::{HangUpCause, LegEvent},
        id::LegId,
    },
    sip::message::{Builder, Message, Method},
};

/// Branch, sent-by and method; an ACK or CANCEL looks for its INVITE's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ServerKey {
    branch: String,
    sent_by: String,
    method: Method,
}

impl ServerKey {
    pub(super) fn of(message: &Message) -> Option<Self> {
        let (mut branch, sent_by) = message.top_via()?;
        if !branch.starts_with("z9hG4bK") {
            // RFC 2543 peers: the fields that made a transaction then.
            branch = format!("{}|{}|{}", message.call_id(), message.from_tag().unwrap_or_default(), message.cseq()?.0);
        }
        Some(Self { branch, sent_by, method: message.method() })
    }

    fn of_invite(&self) -> Self {
        Self { method: Method::Invite, ..self.clone() }
    }
}

pub(super) struct Server {
    pub(super) flow: Flow,
    /// The request, until it has a final answer.
    pub(super) request: Option<Message>,
    /// The response a repeat gets.
    pub(super) last: Option<Bytes>,
    pub(super) tx: Option<TxId>,
    pub(super) leg: Option<LegId>,
    /// A refusal waits for its ACK.
    resend: Option<Duration>,
}

impl Stack {
    pub(super) fn open_server(&mut self, now: Instant, key: &ServerKey, flow: Flow, request: &Message) {
        let server = Server { flow, request: Some(request.clone()), last: None, tx: None, leg: None, resend: None };
        self.servers.insert(key.clone(), server);
        if request.method() != Method::Invite {
            self.at(now + T64, Due::ServerEnd(key.clone()));
        }
    }

    /// Sends a response in a transaction, with the leg's tag if it has one.
    pub(super) fn answer(&mut self, now: Instant, key: &ServerKey, status: u16, reason: &str, headers: &[(&str, String)], body: &[u8]) {
        let Some(server) = self.servers.get_mut(key) else { return };
        let Some(request) = &server.request else { return };
        let tag = match server.leg {
            Some(leg) => names::tag(leg, self.options.edge.node),
            None => format!("{:x}", crc32fast::hash(request.call_id().as_bytes())),
        };
        let mut builder = Builder::response(request, status, reason, (status > 100).then_some(tag.as_str()));
        for (name, value) in headers {
            builder = builder.named(name, value);
        }
        if status > 100 {
            builder = builder.named("Server", &self.options.user_agent);
        }
        let bytes = builder.body("application/sdp", body);
        server.last = Some(bytes.clone());
        let (to, invite) = (Destination::Flow(server.flow), key.method == Method::Invite);
        if status >= 200 {
            let tx = server.tx.take();
            if status >= 300 || !invite {
                server.request = None;
            }
            if let Some(tx) = tx {
                self.pending.remove(&tx);
            }
            if invite && status >= 300 {
                // The refusal is repeated until its ACK, on reliable transports once; either way it ends.
                if let Some(server) = self.servers.get_mut(key).filter(|_| !reliable(to.transport())) {
                    server.resend = Some(T1);
                    self.at(now + T1, Due::ServerResend(key.clone()));
                }
                self.at(now + T64, Due::ServerEnd(key.clone()));
            } else if invite {
                self.at(now + T64, Due::ServerEnd(key.clone()));
            }
        }
        self.transmit(to, bytes);
    }

    pub(super) fn server_resend(&mut self, now: Instant, key: &ServerKey) {
        let Some(server) = self.servers.get_mut(key) else { return };
        let (Some(interval), Some(last)) = (server.resend, server.last.clone()) else { return };
        let next = (interval * 2).min(T2);
        server.resend = Some(next);
        let to = Destination::Flow(server.flow);
        self.at(now + next, Due::ServerResend(key.clone()));
        self.transmit(to, last);
    }

    pub(super) fn server_end(&mut self, now: Instant, key: &ServerKey) {
        if let Some(server) = self.servers.remove(key)
            && let Some(tx) = server.tx
        {
            // Nobody answered it in 32 s: say so, once.
            self.pending.remove(&tx);
            if let Some(request) = server.request {
                let bytes = Builder::response(&request, 500, "Server Internal Error", Some("late")).empty();
                self.transmit(Destination::Flow(server.flow), bytes);
            }
            let _ = now;
        }
    }

    /// An ACK: of our 200 (by its dialog) or of a refusal (by its transaction).
    pub(super) fn ack(&mut self, now: Instant, key: &ServerKey, message: &Message, flow: Flow, bytes: Bytes) {
        if let Some(server) = self.servers.get_mut(&key.of_invite()).filter(|server| server.resend.is_some()) {
            server.resend = None;
            return;
        }
        let Some((leg, node)) = message.to_tag().as_deref().and_then(names::read_tag) else { return };
        if self.legs.contains_key(&leg) {
            self.acknowledged(now, leg, message);
        } else if node != self.options.edge.node {
            self.out.push_back(super::Output::Foreign { node, flow, bytes });
        }
    }

    pub(super) fn cancel(&mut self, now: Instant, flow: Flow, key: &ServerKey, message: &Message, bytes: Bytes) {
        let invite = key.of_invite();
        let Some(server) = self.servers.get(&invite) else {
            if let Some((_, node)) =
                message.to_tag().as_deref().and_then(names::read_tag).filter(|(_, node)| *node != self.options.edge.node)
            {
                return self.out.push_back(super::Output::Foreign { node, flow, bytes });
            }
            let answer = Builder::response(message, 481, "Call/Transaction Does Not Exist", Some("none")).empty();
            return self.transmit(Destination::Flow(flow), answer);
        };
        let (leg, open) = (server.leg, server.request.is_some());
        let tag = leg.map_or_else(|| "cancel".to_owned(), |leg| names::tag(leg, self.options.edge.node));
        self.transmit(Destination::Flow(flow), Builder::response(message, 200, "OK", Some(&tag)).empty());
        let waiting = leg.is_none_or(|leg| self.legs.get(&leg).is_some_and(super::leg::Leg::is_waiting));
        if open && waiting {
            self.answer(now, &invite, 487, "Request Terminated", &[], b"");
            if let Some(leg) = leg {
                self.finish(leg, LegEvent::HungUp { cause: HangUpCause::Cancel });
            }
        }
    }
}
