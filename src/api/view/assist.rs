//! What AI has to do with a call, as clients see it.

use serde::{Deserialize, Serialize};

use super::{rfc3339, stamp};
use crate::core::{
    assist::{Assist, Assistance, Line, Resolution, Taken, TakeoverResult},
    cdr::ClosedCall,
    privacy::Keys,
};

/// Of a live call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AssistView {
    /// An AI agent has it now.
    pub active: bool,
    pub disclosed_at: Option<String>,
    pub person_only: bool,
    /// The customer asked for a person.
    pub asked: bool,
    /// Why a person is to take over, while it waits for one.
    pub takeover: Option<String>,
    pub takeovers: Vec<TakenView>,
    pub turns: u32,
    pub resolution: Option<ResolutionView>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TakenView {
    pub cause: String,
    pub by: String,
    pub at: String,
    pub ended_at: String,
    /// `accepted`, `rolled_back`, `queue_head` or `ended`.
    pub result: String,
    /// Who accepted.
    pub agent: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResolutionView {
    /// `yes`, `no` or `unknown`.
    pub resolved: String,
    /// In thousandths.
    pub confidence: u16,
    pub reason: String,
}

/// A line of a transcript.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LineView {
    pub at: String,
    /// `customer`, `assistant` or `person`.
    pub who: String,
    pub text: String,
    pub intent: Option<String>,
    /// In thousandths.
    pub confidence: Option<u16>,
    pub sentiment: Option<String>,
    /// What judged: a model's hash, `fallback` where rules alone did, `fallback:HASH` where another version did than was chosen.
    pub model: Option<String>,
    pub sources: Vec<String>,
}

/// Of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AssistanceView {
    /// No person had it.
    pub contained: bool,
    pub turns: u32,
    pub takeovers: Vec<TakenView>,
    pub resolution: Option<ResolutionView>,
    /// Null for whoever may not see it, and when the caller was erased.
    pub transcript: Option<Vec<LineView>>,
}

fn taken(row: &Taken) -> TakenView {
    let agent = match &row.result {
        TakeoverResult::Accepted(agent) => Some(agent.to_string()),
        TakeoverResult::RolledBack | TakeoverResult::QueueHead | TakeoverResult::Ended => None,
    };
    TakenView {
        cause: row.cause.to_string(),
        by: row.by.to_string(),
        at: stamp(row.at),
        ended_at: stamp(row.ended),
        result: row.result.name().to_owned(),
        agent,
    }
}

fn resolution(row: &Resolution) -> ResolutionView {
    ResolutionView { resolved: row.resolved.name().to_owned(), confidence: row.confidence, reason: row.reason.clone() }
}

pub fn line(row: &Line) -> LineView {
    let judged = row.judged.as_ref();
    LineView {
        at: rfc3339(row.at),
        who: row.who.name().to_owned(),
        text: row.text.clone(),
        intent: judged.and_then(|judged| judged.intent.clone()),
        confidence: judged.map(|judged| judged.confidence),
        sentiment: judged.map(|judged| judged.sentiment.clone()),
        model: judged.map(|judged| match (judged.fallback, judged.model.as_str()) {
            (_, "") => "fallback".to_owned(),
            (true, hash) => format!("fallback:{hash}"),
            (false, hash) => hash.to_owned(),
        }),
        sources: row.sources.clone(),
    }
}

pub(super) fn live(row: &Assist) -> AssistView {
    AssistView {
        active: row.is_active(),
        disclosed_at: row.disclosed.map(stamp),
        person_only: row.person_only,
        asked: row.asked,
        takeover: row.takeover.as_ref().map(|open| open.cause.to_string()),
        takeovers: row.takeovers.rows.iter().map(taken).collect(),
        turns: row.turns,
        resolution: row.resolution.as_ref().map(resolution),
    }
}

pub(super) fn closed(record: &ClosedCall, row: &Assistance, keys: Option<&Keys>) -> AssistanceView {
    let lines = keys.and_then(|keys| keys.open_transcript(&record.caller, record.call_id, &row.transcript));
    AssistanceView {
        contained: row.contained,
        turns: row.turns,
        takeovers: row.takeovers.rows.iter().map(taken).collect(),
        resolution: row.resolution.as_ref().map(resolution),
        transcript: lines.map(|lines| lines.rows.iter().map(line).collect()),
    }
}
