//! A live call: its legs, its place and what it waits for. Transitions are in `domain::{arrive, leg, end}`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    aid::Notes,
    assist::Assist,
    callback::Callback,
    cdr::{Attempt, Dialled, Kept, Transfer},
    chat::Chat,
    command::{Actor, TimerKind},
    effect::Order,
    explain::Decision,
    forward::Forward,
    id::{AgentId, CallId, Edge, LegId, QueueId, SkillId, TrunkId},
    matrix::{Role, Taping},
    party::{Dialog, Headers, Party, Sdp},
    tape::Tape,
    time::{LogTime, Stamp},
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    pub id: CallId,
    pub edge: Edge,
    pub trunk: Option<TrunkId>,
    pub to_user: String,
    pub from: Party,
    pub headers: Headers,
    /// How the caller last described itself.
    pub sdp: Option<Sdp>,
    pub state: CallState,
    pub queue: QueueId,
    pub priority: u8,
    pub emergency: bool,
    /// When it entered its first queue; its age, which no requeue resets.
    pub entered: LogTime,
    /// When it entered this queue: the longest wait counts from here.
    pub joined: LogTime,
    /// When its routing step began.
    pub step_from: LogTime,
    /// Routing step, from 0.
    pub step: u16,
    pub skills: Vec<(SkillId, u8)>,
    pub prefer: Option<AgentId>,
    /// The preferred agent, while the call waits for nobody else, until `waits_until`.
    pub(super) waits_for: Option<AgentId>,
    pub(super) waits_until: Option<LogTime>,
    pub policy_version: u64,
    pub arrived: Stamp,
    pub queued: Option<Stamp>,
    pub offered: Option<Stamp>,
    pub answered: Option<Stamp>,
    /// Queues it has overflowed from, so that a cycle ends.
    pub hops: u8,
    /// The caller's leg.
    pub caller: CallerLeg,
    /// Live legs to agents, by number.
    pub legs: BTreeMap<u16, Box<Leg>>,
    pub next_leg: u16,
    /// Its edge carries its media.
    pub anchored: bool,
    /// How its media is to be, where that is more than two parties that talk: an outbox row until the call ends.
    pub media: Option<Box<Order>>,
    /// Plans of its media so far.
    pub(super) plans: u32,
    /// What is recorded of it, and the last part begun.
    pub taping: Taping,
    pub(super) parts: u32,
    /// When its place in the queue is said next.
    pub(super) announce_at: Option<LogTime>,
    /// How often it changed its edge.
    pub adoptions: u16,
    /// The one timer of the call itself.
    pub timer: Option<(LogTime, TimerKind)>,
    pub attempts: Kept<Attempt>,
    pub decisions: Kept<Decision>,
    /// What became of it since it was first answered.
    pub(super) talk: Option<Box<Talk>>,
    /// The agent who answered last.
    pub(super) served_by: Option<AgentId>,
    /// The agent who has it asks another one.
    pub consult: Option<Box<Consult>>,
    /// Its customer is to be called, or was.
    pub callback: Option<Box<Callback>>,
    /// AI has to do with it.
    pub assist: Option<Box<Assist>>,
    /// It was sent on to a number outside.
    pub forward: Option<Box<Forward>>,
    /// It is written, not spoken.
    pub chat: Option<Box<Chat>>,
}

/// What only a call has that was answered: those that wait are many, and keep no room for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Talk {
    /// Since when it is on hold, and for how long it was before.
    pub(super) held_since: Option<LogTime>,
    pub(super) held_ms: u64,
    /// The files there are of it.
    pub tapes: Kept<Tape>,
    /// How it went from one to another.
    pub transfers: Kept<Transfer>,
    /// What was written down for the agents who had it.
    pub(super) notes: Option<Box<Notes>>,
    /// The contact whose matter came back with this one: known when it ends.
    pub(super) reopens: Option<CallId>,
}

/// A consultation, from the ringing of the one who is asked on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consult {
    /// The leg of the one who is asked.
    pub leg: u16,
    pub by: Actor,
    /// The caller was brought in.
    pub joined: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallState {
    Queued,
    Offering,
    /// Talking, or held by either side, with the agent on this leg.
    Connected {
        leg: u16,
        held: bool,
    },
    /// The agent on this leg waits while the customer is called.
    Dialling {
        leg: u16,
    },
    /// A callback whose time has not come.
    Deferred,
    /// The caller hears music while a number outside is called.
    Forwarding,
    /// Caller and number talk.
    Forwarded,
}

