//! Probes and metrics: public, since what they say is no secret and their readers hold no token.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use tandem_cluster::NodeState;

use crate::{
    api::{app::App, meter},
    telemetry::catalogue,
};

/// The process runs and answers.
pub async fn alive() -> &'static str {
    "ok\n"
}

/// The node may be given work: it knows leaders, holds its lease and does not drain.
pub async fn ready(State(app): State<Arc<App>>) -> Response {
    let missing = not_ready(&app);
    if missing.is_empty() {
        return "ready\n".into_response();
    }
    let body = missing.iter().fold(String::new(), |mut text, line| {
        writeln!(text, "{line}").expect("a String takes every write");
        text
    });
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

/// What keeps this node from being ready, each in a sentence.
pub fn not_ready(app: &App) -> Vec<String> {
    let cluster = app.live.cluster();
    let mut missing = Vec::new();
    let groups = cluster.groups();
    let leaderless: Vec<u32> = groups.iter().filter(|status| status.leader.is_none()).map(|status| status.group).collect();
    if groups.is_empty() {
        missing.push("no partition is hosted here yet".to_owned());
    }
    if !leaderless.is_empty() {
        missing.push(format!("no leader known for partitions {leaderless:?}"));
    }
    if !cluster.lease_valid() {
        missing.push("the node has no lease: a majority of nodes does not answer".to_owned());
    }
    let nodes = cluster.nodes();
    if nodes.borrow().get(&cluster.node()).is_some_and(|me| matches!(me.state, NodeState::Draining | NodeState::Left)) {
        missing.push("the node drains".to_owned());
    }
    missing.extend((app.sip)());
    missing
}

/// Prometheus text exposition.
pub async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    gauge_node(&app);
    meter::gauge(&app.live).await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics.render())
}

fn gauge_node(app: &App) {
    let cluster = app.live.cluster();
    let me = cluster.node();
    let groups = cluster.groups();
    let led = groups.iter().filter(|status| status.leader == Some(me)).count();
    let leaderless = groups.iter().filter(|status| status.leader.is_none()).count();
    metrics::gauge!(catalogue::GROUPS_HOSTED).set(groups.len() as f64);
    metrics::gauge!(catalogue::GROUPS_LED).set(led as f64);
    metrics::gauge!(catalogue::GROUPS_WITHOUT_LEADER).set(leaderless as f64);
    for status in &groups {
        let lag = status.last_log.saturating_sub(status.applied);
        metrics::gauge!(catalogue::GROUP_APPLY_LAG, "group" => status.group.to_string()).set(lag as f64);
    }
    metrics::gauge!(catalogue::LEASE_VALID).set(if cluster.lease_valid() { 1.0 } else { 0.0 });
    let nodes = cluster.nodes();
    let nodes = nodes.borrow();
    for state in [NodeState::Up, NodeState::Suspect, NodeState::Lost, NodeState::Draining, NodeState::Left] {
        let count = nodes.values().filter(|node| node.state == state).count();
        metrics::gauge!(catalogue::NODES, "state" => format!("{state:?}").to_lowercase()).set(count as f64);
    }
    let draining = nodes.get(&me).is_some_and(|node| node.state == NodeState::Draining);
    metrics::gauge!(catalogue::DRAINING).set(if draining { 1.0 } else { 0.0 });
    metrics::gauge!(catalogue::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    for (kind, census) in app.live.census() {
        metrics::gauge!(catalogue::ACTORS, "kind" => kind).set(census.live as f64);
        metrics::counter!(catalogue::ACTOR_MESSAGES_TOTAL, "kind" => kind).absolute(census.messages);
        metrics::counter!(catalogue::ACTOR_RESTARTS_TOTAL, "kind" => kind).absolute(census.restarts);
    }
}

/// The same as one line of JSON, for the node list.
pub fn summary(app: &App) -> serde_json::Value {
    let census = app.live.census();
    let count = |value: &dyn Fn(&crate::actor::Census) -> u64| -> serde_json::Value {
        census.iter().map(|(kind, census)| ((*kind).to_owned(), json!(value(census)))).collect::<serde_json::Map<_, _>>().into()
    };
    json!({ "live": count(&|c| c.live), "messages": count(&|c| c.messages), "restarts": count(&|c| c.restarts) })
}
