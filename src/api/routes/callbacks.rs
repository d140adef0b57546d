//! Callbacks: a caller who waits gives up the phone and not its place, or a number is to be called at a time.
//!
//! A callback is a call: it is listed, moved, explained and ended (cancelled) as such.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{extract::State, http::StatusCode};
use rand::RngCore as _;
use serde::{Deserialize, Serialize};

use super::{agents::InTenant, control::Asked};
use crate::{
    api::{
        access::Operation,
        app::App,
        extract::{Caller, Json, Key, Params},
        problem::Problem,
    },
    core::{
        Command, Outcome,
        command::NewCallback,
        id::{CallId, QueueId},
        time::WallTime,
    },
};

/// Where the caller is to be reached; without a number, where it calls from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instead {
    number: Option<String>,
}

/// `POST /api/v1/calls/{id}/callback`: a waiting caller is hung up, keeps its place and is called when its turn has come.
pub async fn instead(State(app): State<Arc<App>>, asked: Asked, Json(body): Json<Instead>) -> Result<StatusCode, Problem> {
    let number = body.number;
    asked.give(&app, Operation::Requeue, |domain, call, by| Command::Callback { domain, call, number, by }).await
}

/// Whom to call for which queue.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct New {
    queue: String,
    number: String,
    /// RFC 3339; at once without it.
    at: Option<String>,
    priority: Option<u8>,
}

/// The call that was made of it.
#[derive(Debug, Serialize)]
pub struct Scheduled {
    call_id: String,
}

/// `POST /api/v1/callbacks`: a number is called for a queue, now or at a time.
pub async fn schedule(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Key(key): Key,
    Params(query): Params<InTenant>,
    Json(body): Json<New>,
) -> Result<(StatusCode, axum::Json<Scheduled>), Problem> {
    let tenant = app.tenant(&who, Operation::Requeue, query.tenant.as_deref())?;
    let edge = app.live.edge_for_calls().ok_or_else(|| Problem::unavailable("no node takes calls now"))?;
    let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let call = CallId::compose(unix_ms, edge.node, rand::rng().next_u64());
    let at = body.at.map(|at| at.parse::<jiff::Timestamp>()).transpose();
    let at = at.map_err(|error| Problem::invalid(format!("at: {error}")))?;
    let new = NewCallback {
        domain: tenant.clone(),
        call,
        edge,
        queue: QueueId::new(&body.queue),
        number: body.number,
        at: at.map(|at| WallTime(at.as_millisecond())),
        priority: body.priority,
        by: who.actor(),
    };
    // A repeat under the same key is told the call of the first.
    let call = match app.command(&tenant, key, Command::Schedule(Box::new(new))).await? {
        Outcome::Scheduled { call: first } => first,
        _ => call,
    };
    Ok((StatusCode::CREATED, axum::Json(Scheduled { call_id: call.to_string() })))
}
