//! Consensus: the only module that names openraft, together with the log storage it stands on.

pub(crate) mod type_config;
