//! Turns events and state into the routing metrics of the catalogue.
//!
//! Every replica applies every event; only the leader of a partition counts it, so that a sum over nodes counts a
//! contact once. Gauges are read from the state when they are scraped, again by the leader only.

use std::sync::Arc;

use tandem_cluster::GroupId;
use tokio::sync::broadcast;

use super::view;
use crate::{
    actor::Handle,
    core::{
        State,
        effect::{Event, EventKind},
        id::DomainId,
    },
    telemetry::catalogue,
};

/// Counts events until the source ends.
pub async fn run(live: Handle, mut source: broadcast::Receiver<Arc<Event>>) {
    loop {
        match source.recv().await {
            Ok(event) => {
                if live.cluster().leads(event.id.group).is_some() {
                    count(&event);
                }
            }
            Err(broadcast::error::RecvError::Lagged(missed)) => metrics::counter!(catalogue::EVENTS_MISSED_TOTAL).increment(missed),
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

fn count(event: &Event) {
    metrics::counter!(catalogue::EVENTS_TOTAL, "type" => event.kind.name()).increment(1);
    let tenant = event.domain.to_string();
    let queue = event.queue.as_ref().map_or_else(String::new, ToString::to_string);
    let field = |name: &str| event.data.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let seconds = |name: &str| field(name).and_then(|ms| ms.parse::<f64>().ok()).map(|ms| ms / 1000.0);
    let result = match event.kind {
        EventKind::ContactEnded => {
            let outcome = field("outcome").unwrap_or("unknown").to_owned();
            if let (Some(talked), Some(held)) = (seconds("talked_ms"), seconds("held_ms")) {
                handled(&tenant, &queue, "talk", talked - held);
                handled(&tenant, &queue, "hold", held);
            }
            let labels = [("tenant", tenant), ("queue", queue), ("channel", "voice".to_owned()), ("outcome", outcome)];
            metrics::counter!(catalogue::CONTACTS_TOTAL, &labels).increment(1);
            return;
        }
        EventKind::ContactWrapped => {
            if let Some(wrapped) = seconds("wrapped_ms") {
                handled(&tenant, &queue, "wrap_up", wrapped);
            }
            return;
        }
        EventKind::ContactAccepted => {
            if let Some(waited) = seconds("waited_ms") {
                metrics::histogram!(catalogue::QUEUE_WAIT_SECONDS, "tenant" => tenant.clone(), "queue" => queue).record(waited);
            }
            if let Some(rang) = seconds("rang_ms") {
                metrics::histogram!(catalogue::OFFER_TO_ACCEPT_SECONDS, "tenant" => tenant.clone()).record(rang);
            }
            "accepted"
        }
        EventKind::TakeoverEnded => {
            let name = |key: &str| field(key).unwrap_or("unknown").to_owned();
            let (cause, result) = (name("cause"), name("result"));
            if let Some(took) = seconds("took_ms").filter(|_| result == "accepted") {
                metrics::histogram!(catalogue::TAKEOVER_SWITCH_SECONDS, "cause" => cause.clone()).record(took);
            }
            metrics::counter!(catalogue::TAKEOVER_TOTAL, &[("tenant", tenant), ("cause", cause), ("result", result)]).increment(1);
            return;
        }
        EventKind::AiResolved => {
            let resolved = field("resolved").unwrap_or("unknown").to_owned();
            metrics::counter!(catalogue::AI_RESOLVED_TOTAL, "tenant" => tenant, "resolved" => resolved).increment(1);
            return;
        }
        EventKind::ContactReopened => {
            let resolved = field("resolved").unwrap_or("unknown").to_owned();
            metrics::counter!(catalogue::REOPENED_TOTAL, "tenant" => tenant, "resolved" => resolved).increment(1);
            return;
        }
        EventKind::ContactSaid => {
            if field("fallback") == Some("true") {
                metrics::counter!(catalogue::DECISION_FALLBACK_TOTAL, "tenant" => tenant).increment(1);
            }
            return;
        }
        EventKind::ContactRejected => "rejected",
        EventKind::ContactOfferTimeout => "offer_timeout",
        EventKind::ContactRescinded => "rescinded",
        _ => return,
    };
    metrics::counter!(catalogue::OFFERS_TOTAL, "tenant" => tenant, "result" => result).increment(1);
}

fn handled(tenant: &str, queue: &str, phase: &'static str, seconds: f64) {
    let labels = [("tenant", tenant.to_owned()), ("queue", queue.to_owned()), ("phase", phase.to_owned())];
    metrics::histogram!(catalogue::HANDLE_SECONDS, &labels).record(seconds);
}

/// Sets the gauges of every partition led here.
pub async fn gauge(live: &Handle) {
    let led: Vec<GroupId> = live.cluster().groups().into_iter().map(|status| status.group).filter(|group| *group != 0).collect();
    for group in led {
        let leads = live.cluster().leads(group).is_some();
        // A partition that moved away is set to zero here, or two nodes would show it.
        live.read(group, true, super::limits::READ_DEADLINE, |state| gauge_state(state, leads)).await.ok();
    }
}

fn gauge_state(state: &State, leads: bool) {
    let shown = |value: f64| if leads { value } else { 0.0 };
    for (tenant, domain) in state.domains() {
        for (id, row) in domain.queues() {
            let labels = [("tenant", tenant.to_string()), ("queue", id.to_string())];
            metrics::gauge!(catalogue::QUEUE_DEPTH, &labels).set(shown(row.depth() as f64));
            let oldest = row.oldest().map_or(0, |entered| state.now().ms_since(entered));
            metrics::gauge!(catalogue::QUEUE_OLDEST_WAIT_SECONDS, &labels).set(shown(oldest as f64 / 1000.0));
            if let Some(level) = view::service_level(row).filter(|_| leads) {
                metrics::gauge!(catalogue::SERVICE_LEVEL_RATIO, &labels).set(level);
            }
        }
        gauge_agents(tenant, domain, shown);
        for state_name in ["queued", "offering", "connected", "held"] {
            let count = domain.calls().values().filter(|call| call.state.name() == state_name).count();
            metrics::gauge!(catalogue::CALLS_LIVE, "tenant" => tenant.to_string(), "state" => state_name).set(shown(count as f64));
        }
    }
}

fn gauge_agents(tenant: &DomainId, domain: &crate::core::domain::Domain, shown: impl Fn(f64) -> f64) {
    let mut counts = std::collections::BTreeMap::new();
    for kind in ["human", "ai"] {
        for state in ["available", "reserved", "busy", "wrap_up", "break", "offline"] {
            counts.insert((state, kind), 0_u32);
        }
    }
    for (id, agent) in domain.agents() {
        let kind = domain.policy().agents.get(id).map_or("human", |policy| view::kind_name(policy.kind));
        *counts.entry((agent.state_name(domain.is_talking(agent)), kind)).or_default() += 1;
    }
    let total = |wanted: &[&str]| counts.iter().filter(|((state, _), _)| wanted.contains(state)).map(|(_, n)| f64::from(*n)).sum::<f64>();
    let busy = total(&["busy", "wrap_up", "reserved"]);
    let occupied = busy / (busy + total(&["available"])).max(1.0);
    metrics::gauge!(catalogue::AGENT_OCCUPANCY_RATIO, "tenant" => tenant.to_string()).set(shown(occupied));
    for ((state, kind), n) in &counts {
        metrics::gauge!(catalogue::AGENTS, "tenant" => tenant.to_string(), "state" => *state, "kind" => *kind).set(shown(f64::from(*n)));
    }
}
