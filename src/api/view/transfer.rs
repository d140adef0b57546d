//! Calls that went from one to another as clients see them: with a number outside while that lasts, and all of them in a record.

use serde::{Deserialize, Serialize};

use super::{person, stamp};
use crate::core::{
    call::{Call, CallState},
    cdr::{Dialled, Transfer},
    id::CallId,
    privacy::Keys,
};

/// A call went from an agent to somebody else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TransferView {
    pub at: String,
    /// `agent:NAME`, `user:TOKEN` or `system`.
    pub by: String,
    /// The agent who had it.
    pub from: String,
    /// `queue:NAME`, `agent:NAME` or `number`.
    pub to: String,
    /// They had talked about it first.
    pub attended: bool,
    /// What became of the number.
    pub outside: Option<ForwardedView>,
}

pub(super) fn sent(call: CallId, row: &Transfer, keys: Option<&Keys>, open: bool) -> TransferView {
    TransferView {
        at: stamp(row.at),
        by: row.by.to_string(),
        from: row.from.to_string(),
        to: row.to.to_string(),
        attended: row.attended,
        outside: row.outside.as_deref().map(|row| closed(call, row, keys, open)),
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForwardView {
    pub number: String,
    /// It talks with the caller.
    pub answered: bool,
}

pub(super) fn live(row: &Call, open: bool) -> Option<ForwardView> {
    let forward = row.forward.as_ref()?;
    Some(ForwardView { number: person(&forward.number, open), answered: row.state == CallState::Forwarded })
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForwardedView {
    /// Null when its owner was erased.
    pub number: Option<String>,
    pub answered_at: Option<String>,
    pub ended_at: Option<String>,
    /// `accepted` when it talked with the caller, else why not, as for an attempt.
    pub result: Option<String>,
}

fn closed(call: CallId, row: &Dialled, keys: Option<&Keys>, open: bool) -> ForwardedView {
    ForwardedView {
        number: keys.and_then(|keys| keys.open_number(&row.number, call)).map(|number| person(&number, open)),
        answered_at: row.answered.map(stamp),
        ended_at: row.ended.map(stamp),
        result: row.result.map(|result| result.name().to_owned()),
    }
}
