//! A domain's configuration as the core uses it: plain, validated, versioned by the state that holds it.
//!
//! It does not own the file format; `config::tenant` reads TOML into this and keeps the line numbers for its errors.

pub mod assistant;
pub mod check;

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    aid::Aid,
    id::{AgentId, QueueId, SkillId, TrunkId},
};

pub use assistant::{Assistant, Sharing, Topic, Unanswered, Words};

/// All an operator says about a domain.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Policy {
    pub queues: BTreeMap<QueueId, Queue>,
    pub agents: BTreeMap<AgentId, Agent>,
    /// Request-URI user → where the call goes.
    pub routes: BTreeMap<String, Route>,
    pub trunks: BTreeMap<TrunkId, Trunk>,
    pub hours: BTreeMap<String, Hours>,
    /// Live calls at once; 0 means the built-in limit.
    pub calls_max: u32,
    /// Days for which records of closed calls are kept; 0 means for good. See `core::retention`.
    pub retention_days: u32,
    /// Names of header fields passed on besides the standard ones (`X-…`).
    pub pass_headers: Vec<String>,
    pub media: Media,
    pub adopt_unanswered: AdoptUnanswered,
    pub outside: Outside,
    /// How long after an answered contact another one of its customer about the same is the matter come back; 0 never.
    pub reopen_within_ms: u64,
    /// Chats at once; 0 means that nobody may open one.
    pub chats_max: u32,
}

/// Which numbers outside calls may be sent on to, and how long they ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outside {
    /// Beginnings of the numbers; none is no number at all.
    pub numbers: Vec<String>,
    pub ring_ms: u64,
}

impl Default for Outside {
    fn default() -> Self {
        Self { numbers: Vec::new(), ring_ms: 30_000 }
    }
}

/// Who carries the audio of a domain's calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Media {
    /// The node that carries the legs: needed for treatment, recording, AI and takeover.
    #[default]
    Anchored,
    /// The parties send to each other: a node's death costs no audio, and nothing can be played.
    Direct,
    /// A process of its own that lives on when a node dies; nothing can be played, mixed or recorded.
    Rtpengine,
}

/// What becomes of a caller without an answer when its edge dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum AdoptUnanswered {
    /// It is answered at once and hears treatment: if it gave up meanwhile, whose CANCEL went to the dead address, it says
    /// so with a BYE, and no agent is rung for nobody.
    #[default]
    Answer,
    /// It goes on waiting without an answer.
    Keep,
}

/// What waiting callers hear.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Treatment {
    /// Answer a caller as soon as it waits, and not only with an agent.
    pub answer_waiting: bool,
    /// Prompt played once, before anything else.
    pub greeting: Option<String>,
    /// Prompt played over and over; none is the built-in music.
    pub music: Option<String>,
    /// Say the place in the queue this often; 0 never.
    pub announce_every_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    pub strategy: Strategy,
    pub service_level: Option<ServiceLevel>,
    pub offer_timeout_ms: u64,
    /// Longest wait; then `on_max_wait`.
    pub max_wait_ms: u64,
    pub on_max_wait: Fallback,
    pub wrap_up_ms: u64,
    /// Waiting calls at once; 0 means no limit of its own.
    pub waiting_max: u32,
    pub on_full: Fallback,
    /// Refuse a caller when no configured agent is at least on break.
    pub require_agents: bool,
    pub on_no_agents: Fallback,
    /// Name of an `Hours`; none means always open.
    pub hours: Option<String>,
    pub on_closed: Fallback,
    /// What becomes of callers who wait when the queue closes.
    pub waiting_on_close: OnClose,
    /// Default priority of its calls; lower is more urgent.
    pub priority: u8,
    /// A call older than this is served before any priority (starvation guard); 0 switches it off.
    pub promote_after_ms: u64,
    /// Requirements, relaxed step by step. Empty means the skill named like the queue at level 1 if any agent has it.
    pub steps: Vec<Step>,
    /// How long a call waits for its preferred agent before normal routing.
    pub affinity_ms: u64,
    /// Ring-no-answer and refusal rules.
    pub misses: Misses,
    /// Unanswered at most this long before answering or overflowing, since proxies give up at about 180 s.
    pub max_unanswered_ms: u64,
    pub treatment: Treatment,
    pub record: Recording,
    pub callback: Callbacks,
    pub sharing: Sharing,
    /// What its people are given while they have a contact; none is nothing.
    pub aid: Option<Arc<Aid>>,
}

/// How customers of a queue are called back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callbacks {
    /// Dials until a customer is given up, and the pause between two.
    pub dials_max: u8,
    pub pause_ms: u64,
    /// How long a customer's phone rings.
    pub ring_ms: u64,
    /// Then a callback is given up, whatever became of it.
    pub max_age_ms: u64,
}

impl Default for Callbacks {
    fn default() -> Self {
        Self { dials_max: 3, pause_ms: 300_000, ring_ms: 40_000, max_age_ms: 24 * 3_600_000 }
    }
}

