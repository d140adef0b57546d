//! Decisions of matching as clients see them.

use serde::{Deserialize, Serialize};

use super::{AttemptView, attempt, kebab, stamp};
use crate::core::{cdr::Attempt, explain::Decision, id::DomainId};

/// Why a call went where it went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExplainView {
    pub call_id: String,
    pub tenant: String,
    /// `live`, or the outcome of a closed call.
    pub state: String,
    /// The decisions as a person reads them, oldest first.
    pub text: Vec<String>,
    /// The same as data.
    pub decisions: Vec<serde_json::Value>,
    /// Decisions that gave way to the bound of the record.
    pub dropped: u32,
    pub attempts: Vec<AttemptView>,
}

pub fn explain(id: String, tenant: &DomainId, state: &str, decisions: &[Decision], dropped: u32, attempts: &[Attempt]) -> ExplainView {
    ExplainView {
        call_id: id,
        tenant: tenant.to_string(),
        state: state.to_owned(),
        text: decisions.iter().map(ToString::to_string).collect(),
        decisions: decisions.iter().map(decision).collect(),
        dropped,
        attempts: attempts.iter().map(attempt).collect(),
    }
}

/// Spelt out, since the core's own maps have keys that JSON has no form for.
fn decision(row: &Decision) -> serde_json::Value {
    serde_json::json!({
        "index": row.index,
        "at": stamp(row.at),
        "policy_version": row.policy_version,
        "trigger": row.trigger.to_string(),
        "queue": row.queue.as_str(),
        "strategy": kebab(&format!("{:?}", row.strategy)),
        "step": row.step,
        "priority": row.priority,
        "waited_ms": row.waited_ms,
        "candidates": row.candidates.iter().map(|candidate| serde_json::json!({
            "agent": candidate.agent.as_str(),
            "filter": candidate.filter.as_ref().map(ToString::to_string),
            "figure": candidate.key.figure,
            "idle_since_ms": candidate.key.idle_since_ms,
        })).collect::<Vec<_>>(),
        "others": row.others.iter().map(|(filter, n)| (filter.to_string(), (*n).into())).collect::<serde_json::Map<_, _>>(),
        "ties": row.ties,
        "chosen": row.chosen.iter().map(|agent| agent.as_str()).collect::<Vec<_>>(),
    })
}
