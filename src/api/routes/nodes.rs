//! Nodes: who is there, what they carry, and how one is drained, joined and removed.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use tandem_cluster::{Cluster, NodeState, NodeStatus, PeerSpec, ProposeError};

use super::health;
use crate::api::{
    access::{Operation, Principal},
    app::App,
    extract::{Caller, Json, Key, Params},
    forward, limits,
    models::Held,
    page::{self, Page, Query},
    problem::Problem,
};
use crate::core::id::RequestId;

/// A node as clients see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    pub id: u64,
    pub incarnation: u64,
    pub state: String,
    pub addr: SocketAddr,
    pub witness: bool,
    /// Partitions led, and replicas held, as the answering node sees them.
    pub leads: usize,
    pub hosts: usize,
    /// The highest feature level its binary can apply; `GET /api/v1/feature-level` says which one the cluster uses.
    pub feature_level: u32,
    pub attributes: std::collections::BTreeMap<String, String>,
    /// Its wall clock when it answered, milliseconds since 1970; null when it did not.
    pub wall_ms: Option<i64>,
    /// Live actors, messages handled and restarts by kind; null when the node did not answer.
    pub actors: serde_json::Value,
    /// The models that judge there; null of a witness, and when it did not answer.
    #[serde(default)]
    pub models: Option<Held>,
}

/// `GET /api/v1/nodes`
pub async fn list(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Params(query): Params<Query>,
) -> Result<axum::Json<Page<Node>>, Problem> {
    who.check(Operation::ReadCluster)?;
    let after = query.cursor()?.and_then(|cursor| cursor.key.parse::<u64>().ok()).unwrap_or(0);
    let mut page = page::cut(known(&app, after), query.limit()?, |node| node.id.to_string());
    let rows = futures::future::join_all(page.items.drain(..).map(|status| row(&app, &who, status))).await;
    Ok(axum::Json(Page { items: rows, next: page.next, stale: None }))
}

/// `GET /api/v1/nodes/{id}`
pub async fn one(State(app): State<Arc<App>>, Caller(who): Caller, Path(id): Path<String>) -> Result<axum::Json<Node>, Problem> {
    who.check(Operation::ReadCluster)?;
    let status = find(&app, &id)?;
    Ok(axum::Json(row(&app, &who, status).await))
}

/// The nodes behind one, in order.
pub(super) fn known(app: &App, after: u64) -> Vec<NodeStatus> {
    app.live.cluster().nodes().borrow().values().filter(|node| node.id > after).cloned().collect()
}

pub(super) async fn row(app: &App, who: &Principal, status: NodeStatus) -> Node {
    let cluster = app.live.cluster();
    let (actors, wall_ms, models) = if status.id == cluster.node() {
        (health::summary(app), Some(cluster.wall_ms()), app.models.as_ref().map(|held| held.lock().clone()))
    } else if matches!(status.state, NodeState::Up | NodeState::Draining) {
        let uri = format!("/api/v1/nodes/{}", status.id);
        let asked = forward::get::<Node>(cluster, status.id, who, &uri, limits::PEER_DEADLINE).await;
        asked.map(|node| (node.actors, node.wall_ms, node.models)).unwrap_or_default()
    } else {
        Default::default()
    };
    let groups = cluster.groups();
    Node {
        id: status.id,
        incarnation: status.incarnation,
        state: format!("{:?}", status.state).to_lowercase(),
        addr: status.addr,
        witness: status.witness,
        leads: groups.iter().filter(|group| group.leader == Some(status.id)).count(),
        hosts: groups.iter().filter(|group| group.voters.contains(&status.id) || group.learners.contains(&status.id)).count(),
        feature_level: status.feature_level,
        attributes: status.attributes,
        wall_ms,
        actors,
        models,
    }
}

fn number(id: &str) -> Result<u64, Problem> {
    id.parse().map_err(|_| Problem::bad_request(format!("{id:?} is no node id")))
}

fn find(app: &App, id: &str) -> Result<NodeStatus, Problem> {
    let number = number(id)?;
    let nodes = app.live.cluster().nodes();
    let found = nodes.borrow().get(&number).cloned();
    found.ok_or_else(|| Problem::not_found(format!("no such node: {number}")))
}

