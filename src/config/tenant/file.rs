//! The keys of a tenant file, as they are written. Places are kept where a check may have to name one.

mod ai;

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

pub(super) use ai::{AssistRow, AssistantRow, SharingRow, TopicRow, UnansweredName, WordsRow};

use crate::core::policy::{AdoptUnanswered, AgentKind, Channel, Media, OnClose, Strategy};

/// A duration in seconds.
pub(super) type Seconds = Spanned<u64>;
pub(super) type Text = Spanned<String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) tenant: TenantRow,
    #[serde(default)]
    pub(super) queue: Vec<QueueRow>,
    #[serde(default)]
    pub(super) agent: Vec<AgentRow>,
    #[serde(default)]
    pub(super) route: Vec<RouteRow>,
    #[serde(default)]
    pub(super) trunk: Vec<TrunkRow>,
    #[serde(default)]
    pub(super) hours: Vec<HoursRow>,
    #[serde(default)]
    pub(super) transfer: TransferRow,
    #[serde(default)]
    pub(super) topic: Vec<TopicRow>,
}

/// Numbers outside that calls may be sent on to.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TransferRow {
    /// Their beginnings; none is no number at all.
    #[serde(default)]
    pub(super) numbers: Vec<Text>,
    pub(super) ring_s: Option<Seconds>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TenantRow {
    pub(super) id: Text,
    /// Realm of digest challenges; the tenant's id if left out.
    pub(super) realm: Option<String>,
    /// Live calls at once; 0 means the built-in limit.
    #[serde(default)]
    pub(super) calls_max: u32,
    /// Chats at once; without it nobody may open one.
    #[serde(default)]
    pub(super) chats_max: u32,
    /// Days for which records of closed calls are kept; left out, they are kept for good.
    pub(super) retention_days: Option<Spanned<u32>>,
    /// Header fields passed on besides the standard ones.
    #[serde(default)]
    pub(super) pass_headers: Vec<Text>,
    /// How long a matter may come back, in hours; 72 if left out, 0 never.
    pub(super) reopen_within_h: Option<Spanned<u64>>,
    pub(super) media: Option<MediaName>,
    pub(super) adopt_unanswered: Option<AdoptName>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum MediaName {
    Anchored,
    Direct,
    Rtpengine,
}

impl From<MediaName> for Media {
    fn from(name: MediaName) -> Self {
        match name {
            MediaName::Anchored => Self::Anchored,
            MediaName::Direct => Self::Direct,
            MediaName::Rtpengine => Self::Rtpengine,
        }
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum AdoptName {
    Answer,
    Keep,
}

impl From<AdoptName> for AdoptUnanswered {
    fn from(name: AdoptName) -> Self {
        match name {
            AdoptName::Answer => Self::Answer,
            AdoptName::Keep => Self::Keep,
        }
    }
}

/// When a queue answers its callers.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum AnswerName {
    OnOffer,
    OnQueue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QueueRow {
    pub(super) id: Text,
    pub(super) strategy: Option<StrategyName>,
    pub(super) service_level: Option<ServiceLevelRow>,
    pub(super) offer_timeout_s: Option<Seconds>,
    pub(super) max_wait_s: Option<Seconds>,
    pub(super) wrap_up_s: Option<Seconds>,
    /// Queue to which callers go that this one cannot keep, for every reason that has no rule of its own.
    pub(super) overflow: Option<Text>,
    pub(super) on_max_wait: Option<Spanned<FallbackRow>>,
    pub(super) on_full: Option<Spanned<FallbackRow>>,
    pub(super) on_no_agents: Option<Spanned<FallbackRow>>,
    pub(super) on_closed: Option<Spanned<FallbackRow>>,
    #[serde(default)]
    pub(super) waiting_max: u32,
    #[serde(default)]
    pub(super) require_agents: bool,
    pub(super) hours: Option<Text>,
    pub(super) waiting_on_close: Option<OnCloseName>,
    pub(super) priority: Option<u8>,
    pub(super) promote_after_s: Option<Seconds>,
    #[serde(default)]
    pub(super) steps: Vec<Spanned<StepRow>>,
    pub(super) affinity_s: Option<Seconds>,
    #[serde(default)]
    pub(super) misses: MissesRow,
    pub(super) max_unanswered_s: Option<Seconds>,
    /// `on-queue` answers a caller as soon as it waits; `on-offer` only with an agent.
    pub(super) answer: Option<Spanned<AnswerName>>,
    /// Prompts by name.
    pub(super) greeting: Option<Text>,
    pub(super) music: Option<Text>,
    pub(super) announce_every_s: Option<Seconds>,
    /// `all` records every call from the agent's answer on; `off` what somebody asks for.
    pub(super) record: Option<Spanned<RecordName>>,
    #[serde(default)]
    pub(super) callback: CallbackRow,
    #[serde(default)]
    pub(super) ai: SharingRow,
    pub(super) assist: Option<Spanned<AssistRow>>,
}

/// How customers of a queue are called back.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallbackRow {
    /// Dials until a customer is given up.
    pub(super) dials: Option<Spanned<u8>>,
    /// Between two dials.
    pub(super) pause_s: Option<Seconds>,
    /// How long a customer's phone rings.
    pub(super) ring_s: Option<Seconds>,
    /// Then a callback is given up.
    pub(super) max_age_s: Option<Seconds>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RecordName {
    Off,
    All,
}

/// The strategies of `core::policy` as a file writes them.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum StrategyName {
    LongestIdle,
    RoundRobin,
    LeastOccupied,
    FewestCalls,
    HighestSkill,
    RingAll,
}

impl From<StrategyName> for Strategy {
    fn from(name: StrategyName) -> Self {
        match name {
            StrategyName::LongestIdle => Self::LongestIdle,
            StrategyName::RoundRobin => Self::RoundRobin,
            StrategyName::LeastOccupied => Self::LeastOccupied,
            StrategyName::FewestCalls => Self::FewestCalls,
            StrategyName::HighestSkill => Self::HighestSkill,
            StrategyName::RingAll => Self::RingAll,
        }
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OnCloseName {
    /// Those who wait are still served.
    Finish,
    /// They go where `on_closed` says.
    Fallback,
}

impl From<OnCloseName> for OnClose {
    fn from(name: OnCloseName) -> Self {
        match name {
            OnCloseName::Finish => Self::Finish,
            OnCloseName::Fallback => Self::Fallback,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceLevelRow {
    pub(super) answer_within_s: Seconds,
    pub(super) target_percent: Spanned<u8>,
}

/// `{ reject = 486 }` or `{ queue = "other" }`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FallbackRow {
    pub(super) reject: Option<u16>,
    pub(super) queue: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepRow {
    /// Left out by the last step, which lasts for the rest of the wait.
    pub(super) for_s: Option<Seconds>,
    pub(super) require: BTreeMap<String, u8>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MissesRow {
    /// Unanswered offers in a row that set an agent to break; 0 never.
    pub(super) max: Option<u8>,
    pub(super) break_reason: Option<String>,
    pub(super) timeout_delay_s: Option<Seconds>,
    pub(super) reject_delay_s: Option<Seconds>,
    pub(super) busy_delay_s: Option<Seconds>,
    pub(super) unreachable_delay_s: Option<Seconds>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AgentRow {
    pub(super) id: Text,
    pub(super) kind: Option<KindName>,
    pub(super) contact: Option<Text>,
    pub(super) password: Option<Spanned<String>>,
    pub(super) skills: Option<Spanned<BTreeMap<String, u8>>>,
    #[serde(default)]
    pub(super) queues: Vec<Text>,
    #[serde(default)]
    pub(super) capacity: BTreeMap<ChannelName, u8>,
    #[serde(default)]
    pub(super) exclusive: Vec<ChannelName>,
    pub(super) state: Option<StateName>,
    pub(super) break_reason: Option<Text>,
    pub(super) assistant: Option<Spanned<AssistantRow>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum KindName {
    Human,
    Ai,
}

impl From<KindName> for AgentKind {
    fn from(name: KindName) -> Self {
        match name {
            KindName::Human => Self::Human,
            KindName::Ai => Self::Ai,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ChannelName {
    Voice,
    Chat,
    Task,
    Callback,
}

impl From<ChannelName> for Channel {
    fn from(name: ChannelName) -> Self {
        match name {
            ChannelName::Voice => Self::Voice,
            ChannelName::Chat => Self::Chat,
            ChannelName::Task => Self::Task,
            ChannelName::Callback => Self::Callback,
        }
    }
}

/// State of an agent when it is first seen.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum StateName {
    Available,
    Break,
    Offline,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteRow {
    pub(super) to: Text,
    pub(super) queue: Text,
    pub(super) priority: Option<u8>,
    #[serde(default)]
    pub(super) emergency: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrunkRow {
    pub(super) id: Text,
    #[serde(default)]
    pub(super) sources: Vec<Text>,
    pub(super) username: Option<Text>,
    pub(super) password: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) contacts: Vec<Text>,
    /// Beginnings of the numbers that are called over it; without any it takes every number.
    #[serde(default)]
    pub(super) prefixes: Vec<Text>,
    pub(super) auth: Option<AuthRow>,
    pub(super) caller_id: Option<String>,
    #[serde(default)]
    pub(super) calls_per_s_max: u32,
    #[serde(default)]
    pub(super) calls_max: u32,
    #[serde(default)]
    pub(super) trust_priority: bool,
}

/// Credential for outbound calls that are challenged.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuthRow {
    pub(super) username: String,
    pub(super) password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HoursRow {
    pub(super) name: Text,
    /// An IANA time zone, such as `Europe/Berlin`.
    pub(super) zone: Text,
    #[serde(default)]
    pub(super) week: WeekRow,
    /// Dates on which it stays closed.
    #[serde(default)]
    pub(super) holidays: Vec<Text>,
    /// Dates with hours of their own.
    #[serde(default)]
    pub(super) exceptions: Vec<ExceptionRow>,
}

/// Spans such as `09:00-17:00`; one that ends before it begins goes on after midnight.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WeekRow {
    pub(super) mon: Vec<Text>,
    pub(super) tue: Vec<Text>,
    pub(super) wed: Vec<Text>,
    pub(super) thu: Vec<Text>,
    pub(super) fri: Vec<Text>,
    pub(super) sat: Vec<Text>,
    pub(super) sun: Vec<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExceptionRow {
    pub(super) date: Text,
    pub(super) open: Vec<Text>,
}
