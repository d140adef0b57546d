//! Every message that may change the state of a group. What is here is what the log holds.

use serde::{Deserialize, Serialize};

use super::{
    aid::NewNote,
    assist::{Assisted, Cause},
    chat::{ChatStep, NewChat},
    id::{AgentId, CallId, DomainId, Edge, EffectId, LegId, QueueId, RequestId, SkillId, TrunkId},
    matrix::Mode,
    party::{Dialog, FlowRef, Headers, Party, Sdp, Transport},
    policy::Policy,
    time::WallTime,
};

/// A command with what every command carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// A client's idempotency key: a repeat returns the first outcome.
    pub request: Option<RequestId>,
    pub command: Command,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Replaces the domain's policy; refused when `expect` names another version than the current one. `entropy` is
    /// random and becomes the secret of a domain seen for the first time (see `core::privacy`); otherwise it is unused.
    PublishPolicy { domain: DomainId, expect: Option<u64>, policy: Box<Policy>, entropy: [u8; 32] },
    /// Removes a domain without live calls.
    RemoveDomain { domain: DomainId },
    /// A caller's INVITE was taken in by an edge.
    Arrive(Box<Arrive>),
    /// An edge saw something on a leg.
    Leg(Box<LegReport>),
    /// A person, a supervisor or an API client wants an agent's state changed.
    AgentIntent { domain: DomainId, agent: AgentId, intent: Intent, by: Actor },
    /// A phone registered (RFC 3261 §10) or refreshed with a change.
    Bind { domain: DomainId, agent: AgentId, binding: Binding },
    /// A phone unregistered, or its connection closed.
    Unbind { domain: DomainId, agent: AgentId, instance: String },
    /// Deadlines have passed by the leader's clock; apply fires each at most once and never early in log time.
    FireTimers { timers: Vec<Timer> },
    /// A new leader's first command: ring and wrap-up timers get the time nobody led (≤ 2 s).
    Lead { grace_ms: u64 },
    /// A majority withdrew its support of this life of a node, or its death is proven. Its calls go to `heirs`, the edges
    /// that live and take calls; without one they end.
    EdgeLost { edge: Edge, heirs: Vec<Edge> },
    /// A node that leaves in peace gives its calls away while it still carries them. Calls that ring stay until they do not.
    HandOver { from: Edge, heirs: Vec<Edge> },
    /// Outbox rows that nobody need perform again.
    EffectsDone { domain: DomainId, effects: Vec<EffectId> },
    /// An operator ends a call.
    HangUp { domain: DomainId, call: CallId, by: Actor },
    /// An operator changes a waiting call: its queue or its priority. Age is kept.
    Requeue { domain: DomainId, call: CallId, queue: Option<QueueId>, priority: Option<u8>, by: Actor },
    /// Somebody wants something of a call that talks.
    Control { domain: DomainId, call: CallId, wish: Wish, by: Actor },
    /// An edge completed a file of a recording, or had to give it up. The call may be over.
    Recorded { domain: DomainId, leg: LegId, edge: Edge, part: u32, saved: Option<Saved> },
    /// Raises the level of what `apply` does; never lowered.
    RaiseLevel { level: u32 },
    /// Forgets the key of a subject, which makes its personal fields unreadable wherever they are archived.
    Erase { domain: DomainId, subject: String },
    /// Gives up archived records older than the tenants of the partition want them kept.
    DropOld,
    /// A connected call goes on with somebody else; whoever has it is released. Age and priority are kept.
    Transfer { domain: DomainId, call: CallId, to: TransferTo, by: Actor },
    /// The phone of an agent asks for the same (REFER, RFC 3515), naming who was dialled: a route, a queue, an agent or a number.
    Refer { domain: DomainId, leg: LegId, edge: Edge, user: String },
    /// The agent who has a connected call asks another one, or whoever is free in a queue; the caller waits with music.
    Consult { domain: DomainId, call: CallId, to: TransferTo, by: Actor },
    /// What becomes of a consultation.
    ConsultStep { domain: DomainId, call: CallId, step: ConsultStep, by: Actor },
    /// A waiting caller hangs up, keeps its place and is called back, at another number if one is given.
    Callback { domain: DomainId, call: CallId, number: Option<String>, by: Actor },
    /// A number is to be called for a queue, now or later.
    Schedule(Box<NewCallback>),
    /// A person is to have a contact: whichever AI agent has it is fenced by the commit. It waits in `to`, or where its queue says.
    TakeOver { domain: DomainId, call: CallId, to: Option<QueueId>, cause: Cause, by: Actor },
    /// AI is switched off, or on again.
    SwitchAi { scope: Scope, off: bool, reason: String, by: Actor },
    /// A life of a node that carried callbacks is about to be declared lost without heirs: they go to these.
    KeepCallbacks { from: Edge, heirs: Vec<Edge> },
    /// An edge wrote down what was said in a call, or found an answer to it, for the person who has the call.
    Note(Box<NewNote>),
    /// A customer opens a chat.
    OpenChat(Box<NewChat>),
    /// Something is done with a chat.
    Chat { domain: DomainId, call: CallId, step: ChatStep },
}

