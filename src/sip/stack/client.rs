//! Client transactions (RFC 3261 §17.1): repeat until answered, give up after 64·T1, acknowledge refusals.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Destination, Due, Flow, Output, Stack, T1, T2, T64, names, reliable, server::ServerKey};
use crate::{
    core::id::LegId,
    sip::message::{Builder, Message, Method, Name},
};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ClientKey {
    branch: String,
    method: Method,
}

impl ClientKey {
    pub(super) fn of(message: &Message) -> Option<Self> {
        Some(Self { branch: message.top_via()?.0, method: message.method() })
    }
}

/// What a request was sent for, and so who hears its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The INVITE that makes a leg.
    Ring,
    /// A request passed on from the other leg, to be answered in `server`.
    Relay {
        server: ServerKey,
        from: LegId,
    },
    /// BYE or CANCEL: the leg is gone when it is answered.
    Bye,
    Cancel,
}

pub(super) struct Client {
    pub(super) leg: LegId,
    pub(super) purpose: Purpose,
    pub(super) request: Message,
    pub(super) bytes: Bytes,
    pub(super) to: Destination,
    /// The interval of repeats; `None` once any answer came.
    interval: Option<Duration>,
    /// The ACK of the final answer and where it went, sent again when the answer is.
    pub(super) ack: Option<(Destination, Bytes)>,
    pub(super) done: bool,
}

impl Stack {
    /// Sends a request in a new transaction.
    pub(super) fn send(&mut self, now: Instant, leg: LegId, purpose: Purpose, to: Destination, bytes: Bytes) {
        let request = crate::sip::message::parse(&bytes).expect("the stack reads what it writes");
        let key = ClientKey::of(&request).expect("our requests have a Via");
        let interval = (!reliable(to.transport())).then_some(T1);
        if interval.is_some() {
            self.at(now + T1, Due::ClientResend(key.clone()));
        }
        self.at(now + T64, Due::ClientEnd(key.clone()));
        self.transmit(to.clone(), bytes.clone());
        self.clients.insert(key, Client { leg, purpose, request, bytes, to, interval, ack: None, done: false });
    }

    pub(super) fn client_resend(&mut self, now: Instant, key: &ClientKey) {
        let Some(client) = self.clients.get_mut(key).filter(|client| !client.done) else { return };
        let Some(interval) = client.interval else { return };
        let next = if key.method == Method::Invite { interval * 2 } else { (interval * 2).min(T2) };
        client.interval = Some(next);
        let (to, bytes) = (client.to.clone(), client.bytes.clone());
        self.at(now + next, Due::ClientResend(key.clone()));
        self.transmit(to, bytes);
    }

    /// 64·T1 are over: an INVITE that rings goes on, everything else has failed or is forgotten.
    pub(super) fn client_end(&mut self, now: Instant, key: &ClientKey) {
        let Some(client) = self.clients.get(key) else { return };
        let ringing = key.method == Method::Invite && client.interval.is_none() && !client.done;
        if ringing {
            self.at(now + T64, Due::ClientEnd(key.clone()));
        } else if client.done {
            self.clients.remove(key);
        } else {
            self.client_failed(now, key, 408);
        }
    }

    /// No answer will come.
    pub(super) fn client_failed(&mut self, now: Instant, key: &ClientKey, status: u16) {
        let Some(client) = self.clients.remove(key).filter(|client| !client.done) else { return };
        match client.purpose {
            Purpose::Ring => self.ring_failed(now, client.leg, status),
            Purpose::Relay { server, .. } => {
                self.relay_over(client.leg);
                self.answer(now, &server, status, "No Answer", &[], b"");
            }
            Purpose::Bye | Purpose::Cancel => self.parted(client.leg),
        }
    }

    pub(super) fn response(&mut self, now: Instant, flow: Flow, message: Message, bytes: Bytes) {
        let Some(key) = ClientKey::of(&message) else { return };
        let Some(client) = self.clients.get_mut(&key) else {
            let minted = names::read_branch(&key.branch).filter(|(_, node)| *node != self.options.edge.node);
            if let Some((_, node)) = minted {
                self.out.push_back(Output::Foreign { node, flow, bytes });
            }
            return;
        };
        let status = message.status();
        client.interval = None;
        if client.done {
            let again = if status >= 200 && key.method == Method::Invite { client.ack.clone() } else { None };
            if let Some((to, ack)) = again {
                self.transmit(to, ack);
            }
            return;
        }
        let (leg, purpose) = (client.leg, client.purpose.clone());
        if status >= 200 {
            client.done = true;
            if key.method == Method::Invite && status >= 300 {
                self.acknowledge_refusal(&key, &message);
            }
        }
        match purpose {
            Purpose::Ring => self.ring_answered(now, leg, &key, flow, &message, bytes),
            Purpose::Relay { server, from } => self.relayed(now, leg, from, &key, &server, &message),
            Purpose::Bye | Purpose::Cancel if status >= 200 => self.bye_answered(leg, purpose == Purpose::Bye),
            Purpose::Bye | Purpose::Cancel => {}
        }
    }

    /// The ACK of a refused INVITE is part of its transaction: same branch, the response's To.
    fn acknowledge_refusal(&mut self, key: &ClientKey, response: &Message) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let request = &client.request;
        let via = request.all(Name::Via).into_iter().next().unwrap_or_default();
        let number = request.cseq().map_or(1, |(number, _)| number);
        let ack = Builder::request("ACK", request.uri())
            .field(Name::Via, via)
            .field(Name::MaxForwards, "70")
            .field(Name::From, request.text(Name::From))
            .field(Name::To, response.text(Name::To))
            .field(Name::CallId, request.call_id())
            .field(Name::CSeq, format!("{number} ACK"))
            .empty();
        let to = client.to.clone();
        client.ack = Some((to.clone(), ack.clone()));
        self.transmit(to, ack);
    }

    pub(super) fn keep_ack(&mut self, key: &ClientKey, to: Destination, ack: Bytes) {
        if let Some(client) = self.clients.get_mut(key) {
            client.ack = Some((to, ack));
        }
    }
}
