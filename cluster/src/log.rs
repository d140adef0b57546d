//! A node's durable log: one write-ahead log for all groups, openraft's storage on it, and snapshot files.

mod record;
mod recovery;
pub(crate) mod snapshot;
pub(crate) mod storage;
pub(crate) mod wal;
