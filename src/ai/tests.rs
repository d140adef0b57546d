//! Behaviours of triage: what is read, what rules and models make of it, and what happens when models are late, broken or swapped.

mod assistant;
mod endpoint;
mod engine;
mod fake;
mod guard;
mod knowledge;
mod manifest;
mod persona;
mod reading;
mod registry;
mod rules;
mod sentences;
#[cfg(feature = "ai")]
mod shipped;
mod speech;
mod support;
mod together;