/// Where AI is switched off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    Queue(DomainId, QueueId),
    Domain(DomainId),
    /// Every domain of the partition, also those to come. A cluster says it to each of its partitions.
    Everywhere,
}

/// A callback that nobody waits for on the line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewCallback {
    pub domain: DomainId,
    pub call: CallId,
    /// Who makes its calls as long as that node lives.
    pub edge: Edge,
    pub queue: QueueId,
    pub number: String,
    /// Not before.
    pub at: Option<WallTime>,
    pub priority: Option<u8>,
    pub by: Actor,
}

/// What becomes of a consultation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConsultStep {
    /// The one who was asked has the call from now on.
    Complete,
    /// The one who was asked is let go, and the caller goes on with its agent.
    Cancel,
    /// All three hear each other.
    Join,
}

/// Where a call goes from the agent who has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransferTo {
    /// It waits there at its own age.
    Queue(QueueId),
    /// It is offered to this agent alone. If that comes to nothing it waits in the queue it is in, at its own age.
    Agent(AgentId),
    /// A number outside is called over a trunk. If that comes to nothing it waits in the queue it is in, at its own age.
    Number(String),
}

/// As events and records say it: a number is personal, and kept out of both.
impl std::fmt::Display for TransferTo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Queue(queue) => write!(f, "queue:{queue}"),
            Self::Agent(agent) => write!(f, "agent:{agent}"),
            Self::Number(_) => f.write_str("number"),
        }
    }
}

/// Who asked. Written into events and records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Actor {
    System,
    Agent(AgentId),
    User(String),
}

/// As events and audit rows say it.
impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::Agent(agent) => write!(f, "agent:{agent}"),
            Self::User(user) => write!(f, "user:{user}"),
        }
    }
}

/// A caller's INVITE, as admitted by an edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrive {
    pub domain: DomainId,
    pub call: CallId,
    pub edge: Edge,
    pub trunk: Option<TrunkId>,
    /// User part of the request-URI: the key into the domain's routes.
    pub to_user: String,
    pub from: Party,
    pub dialog: Dialog,
    /// The caller's offer; `None` when the INVITE made none (late offer).
    pub sdp: Option<Sdp>,
    /// Header fields to pass on to the agent.
    pub headers: Headers,
    /// Priority asked for by the trunk, if it may; lower is more urgent.
    pub priority: Option<u8>,
    /// Skills asked for beyond the route's, each with a least level.
    pub skills: Vec<(SkillId, u8)>,
    /// The agent the caller should get if possible (affinity).
    pub prefer: Option<AgentId>,
    /// The edge carries its media.
    pub anchored: bool,
}

