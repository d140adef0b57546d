//! Client transactions (RFC 3261 §17.1, RFC 6026): repeat until answered, give up after 64·T1, acknowledge refusals.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{Destination, Due, Flow, Stack, T1, T2, T64, leg::by_uri, reliable, server::ServerKey};
use crate::{
    core::id::LegId,
    sip::{
        limits::{RING_MAX, TRANSACTIONS_MAX},
        message::{Builder, Message, Method, Name, read_own},
    },
};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ClientKey {
    pub(super) branch: Arc<str>,
    pub(super) method: Method,
}

impl ClientKey {
    pub(super) fn of(message: &Message) -> Option<Self> {
        Some(Self { branch: message.top_via()?.0.into(), method: message.method() })
    }
}

/// What a request was sent for, and so who hears its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The INVITE that makes a leg.
    Ring,
    /// A request passed on from the other leg, to be answered in `server`.
    Relay { server: ServerKey, from: LegId },
    /// Our own refresh of the session (RFC 4028).
    Refresh,
    /// The re-INVITE of a leg that was taken over.
    Resume,
    /// A re-INVITE that describes our side anew.
    Retell,
    /// The CANCEL of an INVITE that another edge sent.
    Cancel,
    /// The leg is gone when it is answered.
    Bye,
    /// A CANCEL, or the BYE of a branch that lost: nobody waits for the answer.
    Aside,
}

pub(super) struct Client {
    pub(super) leg: LegId,
    pub(super) purpose: Purpose,
    pub(super) request: Message,
    bytes: Bytes,
    pub(super) to: Destination,
    /// The interval of repeats; `None` once any answer came.
    interval: Option<Duration>,
    /// When it fails or, with a final answer, is forgotten.
    until: Instant,
    /// The ACK of the final answer and where it went, sent again when the answer is.
    ack: Option<(Destination, Bytes)>,
    /// To-tag of the final answer; a 2xx with another is a fork's.
    winner: Option<String>,
    /// The connection it came on was gone: sent to the contact instead.
    fell_back: bool,
    cancelled: bool,
}

impl Client {
    pub(super) const fn is_open(&self) -> bool {
        self.winner.is_none()
    }
}

impl Stack {
    /// Sends a request in a new transaction.
    pub(super) fn send(&mut self, now: Instant, leg: LegId, purpose: Purpose, to: Destination, bytes: Bytes) -> ClientKey {
        let request = read_own(&bytes).expect("the builder writes a request line and fields");
        let key = ClientKey::of(&request).expect("our requests have a Via");
        let full = self.clients.len() >= TRANSACTIONS_MAX;
        let interval = (!reliable(to.transport()) && !full).then_some(T1);
        if interval.is_some() {
            self.at(now + T1, Due::ClientResend(key.clone()));
        }
        // With no room for it the request is not sent, and fails as soon as time moves.
        let until = if full { now } else { now + T64 };
        self.at(until, Due::ClientEnd(key.clone()));
        if !full {
            self.transmit(to.clone(), bytes.clone());
        }
        let client =
            Client { leg, purpose, request, bytes, to, interval, until, ack: None, winner: None, fell_back: false, cancelled: false };
        self.clients.insert(key.clone(), client);
        key
    }

    pub(super) fn client_resend(&mut self, now: Instant, key: &ClientKey) {
        let Some(client) = self.clients.get_mut(key).filter(|client| client.is_open()) else { return };
        let Some(interval) = client.interval else { return };
        let next = if key.method == Method::Invite { interval * 2 } else { (interval * 2).min(T2) };
        client.interval = Some(next);
        let (to, bytes) = (client.to.clone(), client.bytes.clone());
        self.at(now + next, Due::ClientResend(key.clone()));
        self.transmit(to, bytes);
    }

    pub(super) fn until(&mut self, key: &ClientKey, when: Instant) {
        if let Some(client) = self.clients.get_mut(key) {
            client.until = when;
            self.at(when, Due::ClientEnd(key.clone()));
        }
    }

    /// Its time is over: with a final answer it is forgotten, else it failed.
    pub(super) fn client_end(&mut self, now: Instant, key: &ClientKey) {
        let Some(client) = self.clients.get(key).filter(|client| now >= client.until) else { return };
        if client.is_open() {
            let answered = key.method == Method::Invite && client.interval.is_none();
            if answered {
                // It rang for too long: say so, though no answer is waited for.
                self.cancel_client(now, key);
            }
            self.client_failed(now, key, 408);
        } else {
            self.clients.remove(key);
        }
    }

    /// No answer will come.
    pub(super) fn client_failed(&mut self, now: Instant, key: &ClientKey, status: u16) {
        let Some(client) = self.clients.remove(key).filter(Client::is_open) else { return };
        match client.purpose {
            Purpose::Ring => self.ring_failed(now, client.leg, status),
            Purpose::Relay { server, .. } => {
                self.relay_over(client.leg);
                self.answer(now, &server, status, "No Answer", &[], b"");
                self.dialog_lost(now, client.leg, status);
            }
            Purpose::Refresh | Purpose::Retell => self.dialog_lost(now, client.leg, status),
            Purpose::Resume => self.resume_failed(now, client.leg),
            Purpose::Cancel => self.cancel_over(now, client.leg),
            Purpose::Bye => self.parted(client.leg),
            Purpose::Aside => {}
        }
    }

