//! Transactions of one phone: requests repeated until they are answered, answers given again to requests that come again
//! (RFC 3261 §17).

use std::time::{Duration, Instant};

use bytes::Bytes;
use tandem::sip::message::{Message, Method};

use super::{TRANSACTION_LIFE, Ua, first_repeat, is_invite};
use crate::phone::{
    call::{By, State},
    limits::{T1, T2, T64, TRANSACTIONS_MAX},
    sdp::Direction,
    text::{Draft, Hop, response_hop},
};

/// What a request was sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Invite(usize),
    /// A change of a call's session, in which we want this.
    Reinvite(usize, Direction),
    Bye,
    Cancel(usize),
    Register,
}

/// A request of ours.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) branch: String,
    pub(super) method: Method,
    pub(super) request: Bytes,
    pub(super) hop: Hop,
    pub(super) purpose: Purpose,
    pub(super) next: Option<Instant>,
    interval: Duration,
    /// When nobody is expected to answer any more.
    pub(super) until: Option<Instant>,
    /// A provisional answer came: an INVITE is repeated no more.
    pub(super) proceeding: bool,
    /// The ACK of a refusal, for a refusal that comes again.
    pub(super) ack: Option<Bytes>,
}

impl Client {
    pub(super) const fn is_invite(&self) -> bool {
        is_invite(self.method) && self.ack.is_none()
    }
}

/// A request to us.
#[derive(Debug)]
pub(super) struct Server {
    branch: String,
    sent_by: String,
    pub(super) method: Method,
    pub(super) call_id: String,
    pub(super) cseq: u32,
    pub(super) call: Option<usize>,
    /// The request, as long as it has no final answer.
    pub(super) request: Option<Message>,
    pub(super) source: Hop,
    response: Option<Bytes>,
    /// A held-back final answer.
    pub(super) respond_at: Option<Instant>,
    held: Option<Bytes>,
    pub(super) next: Option<Instant>,
    interval: Duration,
    pub(super) until: Instant,
}

impl Ua {
    /// Sends a request and waits for its answer.
    pub(super) fn ask(&mut self, now: Instant, hop: Hop, branch: String, method: Method, request: Bytes, purpose: Purpose) {
        if self.clients.len() < TRANSACTIONS_MAX {
            self.clients.push(Client {
                branch,
                method,
                request: request.clone(),
                hop,
                purpose,
                next: first_repeat(now, self.reliable()),
                interval: T1,
                until: Some(now + T64),
                proceeding: false,
                ack: None,
            });
        }
        self.send(now, hop, request);
    }

    pub(super) fn tick_clients(&mut self, now: Instant) {
        let mut repeats = Vec::new();
        for client in self.clients.iter_mut().filter(|client| client.next.is_some_and(|next| next <= now)) {
            client.interval *= 2;
            if !is_invite(client.method) {
                client.interval = client.interval.min(T2);
            }
            client.next = Some(now + client.interval);
            repeats.push((client.hop, client.request.clone()));
        }
        for (hop, request) in repeats {
            self.send(now, hop, request);
        }
        while let Some(at) = self.clients.iter().position(|client| client.until.is_some_and(|until| until <= now)) {
            let client = self.clients.remove(at);
            if client.ack.is_none() {
                self.gave_up(now, &client, By::Nobody);
            }
        }
    }

    /// A request of ours will not be answered.
    pub(super) fn gave_up(&mut self, now: Instant, client: &Client, by: By) {
        match client.purpose {
            Purpose::Invite(call) => {
                let by = if self.calls[call].hung_up_at.is_some() { By::Us } else { by };
                self.calls[call].end(now, by);
            }
            // No answer to a request in a dialog ends it (RFC 3261 §12.2.1.2).
            Purpose::Reinvite(call, _) => self.bye(now, call),
            Purpose::Bye | Purpose::Cancel(_) => {}
            Purpose::Register => self.register_failed(now),
        }
    }

    /// The transaction a response answers.
    pub(super) fn client_of(&self, response: &Message) -> Option<usize> {
        let (branch, _) = response.top_via()?;
        let (_, method) = response.cseq()?;
        self.clients.iter().position(|client| client.branch == branch && client.method == method)
    }

    /// Acknowledges the refusal of an INVITE, with the branch of that INVITE (RFC 3261 §17.1.1.3).
    pub(super) fn ack_refusal(&mut self, now: Instant, at: usize, response: &Message) {
        let reliable = self.reliable();
        let client = &mut self.clients[at];
        if client.ack.is_none() {
            let Ok(invite) = tandem::sip::message::parse(&client.request) else { return };
            client.ack = Some(refusal_ack(&invite, response));
            client.next = None;
            client.until = Some(if reliable { now } else { now + TRANSACTION_LIFE });
        }
        let (hop, ack) = (client.hop, client.ack.clone().expect("it was just written"));
        self.send(now, hop, ack);
    }

    /// Where a request is known already.
    pub(super) fn server_of(&self, request: &Message, method: Method) -> Option<usize> {
        let (branch, sent_by) = request.top_via()?;
        self.servers.iter().position(|server| server.branch == branch && server.sent_by == sent_by && server.method == method)
    }