/// What an edge saw on one of its legs. Reports of a leg are numbered from 1; an old number is a duplicate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegReport {
    pub domain: DomainId,
    pub leg: LegId,
    pub edge: Edge,
    pub seq: u32,
    pub event: LegEvent,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LegEvent {
    /// The agent's phone rings (180/183).
    Ringing { dialog: Dialog },
    /// The agent's phone answered; the edge has acknowledged the 200, or will when a late offer is answered.
    Answered { dialog: Dialog, sdp: Sdp },
    /// The caller acknowledged our 200. Reported only when something waits for it.
    Confirmed { dialog: Dialog },
    /// The leg we called was refused, with the final status (RFC 3261 §21); `contacts` of a 3xx.
    Refused { status: u16, reason: String, contacts: Vec<String> },
    /// No final answer came in time or the next hop could not be reached (408, 503 by the transaction layer).
    Unreachable { status: u16 },
    /// The party hung up (BYE), or gave up before an answer (CANCEL).
    HungUp { cause: HangUpCause },
    /// A leg passed from talking to held or back by re-INVITE or UPDATE; dialog and media as they now stand.
    Media { dialog: Dialog, sdp: Sdp, held: bool },
    /// A leg of another edge is this one's now: its party was told, or need not be.
    Adopted { dialog: Dialog },
    /// A leg we ended is gone: BYE or CANCEL was answered or timed out.
    Ended,
    /// An AI agent's leg.
    Assisted(Assisted),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HangUpCause {
    Bye,
    Cancel,
    /// The session timer ran out (RFC 4028), or a request in the dialog was answered 408 or 481.
    SessionExpired,
    /// The ACK of our 200 never came (RFC 3261 §13.3.1.4).
    NoAck,
    /// No lease: the edge fell silent and lost the leg.
    EdgeFault,
    /// What it says of its media cannot be carried.
    NoMedia,
    /// Its party did not follow to this edge when the one before had died.
    NotAdopted,
    /// What carried its audio is gone, and nothing took its place.
    MediaLost,
}

/// What somebody wants an agent to be. Applied at once when idle, else when the current contact ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Intent {
    Available,
    Break {
        reason: String,
    },
    Offline,
    /// End wrap-up early.
    FinishWrapUp,
    /// Lengthen wrap-up.
    ExtendWrapUp {
        by_ms: u64,
    },
    /// Free a stuck agent: its reservation is rescinded and its calls are ended, with an audit event.
    ForceRelease,
}

/// As events and audit rows say it.
impl std::fmt::Display for Intent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Available => f.write_str("available"),
            Self::Break { reason } => write!(f, "break:{reason}"),
            Self::Offline => f.write_str("offline"),
            Self::FinishWrapUp => f.write_str("finish_wrap_up"),
            Self::ExtendWrapUp { by_ms } => write!(f, "extend_wrap_up:{by_ms}"),
            Self::ForceRelease => f.write_str("force_release"),
        }
    }
}

/// What somebody wants of a call that talks. An agent may want it of its own call, a user of any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    /// The caller is put on hold, or taken back. It hears the queue's music meanwhile, and is heard by nobody.
    Hold(bool),
    /// A party is heard by nobody, or again.
    Mute {
        party: Side,
        muted: bool,
    },
    Record(Record),
    /// An agent is rung to hear the call, or, if it does, hears it in another mode. No agent wants this.
    Supervise {
        agent: AgentId,
        mode: Mode,
    },
}

/// What is to become of the recording of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    Start,
    /// What is said leaves silence in its place, such as a card number.
    Pause,
    Resume,
    /// No agent stops what its queue rules.
    Stop,
}

/// A complete file of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    pub ms: u64,
    /// Windows that are silent in it because it was paused, in milliseconds from its start.
    pub masked: Vec<(u64, u64)>,
}

/// The two sides of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Side {
    Caller,
    Agent,
}

/// A registered phone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// `+sip.instance` (RFC 5626) or the contact itself.
    pub instance: String,
    pub contact: String,
    pub path: Vec<String>,
    pub transport: Transport,
    /// Where the REGISTER came from, `ip:port`.
    pub received: String,
    pub flow: Option<FlowRef>,
    pub expires_s: u32,
}

/// A replicated deadline. The row in the state decides whether it still stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timer {
    pub domain: DomainId,
    pub deadline: super::time::LogTime,
    pub what: TimerKind,
}

/// What is due. Each kind names the row that owns it, and so the actor that proposes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TimerKind {
    /// An offer was not answered.
    Offer { call: CallId, leg: u16 },
    /// A waiting call's next step: relax a requirement, overflow, give up, answer late.
    Wait { call: CallId },
    /// Any other state of a call that must not last.
    Call { call: CallId },
    /// Wrap-up ends, a penalty ends, a registration expires.
    Agent { agent: AgentId },
    /// A queue opens or closes.
    Queue { queue: QueueId },
}
