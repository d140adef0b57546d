//! An agent: what it wants to be, what it does now, and whether an offer may reach it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    command::{Binding, Intent},
    id::{CallId, QueueId},
    party::Target,
    policy::{self, Channel, InitialState, Strategy},
    time::LogTime,
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    pub presence: Presence,
    pub since: LogTime,
    /// What to become when the current contact ends.
    pub pending: Option<Intent>,
    pub idle_since: LogTime,
    /// Calls offered to it or talking with it, as (call, leg).
    pub contacts: BTreeSet<(CallId, u16)>,
    pub wrap_up_until: Option<LogTime>,
    /// No offer before this, after a missed one.
    pub rest_until: Option<LogTime>,
    /// Offers in a row without an answer.
    pub misses: u8,
    pub calls: u64,
    pub talked_ms: u64,
    pub last_turn: u64,
    pub bindings: BTreeMap<String, Binding>,
    /// Registration deadlines by instance.
    pub expires: BTreeMap<String, LogTime>,
    /// Queues and classes it serves, from the policy.
    pub(super) serves: Vec<(QueueId, u16)>,
    /// Where it stands among the idle, as inserted.
    pub(super) indexed: Vec<(QueueId, u16, (u64, u64))>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Presence {
    Available,
    Break(String),
    Offline,
}

impl Agent {
    pub(super) fn new(initial: &InitialState, now: LogTime) -> Self {
        let presence = match initial {
            InitialState::Available => Presence::Available,
            InitialState::Break(reason) => Presence::Break(reason.clone()),
            InitialState::Offline => Presence::Offline,
        };
        Self {
            presence,
            since: now,
            pending: None,
            idle_since: now,
            contacts: BTreeSet::new(),
            wrap_up_until: None,
            rest_until: None,
            misses: 0,
            calls: 0,
            talked_ms: 0,
            last_turn: 0,
            bindings: BTreeMap::new(),
            expires: BTreeMap::new(),
            serves: Vec::new(),
            indexed: Vec::new(),
        }
    }

    /// Where its phone can be reached: the newest binding, else the fixed contact.
    pub fn target(&self, policy: &policy::Agent) -> Option<Target> {
        let binding = self.expires.iter().max_by_key(|(_, until)| **until).and_then(|(instance, _)| self.bindings.get(instance));
        binding
            .map(|binding| Target::Binding {
                uri: binding.contact.clone(),
                route: binding.path.clone(),
                transport: binding.transport,
                remote: binding.received.clone(),
                flow: binding.flow,
            })
            .or_else(|| policy.contact.clone().map(|uri| Target::Contact { uri }))
    }

    pub(super) fn voice_slots(policy: &policy::Agent) -> usize {
        usize::from(policy.capacity.get(&Channel::Voice).copied().unwrap_or(1))
    }

    /// True if an offer may be made now.
    pub fn is_free(&self, policy: &policy::Agent) -> bool {
        self.presence == Presence::Available
            && self.pending.is_none()
            && self.wrap_up_until.is_none()
            && self.rest_until.is_none()
            && self.contacts.len() < Self::voice_slots(policy)
            && self.target(policy).is_some()
    }

    /// Rank under a strategy, smaller first: its figure, then who is idle longest.
    pub(super) fn rank(&self, policy: &policy::Agent, strategy: Strategy, queue: &policy::Queue, id: &QueueId) -> (u64, u64) {
        let figure = match strategy {
            Strategy::LongestIdle | Strategy::RingAll => 0,
            Strategy::RoundRobin => self.last_turn,
            Strategy::LeastOccupied => self.talked_ms,
            Strategy::FewestCalls => self.calls,
            Strategy::HighestSkill => {
                let skill = queue.steps.first().and_then(|step| step.require.keys().next());
                let level = skill.map_or_else(|| policy.skills.get(id.as_str()).copied(), |skill| policy.skills.get(skill).copied());
                u64::from(u8::MAX - level.unwrap_or(0))
            }
        };
        (figure, self.idle_since.0)
    }

    /// The state as shown: what the agent does before what it wants to be.
    pub fn state_name(&self, talking: bool) -> &'static str {
        if talking {
            "busy"
        } else if !self.contacts.is_empty() {
            "reserved"
        } else if self.wrap_up_until.is_some() {
            "wrap_up"
        } else {
            match self.presence {
                Presence::Available => "available",
                Presence::Break(_) => "break",
                Presence::Offline => "offline",
            }
        }
    }
}
