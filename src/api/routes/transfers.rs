//! A connected call that goes on with somebody else: at once, or after its agent has asked another one.
//!
//! An agent's token may do so with the agent's own calls; whose a call is, is the core's to say.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use serde::Deserialize;

use super::control::Asked;
use crate::{
    api::{access::Operation, app::App, extract::Json, problem::Problem},
    core::{
        Command,
        command::{ConsultStep, TransferTo},
        id::{AgentId, QueueId},
    },
};

/// To whom: one of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct To {
    queue: Option<String>,
    agent: Option<String>,
    number: Option<String>,
}

impl To {
    fn read(&self) -> Result<TransferTo, Problem> {
        match (&self.queue, &self.agent, &self.number) {
            (Some(queue), None, None) => Ok(TransferTo::Queue(QueueId::new(queue))),
            (None, Some(agent), None) => Ok(TransferTo::Agent(AgentId::new(agent))),
            (None, None, Some(number)) => Ok(TransferTo::Number(number.clone())),
            _ => Err(Problem::invalid("give a queue, an agent or, for a transfer, a number")),
        }
    }
}

/// `POST /api/v1/calls/{id}/transfer`: the call goes on with another queue or agent, or a number outside; its age is kept.
pub async fn transfer(State(app): State<Arc<App>>, asked: Asked, Json(body): Json<To>) -> Result<StatusCode, Problem> {
    let to = body.read()?;
    asked.give(&app, Operation::ControlCall, |domain, call, by| Command::Transfer { domain, call, to, by }).await
}

/// `POST /api/v1/calls/{id}/consult`: the agent asks another one while the caller waits with music.
pub async fn consult(State(app): State<Arc<App>>, asked: Asked, Json(body): Json<To>) -> Result<StatusCode, Problem> {
    let to = body.read()?;
    asked.give(&app, Operation::ControlCall, |domain, call, by| Command::Consult { domain, call, to, by }).await
}

/// The part of a path that says what becomes of a consultation.
#[derive(Debug, Deserialize)]
pub struct Step {
    step: String,
}

/// `POST /api/v1/calls/{id}/consult/{step}`: `complete`, `cancel` or `join`.
pub async fn step(State(app): State<Arc<App>>, asked: Asked, Path(Step { step }): Path<Step>) -> Result<StatusCode, Problem> {
    let step = match step.as_str() {
        "complete" => ConsultStep::Complete,
        "cancel" => ConsultStep::Cancel,
        "join" => ConsultStep::Join,
        other => return Err(Problem::not_found(format!("{other:?} is no step of a consultation (complete, cancel, join)"))),
    };
    asked.give(&app, Operation::ControlCall, |domain, call, by| Command::ConsultStep { domain, call, step, by }).await
}
