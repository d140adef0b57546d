//! Every metric of a node: name, kind, meaning, buckets. What is not here is not exported under a promise.
//!
//! Names carry the prefix `tandem_`, base units and `_total` for counters. Labels are bounded: never a call or an agent.

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

/// Histograms whose buckets are not [`LATENCY_S`].
pub const BUCKETS: &[(&str, Buckets)] = &[(QUEUE_WAIT_SECONDS, HUMAN_S), (OFFER_TO_ACCEPT_SECONDS, HUMAN_S), (HANDLE_SECONDS, HUMAN_S)];

pub const CONTACTS_TOTAL: &str = "tandem_contacts_total";
pub const QUEUE_DEPTH: &str = "tandem_queue_depth";
pub const QUEUE_OLDEST_WAIT_SECONDS: &str = "tandem_queue_oldest_wait_seconds";
pub const QUEUE_WAIT_SECONDS: &str = "tandem_queue_wait_seconds";
pub const SERVICE_LEVEL_RATIO: &str = "tandem_service_level_ratio";
pub const OFFERS_TOTAL: &str = "tandem_offers_total";
pub const OFFER_TO_ACCEPT_SECONDS: &str = "tandem_offer_to_accept_seconds";
pub const HANDLE_SECONDS: &str = "tandem_handle_seconds";
pub const AGENTS: &str = "tandem_agents";
pub const AGENT_OCCUPANCY_RATIO: &str = "tandem_agent_occupancy_ratio";
pub const CALLS_LIVE: &str = "tandem_calls_live";
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
pub const BUILD_INFO: &str = "tandem_build_info";

/// Describes the catalogue to the installed recorder.
pub fn describe() {
    describe_routing();
    describe_node();
}

fn describe_routing() {
    describe_counter!(CONTACTS_TOTAL, "Closed contacts by tenant, queue and outcome; counted by the leader of their partition");
    describe_gauge!(QUEUE_DEPTH, "Contacts waiting, by tenant and queue");
    describe_gauge!(QUEUE_OLDEST_WAIT_SECONDS, Unit::Seconds, "Age of the oldest waiting contact, by tenant and queue");
    describe_histogram!(QUEUE_WAIT_SECONDS, Unit::Seconds, "Wait from queue entry to the agent's answer, by tenant and queue");
    describe_gauge!(
        SERVICE_LEVEL_RATIO,
        "Answered within the threshold / (answered + abandoned later than it), since this node leads; by tenant and queue"
    );
    describe_counter!(OFFERS_TOTAL, "Offers by tenant and result: accepted, rejected, offer_timeout, rescinded");
    describe_histogram!(OFFER_TO_ACCEPT_SECONDS, Unit::Seconds, "Offer made to offer accepted");
    describe_histogram!(HANDLE_SECONDS, Unit::Seconds, "Answer to end of a contact, by tenant and queue");
    describe_gauge!(AGENTS, "Agents by tenant, state and kind");
    describe_gauge!(AGENT_OCCUPANCY_RATIO, "Agents on a contact / agents on a contact or available, by tenant");
    describe_gauge!(CALLS_LIVE, "Live calls by tenant and state, of partitions this node leads");
    describe_counter!(EVENTS_TOTAL, "Events by type, counted by the leader of their partition");
    describe_counter!(EVENTS_MISSED_TOTAL, "Events that this node's own counting skipped because it fell behind");
}

fn describe_node() {
    describe_gauge!(ACTORS, "Live actors by kind");
    describe_counter!(ACTOR_MESSAGES_TOTAL, "Messages handled by actors, by kind");
    describe_counter!(ACTOR_RESTARTS_TOTAL, "Actors spawned again after a panic, by kind");
    describe_gauge!(GROUPS_LED, "Groups this node leads");
    describe_gauge!(GROUPS_HOSTED, "Groups this node holds a replica of");
    describe_gauge!(GROUPS_WITHOUT_LEADER, "Groups hosted here whose leader is unknown; alert when above 0 for a second");
    describe_gauge!(GROUP_APPLY_LAG, "Log entries not yet applied here, by group");
    describe_gauge!(NODES, "Nodes by state as seen from here");
    describe_gauge!(LEASE_VALID, "1 while this node may act for its legs");
    describe_gauge!(DRAINING, "1 while this node drains");
    describe_counter!(HTTP_REQUESTS_TOTAL, "HTTP requests by route, method and status class");
    describe_histogram!(HTTP_REQUEST_SECONDS, Unit::Seconds, "HTTP request to response head, by route");
    describe_counter!(HTTP_REFUSED_TOTAL, "HTTP requests refused by the concurrency bound");
    describe_gauge!(BUILD_INFO, "1, with the version as a label");
}