    /// The transport could not deliver a request. One in a dialog whose connection is gone goes to the contact.
    pub(super) fn undelivered(&mut self, now: Instant, key: &ClientKey) {
        let Some(client) = self.clients.get_mut(key).filter(|client| client.is_open()) else { return };
        let flowed = matches!(client.to, Destination::Flow(flow) if flow.conn.is_some() || flow.via.is_some());
        let target = self.legs.get(&client.leg).and_then(|leg| by_uri(&leg.dialog.remote_target));
        match target.filter(|_| flowed && !client.fell_back && client.purpose != Purpose::Ring) {
            Some(to) => {
                client.fell_back = true;
                client.to = to.clone();
                let bytes = client.bytes.clone();
                if let Some(leg) = self.legs.get_mut(&client.leg) {
                    leg.to = to.clone();
                }
                self.transmit(to, bytes);
            }
            None => self.client_failed(now, key, 503),
        }
    }

    pub(super) fn response(&mut self, now: Instant, flow: Flow, message: Message, bytes: Bytes) {
        let Some(key) = ClientKey::of(&message) else { return };
        let Some(client) = self.clients.get_mut(&key) else { return self.unasked(now, flow, &key, &message, bytes) };
        let status = message.status();
        client.interval = None;
        if let Some(winner) = &client.winner {
            if key.method == Method::Invite && (200..300).contains(&status) && message.to_tag().as_ref() != Some(winner) {
                let (leg, to) = (client.leg, client.to.clone());
                return self.send_away(now, leg, to, &message);
            }
            if let Some((to, ack)) = client.ack.clone().filter(|_| status >= 200) {
                self.transmit(to, ack);
            }
            return;
        }
        let (leg, purpose, to) = (client.leg, client.purpose.clone(), client.to.clone());
        if status >= 200 {
            client.winner = Some(message.to_tag().unwrap_or_default());
            self.until(&key, now + T64);
            if key.method == Method::Invite && status >= 300 {
                self.acknowledge_refusal(&key, &message);
            } else if key.method == Method::Invite && !self.legs.contains_key(&leg) {
                return self.send_away(now, leg, to, &message);
            }
        } else if key.method == Method::Invite && !client.cancelled {
            self.until(&key, now + RING_MAX);
        }
        match purpose {
            Purpose::Ring => self.ring_answered(now, leg, &key, flow, &message, bytes),
            Purpose::Relay { server, from } => self.relayed(now, leg, from, &key, &server, &message),
            Purpose::Refresh if status >= 200 => self.refreshed(now, leg, &key, &message),
            Purpose::Resume if status >= 200 => self.resumed(now, leg, &key, flow, &message),
            Purpose::Retell if status >= 200 => self.retold(now, leg, &key, flow, &message),
            Purpose::Cancel if status >= 200 => self.cancelled_elsewhere(now, leg, &message),
            Purpose::Bye if status >= 200 => self.parted(leg),
            Purpose::Refresh | Purpose::Resume | Purpose::Retell | Purpose::Cancel | Purpose::Bye | Purpose::Aside => {}
        }
    }

    /// The ACK of a refused INVITE is part of its transaction: same branch, the response's To.
    fn acknowledge_refusal(&mut self, key: &ClientKey, response: &Message) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let ack = beside(&client.request, "ACK", &response.text(Name::To));
        let to = client.to.clone();
        client.ack = Some((to.clone(), ack.clone()));
        self.transmit(to, ack);
    }

    /// Sends the CANCEL of an INVITE that has had a provisional answer (§9.1). The INVITE then has 64·T1 to be answered.
    pub(super) fn cancel_client(&mut self, now: Instant, key: &ClientKey) {
        let Some(client) = self.clients.get_mut(key).filter(|client| client.is_open() && !client.cancelled) else { return };
        client.cancelled = true;
        let (bytes, to, leg) = (beside(&client.request, "CANCEL", &client.request.text(Name::To)), client.to.clone(), client.leg);
        self.until(key, now + T64);
        self.send(now, leg, Purpose::Aside, to, bytes);
    }

    pub(super) fn keep_ack(&mut self, key: &ClientKey, to: Destination, ack: Bytes) {
        if let Some(client) = self.clients.get_mut(key) {
            client.ack = Some((to, ack));
        }
    }
}

/// A request that goes beside an INVITE with its Via, request-URI and CSeq number: the CANCEL or the ACK of a refusal.
fn beside(invite: &Message, method: &str, to: &str) -> Bytes {
    let via = invite.all(Name::Via).into_iter().next().unwrap_or_default();
    let number = invite.cseq().map_or(1, |(number, _)| number);
    let mut request = Builder::request(method, invite.uri())
        .field(Name::Via, via)
        .field(Name::MaxForwards, "70")
        .field(Name::From, invite.text(Name::From))
        .field(Name::To, to)
        .field(Name::CallId, invite.call_id())
        .field(Name::CSeq, format!("{number} {method}"));
    for route in invite.all(Name::Route) {
        request = request.field(Name::Route, route);
    }
    request.empty()
}