impl Policy {
    /// The trunk that takes calls to a number: of those that lead out the one that names the longest beginning of it; of
    /// equal ones the first by name.
    pub fn trunk_for(&self, number: &str) -> Option<&TrunkId> {
        let fit = |trunk: &Trunk| match &trunk.prefixes[..] {
            [] => Some(0),
            prefixes => prefixes.iter().filter(|prefix| number.starts_with(prefix.as_str())).map(String::len).max(),
        };
        let out = self.trunks.iter().filter(|(_, trunk)| !trunk.contacts.is_empty());
        let fitting = out.filter_map(|(id, trunk)| fit(trunk).map(|length| (std::cmp::Reverse(length), id)));
        fitting.min().map(|(_, id)| id)
    }
}

/// What is recorded of a queue's calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Recording {
    /// What somebody asks for.
    #[default]
    Off,
    /// All, from the agent's answer on.
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    LongestIdle,
    RoundRobin,
    LeastOccupied,
    FewestCalls,
    HighestSkill,
    RingAll,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceLevel {
    pub answer_within_ms: u64,
    pub target_percent: u8,
}

/// Where a call goes that a queue cannot keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fallback {
    /// End it with this SIP status.
    Reject { status: u16 },
    /// Move it to another queue; its age goes with it.
    Queue(QueueId),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnClose {
    /// Those who wait are still served.
    Finish,
    Fallback,
}

/// One step of a routing plan: who may serve the call for this long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Zero for the last step means: for the rest of the wait.
    pub for_ms: u64,
    pub require: Requirement,
}

/// All of these skills at least at these levels. A later step of a plan must be implied by the earlier ones.
pub type Requirement = BTreeMap<SkillId, u8>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Misses {
    /// After this many offers in a row without an answer the agent is set to break; 0 never.
    pub max: u8,
    pub break_reason: String,
    /// How long an agent gets no offer after each kind of miss.
    pub timeout_delay_ms: u64,
    pub reject_delay_ms: u64,
    pub busy_delay_ms: u64,
    pub unreachable_delay_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AgentKind {
    Human,
    Ai,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    pub kind: AgentKind,
    /// A fixed contact; without it the agent's phone registers.
    pub contact: Option<String>,
    /// Digest credential: HA1 by algorithm, hex. Never the password.
    pub ha1: Option<Ha1>,
    pub skills: BTreeMap<SkillId, u8>,
    /// Queues it serves; empty means every queue whose requirement it meets.
    pub queues: Vec<QueueId>,
    /// Slots per channel.
    pub capacity: BTreeMap<Channel, u8>,
    /// Channels that stop offers on all others while used.
    pub exclusive: Vec<Channel>,
    /// State on first sight of this agent.
    pub initial: InitialState,
    /// What an AI agent is to customers; none for a person.
    pub assistant: Option<Arc<Assistant>>,
}

/// RFC 7616 HA1 values in lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ha1 {
    pub realm: String,
    pub md5: String,
    pub sha256: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Channel {
    Voice,
    Chat,
    Task,
    Callback,
}

impl Channel {
    /// The channels that contacts come by.
    pub const ALL: [Self; 2] = [Self::Voice, Self::Chat];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Voice => "voice",
            Self::Chat => "chat",
            Self::Task => "task",
            Self::Callback => "callback",
        }
    }
}

impl Agent {
    /// True if it may ever get a contact of this channel. Voice is everybody's unless it is taken away.
    pub fn takes(&self, channel: Channel) -> bool {
        self.capacity.get(&channel).map_or(channel == Channel::Voice, |slots| *slots > 0)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InitialState {
    Available,
    Break(String),
    Offline,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub queue: QueueId,
    /// Overrides the queue's priority; lower is more urgent.
    pub priority: Option<u8>,
    /// Emergency numbers bypass queue limits and hours.
    pub emergency: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trunk {
    /// Networks in CIDR form whose requests are this trunk's.
    pub sources: Vec<String>,
    pub ha1: Option<Ha1>,
    /// User name of the digest credential.
    pub username: Option<String>,
    /// Request-URIs for outbound calls, in order of preference.
    pub contacts: Vec<String>,
    /// Beginnings of the numbers it is for; none is every number.
    pub prefixes: Vec<String>,
    /// Credential for outbound calls that are challenged: user name and password.
    pub outbound_auth: Option<(String, String)>,
    /// Caller id shown on outbound calls; none passes the original on.
    pub caller_id: Option<String>,
    /// New calls a second and burst; 0 means no limit of its own.
    pub calls_per_s_max: u32,
    /// Calls at once; 0 means no limit of its own.
    pub calls_max: u32,
    /// Whether what an INVITE from here asks of the routing is believed: its priority, skills and agent.
    pub trust_priority: bool,
}

/// Opening hours in a time zone, with exceptions by date.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hours {
    /// Offsets from UTC over time, `(from, minutes east)`, expanded by the configuration from a named zone, since the
    /// core must not read a time zone database that differs between nodes.
    pub utc_offsets: Vec<(super::time::WallTime, i32)>,
    /// Per weekday (0 = Monday): spans in minutes of the local day, end exclusive, at most 1440.
    pub week: [Vec<(u16, u16)>; 7],
    /// Local dates as days since 1970-01-01: spans of that day; empty means closed.
    pub exceptions: BTreeMap<i32, Vec<(u16, u16)>>,
}
