//! What a command came to. A rejection is a domain answer, part of the replicated result; it is not an error.

use serde::{Deserialize, Serialize};

use super::{
    id::{CallId, OfferId},
    time::WallTime,
};

/// The replicated result of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Accepted,
    /// The same command was applied before; nothing changed and the earlier result stands.
    Duplicate,
    /// A policy was published under this version.
    Published {
        version: u64,
    },
    /// An offer was accepted or made.
    Offer {
        offer: OfferId,
    },
    Rejected(Reason),
    /// A call was turned away by a rule that names the SIP status for it.
    Refused {
        status: u16,
        reason: Reason,
    },
    /// This call was made of a wish for a callback.
    Scheduled {
        call: CallId,
    },
    /// A line of a chat was written under this number.
    Said {
        seq: u32,
    },
}

impl Outcome {
    pub const fn is_accepted(&self) -> bool {
        !matches!(self, Self::Rejected(_) | Self::Refused { .. })
    }
}

/// Why a command changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error)]
pub enum Reason {
    #[error("no such domain")]
    NoDomain,
    #[error("no route for {0:?}")]
    NoRoute(String),
    #[error("no such queue: {0}")]
    NoQueue(String),
    #[error("no such agent: {0}")]
    NoAgent(String),
    #[error("no such call")]
    NoCall,
    #[error("no such leg")]
    NoLeg,
    #[error("the queue is closed")]
    QueueClosed,
    /// The queue's opening time is known when it has opening hours.
    #[error("outside opening hours")]
    OutsideHours { opens_at: Option<WallTime> },
    #[error("the queue is full")]
    QueueFull,
    #[error("no agent could ever serve this call")]
    NoAgentsForQueue,
    #[error("the domain is at its limit of {0} calls")]
    TooManyCalls(u32),
    #[error("superseded by an earlier event")]
    Stale,
    #[error("the offer was already taken")]
    Taken,
    #[error("not allowed in state {0}")]
    WrongState(String),
    #[error("policy version {current} is current, not {expected}")]
    VersionConflict { expected: u64, current: u64 },
    #[error("{0} is in use by live contacts")]
    InUse(String),
    #[error("invalid: {0}")]
    Invalid(String),
    #[error("the command needs feature level {0}")]
    Level(u32),
    #[error("the entry was skipped as poisonous")]
    Poisoned,
    #[error("its media does not pass through this system")]
    NotAnchored,
    #[error("the call is not this agent's")]
    NotYours,
    #[error("{0}")]
    NotReady(String),
    #[error("the tenant sends no calls to this number")]
    NumberBarred,
    #[error("lines come faster than they may")]
    TooFast,
}
