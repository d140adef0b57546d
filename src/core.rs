//! The pure routing core: what a call router decides, and nothing of how it is done.
//!
//! No clock, no randomness, no floats, no async, no I/O, no iteration over an unordered map. `State::apply` is the only
//! way in; equal states and equal commands give equal bytes on every replica.

pub mod command;
pub mod effect;
pub mod id;
pub mod limits;
pub mod outcome;
pub mod party;
pub mod policy;
pub mod state;
pub mod time;

pub use command::Command;
pub use effect::Effects;
pub use outcome::{Outcome, Reason};
pub use state::State;
