//! One call as a phone sees it: its dialog, who owns the other end, its audio. It writes in-dialog requests; when to send
//! one is decided elsewhere.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tandem::sip::message::{Message, Name, param, without_tag};

use super::{
    limits::{ACKS_MAX, OWNERS_MAX},
    sdp::{Direction, Remote},
    text::{Draft, Hop, resolve},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Caller,
    Callee,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Us,
    /// By BYE or CANCEL.
    Them,
    /// With this status, from them or from us.
    Refused(u16),
    /// Nobody answered in time.
    Nobody,
    /// The way to the other end is gone.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No response beyond 100 yet.
    Calling,
    /// The last provisional response.
    Proceeding(u16),
    /// This phone rings.
    Ringing,
    /// Answered; audio flows unless held.
    Up,
    Over(By),
}

/// Where in-dialog requests went from `at` on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub at: Instant,
    pub target: String,
}

/// A 200 to an INVITE that was not acknowledged yet; it is sent again until it is.
#[derive(Debug, Clone)]
pub(super) struct Unacked {
    pub(super) cseq: u32,
    pub(super) bytes: Bytes,
    pub(super) hop: Hop,
    pub(super) next: Instant,
    pub(super) interval: Duration,
    pub(super) until: Instant,
    /// The offer was ours: the ACK brings the answer.
    pub(super) late_offer: bool,
}

/// A session timer (RFC 4028).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    pub interval_s: u32,
    pub we_refresh: bool,
    /// When we refresh, or hang up because nobody did.
    pub due: Instant,
}

/// Our own re-INVITE under way, or to be tried again after 491.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) wish: Direction,
    pub(super) tries: u8,
    pub(super) again: Option<Instant>,
}

#[derive(Debug, Clone)]
pub struct Call {
    pub role: Role,
    pub state: State,
    pub call_id: String,
    pub local_tag: String,
    pub remote_tag: Option<String>,
    /// From and To values without tags: ours and theirs.
    local: String,
    remote: String,
    pub(super) local_cseq: u32,
    pub remote_cseq: Option<u32>,
    /// The remote target: the last Contact seen.
    pub target: String,
    routes: Vec<String>,
    /// Where the first INVITE went or came from, for a target that points nowhere.
    fallback: Hop,
    /// Every owner of the other end, the first one included.
    pub owners: Vec<Owner>,
    /// What we want of the audio.
    pub wish: Direction,
    pub audio: Option<Remote>,
    pub(super) sdp_version: u32,
    pub(super) unacked: Option<Unacked>,
    /// ACKs of 200s, for those that come again: CSeq, To-tag, bytes.
    acks: Vec<(u32, String, Bytes, Hop)>,
    pub session: Option<Session>,
    pub(super) change: Option<Change>,
    /// A callee answers by itself at this time.
    pub(super) answer_at: Option<Instant>,
    /// The user of this phone is gone, though the protocol may not be done.
    pub hung_up_at: Option<Instant>,
    pub up_at: Option<Instant>,
    pub over_at: Option<Instant>,
}

impl Call {
    /// A call this phone makes to `uri` by way of `hop`.
    pub(super) fn outgoing(ids: (String, String), local: &str, uri: &str, hop: Hop) -> Self {
        Self::new(Role::Caller, State::Calling, ids, (format!("<{local}>"), format!("<{uri}>")), uri.to_owned(), hop)
    }

    /// A call that `invite` brings; responses go to `hop`.
    pub(super) fn incoming(now: Instant, local_tag: String, invite: &Message, hop: Hop) -> Self {
        let ends = (without_tag(&invite.text(Name::To)), without_tag(&invite.text(Name::From)));
        let target = invite.contact().unwrap_or_default();
        let mut call = Self::new(Role::Callee, State::Ringing, (invite.call_id(), local_tag), ends, target, hop);
        call.remote_tag = invite.from_tag();
        call.remote_cseq = invite.cseq().map(|(number, _)| number);
        call.routes = invite.all(Name::RecordRoute);
        call.own(now);
        call
    }

