//! A replicated-state-machine substrate: many Raft groups over QUIC, one shared log, fast failover.
//!
//! It owns consensus, durability, membership, placement and failure detection. It deliberately knows nothing about calls:
//! a product hands it a [`Machine`] per group and exchanges bytes. No openraft type leaves this crate, so its generics are
//! compiled once.

mod api;
pub mod backup;
mod clock;
pub mod codec;
mod electorate;
pub mod limits;
mod link;
mod liveness;
pub mod log;
mod machine;
mod meta;
mod node;
mod pace;
pub mod pki;
mod placement;
mod raft;
pub mod recovery;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod sim;
mod transport;
mod types;

pub use api::Cluster;
pub use clock::{offload, process_wall_ms, put_wall_ahead};
pub use machine::{Durable, Entry, Machine, MachineFactory};
pub use node::{Herald, has_left};
pub use types::{
    BoxFuture, Committed, GroupStatus, NodeState, NodeStatus, NodeTable, Options, PeerSpec, ProposeError, RequestError, RoleChange,
    Service, Standing, StartError, Timing, Token,
};

/// What the consensus library's log lines are filed under, and the filter that keeps them to what an operator must know: it
/// tells every step of every group, and every try to reach a dead peer. The cluster logs itself what matters of it.
pub const LOG_TARGET: &str = "openraft";
pub const LOG_QUIET: &str = "openraft=error,openraft::raft::raft_inner=off";

/// A node of the cluster; chosen by the operator, never reused for a wiped disk.
pub type NodeId = u64;
/// A Raft group. Group 0 is the meta group; 1..=N are the partitions.
pub type GroupId = u32;
/// Counts the starts of a node's process; (node, incarnation) names one life of it.
pub type Incarnation = u64;
