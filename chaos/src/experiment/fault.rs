//! What an experiment may do to a cluster: the kinds of faults, whom they hit, and the keys each of them knows.

use serde::{Deserialize, Serialize};

use crate::relay::Rule;

/// Occurrences of one fault.
pub const TIMES_MAX: u32 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Kill,
    CrashLoop,
    Pause,
    Partition,
    Link,
    Wipe,
    TornTail,
    BitFlip,
    RollingRestart,
    Membership,
    Carrier,
    Overload,
    ActorCrash,
    StuckActor,
    DiskFull,
    FsyncError,
    SlowDisk,
    Clock,
    MixedVersions,
    /// Replaced by others, drawn by the seed.
    Random,
}

/// Who cannot hear whom.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// The target and the others do not hear each other.
    #[default]
    Isolate,
    /// Nobody hears the target.
    Out,
    /// The target hears nobody.
    In,
    /// The others hear each other only through the target.
    Bridge,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// 503 to every INVITE.
    #[default]
    Busy,
    /// Picks up only after `after_ms`.
    Late,
    /// Every response comes twice, and the 200 once more from another device that picked up as well.
    Twice,
    /// No response at all.
    Never,
}

impl Kind {
    /// True for what reaches only the tagged tenant: its callers, its agents' phones, its live actors.
    pub const fn is_confined(self) -> bool {
        matches!(self, Self::Carrier | Self::ActorCrash | Self::StuckActor)
    }
}

/// One fault, or several of a kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    pub kind: Kind,
    /// `leader`, `follower`, `any`, `node=K`, `all`, or `minority`: as many as may be lost, the leader among them.
    #[serde(default = "leader")]
    pub target: String,
    /// After the steady state was seen.
    pub at_s: f64,
    #[serde(default = "three")]
    pub duration_s: f64,
    /// How often, every `every_s`.
    #[serde(default = "once")]
    pub times: u32,
    #[serde(default)]
    pub every_s: f64,
    /// `partition`: its shape.
    #[serde(default)]
    pub shape: Shape,
    /// `link`: what happens to packets from and to the target; `all` means every link.
    #[serde(default)]
    pub rule: Rule,
    /// `carrier`: how agents' phones answer, and how many of them in percent.
    #[serde(default)]
    pub answer: Answer,
    #[serde(default)]
    pub after_ms: u64,
    #[serde(default = "hundred")]
    pub share_pct: u64,
    /// `overload`: times the rate of arrivals.
    #[serde(default = "ten")]
    pub factor: f64,
    /// `slow-disk`: how much longer each sync takes.
    #[serde(default = "eighty")]
    pub slow_ms: u64,
    /// `clock`: how far the wall clock jumps; negative is into the past.
    #[serde(default = "hour_s")]
    pub ahead_s: i64,
    /// `actor-crash`, `stuck-actor`: which actors, of the tenant under test only.
    #[serde(default = "call")]
    pub actor: String,
}

/// Whom a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Leader,
    Follower,
    Any,
    /// The leader and as many others as still leave a majority.
    Minority,
    Node(u16),
    All,
}

/// Reads a target.
///
/// # Errors
/// When it is none.
pub fn target(text: &str) -> Result<Target, String> {
    match text {
        "leader" => Ok(Target::Leader),
        "follower" => Ok(Target::Follower),
        "any" => Ok(Target::Any),
        "minority" => Ok(Target::Minority),
        "all" => Ok(Target::All),
        _ => text
            .strip_prefix("node=")
            .and_then(|id| id.parse().ok())
            .map(Target::Node)
            .ok_or_else(|| format!("target {text:?}: leader, follower, any, minority, all or node=K")),
    }
}

fn leader() -> String {
    "leader".into()
}
fn call() -> String {
    "call".into()
}
const fn once() -> u32 {
    1
}
const fn three() -> f64 {
    3.0
}
const fn ten() -> f64 {
    10.0
}
const fn hundred() -> u64 {
    100
}
const fn eighty() -> u64 {
    80
}
const fn hour_s() -> i64 {
    3_600
}