impl CallState {
    /// The leg of the agent who talks, or is held.
    pub const fn connected(self) -> Option<u16> {
        match self {
            Self::Connected { leg, .. } => Some(leg),
            Self::Queued | Self::Offering | Self::Dialling { .. } | Self::Deferred | Self::Forwarding | Self::Forwarded => None,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Offering => "offering",
            Self::Connected { held: false, .. } => "connected",
            Self::Connected { held: true, .. } => "held",
            Self::Dialling { .. } => "dialling",
            Self::Deferred => "deferred",
            Self::Forwarding => "forwarding",
            Self::Forwarded => "forwarded",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallerLeg {
    pub dialog: Dialog,
    /// Number of the last report applied.
    pub seq: u32,
    /// What the edge was last told to do on it: an outbox row until the call ends.
    pub order: Option<Order>,
    /// The caller was told that a phone rings.
    pub ringing: bool,
    /// When it was answered, by an agent or for treatment.
    pub up: Option<LogTime>,
    /// It heard the greeting.
    pub greeted: bool,
    /// It is known to have had our 200.
    pub confirmed: bool,
    /// Its edge took it over and has not said yet that it has it: every order brings the leg's image along.
    pub adopting: bool,
    /// It was put on hold: it hears music, and nobody hears it.
    pub held: bool,
    /// Nobody hears it.
    pub muted: bool,
    /// Its own phone put the others on hold.
    pub holds: bool,
}

/// A leg that we called, from the offer on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    pub role: Role,
    /// It is an AI agent's: there is no phone behind it.
    pub assistant: bool,
    pub agent: AgentId,
    pub offered: Stamp,
    pub rang: Option<Stamp>,
    pub answered: Option<Stamp>,
    /// Ring-no-answer deadline, while ringing.
    pub deadline: Option<LogTime>,
    pub dialog: Option<Dialog>,
    pub seq: u32,
    /// The INVITE, or what a new edge is to do: an outbox row until the leg's next report.
    pub order: Option<Order>,
    /// How often the phone sent us elsewhere (3xx) for this offer.
    pub redirects: u8,
    /// How the phone last described itself.
    pub sdp: Option<Sdp>,
    /// As for the caller's leg.
    pub adopting: bool,
    pub held: bool,
    pub muted: bool,
    pub holds: bool,
}

impl Call {
    /// How long it was on hold until now.
    pub(super) fn held_ms(&self, now: LogTime) -> u64 {
        self.talk.as_ref().map_or(0, |talk| talk.held_ms + talk.held_since.map_or(0, |since| now.ms_since(since)))
    }

    pub(super) fn talk(&mut self) -> &mut Talk {
        self.talk.get_or_insert_default()
    }

    /// What the record will say of the number it was sent to last.
    pub(super) fn dialled(&mut self) -> Option<&mut Dialled> {
        self.talk.as_mut()?.transfers.rows.last_mut()?.outside.as_deref_mut()
    }

    /// Its files, oldest first.
    pub fn tapes(&self) -> &[Tape] {
        self.talk.as_ref().map_or(&[], |talk| &talk.tapes.rows)
    }

    /// The caller hears music and is heard by nobody: it was put on hold, or its agent consults another one.
    pub(super) fn is_parked(&self) -> bool {
        self.caller.held || self.consult.as_ref().is_some_and(|consult| !consult.joined)
    }

    /// The leg of the AI agent that has it.
    pub fn assisted_on(&self) -> Option<u16> {
        self.assist.as_ref().and_then(|assist| assist.leg)
    }

    /// Whether a leg of this number is part of it.
    pub fn has_leg(&self, n: u16) -> bool {
        self.caller_leg() == Some(n) || self.legs.contains_key(&n) || self.line().is_some_and(|line| line.n == n)
    }

    pub const fn leg_id(&self, n: u16) -> LegId {
        LegId { call: self.id, n }
    }

    pub fn open_orders(&self) -> impl Iterator<Item = &Order> {
        let legs = self.legs.values().filter_map(|leg| leg.order.as_ref());
        let line = self.line().and_then(|line| line.order.as_ref());
        self.caller.order.iter().chain(legs).chain(line).chain(self.media.as_deref())
    }
}
