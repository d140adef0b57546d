//! Every metric of a node: name, kind, meaning, buckets. What is not here is not exported under a promise.
//!
//! Names carry the prefix `tandem_`, or that of the layer below (`raft_`, `wal_`, `cluster_`), base units and `_total` for
//! counters. Labels are bounded: never a call or an agent. The SIP edge describes its own (`sip::edge::metrics`).

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Bounds of a histogram, in its unit.
type Buckets = &'static [f64];

/// Latencies of decisions, commits and requests: 100 µs to 10 s.
pub const LATENCY_S: Buckets = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5,
    0.75, 1.0, 2.5, 5.0, 10.0,
];
/// Waits and conversations of people: 1 s to 1 h.
const HUMAN_S: Buckets = &[1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0];

/// One write of the log: a command or two, up to thousands.
const BATCH_BYTES: Buckets = &[256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0];

/// Histograms whose buckets are not [`LATENCY_S`].
pub const BUCKETS: &[(&str, Buckets)] = &[
    (QUEUE_WAIT_SECONDS, HUMAN_S),
    (OFFER_TO_ACCEPT_SECONDS, HUMAN_S),
    (TAKEOVER_SWITCH_SECONDS, HUMAN_S),
    (HANDLE_SECONDS, HUMAN_S),
    (WAL_BATCH_BYTES, BATCH_BYTES),
];

pub const CONTACTS_TOTAL: &str = "tandem_contacts_total";
pub const QUEUE_DEPTH: &str = "tandem_queue_depth";
pub const QUEUE_OLDEST_WAIT_SECONDS: &str = "tandem_queue_oldest_wait_seconds";
pub const QUEUE_WAIT_SECONDS: &str = "tandem_queue_wait_seconds";
pub const SERVICE_LEVEL_RATIO: &str = "tandem_service_level_ratio";
pub const OFFERS_TOTAL: &str = "tandem_offers_total";
pub const TAKEOVER_TOTAL: &str = "tandem_takeover_total";
pub const TAKEOVER_SWITCH_SECONDS: &str = "tandem_takeover_switch_seconds";
pub const AI_RESOLVED_TOTAL: &str = "tandem_ai_resolved_total";
pub const REOPENED_TOTAL: &str = "tandem_reopened_total";
pub const DECISION_FALLBACK_TOTAL: &str = "tandem_decision_fallback_total";
pub const OFFER_TO_ACCEPT_SECONDS: &str = "tandem_offer_to_accept_seconds";
pub const HANDLE_SECONDS: &str = "tandem_handle_seconds";
pub const AGENTS: &str = "tandem_agents";
pub const AGENT_OCCUPANCY_RATIO: &str = "tandem_agent_occupancy_ratio";
pub const CALLS_LIVE: &str = "tandem_calls_live";
pub const AI_MODELS_MISSING: &str = "tandem_ai_models_missing";
pub const EVENTS_TOTAL: &str = "tandem_events_total";
pub const EVENTS_MISSED_TOTAL: &str = "tandem_events_missed_total";
pub const ACTORS: &str = "tandem_actors";
pub const ACTOR_MESSAGES_TOTAL: &str = "tandem_actor_messages_total";
pub const ACTOR_RESTARTS_TOTAL: &str = "tandem_actor_restarts_total";
pub const GROUPS_LED: &str = "tandem_groups_led";
pub const GROUPS_HOSTED: &str = "tandem_groups_hosted";
pub const GROUPS_WITHOUT_LEADER: &str = "tandem_groups_without_leader";
pub const GROUP_APPLY_LAG: &str = "tandem_group_apply_lag_entries";
pub const NODES: &str = "tandem_nodes";
pub const LEASE_VALID: &str = "tandem_lease_valid";
pub const DRAINING: &str = "tandem_draining";
pub const HTTP_REQUESTS_TOTAL: &str = "tandem_http_requests_total";
pub const HTTP_REQUEST_SECONDS: &str = "tandem_http_request_seconds";
pub const HTTP_REFUSED_TOTAL: &str = "tandem_http_refused_total";
pub const DECISION_SECONDS: &str = "tandem_decision_seconds";
pub const OUTBOX_LAG_SECONDS: &str = "tandem_outbox_lag_seconds";
pub const RING_HELD_SECONDS: &str = "tandem_ring_held_seconds";
pub const RINGS_UNORDERED_TOTAL: &str = "tandem_rings_unordered_total";
pub const ACTOR_RECOVERY_SECONDS: &str = "tandem_actor_recovery_seconds";
pub const STALE_COMMAND_REJECTED_TOTAL: &str = "tandem_stale_command_rejected_total";
pub const INVARIANT_VIOLATIONS_TOTAL: &str = "tandem_invariant_violations_total";
pub const REPORTS_DROPPED_TOTAL: &str = "tandem_reports_dropped_total";
pub const RAFT_COMMIT_SECONDS: &str = "raft_commit_seconds";
pub const RAFT_COMMANDS_TOTAL: &str = "raft_commands_total";
pub const RAFT_LEADER_CHANGES_TOTAL: &str = "raft_leader_changes_total";
pub const RAFT_POISONED: &str = "raft_poisoned";
pub const RAFT_SKIPPED_ENTRIES_TOTAL: &str = "raft_skipped_entries_total";
pub const WAL_FSYNC_SECONDS: &str = "wal_fsync_seconds";
pub const WAL_BATCH_BYTES: &str = "wal_batch_bytes";
pub const WAL_SEGMENTS: &str = "wal_segments";
pub const CLUSTER_NODES_LOST_TOTAL: &str = "cluster_nodes_lost_total";
pub const CLUSTER_LIVES_BEGUN_ANEW_TOTAL: &str = "cluster_lives_begun_anew_total";
pub const CLUSTER_FORCED_SNAPSHOTS_TOTAL: &str = "cluster_forced_snapshots_total";
pub const CLUSTER_CONNECTIONS_REFUSED_TOTAL: &str = "cluster_connections_refused_total";
pub const CLUSTER_FRAMES_REFUSED_TOTAL: &str = "cluster_frames_refused_total";
pub const CLUSTER_DISK_SLOW: &str = "cluster_disk_slow";
pub const CLUSTER_GROUPS_APPLIED_SLOWLY: &str = "cluster_groups_applied_slowly";
pub const BUILD_INFO: &str = "tandem_build_info";

