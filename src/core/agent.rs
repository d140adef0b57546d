//! An agent: what it wants to be, what it does now, and whether an offer may reach it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    cdr::AttemptResult,
    command::{Binding, Intent},
    explain::Filter,
    id::{CallId, QueueId},
    party::Target,
    policy::{self, AgentKind, Channel, InitialState},
    pool::Figures,
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
    /// How many of them are chats.
    pub chats: u8,
    pub wrap_up_until: Option<LogTime>,
    /// The contact being wrapped up: its queue and when it ended.
    pub(super) wraps: Option<(QueueId, LogTime)>,
    /// No offer before this, after a missed one.
    pub rest_until: Option<LogTime>,
    /// Until then its phone may be busy with the offer of an edge that died.
    pub(super) spared_until: Option<LogTime>,
    /// Offers in a row without an answer.
    pub misses: u8,
    /// Since when it is not offline; calls and talking are counted from there.
    pub on_since: LogTime,
    pub calls: u64,
    pub talked_ms: u64,
    /// Share of that time spent talking, taken when a contact ended.
    pub occupied_permille: u64,
    pub last_turn: u64,
    pub offers: OfferCounts,
    pub bindings: BTreeMap<String, Binding>,
    /// Registration deadlines by instance.
    pub expires: BTreeMap<String, LogTime>,
    /// Its profile in the pool.
    pub(super) profile: u32,
    /// How it was put into the pool: ready, or kept away by something.
    pub(super) standing: Option<Standing>,
    /// The same for chats; none of an agent that takes none.
    pub(super) chat_standing: Option<Standing>,
}

/// Ready for an offer, or kept away by something.
pub(super) type Standing = Result<Figures, Filter>;

/// How an agent's offers ended, since ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OfferCounts {
    pub made: u64,
    pub accepted: u64,
    pub rejected: u64,
    pub busy: u64,
    pub timeout: u64,
    pub unreachable: u64,
    pub rescinded: u64,
}

impl OfferCounts {
    pub(super) const fn ended(&mut self, result: AttemptResult) {
        let count = match result {
            AttemptResult::Accepted | AttemptResult::Consulted | AttemptResult::TakenOver | AttemptResult::NotReached { .. } => {
                &mut self.accepted
            }
            AttemptResult::Rejected { .. } => &mut self.rejected,
            AttemptResult::Busy => &mut self.busy,
            AttemptResult::Timeout => &mut self.timeout,
            AttemptResult::Unreachable { .. } => &mut self.unreachable,
            AttemptResult::Rescinded | AttemptResult::NodeLost => &mut self.rescinded,
        };
        *count += 1;
    }
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
            chats: 0,
            wrap_up_until: None,
            wraps: None,
            rest_until: None,
            spared_until: None,
            misses: 0,
            on_since: now,
            calls: 0,
            talked_ms: 0,
            occupied_permille: 0,
            last_turn: 0,
            offers: OfferCounts::default(),
            bindings: BTreeMap::new(),
            expires: BTreeMap::new(),
            profile: 0,
            standing: None,
            chat_standing: None,
        }
    }

    /// Where its phone can be reached: the newest binding, else the fixed contact.
    pub fn target(&self, policy: &policy::Agent) -> Option<Target> {
        self.newest_binding()
            .map(|binding| Target::Binding {
                uri: binding.contact.clone(),
                route: binding.path.clone(),
                transport: binding.transport,
                remote: binding.received.clone(),
                flow: binding.flow,
            })
            .or_else(|| policy.contact.clone().map(|uri| Target::Contact { uri }))
    }

    fn newest_binding(&self) -> Option<&Binding> {
        self.expires.iter().max_by_key(|(_, until)| **until).and_then(|(instance, _)| self.bindings.get(instance))
    }

    /// True if an offer can reach it. Who chats needs no phone.
    pub fn is_reachable(&self, policy: &policy::Agent, channel: Channel) -> bool {
        match policy.kind {
            AgentKind::Human if channel == Channel::Chat => true,
            AgentKind::Human => policy.contact.is_some() || self.newest_binding().is_some(),
            // It answers wherever the caller is.
            AgentKind::Ai => policy.assistant.is_some(),
        }
    }

    /// What keeps an offer of a call away, if anything does. A break that was asked for keeps it away at once.
    pub fn kept_away_by(&self, policy: &policy::Agent, channel: Channel) -> Option<Filter> {
        match (&self.presence, &self.pending) {
            (Presence::Offline, _) | (_, Some(Intent::Offline)) => return Some(Filter::Offline),
            (Presence::Break(_), _) | (_, Some(_)) => return Some(Filter::Break),
            (Presence::Available, None) => {}
        }
        if self.wrap_up_until.is_some() {
            Some(Filter::WrapUp)
        } else if !policy.has_room(&self.used(), channel) {
            Some(Filter::Busy)
        } else if self.rest_until.is_some() {
            Some(Filter::Penalty)
        } else if !self.is_reachable(policy, channel) {
            Some(Filter::NoPhone)
        } else {
            None
        }
    }

    /// True if it can be rung and one more call fits, whatever it wants to be offered.
    pub fn has_slot(&self, policy: &policy::Agent) -> bool {
        policy.has_room(&self.used(), Channel::Voice) && self.is_reachable(policy, Channel::Voice)
    }

    /// Its contacts by channel.
    fn used(&self) -> [(Channel, u8); 2] {
        let voice = u8::try_from(self.contacts.len()).unwrap_or(u8::MAX).saturating_sub(self.chats);
        [(Channel::Voice, voice), (Channel::Chat, self.chats)]
    }

    /// How it stands in the pool of a channel.
    pub(super) const fn standing_in(&mut self, channel: Channel) -> &mut Option<Standing> {
        if matches!(channel, Channel::Chat) { &mut self.chat_standing } else { &mut self.standing }
    }

    /// True if it is available, be it busy, and did not ask to go.
    pub fn is_at_work(&self) -> bool {
        self.presence == Presence::Available && self.pending.is_none()
    }

    /// True if an offer of a call may be made now.
    pub fn is_free(&self, policy: &policy::Agent) -> bool {
        self.kept_away_by(policy, Channel::Voice).is_none()
    }

    pub(super) const fn figures(&self) -> Figures {
        Figures { idle_since: self.idle_since, turn: self.last_turn, occupied_permille: self.occupied_permille, calls: self.calls }
    }

    /// Books the time of a contact that ended now.
    pub(super) fn talked(&mut self, talked_ms: u64, now: LogTime) {
        self.talked_ms = self.talked_ms.saturating_add(talked_ms);
        self.idle_since = now;
        self.occupied_permille = self.talked_ms.saturating_mul(1_000) / now.ms_since(self.on_since).max(1);
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

impl policy::Agent {
    /// True if one more contact of `channel` fits beside those in `used`: a free slot of its own, and no exclusive
    /// channel in the way on either side. A channel that is not named has one slot for voice and none for others.
    pub fn has_room(&self, used: &[(Channel, u8)], channel: Channel) -> bool {
        let slots = self.capacity.get(&channel).copied().unwrap_or(u8::from(channel == Channel::Voice));
        let taken = used.iter().filter(|(of, _)| *of == channel).map(|(_, count)| *count).sum::<u8>();
        let others = || used.iter().filter(|(other, count)| *other != channel && *count > 0);
        taken < slots
            && !others().any(|(other, _)| self.exclusive.contains(other))
            && !(self.exclusive.contains(&channel) && others().next().is_some())
    }
}
