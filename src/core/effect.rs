//! What a committed command asks of the world: orders to edges, events for subscribers, records for the archive.
//!
//! Orders are rows of a replicated outbox and performed by the leader's live actors, again after a failover; receivers
//! dedupe by id. Events and records are produced on every replica.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    cdr::Archive,
    chat::Write,
    command::Timer,
    id::{AgentId, CallId, DomainId, Edge, EffectId, LegId, QueueId, TrunkId},
    image::Image,
    matrix::Plan,
    party::{Headers, Party, Sdp, Target},
    time::WallTime,
};

/// All that one application produced, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Effects {
    pub orders: Vec<Order>,
    pub events: Vec<Event>,
    pub records: Vec<Record>,
    /// Sequence of a record that is the first of its day: files that go by days begin anew with it.
    pub day_begins: Option<u64>,
    /// From where on records are kept, if that changed: the chain before the first of them.
    pub kept: Option<Archive>,
    /// Timers set by this application. A cancelled one is simply no longer in the state when it comes due.
    pub timers: Vec<Timer>,
}

/// Something an edge must do on a leg.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub id: EffectId,
    pub domain: DomainId,
    pub leg: LegId,
    /// Who must do it. An order for another life of the node is void.
    pub edge: Edge,
    pub action: Action,
    /// The leg as another edge had it, until this one has said that it has it now.
    pub image: Option<Box<Image>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Caller leg: 182 Queued now and every 60 s until something else is ordered.
    Queue { position: u32 },
    /// Caller leg: answer it, unless it has been, and play this until something else is ordered.
    Treat(Arc<Treat>),
    /// New leg: send an INVITE. All of its identifiers follow from the leg id, so a repeat is a retransmission.
    Ring(Arc<Ring>),
    /// Caller leg: 180 Ringing, once.
    Ringing,
    /// Caller leg: 200 with the agent's description, and join it with `peer`.
    Answer { peer: LegId, sdp: Sdp },
    /// Caller leg: answer it, unless it has been, and let it talk with the AI agent on `peer`. What that one says ends with the next
    /// order for this leg, whatever it is.
    Converse { peer: LegId },
    /// An AI agent's leg: the disclosure is on record, it may speak.
    Speak,
    /// Caller leg, unanswered: a final refusal.
    Reject { status: u16, reason: String, retry_after_s: Option<u32> },
    /// A call that talks, named by its caller's leg: who hears whom, and what is recorded. Older plans of the call are void. It
    /// says nothing to any party, and stands beside the orders of its legs.
    Media(Arc<Plan>),
    /// A leg that talks, with the order's image: send its media on and tell its party where we are (re-INVITE).
    Resume,
    /// Any leg: another edge has it now. Forget it and say nothing; audio goes on until its party has followed.
    Release,
    /// Any leg: BYE, CANCEL or a final refusal, as its state wants.
    HangUp { cause: String },
    /// An AI agent's leg of a chat: find what it writes, and report it.
    Write(Arc<Write>),
}

/// The cause of a hang-up of an AI agent's leg whose call a person takes over.
pub const TAKEN_OVER: &str = "taken_over";

/// The cause of a hang-up whose call went on without the leg: an edge knows by it that a REFER of that leg came true.
pub const TRANSFERRED: &str = "transferred";

impl Action {
    pub fn ring(ring: Ring) -> Self {
        Self::Ring(Arc::new(ring))
    }
}

/// What a waiting caller is to hear: the prompts that are given, in this order, then music without end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Treat {
    pub greeting: Option<String>,
    /// Its place in the queue, from 1.
    pub position: Option<u32>,
    /// A prompt; none is the built-in music.
    pub music: Option<String>,
}

/// What an INVITE to an agent carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ring {
    pub target: Target,
    pub caller: Party,
    /// The queue, for display and for X-headers.
    pub queue: Option<QueueId>,
    pub trunk: Option<TrunkId>,
    /// The caller's offer; `None` passes a late offer on.
    pub sdp: Option<Sdp>,
    pub headers: Headers,
    /// Max-Forwards left after this hop.
    pub max_forwards: u8,
    /// Media goes through the edge.
    pub anchored: bool,
    /// It is not to talk with the caller, but with whom the call's plan says.
    pub aside: bool,
}

/// Something that happened, for subscribers; becomes a CloudEvent whose id is (group, index, n).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub id: EffectId,
    pub wall: WallTime,
    pub domain: DomainId,
    /// The CloudEvents type, such as `contact.queued`.
    pub kind: EventKind,
    pub call: Option<CallId>,
    pub agent: Option<AgentId>,
    pub queue: Option<QueueId>,
    /// Further attributes in a fixed order.
    pub data: Vec<(Cow<'static, str>, String)>,
}

