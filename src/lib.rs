//! Tandem: a call-routing cluster in which AI agents and people answer in tandem.
//!
//! `core` decides; everything else, behind the feature `node`, is a shell around it. The map and the rules of who may
//! depend on whom: `docs/ARCHITECTURE.md`.

pub mod core;

#[cfg(feature = "node")]
pub mod actor;
#[cfg(feature = "node")]
pub mod ai;
#[cfg(feature = "node")]
pub mod api;
#[cfg(feature = "node")]
pub mod cli;
#[cfg(feature = "node")]
pub mod config;
#[cfg(feature = "node")]
pub mod media;
#[cfg(feature = "node")]
pub mod node;
#[cfg(feature = "node")]
pub mod sip;
#[cfg(feature = "node")]
pub mod telemetry;