    fn new(role: Role, state: State, ids: (String, String), ends: (String, String), target: String, fallback: Hop) -> Self {
        Self {
            role,
            state,
            call_id: ids.0,
            local_tag: ids.1,
            remote_tag: None,
            local: ends.0,
            remote: ends.1,
            local_cseq: 0,
            remote_cseq: None,
            target,
            routes: Vec::new(),
            fallback,
            owners: Vec::new(),
            wish: Direction::SendRecv,
            audio: None,
            sdp_version: 1,
            unacked: None,
            acks: Vec::new(),
            session: None,
            change: None,
            answer_at: None,
            hung_up_at: None,
            up_at: None,
            over_at: None,
        }
    }

    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Over(_))
    }

    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// The user part of the other end, as From or To names it.
    pub fn peer(&self) -> &str {
        tandem::sip::message::user_of(tandem::sip::message::angle_uri(&self.remote))
    }

    /// Owners after the first.
    pub fn new_owners(&self) -> usize {
        self.owners.len().saturating_sub(1)
    }

    /// Notes a remote target if it is another than before.
    fn own(&mut self, at: Instant) {
        if self.owners.last().is_none_or(|owner| owner.target != self.target) && self.owners.len() < OWNERS_MAX {
            self.owners.push(Owner { at, target: self.target.clone() });
        }
    }

    /// Follows the Contact of a request or response that refreshes the target (RFC 3261 §12.2.1.2).
    pub(super) fn follow(&mut self, now: Instant, message: &Message) {
        if let Some(contact) = message.contact() {
            self.target = contact;
            self.own(now);
        }
    }

    /// The dialog of a 200 to our INVITE.
    pub(super) fn establish(&mut self, now: Instant, response: &Message) {
        self.remote_tag = response.to_tag();
        self.routes = response.all(Name::RecordRoute);
        self.routes.reverse();
        self.follow(now, response);
        (self.state, self.up_at) = (State::Up, Some(now));
    }

    /// True if the request belongs to this dialog.
    pub(super) fn is_of(&self, request: &Message) -> bool {
        self.call_id == request.call_id()
            && request.to_tag().as_deref() == Some(&self.local_tag)
            && (self.remote_tag.is_none() || request.from_tag() == self.remote_tag)
    }

    /// Where in-dialog requests go.
    pub(super) fn hop(&self) -> Hop {
        let first = self.routes.first().map_or(self.target.as_str(), |route| tandem::sip::message::angle_uri(route));
        resolve(first).unwrap_or(self.fallback)
    }

    /// A request in this dialog; `cseq` of its own unless it is an ACK.
    pub(super) fn request(&mut self, method: &str, cseq: Option<u32>, via: &str, contact: &str) -> Draft {
        let cseq = cseq.unwrap_or_else(|| {
            self.local_cseq += 1;
            self.local_cseq
        });
        let to = self.remote_tag.as_ref().map_or(self.remote.clone(), |tag| format!("{};tag={tag}", self.remote));
        let mut draft = Draft::request(method, &self.target)
            .field("Via", via)
            .field("Max-Forwards", "70")
            .field("From", format!("{};tag={}", self.local, self.local_tag))
            .field("To", to)
            .field("Call-ID", &self.call_id)
            .field("CSeq", format!("{cseq} {method}"));
        for route in &self.routes {
            draft = draft.field("Route", route);
        }
        draft.field("Contact", contact).field("User-Agent", super::PRODUCT)
    }

    pub(super) fn remember_ack(&mut self, cseq: u32, tag: String, bytes: Bytes, hop: Hop) {
        if self.acks.len() >= ACKS_MAX {
            self.acks.remove(0);
        }
        self.acks.push((cseq, tag, bytes, hop));
    }

    /// The ACK that was sent for a 200 with this CSeq and To-tag.
    pub(super) fn ack_of(&self, cseq: u32, tag: &str) -> Option<(Bytes, Hop)> {
        self.acks.iter().find(|(of, to, ..)| *of == cseq && to == tag).map(|(.., bytes, hop)| (bytes.clone(), *hop))
    }

    /// Takes the session timer a message grants; `requester` is true if the request was ours.
    pub(super) fn grant(&mut self, now: Instant, message: &Message, requester: bool) {
        let Some(value) = message.get(Name::SessionExpires) else {
            self.session = None;
            return;
        };
        let Some(interval_s) = value.split(';').next().and_then(|text| text.trim().parse::<u32>().ok()) else { return };
        let of_requester = param(&value, "refresher").is_none_or(|refresher| refresher == "uac");
        let we_refresh = of_requester == requester;
        let interval = Duration::from_secs(u64::from(interval_s));
        // A refresher is early enough at half time; the other gives up a little before the end (RFC 4028 §10).
        let due = now + if we_refresh { interval / 2 } else { interval - (interval / 3).min(Duration::from_secs(32)) };
        self.session = Some(Session { interval_s, we_refresh, due });
    }

    pub(super) fn end(&mut self, now: Instant, by: By) {
        if self.is_over() {
            return;
        }
        (self.state, self.over_at) = (State::Over(by), Some(now));
        (self.unacked, self.change, self.answer_at, self.session) = (None, None, None, None);
    }
}