/// The catalogue of event types (stable names; see `name`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EventKind {
    ContactArrived,
    ContactQueued,
    ContactOffered,
    ContactAccepted,
    ContactRejected,
    ContactOfferTimeout,
    ContactRescinded,
    ContactConnected,
    ContactAdopted,
    ContactHeld,
    ContactResumed,
    ContactMuted,
    ContactUnmuted,
    /// What is recorded of it has changed.
    ContactRecording,
    /// A file of its recording is complete, or never will be.
    ContactRecorded,
    ContactRecordFailed,
    /// A supervisor is rung for it, hears it, or is gone.
    ContactSupervised,
    ContactTransferred,
    ContactAbandoned,
    ContactEnded,
    ContactWrapped,
    AgentStateChanged,
    QueueOpened,
    QueueClosed,
    QueueOverflowed,
    PolicyPublished,
    NodeFenced,
    PrivacyErased,
    ContactConsulted,
    ContactConsultEnded,
    ContactJoined,
    CallbackScheduled,
    /// The customer is called.
    CallbackAttempted,
    /// The customer answered, or is given up.
    CallbackCompleted,
    /// The customer was told that no person speaks.
    AiDisclosed,
    /// A line of a transcript was said.
    ContactSaid,
    AiResolved,
    /// An AI agent was lost with a contact it had.
    AiLost,
    TakeoverRequested,
    /// How a takeover ended.
    TakeoverEnded,
    AiSwitched,
    /// The number answered that a contact was sent to.
    ContactForwarded,
    /// It did not, and the contact waits again.
    ContactForwardFailed,
    /// Something said was written down for the agent who has the contact, or answered from an article.
    ContactNoted,
    /// A matter came back: with this contact the customer asked about the same again.
    ContactReopened,
}

impl EventKind {
    /// The CloudEvents `type`, without a prefix.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ContactArrived => "contact.arrived",
            Self::ContactQueued => "contact.queued",
            Self::ContactOffered => "contact.offered",
            Self::ContactAccepted => "contact.accepted",
            Self::ContactRejected => "contact.rejected",
            Self::ContactOfferTimeout => "contact.offer_timeout",
            Self::ContactRescinded => "contact.rescinded",
            Self::ContactConnected => "contact.connected",
            Self::ContactAdopted => "contact.adopted",
            Self::ContactHeld => "contact.held",
            Self::ContactResumed => "contact.resumed",
            Self::ContactMuted => "contact.muted",
            Self::ContactUnmuted => "contact.unmuted",
            Self::ContactRecording => "contact.recording",
            Self::ContactRecorded => "contact.recorded",
            Self::ContactRecordFailed => "contact.record_failed",
            Self::ContactSupervised => "contact.supervised",
            Self::ContactTransferred => "contact.transferred",
            Self::ContactAbandoned => "contact.abandoned",
            Self::ContactEnded => "contact.ended",
            Self::ContactWrapped => "contact.wrapped",
            Self::AgentStateChanged => "agent.state_changed",
            Self::QueueOpened => "queue.opened",
            Self::QueueClosed => "queue.closed",
            Self::QueueOverflowed => "queue.overflowed",
            Self::PolicyPublished => "policy.published",
            Self::NodeFenced => "node.fenced",
            Self::PrivacyErased => "privacy.erased",
            Self::ContactConsulted => "contact.consulted",
            Self::ContactConsultEnded => "contact.consult_ended",
            Self::ContactJoined => "contact.joined",
            Self::CallbackScheduled => "callback.scheduled",
            Self::CallbackAttempted => "callback.attempted",
            Self::CallbackCompleted => "callback.completed",
            Self::AiDisclosed => "ai.disclosed",
            Self::ContactSaid => "contact.said",
            Self::AiResolved => "ai.resolved",
            Self::AiLost => "ai.lost",
            Self::TakeoverRequested => "takeover.requested",
            Self::TakeoverEnded => "takeover.ended",
            Self::AiSwitched => "ai.switched",
            Self::ContactForwarded => "contact.forwarded",
            Self::ContactForwardFailed => "contact.forward_failed",
            Self::ContactNoted => "contact.noted",
            Self::ContactReopened => "contact.reopened",
        }
    }
}

/// A record on its way to the archive that every replica keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its place in the group's archive, from 0.
    pub seq: u64,
    /// Chain hash over the previous record's hash and these bytes (SHA-256).
    pub hash: [u8; 32],
    /// A bincode `ClosedCall` (see `core::cdr`).
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}
