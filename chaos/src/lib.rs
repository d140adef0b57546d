//! Chaos for a Tandem cluster. So far: the history of a run and the checkers that judge it.

pub mod checker;
pub mod history;
