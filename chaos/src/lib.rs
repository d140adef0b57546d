//! Chaos for a Tandem cluster: experiments on real nodes, faults, checkers and reports.
//!
//! The tool starts real nodes, real callers and agents, hurts them on purpose, and judges what they saw by invariants. It uses
//! the product's public interfaces only. `docs/CHAOS.md` is its guide. The simulator is a package of its own (`sim/`).

pub mod catalogue;
pub mod checker;
pub mod cli;
pub mod experiment;
pub mod history;
pub mod judge;
pub mod plan;
pub mod ram;
pub mod relay;
pub mod report;
pub mod run;
pub mod state;
