//! Files of recordings as clients see them.

use serde::{Deserialize, Serialize};

use super::stamp;
use crate::core::{
    cdr::ClosedCall,
    id::LegId,
    tape::{self, Tape},
};

/// A file of a recording: what one party said in one part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TapeView {
    /// 0 is the caller's.
    pub leg: u16,
    pub part: u32,
    /// The node that has the file, and its name below `recordings` in that node's data directory.
    pub node: u64,
    pub file: String,
    pub begun_at: String,
    pub ms: u64,
    /// Windows that are silent because it was paused, in milliseconds from its start.
    pub masked_ms: Vec<(u64, u64)>,
    /// `saved`, `failed`, or `ended` where its node has not said more.
    pub state: String,
}

pub(super) fn taped(row: &ClosedCall, tape: &Tape) -> TapeView {
    let leg = LegId { call: row.call_id, n: tape.leg };
    TapeView {
        leg: tape.leg,
        part: tape.part,
        node: tape.node.0,
        file: tape::file(&row.tenant, leg, tape.part),
        begun_at: stamp(tape.begun),
        ms: tape.ms,
        masked_ms: tape.masked.clone(),
        state: tape.state.name().to_owned(),
    }
}