/// What a metric does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}
use Kind::{Counter, Gauge, Histogram};

/// Name, kind, unit and meaning.
type Row = (&'static str, Kind, Option<Unit>, &'static str);

/// How calls, queues and agents fare.
pub const ROUTING: &[Row] = &[
    (CONTACTS_TOTAL, Counter, None, "Closed contacts by tenant, queue, channel and outcome; counted by the leader of their partition"),
    (QUEUE_DEPTH, Gauge, None, "Contacts waiting, by tenant and queue"),
    (QUEUE_OLDEST_WAIT_SECONDS, Gauge, Some(Unit::Seconds), "Age of the oldest waiting contact, by tenant and queue"),
    (QUEUE_WAIT_SECONDS, Histogram, Some(Unit::Seconds), "Wait from queue entry to the agent's answer, by tenant and queue"),
    (
        SERVICE_LEVEL_RATIO,
        Gauge,
        None,
        "Answered within the threshold / (answered + abandoned later than it), since this node leads; by tenant and queue",
    ),
    (TAKEOVER_TOTAL, Counter, None, "Takeovers that came to an end, by tenant, cause and result: accepted, rolled_back, queue_head, ended"),
    (TAKEOVER_SWITCH_SECONDS, Histogram, Some(Unit::Seconds), "Takeover committed to a person accepting it, by cause"),
    (
        AI_RESOLVED_TOTAL,
        Counter,
        None,
        "Contacts that AI agents were done with, by tenant and whether the matter was settled: yes, no, unknown",
    ),
    (
        REOPENED_TOTAL,
        Counter,
        None,
        "Contacts about what an answered one before was about, by tenant and what that one's AI agent had said: yes, no, unknown, none",
    ),
    (DECISION_FALLBACK_TOTAL, Counter, None, "Lines of customers that rules alone understood, by tenant"),
    (OFFERS_TOTAL, Counter, None, "Offers by tenant and result: accepted, rejected, offer_timeout, rescinded"),
    (OFFER_TO_ACCEPT_SECONDS, Histogram, Some(Unit::Seconds), "Offer made to offer accepted, by tenant"),
    (HANDLE_SECONDS, Histogram, Some(Unit::Seconds), "Time an agent spent on a contact, by tenant, queue and phase: talk, hold, wrap_up"),
    (AGENTS, Gauge, None, "Agents by tenant, state and kind"),
    (AGENT_OCCUPANCY_RATIO, Gauge, None, "Agents on a contact / agents on a contact or available, by tenant"),
    (CALLS_LIVE, Gauge, None, "Live calls by tenant and state, of partitions this node leads"),
    (EVENTS_TOTAL, Counter, None, "Events by type, counted by the leader of their partition"),
    (EVENTS_MISSED_TOTAL, Counter, None, "Events that this node's own counting skipped because it fell behind"),
    (DECISION_SECONDS, Histogram, Some(Unit::Seconds), "Command at its actor to its outcome, decided and committed"),
    (OUTBOX_LAG_SECONDS, Histogram, Some(Unit::Seconds), "Order decided to order taken by its edge"),
    (RING_HELD_SECONDS, Histogram, Some(Unit::Seconds), "INVITE kept back until an edge had the farewell of its phone's last call"),
    (RINGS_UNORDERED_TOTAL, Counter, None, "INVITEs sent though no edge had the farewell of the phone's last call in time"),
    (
        STALE_COMMAND_REJECTED_TOTAL,
        Counter,
        None,
        "Commands refused because something earlier had settled the matter, counted by the leader",
    ),
    (INVARIANT_VIOLATIONS_TOTAL, Counter, None, "Findings of the running audit of the routing state, by invariant; alert when above 0"),
    (REPORTS_DROPPED_TOTAL, Counter, None, "Reports of legs lost because too many were waiting for a leader; alert when above 0"),
];

