//! The columns of each collection on a terminal.

use clap::ValueEnum;

use super::output::Column;

/// What can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Collection {
    Nodes,
    Partitions,
    Tenants,
    Queues,
    Agents,
    Calls,
    Cdrs,
}

impl Collection {
    /// The last segment of the collection's path.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Partitions => "partitions",
            Self::Tenants => "tenants",
            Self::Queues => "queues",
            Self::Agents => "agents",
            Self::Calls => "calls",
            Self::Cdrs => "cdrs",
        }
    }

    pub(super) const fn columns(self) -> &'static [Column] {
        match self {
            Self::Nodes => NODES,
            Self::Partitions => PARTITIONS,
            Self::Tenants => TENANTS,
            Self::Queues => QUEUES,
            Self::Agents => AGENTS,
            Self::Calls => CALLS,
            Self::Cdrs => CDRS,
        }
    }
}

const NODES: &[Column] = &[
    ("NODE", "/id"),
    ("STATE", "/state"),
    ("LEADS", "/leads"),
    ("HOSTS", "/hosts"),
    ("WITNESS", "/witness"),
    ("CLUSTER", "/addr"),
    ("SIP", "/attributes/sip"),
    ("HTTP", "/attributes/http"),
    ("ACTORS", "/actors/live"),
    ("MESSAGES", "/actors/messages"),
];

const PARTITIONS: &[Column] = &[
    ("PARTITION", "/group"),
    ("LEADER", "/leader"),
    ("TERM", "/term"),
    ("LOG", "/last_log"),
    ("APPLIED", "/applied"),
    ("POISONED", "/poisoned"),
    ("VOTERS", "/voters"),
    ("TENANTS", "/domains"),
    ("RECORDS", "/archive/records"),
    ("HASH", "/archive/hash"),
];

const TENANTS: &[Column] = &[("TENANT", "/id"), ("PARTITION", "/partition"), ("VERSION", "/version")];

const QUEUES: &[Column] = &[
    ("TENANT", "/tenant"),
    ("QUEUE", "/id"),
    ("STRATEGY", "/strategy"),
    ("WAITING", "/waiting"),
    ("OLDEST_S", "/oldest_wait_s"),
    ("SERVING", "/serving"),
    ("ANSWERED", "/answered"),
    ("ABANDONED", "/abandoned"),
    ("SL", "/service_level"),
];

const AGENTS: &[Column] = &[
    ("TENANT", "/tenant"),
    ("AGENT", "/id"),
    ("KIND", "/kind"),
    ("STATE", "/state"),
    ("REASON", "/reason"),
    ("REACHABLE", "/reachable"),
    ("CALLS", "/calls"),
    ("MISSES", "/misses"),
    ("CONTACTS", "/contacts"),
];

const CALLS: &[Column] = &[
    ("TENANT", "/tenant"),
    ("CALL", "/id"),
    ("STATE", "/state"),
    ("QUEUE", "/queue"),
    ("PRIO", "/priority"),
    ("FROM", "/from"),
    ("NODE", "/node"),
    ("ARRIVED", "/arrived_at"),
    ("AGENTS", "/agents"),
];

const CDRS: &[Column] = &[
    ("TENANT", "/tenant"),
    ("CALL", "/call_id"),
    ("OUTCOME", "/outcome"),
    ("REASON", "/end_reason"),
    ("QUEUE", "/queue"),
    ("AGENT", "/agent"),
    ("NODE", "/node"),
    ("ARRIVED", "/arrived_at"),
    ("WAITED_MS", "/waited_ms"),
    ("TALKED_MS", "/talked_ms"),
];