    /// Remembers a request until it is answered, and its answer after that.
    pub(super) fn serve(&mut self, now: Instant, request: &Message, source: Hop, call: Option<usize>) -> usize {
        if self.servers.len() >= TRANSACTIONS_MAX {
            self.servers.remove(0);
        }
        let (branch, sent_by) = request.top_via().unwrap_or_default();
        self.servers.push(Server {
            branch,
            sent_by,
            method: request.method(),
            call_id: request.call_id(),
            cseq: request.cseq().map_or(0, |(number, _)| number),
            call,
            request: Some(request.clone()),
            source,
            response: None,
            respond_at: None,
            held: None,
            next: None,
            interval: T1,
            // An INVITE waits for whoever picks up; its answer starts the life of the rest.
            until: now + if is_invite(request.method()) { TRANSACTION_LIFE * 20 } else { TRANSACTION_LIFE },
        });
        self.servers.len() - 1
    }

    /// Answers a request: a final answer ends it. `write` may add fields and a body.
    pub(super) fn respond(&mut self, now: Instant, at: usize, status: u16, tag: &str, write: impl FnOnce(Draft) -> Bytes) {
        self.respond_after(now, at, status, tag, Duration::ZERO, write);
    }

    /// As [`Self::respond`], held back for `delay`.
    pub(super) fn respond_after(
        &mut self,
        now: Instant,
        at: usize,
        status: u16,
        tag: &str,
        delay: Duration,
        write: impl FnOnce(Draft) -> Bytes,
    ) {
        let reliable = self.reliable();
        let server = &mut self.servers[at];
        let Some(request) = server.request.as_ref() else { return };
        let bytes = write(Draft::response(request, server.source, status, tag));
        let hop = response_hop(request, server.source);
        if status >= 200 {
            server.request = None;
            server.until = now + delay + TRANSACTION_LIFE;
            // A 200 to an INVITE is repeated by the call, until the ACK that only the call sees.
            if status >= 300 && is_invite(server.method) && !reliable {
                server.next = Some(now + T1);
            }
        }
        server.source = hop;
        if delay.is_zero() {
            server.response = Some(bytes.clone());
            self.send(now, hop, bytes);
        } else {
            (server.respond_at, server.held) = (Some(now + delay), Some(bytes));
        }
    }

    /// The last answer, once more.
    pub(super) fn respond_again(&mut self, now: Instant, at: usize) {
        let server = &self.servers[at];
        if let Some(bytes) = server.response.clone() {
            let hop = server.source;
            self.send(now, hop, bytes);
        }
    }

    /// Bytes and way of the last answer that was sent or is held back.
    pub(super) fn answer_of(&self, at: usize) -> Option<(Bytes, Hop)> {
        let server = &self.servers[at];
        server.held.clone().or_else(|| server.response.clone()).map(|bytes| (bytes, server.source))
    }

    pub(super) fn stop_repeating(&mut self, at: usize) {
        self.servers[at].next = None;
    }

    pub(super) fn tick_servers(&mut self, now: Instant) {
        let mut sends = Vec::new();
        for server in &mut self.servers {
            if server.respond_at.is_some_and(|at| at <= now) {
                server.respond_at = None;
                server.response = server.held.take();
                sends.extend(server.response.clone().map(|bytes| (server.source, bytes)));
            }
            if server.next.is_some_and(|next| next <= now) {
                server.interval = (server.interval * 2).min(T2);
                server.next = Some(now + server.interval);
                sends.extend(server.response.clone().map(|bytes| (server.source, bytes)));
            }
        }
        for (hop, bytes) in sends {
            self.send(now, hop, bytes);
        }
        self.servers.retain(|server| server.until > now);
    }

    /// True while a call's own INVITE has no final answer.
    pub(super) fn is_asking(&self, call: usize) -> bool {
        self.clients.iter().any(|client| client.is_invite() && matches!(client.purpose, Purpose::Reinvite(of, _) if of == call))
    }

    /// Ends what a call still wants of others but its BYE.
    pub(super) fn forget_requests(&mut self, call: usize) {
        self.clients.retain(|client| !matches!(client.purpose, Purpose::Reinvite(of, _) if of == call && client.ack.is_none()));
        if matches!(self.calls[call].state, State::Over(_)) {
            self.calls[call].change = None;
        }
    }
}

fn refusal_ack(invite: &Message, response: &Message) -> Bytes {
    use tandem::sip::message::Name;
    let via = invite.all(Name::Via).into_iter().next().unwrap_or_default();
    let cseq = invite.cseq().map_or(1, |(number, _)| number);
    let mut draft = Draft::request("ACK", invite.uri())
        .field("Via", via)
        .field("Max-Forwards", "70")
        .field("From", invite.text(Name::From))
        .field("To", response.text(Name::To))
        .field("Call-ID", invite.call_id())
        .field("CSeq", format!("{cseq} ACK"));
    for route in invite.all(Name::Route) {
        draft = draft.field("Route", route);
    }
    draft.end(None)
}
