//! The pure routing core: what a call router decides, and nothing of how it is done.
//!
//! No clock, no randomness, no floats, no async, no I/O, no iteration over an unordered map. `State::apply` is the only
//! way in; equal states and equal commands give equal bytes on every replica.

pub mod agent;
pub mod aid;
pub mod assist;
pub mod call;
pub mod callback;
pub mod cdr;
pub mod chat;
pub mod codec;
pub mod command;
pub mod domain;
pub mod effect;
pub mod explain;
pub mod forward;
pub mod hours;
pub mod id;
pub mod image;
pub mod invariant;
pub mod limits;
pub mod matrix;
pub mod models;
pub mod outcome;
mod parting;
pub mod party;
pub mod policy;
mod pool;
pub mod privacy;
pub mod queue;
mod reopen;
pub mod retention;
pub mod state;
pub mod tape;
pub mod time;

#[cfg(test)]
pub(crate) mod tests;

pub use command::Command;
pub use effect::Effects;
pub use outcome::{Outcome, Reason};
pub use state::State;
