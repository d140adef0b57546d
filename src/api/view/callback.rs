//! Callbacks as clients see them: of a live call, and in a record.

use serde::{Deserialize, Serialize};

use super::{person, rfc3339, stamp};
use crate::core::callback::{Callback, CalledBack};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallbackView {
    pub number: String,
    /// `agent:NAME`, `user:TOKEN` or `system`.
    pub by: String,
    pub scheduled_at: String,
    /// Not before, if somebody asked for a time.
    pub at: Option<String>,
    /// Dials so far.
    pub dials: u8,
    /// The customer answered.
    pub reached: bool,
}

pub(super) fn live(row: &Callback, open: bool) -> CallbackView {
    CallbackView {
        number: person(&row.number, open),
        by: row.by.to_string(),
        scheduled_at: stamp(row.scheduled),
        at: row.at.map(rfc3339),
        dials: row.dials,
        reached: row.reached,
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalledBackView {
    pub scheduled_at: String,
    pub dials: u8,
}

pub(super) fn closed(row: &CalledBack) -> CalledBackView {
    CalledBackView { scheduled_at: stamp(row.scheduled), dials: row.dials }
}
