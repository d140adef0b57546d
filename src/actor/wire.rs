//! What the actors of two nodes say to each other, and what comes back.

use serde::{Deserialize, Serialize};

use crate::core::{
    Outcome,
    command::{Envelope, LegReport},
    effect::{Order, Record},
    id::{DomainId, Edge, LegId},
    policy::Policy,
};

/// The number of this service among node-to-node requests.
pub const SERVICE: u8 = 1;

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    /// To the leader: commit this through the entity it concerns.
    Command {
        group: u32,
        envelope: Box<Envelope>,
    },
    /// To the leader: a leg's report.
    Report {
        group: u32,
        report: Box<LegReport>,
    },
    /// To an edge.
    Orders(Vec<Order>),
    /// To the edge that owns a leg or holds a flow: raw SIP.
    Tunnel(#[serde(with = "serde_bytes")] Vec<u8>),
    OwnerOf(LegId),
    Archive {
        group: u32,
        from: u64,
    },
    Policy {
        group: u32,
        domain: DomainId,
        known: u64,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Outcome(Outcome),
    Done,
    Owner(Option<Edge>),
    Records(Vec<Record>),
    Policy(Option<(u64, Box<Policy>)>),
    /// Not here, not now; ask again, maybe elsewhere.
    Retry(String),
    /// It may have been committed.
    Unknown(String),
}
