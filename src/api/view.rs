//! Rows of the replicated state as clients see them: names, units and masks of the JSON.
//!
//! It owns the wire form of queues, agents, calls and records, and nothing of how they are found.

mod assist;
mod callback;
mod chat;
mod explain;
mod note;
mod tapes;
mod transfer;

use serde::{Deserialize, Serialize};

pub use self::{
    assist::{AssistView, AssistanceView, LineView, line},
    callback::{CallbackView, CalledBackView},
    chat::{ChatView, ClosedChatView, Items},
    explain::{ExplainView, explain},
    note::{NoteView, note},
    tapes::TapeView,
    transfer::{ForwardView, ForwardedView, TransferView},
};

use crate::core::{
    agent::{Agent, Presence},
    call::{Call, Leg},
    cdr::{Attempt, ClosedCall},
    domain::Domain,
    id::{AgentId, DomainId, QueueId},
    matrix::{Role, Taping},
    policy::{AgentKind, Channel},
    privacy::{Caller, Keys},
    queue::Queue,
    time::{LogTime, Stamp, WallTime},
};

/// RFC 3339 in UTC with milliseconds.
pub fn rfc3339(wall: WallTime) -> String {
    jiff::Timestamp::from_millisecond(wall.0).map_or_else(|_| wall.0.to_string(), |time| format!("{time:.3}"))
}

fn stamp(stamp: Stamp) -> String {
    rfc3339(stamp.wall)
}

/// A caller's number for those who may not see it: enough to tell two apart, not enough to call back.
pub fn mask(user: &str) -> String {
    let shown: String = user.chars().take(3).collect();
    format!("{shown}***")
}

