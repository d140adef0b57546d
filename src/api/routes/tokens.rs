//! Tokens: made here, told once, known to every node.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};

use crate::{
    api::{
        access::{Operation, Role},
        app::App,
        extract::{Caller, Json, Key, Params},
        limits,
        page::{self, Page, Query},
        problem::Problem,
        tokens::{self, Token},
    },
    core::id::RequestId,
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
    #[serde(flatten)]
    row: Token,
    token: String,
}

/// `POST /api/v1/tokens`: a repeat under one idempotency key leaves one token, the last that was told.
pub async fn create(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Key(key): Key,
    Json(wanted): Json<Create>,
) -> Result<(StatusCode, axum::Json<Created>), Problem> {
    who.check(Operation::Tokens)?;
    if wanted.role == Role::Agent && (wanted.agent.is_none() || wanted.tenant.is_none()) {
        return Err(Problem::invalid("an agent's token needs `agent` and `tenant`"));
    }
    if wanted.role != Role::Agent && wanted.agent.is_some() {
        return Err(Problem::invalid("`agent` belongs to the role agent only"));
    }
    app.quorum()?;
    if app.tokens.all().len() >= limits::TOKENS_MAX {
        return Err(Problem::conflict(format!("there are {} tokens; revoke some first", limits::TOKENS_MAX)));
    }
    let (token, mut row) = tokens::mint(wanted.role, wanted.tenant, wanted.agent);
    let mut replaced = None;
    if let Some(RequestId(key)) = key {
        row.id = format!("{}-{:016x}", format!("{:?}", row.role).to_lowercase(), key >> 64);
        replaced = app.tokens.all().into_iter().find(|other| other.id == row.id);
    }
    app.tokens.add(&row, limits::COMMAND_DEADLINE).await?;
    if let Some(first) = replaced {
        // The first try's secret cannot be told again, since it is kept nowhere: this one takes its place.
        app.tokens.remove(&first, None, limits::COMMAND_DEADLINE).await?;
    }
    tracing::info!(token = %row.id, role = ?row.role, by = %who.token, "token created");
    Ok((StatusCode::CREATED, axum::Json(Created { row, token })))
}

/// `GET /api/v1/tokens`: names and roles, never secrets or hashes.
pub async fn list(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Params(query): Params<Query>,
) -> Result<axum::Json<Page<Token>>, Problem> {
    who.check(Operation::Tokens)?;
    let after = query.cursor()?.map(|cursor| cursor.key).unwrap_or_default();
    let rows = app.tokens.all().into_iter().filter(|row| row.id > after);
    Ok(axum::Json(page::cut(rows, query.limit()?, |row| row.id.clone())))
}

/// `DELETE /api/v1/tokens/{id}`
pub async fn revoke(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Key(key): Key,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    who.check(Operation::Tokens)?;
    let key = key.map(|RequestId(id)| id);
    app.quorum()?;
    // The token of a repeat may be gone: the first try removed it.
    if app.live.cluster().under(key).done_before(limits::COMMAND_DEADLINE).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    let row = app.tokens.all().into_iter().find(|row| row.id == id);
    let row = row.ok_or_else(|| Problem::not_found(format!("no such token: {id}")))?;
    app.tokens.remove(&row, key, limits::COMMAND_DEADLINE).await?;
    tracing::info!(token = %id, by = %who.token, "token revoked");
    Ok(StatusCode::NO_CONTENT)
}
