//! Chaos for a Tandem cluster: a simulator, experiments on real nodes, faults, checkers and reports.
//!
//! The tool starts real nodes, real callers and agents, hurts them on purpose, and judges what they saw by invariants. It uses
//! the product's public interfaces only. `docs/CHAOS.md` is its guide. The simulator (`sim`) runs the product itself, on a network,
//! a disk and clocks that are made up.

pub mod catalogue;
pub mod checker;
pub mod cli;
pub mod experiment;
pub mod history;
pub mod judge;
pub mod plan;
pub mod relay;
pub mod report;
pub mod run;
pub mod sim;
pub mod state;
