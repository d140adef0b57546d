//! Notes for agents, as clients see them.

use serde::{Deserialize, Serialize};

use super::rfc3339;
use crate::core::{aid::Note, cdr::ClosedCall, privacy::Keys};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoteView {
    /// Its number in the call, from 1.
    pub n: u32,
    /// The leg of the agent it was for.
    pub leg: u16,
    /// `customer` or `agent`, who said it, or `suggestion`.
    pub kind: String,
    pub at: String,
    pub text: String,
    /// Of a suggestion: the article it is quoted from.
    pub source: Option<String>,
}

pub fn note(row: &Note) -> NoteView {
    NoteView {
        n: row.n,
        leg: row.owner,
        kind: row.kind.name().to_owned(),
        at: rfc3339(row.at),
        text: row.text.clone(),
        source: (!row.source.is_empty()).then(|| row.source.clone()),
    }
}

/// Of a record; `None` for whoever may not see them, when nothing was noted, and when the caller was erased.
pub(super) fn closed(record: &ClosedCall, keys: Option<&Keys>) -> Option<Vec<NoteView>> {
    let notes = keys?.open_notes(&record.caller, record.call_id, &record.notes)?;
    Some(notes.rows.iter().map(note).collect())
}