/// The cluster's word on a command about a node: its refusal is 404 if there is no such node. It is asked even about one that
/// is unknown here, since the repeat of a command that removed a node has the outcome of the first.
fn about(app: &App, id: &str, result: Result<(), ProposeError>) -> Result<(), Problem> {
    if let Err(ProposeError::Refused(_)) = result {
        find(app, id)?;
    }
    Ok(result?)
}

/// The cluster, commanded under the client's idempotency key.
fn keyed(app: &App, Key(key): Key) -> Cluster {
    app.live.cluster().under(key.map(|RequestId(id)| id))
}

/// `POST /api/v1/nodes/{id}/drain`: new calls get 503 there, its leaderships move, its own calls finish.
pub async fn drain(State(app): State<Arc<App>>, Caller(who): Caller, key: Key, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    set_draining(&app, &who, key, &id, true).await
}

/// `DELETE /api/v1/nodes/{id}/drain`: takes the mark back.
pub async fn undrain(State(app): State<Arc<App>>, Caller(who): Caller, key: Key, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    set_draining(&app, &who, key, &id, false).await
}

async fn set_draining(app: &App, who: &Principal, key: Key, id: &str, draining: bool) -> Result<StatusCode, Problem> {
    who.check(Operation::DrainNode)?;
    let node = number(id)?;
    app.quorum()?;
    about(app, id, keyed(app, key).set_draining(node, draining, limits::COMMAND_DEADLINE).await)?;
    tracing::info!(node, draining, by = %who.token, "drain set");
    Ok(StatusCode::NO_CONTENT)
}

/// Which behaviour the cluster has agreed on.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    level: u32,
}

/// `GET /api/v1/feature-level`
pub async fn level(State(app): State<Arc<App>>, Caller(who): Caller) -> Result<axum::Json<Level>, Problem> {
    who.check(Operation::ReadCluster)?;
    Ok(axum::Json(Level { level: app.live.cluster().feature_level() }))
}

/// `POST /api/v1/feature-level`: the end of an upgrade. No binary that does not know the level comes back after it.
pub async fn raise(State(app): State<Arc<App>>, Caller(who): Caller, key: Key, Json(wanted): Json<Level>) -> Result<StatusCode, Problem> {
    who.check(Operation::Membership)?;
    app.quorum()?;
    keyed(&app, key).raise_feature_level(wanted.level, limits::COMMAND_DEADLINE).await?;
    tracing::info!(level = wanted.level, by = %who.token, "feature level raised");
    Ok(StatusCode::NO_CONTENT)
}

/// A node that wants in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    id: u64,
    addr: SocketAddr,
    #[serde(default)]
    witness: bool,
}

/// `POST /api/v1/nodes`: admits a node; placement moves replicas to it.
pub async fn join(State(app): State<Arc<App>>, Caller(who): Caller, key: Key, Json(join): Json<Join>) -> Result<StatusCode, Problem> {
    who.check(Operation::Membership)?;
    app.quorum()?;
    if join.id == 0 || join.id > u64::from(u16::MAX) {
        return Err(Problem::invalid("id: must be 1 to 65535"));
    }
    let peer = PeerSpec { id: join.id, addr: join.addr, witness: join.witness };
    keyed(&app, key).join(peer, limits::COMMAND_DEADLINE).await?;
    tracing::info!(node = join.id, addr = %join.addr, by = %who.token, "node joined");
    Ok(StatusCode::ACCEPTED)
}

/// `DELETE /api/v1/nodes/{id}`: moves every replica off a node and forgets it.
pub async fn leave(State(app): State<Arc<App>>, Caller(who): Caller, key: Key, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    who.check(Operation::Membership)?;
    app.quorum()?;
    let node = number(&id)?;
    about(&app, &id, keyed(&app, key).leave(node, limits::COMMAND_DEADLINE).await)?;
    tracing::info!(node, by = %who.token, "node removed");
    Ok(StatusCode::ACCEPTED)
}
