//! The user agent of one phone, without sockets and clock: messages, commands and times in; messages out. It is RFC 3261 as
//! a correct softphone does it, and shares nothing with the product but the byte-level parser.

mod callee;
mod caller;
mod inside;
mod register;
mod transaction;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tandem::sip::message::{Message, Method, parse};

use self::transaction::{Client, Server};
pub use self::{callee::ELSEWHERE, register::Registration};
use super::{
    call::{By, Call, State},
    digest::Credentials,
    journal::{Journal, Way},
    limits::{CALLS_MAX, GLARE_OTHER, GLARE_OWNER, T1, T2, T64},
    media::Speak,
    sdp::{self, Direction},
    text::{Hop, Transport, uri},
};

/// What a phone does when it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRing {
    Answer {
        after_ms: u64,
    },
    /// As `Answer`, but every response is sent twice, and a second device behind the same address picks up as well: its 200
    /// has a tag of its own and must be acknowledged and ended by whoever called (RFC 3261 §13.2.2.4).
    AnswerTwice {
        after_ms: u64,
    },
    /// 180, then whatever the script does.
    Ring,
    Refuse(u16),
    /// No response at all.
    Ignore,
}

#[derive(Debug, Clone)]
pub struct Options {
    pub user: String,
    pub transport: Transport,
    /// Where requests reach this phone: its Contact.
    pub addr: SocketAddr,
    pub media: SocketAddr,
    pub ptime_ms: u32,
    /// Payload types in order of preference.
    pub payloads: Vec<u8>,
    pub seed: u64,
    /// Ask for session timers with this interval.
    pub session_s: Option<u32>,
    /// Calls at once; further ones get 486.
    pub lines: usize,
    /// A re-INVITE is answered after this, so that those outstanding can be counted.
    pub reinvite_delay: Duration,
    /// Give up an INVITE whose connection broke before its answer. RFC 3261 §18.2.2 lets the answer come on another
    /// connection, so a phone waits unless this says otherwise.
    pub lost_connection_ends_invite: bool,
    pub credentials: Option<Credentials>,
}

impl Options {
    pub fn new(user: &str, transport: Transport, addr: SocketAddr, media: SocketAddr) -> Self {
        Self {
            user: user.to_owned(),
            transport,
            addr,
            media,
            ptime_ms: 20,
            payloads: vec![0, 8],
            seed: 1,
            session_s: None,
            lines: 1,
            reinvite_delay: Duration::ZERO,
            lost_connection_ends_invite: false,
            credentials: None,
        }
    }
}

/// Breaches of the protocol this phone saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// In-dialog requests with a CSeq lower than one seen, or an equal one that was no retransmission.
    pub stale_cseq: u64,
    /// In-dialog requests of no call.
    pub unknown_dialog: u64,
    /// Bytes that are no SIP message.
    pub unreadable: u64,
    /// INVITEs refused because all lines were taken.
    pub busy: u64,
}

/// What a phone wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    pub to: Hop,
    pub bytes: Bytes,
}

/// A seeded sequence (splitmix64): tags, branches and back-off repeat with the seed.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A time below `limit`.
    pub fn below(&mut self, limit: Duration) -> Duration {
        let micros = limit.as_micros() as u64;
        Duration::from_micros(if micros == 0 { 0 } else { self.draw() % micros })
    }
}

#[derive(Debug)]
pub struct Ua {
    pub options: Options,
    pub on_ring: OnRing,
    pub calls: Vec<Call>,
    pub journal: Journal,
    pub faults: Faults,
    pub registration: Option<Registration>,
    clients: Vec<Client>,
    servers: Vec<Server>,
    random: Random,
    out: Vec<Send>,
}

impl Ua {
    pub fn new(options: Options) -> Self {
        let random = Random(options.seed);
        Self {
            options,
            on_ring: OnRing::Answer { after_ms: 0 },
            calls: Vec::new(),
            journal: Journal::default(),
            faults: Faults::default(),
            registration: None,
            clients: Vec::new(),
            servers: Vec::new(),
            random,
            out: Vec::new(),
        }
    }

    /// Messages to be sent, in order.
    pub fn take_output(&mut self) -> Vec<Send> {
        std::mem::take(&mut self.out)
    }

    /// Forgets every call and every request.
    pub fn restart(&mut self) {
        self.calls.clear();
        self.clients.clear();
        self.servers.clear();
    }

    /// The newest call.
    pub fn call(&self) -> Option<&Call> {
        self.calls.last()
    }

