//! The types openraft is instantiated with: what an entry carries and what applying it answers.
//!
//! It does not know what a command means; commands and replies are bytes of the product's machine.

use std::fmt;

use bytes::Bytes;
use openraft::{BasicNode, alias};
use serde::{Deserialize, Serialize};

use crate::NodeId;

/// What openraft's tasks run on.
#[cfg(not(feature = "sim"))]
type Runtime = openraft::impls::TokioRuntime;
#[cfg(feature = "sim")]
type Runtime = super::runtime::Runtime;

openraft::declare_raft_types!(
    /// Every group of a node uses this one instantiation, so that openraft is compiled once.
    pub(crate) TypeConfig:
        D = Batch,
        R = Replies,
        NodeId = NodeId,
        Node = BasicNode,
        AsyncRuntime = Runtime,
);

/// A Raft log entry: blank, a membership, or a [`Batch`].
pub(crate) type LogEntry = alias::EntryOf<TypeConfig>;
/// Position of an entry: leader (term, node) and index.
pub(crate) type LogId = alias::LogIdOf<TypeConfig>;
/// A replica's vote: the durable promise of an election.
pub(crate) type Vote = alias::VoteOf<TypeConfig>;

/// The payload of one log entry: commands that waited together, stamped by the leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Batch {
    /// Log time in nanoseconds, monotonic within the group.
    pub(crate) time_ns: u64,
    /// The proposer's wall clock, milliseconds since the Unix epoch.
    pub(crate) wall_ms: i64,
    pub(crate) commands: Vec<Bytes>,
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: usize = self.commands.iter().map(Bytes::len).sum();
        write!(f, "{} commands ({bytes} B) at {} ns", self.commands.len(), self.time_ns)
    }
}

/// What applying one entry answered: a reply per command, in order, and the index it was applied at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replies {
    pub(crate) index: u64,
    pub(crate) replies: Vec<Bytes>,
}
