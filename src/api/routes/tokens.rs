//! Tokens: made here, told once, handed to every node.
//!
//! A change is in force on this node when the request returns, and on every node that answered; the others take the
//! book over when they start (`node` asks its peers) or at the next change. A revocation is a tombstone and always wins.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::api::{
    access::{Operation, Principal, Role},
    app::App,
    extract::{Caller, Json, Params},
    forward, limits,
    page::{self, Page, Query},
    problem::Problem,
    tokens::{self, Token},
};

/// What a token is to be for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Create {
    role: Role,
    tenant: Option<String>,
    agent: Option<String>,
}

/// A fresh token. The secret is in no other answer.
#[derive(Debug, Serialize)]
pub struct Created {
    id: String,
    token: String,
    role: Role,
    tenant: Option<String>,
    agent: Option<String>,
    /// Nodes that could not be told yet.
    missed: Vec<u64>,
}

/// `POST /api/v1/tokens`
pub async fn create(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Json(wanted): Json<Create>,
) -> Result<(StatusCode, axum::Json<Created>), Problem> {
    who.check(Operation::Tokens)?;
    if wanted.role == Role::Agent && (wanted.agent.is_none() || wanted.tenant.is_none()) {
        return Err(Problem::invalid("an agent's token needs `agent` and `tenant`"));
    }
    if wanted.role != Role::Agent && wanted.agent.is_some() {
        return Err(Problem::invalid("`agent` belongs to the role agent only"));
    }
    let (token, row) = tokens::mint(wanted.role, wanted.tenant, wanted.agent);
    keep(&app, vec![row.clone()])?;
    let missed = tell(&app, &who, &[row.clone()]).await;
    tracing::info!(token = %row.id, role = ?row.role, by = %who.token, "token created");
    let created = Created { id: row.id, token, role: row.role, tenant: row.tenant, agent: row.agent, missed };
    Ok((StatusCode::CREATED, axum::Json(created)))
}

/// `GET /api/v1/tokens`: names and roles, never secrets or hashes; with `?stale=true` the rows a peer needs.
pub async fn list(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Params(query): Params<Query>,
) -> Result<axum::Json<Page<serde_json::Value>>, Problem> {
    who.check(Operation::Tokens)?;
    let after = query.cursor()?.map(|cursor| cursor.key).unwrap_or_default();
    let mut rows = app.tokens.all();
    rows.retain(|row| row.id > after && !row.revoked);
    rows.sort_by(|a, b| a.id.cmp(&b.id));
    let page = page::cut(rows, query.limit()?, |row| row.id.clone());
    let items = page.items.iter().map(|row| json!({ "id": row.id, "role": row.role, "tenant": row.tenant, "agent": row.agent })).collect();
    Ok(axum::Json(Page { items, next: page.next, stale: None }))
}

/// `DELETE /api/v1/tokens/{id}`
pub async fn revoke(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<serde_json::Value>, Problem> {
    who.check(Operation::Tokens)?;
    let row = app.tokens.all().into_iter().find(|row| row.id == id && !row.revoked);
    let row = row.ok_or_else(|| Problem::not_found(format!("no such token: {id}")))?;
    let row = Token { revoked: true, ..row };
    keep(&app, vec![row.clone()])?;
    let missed = tell(&app, &who, &[row]).await;
    tracing::info!(token = %id, by = %who.token, "token revoked");
    Ok(axum::Json(json!({ "id": id, "missed": missed })))
}

/// `PUT /api/v1/tokens`: rows from a peer; answered with the rows this node has.
pub async fn take(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    forwarded: Option<axum::Extension<forward::Forwarded>>,
    Json(rows): Json<Vec<Token>>,
) -> Result<axum::Json<Vec<Token>>, Problem> {
    who.check(Operation::Tokens)?;
    if forwarded.is_none() {
        return Err(Problem::forbidden("only nodes hand over token rows"));
    }
    keep(&app, rows)?;
    Ok(axum::Json(app.tokens.all()))
}

fn keep(app: &App, rows: Vec<Token>) -> Result<(), Problem> {
    app.tokens.merge(rows).map_err(|e| Problem::internal(e.to_string()))
}

/// Hands rows to every node that answers and takes over theirs; returns the nodes that did not.
async fn tell(app: &App, who: &Principal, rows: &[Token]) -> Vec<u64> {
    let cluster = app.live.cluster();
    let me = cluster.node();
    let nodes: Vec<u64> = cluster.nodes().borrow().keys().copied().filter(|node| *node != me).collect();
    let mut missed = Vec::new();
    for node in nodes {
        let told = forward::put::<_, Vec<Token>>(cluster, node, who, "/api/v1/tokens", &rows, limits::PEER_DEADLINE).await;
        match told {
            Ok(theirs) => {
                if let Err(problem) = keep(app, theirs) {
                    tracing::warn!(node, error = %problem.detail, "token rows of a peer could not be kept");
                }
            }
            Err(_) => missed.push(node),
        }
    }
    missed
}

/// Takes over what the peers know, once this node has started.
pub async fn catch_up(app: &App) {
    let system = Principal { token: "node".into(), role: Role::Admin, tenant: None, agent: None };
    tell(app, &system, &app.tokens.all()).await;
}