/// How the node itself fares.
pub const NODE: &[Row] = &[
    (ACTORS, Gauge, None, "Live actors by kind"),
    (ACTOR_MESSAGES_TOTAL, Counter, None, "Messages handled by actors, by kind"),
    (ACTOR_RESTARTS_TOTAL, Counter, None, "Actors spawned again after a panic, by kind"),
    (ACTOR_RECOVERY_SECONDS, Histogram, Some(Unit::Seconds), "A new leadership's open orders handed to their actors"),
    (GROUPS_LED, Gauge, None, "Groups this node leads"),
    (GROUPS_HOSTED, Gauge, None, "Groups this node holds a replica of"),
    (GROUPS_WITHOUT_LEADER, Gauge, None, "Groups hosted here whose leader is unknown; alert when above 0 for a second"),
    (GROUP_APPLY_LAG, Gauge, None, "Log entries not yet applied here, by group"),
    (NODES, Gauge, None, "Nodes by state as seen from here"),
    (LEASE_VALID, Gauge, None, "1 while this node may act for its legs"),
    (DRAINING, Gauge, None, "1 while this node drains"),
    (AI_MODELS_MISSING, Gauge, None, "Versions of models that are chosen and this node lacks; alert when above 0"),
    (HTTP_REQUESTS_TOTAL, Counter, None, "HTTP requests by route, method and status class"),
    (HTTP_REQUEST_SECONDS, Histogram, Some(Unit::Seconds), "HTTP request to response head, by route"),
    (HTTP_REFUSED_TOTAL, Counter, None, "HTTP requests refused by the concurrency bound"),
    (RAFT_COMMIT_SECONDS, Histogram, Some(Unit::Seconds), "Proposal to commit and application, of groups this node leads"),
    (RAFT_COMMANDS_TOTAL, Counter, None, "Commands committed by this node as leader, by group"),
    (RAFT_LEADER_CHANGES_TOTAL, Counter, None, "Leaderships this node began"),
    (RAFT_POISONED, Gauge, None, "1 while a group waits here at an entry that ended this node, by group; alert when above 0"),
    (RAFT_SKIPPED_ENTRIES_TOTAL, Counter, None, "Entries passed over at an operator's word, by group; alert when it rises"),
    (WAL_FSYNC_SECONDS, Histogram, Some(Unit::Seconds), "One write and sync of the log"),
    (WAL_BATCH_BYTES, Histogram, Some(Unit::Bytes), "Bytes of one write of the log"),
    (WAL_SEGMENTS, Gauge, None, "Segment files of the log, recycled ones included"),
    (CLUSTER_NODES_LOST_TOTAL, Counter, None, "Lives of nodes this node saw declared lost"),
    (CLUSTER_LIVES_BEGUN_ANEW_TOTAL, Counter, None, "Times this node was given up by the others and began a new life"),
    (CLUSTER_FORCED_SNAPSHOTS_TOTAL, Counter, None, "Snapshots forced so that no segment of the log stays pinned"),
    (CLUSTER_CONNECTIONS_REFUSED_TOTAL, Counter, None, "Connections between nodes refused, such as for a wrong certificate"),
    (CLUSTER_FRAMES_REFUSED_TOTAL, Counter, None, "Frames between nodes that made no sense"),
    (CLUSTER_DISK_SLOW, Gauge, None, "1 while the log's disk is too slow to lead on"),
    (CLUSTER_GROUPS_APPLIED_SLOWLY, Gauge, None, "Groups whose entries this node applies too slowly to lead them"),
    (BUILD_INFO, Gauge, None, "1, with the version as a label"),
];

/// Describes the catalogue to the installed recorder.
pub fn describe() {
    for (name, kind, unit, meaning) in ROUTING.iter().chain(NODE) {
        let unit = unit.unwrap_or(Unit::Count);
        match kind {
            Counter => describe_counter!(*name, unit, *meaning),
            Gauge => describe_gauge!(*name, unit, *meaning),
            Histogram => describe_histogram!(*name, unit, *meaning),
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn every_metric_has_its_help_and_a_name_that_says_its_unit() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe();
            for (name, kind, ..) in ROUTING.iter().chain(NODE) {
                match kind {
                    Counter => metrics::counter!(*name).increment(1),
                    Gauge => metrics::gauge!(*name).set(1.0),
                    Histogram => metrics::histogram!(*name).record(1.0),
                }
            }
        });
        let text = handle.render();
        for (name, kind, unit, meaning) in ROUTING.iter().chain(NODE) {
            assert!(text.contains(&format!("# HELP {name} {meaning}")), "{name}:\n{text}");
            assert_eq!(name.ends_with("_total"), *kind == Counter, "{name}");
            assert_eq!(name.ends_with("_seconds"), *unit == Some(Unit::Seconds), "{name}");
        }
    }
}
