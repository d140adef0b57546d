//! A tenant's file (TOML or JSON) read into the policy the core uses.
//!
//! It owns the keys, their units and their defaults. The policy itself, and what it does, is `core::policy`.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;

use super::Error;
use crate::core::{
    id::DomainId,
    policy::{Agent, AgentKind, Channel, Fallback, InitialState, Misses, OnClose, Policy, Queue, Route, ServiceLevel, Strategy, Trunk},
};

/// A tenant as its file says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    pub id: DomainId,
    pub policy: Policy,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tenant: Head,
    #[serde(default)]
    queue: Vec<QueueRow>,
    #[serde(default)]
    agent: Vec<AgentRow>,
    #[serde(default)]
    route: Vec<RouteRow>,
    #[serde(default)]
    trunk: Vec<TrunkRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    id: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct QueueRow {
    id: String,
    #[serde(default = "longest_idle")]
    strategy: String,
    service_level: Option<Level>,
    #[serde(default = "fifteen")]
    offer_timeout_s: u64,
    #[serde(default = "ten_minutes")]
    max_wait_s: u64,
    #[serde(default)]
    wrap_up_s: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Level {
    answer_within_s: u64,
    target_percent: u8,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentRow {
    id: String,
    contact: Option<String>,
    #[serde(default)]
    skills: BTreeMap<String, u8>,
    #[serde(default)]
    state: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteRow {
    to: String,
    queue: String,
    priority: Option<u8>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrunkRow {
    id: String,
    #[serde(default)]
    sources: Vec<String>,
}

fn longest_idle() -> String {
    "longest-idle".into()
}
const fn fifteen() -> u64 {
    15
}
const fn ten_minutes() -> u64 {
    600
}

/// # Errors
/// [`Error`] names file, line and key.
pub fn parse_toml(file: &str, text: &str) -> Result<Tenant, Error> {
    let rows: File = toml::from_str(text).map_err(|e| Error::toml(Path::new(file), text, &e))?;
    build(file, rows)
}

/// # Errors
/// [`Error`] names file, line and key.
pub fn parse_json(file: &str, text: &str) -> Result<Tenant, Error> {
    let rows: File = serde_json::from_str(text).map_err(|e| Error::new(file, Some(e.line()), e.to_string()))?;
    build(file, rows)
}

fn build(file: &str, rows: File) -> Result<Tenant, Error> {
    let mut policy = Policy::default();
    for row in rows.queue {
        let strategy = strategy(&row.strategy).ok_or_else(|| Error::new(file, None, format!("unknown strategy {:?}", row.strategy)))?;
        policy.queues.insert(row.id.as_str().into(), queue(&row, strategy));
    }
    for row in rows.agent {
        let initial = match row.state.as_deref() {
            Some("available") => InitialState::Available,
            None | Some("offline") => InitialState::Offline,
            Some(other) => InitialState::Break(other.to_owned()),
        };
        let agent = Agent {
            kind: AgentKind::Human,
            contact: row.contact,
            ha1: None,
            skills: row.skills.iter().map(|(skill, level)| (skill.as_str().into(), *level)).collect(),
            queues: Vec::new(),
            capacity: BTreeMap::from([(Channel::Voice, 1)]),
            exclusive: vec![Channel::Voice],
            initial,
        };
        if policy.agents.insert(row.id.as_str().into(), agent).is_some() {
            return Err(Error::new(file, None, format!("two agents have the id {}", row.id)));
        }
    }
    for row in rows.route {
        if !policy.queues.contains_key(row.queue.as_str()) {
            return Err(Error::new(file, None, format!("route {:?}: no such queue: {}", row.to, row.queue)));
        }
        policy.routes.insert(row.to, Route { queue: row.queue.as_str().into(), priority: row.priority, emergency: false });
    }
    for row in rows.trunk {
        let trunk = Trunk {
            sources: row.sources,
            ha1: None,
            username: None,
            contacts: Vec::new(),
            outbound_auth: None,
            caller_id: None,
            calls_per_s_max: 0,
            calls_max: 0,
            trust_priority: false,
        };
        policy.trunks.insert(row.id.as_str().into(), trunk);
    }
    Ok(Tenant { id: rows.tenant.id.as_str().into(), policy })
}

fn queue(row: &QueueRow, strategy: Strategy) -> Queue {
    let level = row.service_level.as_ref();
    Queue {
        strategy,
        service_level: level.map(|l| ServiceLevel { answer_within_ms: l.answer_within_s * 1000, target_percent: l.target_percent }),
        offer_timeout_ms: row.offer_timeout_s * 1000,
        max_wait_ms: row.max_wait_s * 1000,
        on_max_wait: Fallback::Reject { status: 480 },
        wrap_up_ms: row.wrap_up_s * 1000,
        waiting_max: 0,
        on_full: Fallback::Reject { status: 486 },
        require_agents: false,
        on_no_agents: Fallback::Reject { status: 480 },
        hours: None,
        on_closed: Fallback::Reject { status: 480 },
        waiting_on_close: OnClose::Finish,
        priority: 5,
        promote_after_ms: 0,
        steps: Vec::new(),
        affinity_ms: 0,
        misses: Misses {
            max: 3,
            break_reason: "missed".into(),
            timeout_delay_ms: 5_000,
            reject_delay_ms: 5_000,
            busy_delay_ms: 5_000,
            unreachable_delay_ms: 5_000,
        },
        max_unanswered_ms: 150_000,
    }
}

fn strategy(name: &str) -> Option<Strategy> {
    Some(match name {
        "longest-idle" => Strategy::LongestIdle,
        "round-robin" => Strategy::RoundRobin,
        "least-occupied" => Strategy::LeastOccupied,
        "fewest-calls" => Strategy::FewestCalls,
        "highest-skill" => Strategy::HighestSkill,
        "ring-all" => Strategy::RingAll,
        _ => return None,
    })
}
