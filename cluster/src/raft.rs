//! Consensus: the only part of the crate, with the log's storage, that names openraft.

pub(crate) mod group;
pub(crate) mod heartbeats;
pub(crate) mod machine;
pub(crate) mod network;
mod parcel;
pub(crate) mod poison;
mod proposer;
#[cfg(feature = "sim")]
mod runtime;
pub(crate) mod type_config;
