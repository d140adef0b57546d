//! A connected call that goes on with somebody else: at once, or after its agent has asked another one.
//!
//! An agent's token may do so with the agent's own calls; whose a call is, is the core's to say.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use serde::Deserialize;

use super::{
    agents::InTenant,
    calls::{Place, parse, place},
};
use crate::{
    api::{
        access::Operation,
        app::App,
        extract::{Caller, Json, Key, Params},
        problem::Problem,
    },
    core::{
        Command,
        command::{ConsultStep, TransferTo},
        id::{AgentId, QueueId},
    },
};

/// To whom: one of the two.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct To {
    queue: Option<String>,
    agent: Option<String>,
}

impl To {
    fn read(&self) -> Result<TransferTo, Problem> {
        match (&self.queue, &self.agent) {
            (Some(queue), None) => Ok(TransferTo::Queue(QueueId::new(queue))),
            (None, Some(agent)) => Ok(TransferTo::Agent(AgentId::new(agent))),
            _ => Err(Problem::invalid("give a queue or an agent")),
        }
    }
}

/// `POST /api/v1/calls/{id}/transfer`: the call goes on with another queue or agent; its age is kept.
pub async fn transfer(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Key(key): Key,
    Path(id): Path<String>,
    Params(query): Params<InTenant>,
    Json(body): Json<To>,
) -> Result<StatusCode, Problem> {
    let (call, to) = (parse(&id)?, body.read()?);
    let Place { tenant, .. } = place(&app, &who, Operation::Transfer, call, query.tenant.as_deref())?;
    app.command(&tenant, key, Command::Transfer { domain: tenant.clone(), call, to, by: who.actor() }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/v1/calls/{id}/consult`: the agent asks another one while the caller waits with music.
pub async fn consult(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Key(key): Key,
    Path(id): Path<String>,
    Params(query): Params<InTenant>,
    Json(body): Json<To>,
) -> Result<StatusCode, Problem> {
    let (call, to) = (parse(&id)?, body.read()?);
    let Place { tenant, .. } = place(&app, &who, Operation::Transfer, call, query.tenant.as_deref())?;
    app.command(&tenant, key, Command::Consult { domain: tenant.clone(), call, to, by: who.actor() }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/v1/calls/{id}/consult/{step}`: `complete`, `cancel` or `join`.
pub async fn step(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Key(key): Key,
    Path((id, step)): Path<(String, String)>,
    Params(query): Params<InTenant>,
) -> Result<StatusCode, Problem> {
    let call = parse(&id)?;
    let step = match step.as_str() {
        "complete" => ConsultStep::Complete,
        "cancel" => ConsultStep::Cancel,
        "join" => ConsultStep::Join,
        other => return Err(Problem::not_found(format!("{other:?} is no step of a consultation (complete, cancel, join)"))),
    };
    let Place { tenant, .. } = place(&app, &who, Operation::Transfer, call, query.tenant.as_deref())?;
    app.command(&tenant, key, Command::ConsultStep { domain: tenant.clone(), call, step, by: who.actor() }).await?;
    Ok(StatusCode::NO_CONTENT)
}