    /// Calls that are not over.
    pub fn live(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| !call.is_over())
    }

    /// Where this phone speaks to now: the newest answered call's other side, unless one of the two holds.
    pub fn speak(&self) -> Option<Speak> {
        let call = self.calls.iter().rev().find(|call| call.is_up())?;
        let audio = call.audio.filter(|audio| call.wish.sends() && audio.direction.receives())?;
        Some(Speak { to: audio.addr, payload: audio.payload })
    }

    /// A message came by `source`.
    pub fn received(&mut self, now: Instant, source: Hop, bytes: &Bytes) {
        let Ok(message) = parse(bytes) else {
            self.faults.unreadable += 1;
            return;
        };
        self.journal.add(now, Way::In, source.addr, &message, bytes.clone());
        if message.is_request() { self.request(now, &message, source) } else { self.response(now, &message) }
    }

    /// A message could not be handed to anybody.
    pub fn undeliverable(&mut self, now: Instant, bytes: &Bytes) {
        if let Some(at) = self.clients.iter().position(|client| client.request == *bytes) {
            let client = self.clients.remove(at);
            self.gave_up(now, &client, By::Lost);
        }
    }

    /// A connection broke.
    pub fn connection_lost(&mut self, now: Instant, peer: SocketAddr) {
        if self.options.lost_connection_ends_invite {
            while let Some(at) = self.clients.iter().position(|client| client.is_invite() && client.hop.addr == peer) {
                let client = self.clients.remove(at);
                self.gave_up(now, &client, By::Lost);
            }
        }
        self.flow_lost(now, peer);
    }

    /// When [`Ua::tick`] is to be called at the latest.
    pub fn next_due(&self) -> Option<Instant> {
        let clients = self.clients.iter().flat_map(|client| [client.next, client.until]).flatten();
        let servers = self.servers.iter().flat_map(|server| [server.next, server.respond_at, Some(server.until)]).flatten();
        let calls = self.calls.iter().flat_map(|call| {
            let again = call.unacked.as_ref().map(|unacked| unacked.next.min(unacked.until));
            let glare = call.change.and_then(|change| change.again);
            [again, glare, call.answer_at, call.session.map(|session| session.due)]
        });
        clients.chain(servers).chain(calls.flatten()).chain(self.registration.as_ref().and_then(|r| r.due)).min()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant) {
        self.tick_clients(now);
        self.tick_servers(now);
        for n in 0..self.calls.len() {
            self.tick_call(now, n);
        }
        self.tick_registration(now);
    }

    fn tick_call(&mut self, now: Instant, n: usize) {
        let call = &mut self.calls[n];
        if call.answer_at.is_some_and(|at| at <= now) {
            call.answer_at = None;
            self.pick_up(now, n);
        }
        self.repeat_answer(now, n);
        let call = &mut self.calls[n];
        if let Some(change) = call.change.filter(|change| change.again.is_some_and(|at| at <= now)) {
            self.reinvite(now, n, change.wish, change.tries);
        }
        let Some(session) = self.calls[n].session.filter(|session| session.due <= now) else { return };
        if session.we_refresh {
            let wish = self.calls[n].wish;
            // The answer sets the next time; until it is there nothing more is due.
            self.calls[n].session = None;
            self.reinvite(now, n, wish, 0);
        } else {
            self.bye(now, n);
        }
    }

    /// Sends the 200 of an INVITE again until its ACK comes (RFC 3261 §13.3.1.4).
    fn repeat_answer(&mut self, now: Instant, n: usize) {
        let call = &mut self.calls[n];
        let Some(unacked) = call.unacked.as_mut() else { return };
        if unacked.until <= now {
            call.unacked = None;
            self.bye(now, n);
            self.calls[n].state = State::Over(By::Nobody);
        } else if unacked.next <= now {
            unacked.interval = (unacked.interval * 2).min(T2);
            unacked.next = now + unacked.interval;
            let (hop, bytes) = (unacked.hop, unacked.bytes.clone());
            self.send(now, hop, bytes);
        }
    }

    fn send(&mut self, now: Instant, to: Hop, bytes: Bytes) {
        if let Ok(message) = parse(&bytes) {
            self.journal.add(now, Way::Out, to.addr, &message, bytes.clone());
        }
        self.out.push(Send { to, bytes });
    }

    fn token(&mut self) -> String {
        format!("{:012x}", self.random.draw() >> 16)
    }

    fn via(&mut self) -> (String, String) {
        let branch = format!("z9hG4bK{}", self.token());
        let via = format!("SIP/2.0/{} {};branch={branch};rport", self.options.transport.name(), self.options.addr);
        (via, branch)
    }

    fn contact(&self) -> String {
        format!("<{}>", uri(&self.options.user, self.options.addr, self.options.transport))
    }

    /// Our description for a call, as an offer or as the answer to `theirs`.
    fn describe(&self, call: &Call, theirs: Option<&sdp::Remote>, wish: Direction) -> String {
        let session = self.options.seed as u32;
        let (direction, payloads) =
            theirs.map_or_else(|| (wish, self.options.payloads.clone()), |theirs| (wish.answering(theirs.direction), vec![theirs.payload]));
        sdp::write(session, call.sdp_version, self.options.media, direction, &payloads, self.options.ptime_ms)
    }

    fn find(&self, request: &Message) -> Option<usize> {
        self.calls.iter().rposition(|call| call.is_of(request) && !call.is_over())
    }

    /// A random wait after a glare (RFC 3261 §14.1).
    fn glare(&mut self, owner: bool) -> Duration {
        let (least, spread) = if owner { GLARE_OWNER } else { GLARE_OTHER };
        least + self.random.below(spread)
    }

    fn room(&mut self) -> bool {
        if self.calls.len() >= CALLS_MAX {
            // Calls that are over make room; nothing may name one by its place any more.
            let live = self.calls.iter().any(|call| !call.is_over());
            if live || !self.clients.is_empty() {
                return false;
            }
            self.calls.clear();
            self.servers.clear();
        }
        true
    }

    const fn reliable(&self) -> bool {
        !matches!(self.options.transport, Transport::Udp)
    }
}

/// First retransmission of what is sent over `transport`.
fn first_repeat(now: Instant, reliable: bool) -> Option<Instant> {
    (!reliable).then(|| now + T1)
}

/// True for methods that make or change a session.
const fn is_invite(method: Method) -> bool {
    matches!(method, Method::Invite)
}

const TRANSACTION_LIFE: Duration = T64;

#[cfg(test)]
pub(super) mod tests;
