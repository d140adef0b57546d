//! The state of one partition and the only way to change it.

use super::{Effects, Outcome, command::Envelope, time::At};

/// All that one partition knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct State {}

impl State {
    /// Applies a committed command. Pure: the same state, place and command give the same state, outcome and effects.
    pub fn apply(&mut self, _at: At, _envelope: &Envelope, _out: &mut Effects) -> Outcome {
        Outcome::Accepted
    }
}
