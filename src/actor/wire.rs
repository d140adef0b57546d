//! What nodes say to each other's actors: questions and answers, addressed by name and never by process.
//!
//! A request carries a batch of questions and is answered by as many answers, in order. `tandem_cluster::codec` puts a
//! version in front.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tandem_cluster::GroupId;

use super::archive::ArchiveStatus;
use crate::core::{
    Outcome, State,
    command::{Command, TimerKind},
    effect::Order,
    id::{AgentId, CallId, DomainId, Edge, LegId, QueueId},
};

/// The number of this service among node-to-node requests.
pub const SERVICE: u8 = 1;

/// An actor's name within its partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Address {
    Partition,
    Call(DomainId, CallId),
    Agent(DomainId, AgentId),
    Queue(DomainId, QueueId),
}

impl Address {
    /// Whose business a command is.
    pub(super) fn of(command: &Command) -> Self {
        match command {
            Command::Arrive(arrive) => Self::Call(arrive.domain.clone(), arrive.call),
            Command::Note(new) => Self::Call(new.domain.clone(), new.call),
            Command::OpenChat(new) => Self::Call(new.domain.clone(), new.call),
            Command::Schedule(new) => Self::Call(new.domain.clone(), new.call),
            Command::Leg(report) => Self::Call(report.domain.clone(), report.leg.call),
            Command::HangUp { domain, call, .. }
            | Command::Requeue { domain, call, .. }
            | Command::Control { domain, call, .. }
            | Command::Transfer { domain, call, .. }
            | Command::Consult { domain, call, .. }
            | Command::Callback { domain, call, .. }
            | Command::ConsultStep { domain, call, .. }
            | Command::Chat { domain, call, .. }
            | Command::TakeOver { domain, call, .. } => Self::Call(domain.clone(), *call),
            Command::Refer { domain, leg, .. } | Command::Recorded { domain, leg, .. } => Self::Call(domain.clone(), leg.call),
            Command::AgentIntent { domain, agent, .. } | Command::Bind { domain, agent, .. } | Command::Unbind { domain, agent, .. } => {
                Self::Agent(domain.clone(), agent.clone())
            }
            Command::PublishPolicy { .. }
            | Command::RemoveDomain { .. }
            | Command::FireTimers { .. }
            | Command::Lead { .. }
            | Command::EdgeLost { .. }
            | Command::HandOver { .. }
            | Command::KeepCallbacks { .. }
            | Command::EffectsDone { .. }
            | Command::SwitchAi { .. }
            | Command::RaiseLevel { .. }
            | Command::Erase { .. }
            | Command::DropOld => Self::Partition,
        }
    }

    /// Whose deadline a timer is. How long a call waits, and what then, is its queue's rule.
    pub(super) fn of_timer(state: &State, domain: &DomainId, what: &TimerKind) -> Self {
        match what {
            TimerKind::Wait { call } => match state.domains().get(domain).and_then(|rows| rows.calls().get(call)) {
                Some(row) => Self::Queue(domain.clone(), row.queue.clone()),
                None => Self::Call(domain.clone(), *call),
            },
            TimerKind::Offer { call, .. } | TimerKind::Call { call } => Self::Call(domain.clone(), *call),
            TimerKind::Agent { agent } => Self::Agent(domain.clone(), agent.clone()),
            TimerKind::Queue { queue } => Self::Queue(domain.clone(), queue.clone()),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Question {
    /// For the leader of the group: let the addressed actor commit this envelope.
    Commit { group: GroupId, to: Address, command: ByteBuf },
    /// For an edge: perform these.
    Orders(Vec<Order>),
    /// For an edge: SIP bytes (see `sip::tunnel`).
    Tunnel(ByteBuf),
    /// For an edge: which of these legs are not there?
    Missing(Vec<LegId>),
    /// For a replica: whose is this leg?
    OwnerOf(LegId),
    /// For a replica: records of the archive from this sequence on.
    Records { group: GroupId, from: u64, limit: u32 },
    /// For a replica: how far its archive is.
    Archive(GroupId),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Answer {
    /// Committed; `Outcome` encoded, as the log's reply has it.
    Committed(ByteBuf),
    /// Certainly not committed, and why; ask the leader, or ask again later.
    Refused(String),
    /// Perhaps committed.
    Unknown(String),
    /// Orders or bytes are with the edge.
    Taken,
    Missing(Vec<LegId>),
    Owner(Option<Edge>),
    Records(Vec<(u64, ByteBuf)>),
    Archive(Option<ArchiveStatus>),
}

impl Answer {
    /// The outcome of a committed command.
    pub(super) fn outcome(bytes: &[u8]) -> Result<Outcome, String> {
        tandem_cluster::codec::decode(bytes).map_err(|error| error.to_string())
    }
}