fn person(user: &str, open: bool) -> String {
    if open { user.to_owned() } else { mask(user) }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueueView {
    pub id: String,
    pub tenant: String,
    pub strategy: String,
    pub waiting: usize,
    /// Age of the oldest waiting call.
    pub oldest_wait_s: f64,
    /// Calls offered, talking or held.
    pub serving: u64,
    pub answered: u64,
    pub answered_within_level: u64,
    pub abandoned: u64,
    /// Answered in time / (answered + abandoned); null before the first call.
    pub service_level: Option<f64>,
    pub target_percent: Option<u8>,
}

pub fn queue(tenant: &DomainId, domain: &Domain, id: &QueueId, row: &Queue, now: LogTime) -> QueueView {
    let rules = domain.policy().queues.get(id);
    QueueView {
        id: id.to_string(),
        tenant: tenant.to_string(),
        strategy: rules.map_or_else(String::new, |rules| kebab(&format!("{:?}", rules.strategy))),
        waiting: row.depth(),
        oldest_wait_s: row.oldest().map_or(0.0, |entered| now.ms_since(entered) as f64 / 1000.0),
        serving: row.served_now,
        answered: row.answered,
        answered_within_level: row.answered_within_level,
        abandoned: row.abandoned,
        service_level: service_level(row),
        target_percent: rules.and_then(|rules| rules.service_level).map(|level| level.target_percent),
    }
}

/// Answered within the threshold over all who were answered or gave up.
pub fn service_level(row: &Queue) -> Option<f64> {
    let all = row.answered + row.abandoned;
    (all > 0).then(|| row.answered_within_level as f64 / all as f64)
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentView {
    pub id: String,
    pub tenant: String,
    pub kind: String,
    /// `available`, `reserved`, `busy`, `wrap_up`, `break` or `offline`.
    pub state: String,
    /// Why on break, if it is.
    pub reason: Option<String>,
    /// What it becomes when its contact ends.
    pub pending: Option<String>,
    pub calls: u64,
    pub misses: u8,
    pub talked_s: f64,
    /// Calls offered to it or talking with it.
    pub contacts: Vec<String>,
    /// True while a phone of it can be rung.
    pub reachable: bool,
    pub registered: usize,
    pub skills: std::collections::BTreeMap<String, u8>,
}

pub fn agent(tenant: &DomainId, domain: &Domain, id: &AgentId, row: &Agent) -> AgentView {
    let policy = domain.policy().agents.get(id);
    AgentView {
        id: id.to_string(),
        tenant: tenant.to_string(),
        kind: policy.map_or("human", |policy| kind_name(policy.kind)).to_owned(),
        state: row.state_name(domain.is_talking(row)).to_owned(),
        reason: match &row.presence {
            Presence::Break(reason) => Some(reason.clone()),
            Presence::Available | Presence::Offline => None,
        },
        pending: row.pending.as_ref().map(|intent| kebab(&format!("{intent:?}"))),
        calls: row.calls,
        misses: row.misses,
        talked_s: row.talked_ms as f64 / 1000.0,
        contacts: row.contacts.iter().map(|(call, _)| call.to_string()).collect(),
        reachable: policy.is_some_and(|policy| row.is_reachable(policy, Channel::Voice)),
        registered: row.bindings.len(),
        skills: policy.map(|policy| policy.skills.iter().map(|(skill, level)| (skill.to_string(), *level)).collect()).unwrap_or_default(),
    }
}

pub const fn kind_name(kind: AgentKind) -> &'static str {
    match kind {
        AgentKind::Human => "human",
        AgentKind::Ai => "ai",
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallView {
    pub id: String,
    pub tenant: String,
    pub state: String,
    pub queue: String,
    pub priority: u8,
    pub step: u16,
    pub from: String,
    pub to: String,
    pub trunk: Option<String>,
    pub node: u64,
    pub arrived_at: String,
    pub queued_at: Option<String>,
    pub offered_at: Option<String>,
    pub answered_at: Option<String>,
    /// Who is being rung or talks.
    pub agents: Vec<String>,
    /// `caller`, `agent`: who is heard by nobody.
    pub muted: Vec<String>,
    /// Who is asked about it by the agent who has it.
    pub consults: Option<String>,
    /// Who is rung to hear it, or does.
    pub supervisors: Vec<SupervisorView>,
    /// `off`, `on` or `paused`.
    pub recording: String,
    /// Offers that ended without an answer.
    pub attempts: usize,
    /// Its customer is to be called, or was.
    pub callback: Option<CallbackView>,
    /// It was sent on to a number outside.
    pub forward: Option<ForwardView>,
    /// AI has to do with it.
    pub ai: Option<AssistView>,
    /// `voice` or `chat`.
    pub channel: String,
    /// It is written.
    pub chat: Option<ChatView>,
}

pub fn call(tenant: &DomainId, row: &Call, open: bool) -> CallView {
    CallView {
        id: row.id.to_string(),
        tenant: tenant.to_string(),
        state: row.state.name().to_owned(),
        queue: row.queue.to_string(),
        priority: row.priority,
        step: row.step,
        from: person(&row.from.user, open),
        to: row.to_user.clone(),
        trunk: row.trunk.as_ref().map(ToString::to_string),
        node: row.edge.node.0,
        arrived_at: stamp(row.arrived),
        queued_at: row.queued.map(stamp),
        offered_at: row.offered.map(stamp),
        answered_at: row.answered.map(stamp),
        agents: match row.state.connected() {
            Some(leg) => row.legs.get(&leg).map(|leg| leg.agent.to_string()).into_iter().collect(),
            None => row.legs.values().map(|leg| leg.agent.to_string()).collect(),
        },
        muted: muted(row),
        consults: row.consult.as_ref().and_then(|consult| row.legs.get(&consult.leg)).map(|leg| leg.agent.to_string()),
        supervisors: supervisors(row),
        recording: match row.taping {
            // What is said outside is no matter of its queue's.
            _ if row.forward.is_some() => "off",
            Taping::Off => "off",
            Taping::On { masked: false, .. } => "on",
            Taping::On { masked: true, .. } => "paused",
        }
        .to_owned(),
        attempts: row.attempts.rows.len() + row.attempts.dropped as usize,
        callback: row.callback.as_ref().map(|row| callback::live(row, open)),
        forward: transfer::live(row, open),
        ai: row.assist.as_deref().map(assist::live),
        channel: row.channel().name().to_owned(),
        chat: row.chat.as_deref().map(chat::live),
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SupervisorView {
    pub agent: String,
    /// `monitor`, `whisper` or `barge`.
    pub mode: String,
    /// It has answered.
    pub up: bool,
}

fn supervisors(row: &Call) -> Vec<SupervisorView> {
    let view = |leg: &Leg| match leg.role {
        Role::Supervisor(mode) => {
            Some(SupervisorView { agent: leg.agent.to_string(), mode: mode.name().to_owned(), up: leg.answered.is_some() })
        }
        Role::Agent | Role::Consult => None,
    };
    row.legs.values().filter_map(|leg| view(leg)).collect()
}

fn muted(row: &Call) -> Vec<String> {
    let agent = row.state.connected().and_then(|leg| row.legs.get(&leg)).is_some_and(|leg| leg.muted);
    let sides = [(row.caller.muted, "caller"), (agent, "agent")];
    sides.into_iter().filter(|(muted, _)| *muted).map(|(_, side)| side.to_owned()).collect()
}

/// A call detail record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CdrView {
    pub call_id: String,
    pub tenant: String,
    pub queue: Option<String>,
    pub agent: Option<String>,
    pub outcome: String,
    pub end_reason: String,
    pub node: u64,
    pub arrived_at: String,
    pub queued_at: Option<String>,
    pub offered_at: Option<String>,
    pub answered_at: Option<String>,
    pub ended_at: String,
    pub waited_ms: u64,
    pub talked_ms: u64,
    pub trunk: Option<String>,
    /// Null when the caller was erased.
    pub from: Option<String>,
    pub to: String,
    pub priority: u8,
    pub policy_version: u64,
    pub held_ms: u64,
    /// How often another node took its legs over.
    pub adoptions: u16,
    pub attempts: Vec<AttemptView>,
    pub transfers: Vec<TransferView>,
    pub recordings: Vec<TapeView>,
    /// It was a callback.
    pub callback: Option<CalledBackView>,
    /// AI had to do with it.
    pub ai: Option<AssistanceView>,
    /// What was written down for the agents who had it. Null if nothing was, for whoever may not see it, and when the caller was erased.
    pub notes: Option<Vec<NoteView>>,
    /// The answered contact of the same customer, shortly before, that was about the same.
    pub reopens: Option<String>,
    /// `voice` or `chat`.
    pub channel: String,
    /// It was written.
    pub chat: Option<ClosedChatView>,
    /// The chat that this call went on with.
    pub continues: Option<String>,
    /// The call that this chat went on as.
    pub continued_as: Option<String>,
    /// Place in the archive of its partition.
    pub seq: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptView {
    pub agent: String,
    pub node: u64,
    pub offered_at: String,
    pub rang_at: Option<String>,
    pub answered_at: Option<String>,
    pub ended_at: String,
    pub result: String,
}

fn attempt(row: &Attempt) -> AttemptView {
    AttemptView {
        agent: row.agent.to_string(),
        node: row.node.0,
        offered_at: stamp(row.offered),
        rang_at: row.rang.map(stamp),
        answered_at: row.answered.map(stamp),
        ended_at: stamp(row.ended),
        result: row.result.name().to_owned(),
    }
}

pub fn cdr(seq: u64, row: &ClosedCall, keys: Option<&Keys>, open: bool) -> CdrView {
    let from = match row.caller(keys) {
        Caller::Known(party) => Some(person(&party.user, open)),
        Caller::Erased => None,
    };
    CdrView {
        call_id: row.call_id.to_string(),
        tenant: row.tenant.to_string(),
        queue: row.queue.as_ref().map(ToString::to_string),
        agent: row.agent.as_ref().map(ToString::to_string),
        outcome: row.outcome.name().to_owned(),
        end_reason: row.end_reason.clone(),
        node: row.node.0,
        arrived_at: stamp(row.arrived),
        queued_at: row.queued.map(stamp),
        offered_at: row.offered.map(stamp),
        answered_at: row.answered.map(stamp),
        ended_at: stamp(row.ended),
        waited_ms: row.waited_ms(),
        talked_ms: row.talked_ms(),
        trunk: row.trunk.as_ref().map(ToString::to_string),
        from,
        to: row.to_user.clone(),
        priority: row.priority,
        policy_version: row.policy_version,
        held_ms: row.held_ms,
        adoptions: row.adoptions,
        attempts: row.attempts.rows.iter().map(attempt).collect(),
        transfers: row.transfers.rows.iter().map(|sent| transfer::sent(row.call_id, sent, keys, open)).collect(),
        recordings: row.tapes.rows.iter().map(|tape| tapes::taped(row, tape)).collect(),
        callback: row.callback.as_ref().map(callback::closed),
        ai: row.assistance.as_deref().map(|ai| assist::closed(row, ai, keys.filter(|_| open))),
        notes: note::closed(row, keys.filter(|_| open)),
        reopens: row.reopens.map(|call| call.to_string()),
        channel: if row.chat.is_some() { "chat" } else { "voice" }.to_owned(),
        chat: row.chat.as_deref().map(|chat| chat::closed(row, chat, keys.filter(|_| open))),
        continues: row.callback.as_ref().and_then(|callback| callback.continues).map(|call| call.to_string()),
        continued_as: row.chat.as_ref().and_then(|chat| chat.continued_as).map(|call| call.to_string()),
        seq,
    }
}

/// `LongestIdle` → `longest-idle`.
pub fn kebab(name: &str) -> String {
    name.chars().enumerate().fold(String::new(), |mut out, (at, c)| {
        if c.is_ascii_uppercase() && at > 0 {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_in_utc_with_milliseconds() {
        assert_eq!(rfc3339(WallTime(1_795_000_000_007)), "2026-11-18T11:06:40.007Z");
        assert_eq!(rfc3339(WallTime(0)), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_masked_number_cannot_be_called_back() {
        assert_eq!(mask("+4930123456"), "+49***");
        assert_eq!(mask("é"), "é***");
    }

    #[test]
    fn names_of_strategies_are_those_of_the_tenant_file() {
        assert_eq!(kebab("LongestIdle"), "longest-idle");
    }
}
