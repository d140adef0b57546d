//! What is done to a call that talks: hold, mute, record, supervise. An agent does it to its own call, a supervisor to any of its tenant.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Path, State},
    http::{StatusCode, request::Parts},
};
use serde::Deserialize;

use super::{
    agents::InTenant,
    calls::{parse, place},
};
use crate::{
    api::{
        access::{Operation, Principal, Role},
        app::App,
        extract::{Caller, Json, Key, Params},
        problem::Problem,
    },
    core::{
        Command,
        command::{Actor, Record, Side, Wish},
        id::{AgentId, CallId, DomainId, RequestId},
        matrix::Mode,
    },
};

/// Who wants something of which call.
pub struct Asked {
    who: Principal,
    call: CallId,
    tenant: Option<String>,
    key: Option<RequestId>,
}

/// The part of a path that names a call; others may follow it.
#[derive(Deserialize)]
struct Id {
    id: String,
}

impl FromRequestParts<Arc<App>> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let Caller(who) = Caller::from_request_parts(parts, app).await?;
        let Key(key) = Key::from_request_parts(parts, app).await?;
        let Params(InTenant { tenant }) = Params::from_request_parts(parts, app).await?;
        let path: Result<Path<Id>, _> = Path::from_request_parts(parts, app).await;
        let Path(Id { id }) = path.map_err(|_| Problem::bad_request("a call id is needed"))?;
        Ok(Self { who, call: parse(&id)?, tenant, key })
    }
}

impl Asked {
    async fn of(self, app: &App, operation: Operation, wish: Wish) -> Result<StatusCode, Problem> {
        self.give(app, operation, |domain, call, by| Command::Control { domain, call, wish, by }).await
    }

    /// Has a command about the call committed, if whoever asks may.
    pub(super) async fn give(
        self,
        app: &App,
        operation: Operation,
        command: impl FnOnce(DomainId, CallId, Actor) -> Command,
    ) -> Result<StatusCode, Problem> {
        if self.who.role == Role::Agent && self.who.agent.is_none() {
            return Err(Problem::forbidden("the token speaks for no agent"));
        }
        let tenant = place(app, &self.who, operation, self.call, self.tenant.as_deref())?.tenant;
        app.command(&tenant, self.key, command(tenant.clone(), self.call, self.who.actor())).await?;
        Ok(StatusCode::NO_CONTENT)
    }
}

/// `POST /api/v1/calls/{id}/hold`: the caller hears music, and nobody hears it.
pub async fn hold(State(app): State<Arc<App>>, asked: Asked) -> Result<StatusCode, Problem> {
    asked.of(&app, Operation::ControlCall, Wish::Hold(true)).await
}

/// `POST /api/v1/calls/{id}/resume`: the caller is back.
pub async fn resume(State(app): State<Arc<App>>, asked: Asked) -> Result<StatusCode, Problem> {
    asked.of(&app, Operation::ControlCall, Wish::Hold(false)).await
}

/// Who is to be heard by nobody, or again.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Muted {
    #[serde(default)]
    party: Party,
}

/// A side of a call; the agent's where none is named.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    Caller,
    #[default]
    Agent,
}

impl From<Party> for Side {
    fn from(party: Party) -> Self {
        match party {
            Party::Caller => Self::Caller,
            Party::Agent => Self::Agent,
        }
    }
}

/// `POST /api/v1/calls/{id}/mute`: nobody hears the party.
pub async fn mute(State(app): State<Arc<App>>, asked: Asked, Json(body): Json<Muted>) -> Result<StatusCode, Problem> {
    asked.of(&app, Operation::ControlCall, Wish::Mute { party: body.party.into(), muted: true }).await
}

/// `POST /api/v1/calls/{id}/unmute`: it is heard again.
pub async fn unmute(State(app): State<Arc<App>>, asked: Asked, Json(body): Json<Muted>) -> Result<StatusCode, Problem> {
    asked.of(&app, Operation::ControlCall, Wish::Mute { party: body.party.into(), muted: false }).await
}

/// What is to become of the recording.
#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum Recording {
    Start,
    Pause,
    Resume,
    Stop,
}

impl From<Recording> for Record {
    fn from(wanted: Recording) -> Self {
        match wanted {
            Recording::Start => Self::Start,
            Recording::Pause => Self::Pause,
            Recording::Resume => Self::Resume,
            Recording::Stop => Self::Stop,
        }
    }
}

/// `POST /api/v1/calls/{id}/recording`: begun, masked, unmasked or ended.
pub async fn record(State(app): State<Arc<App>>, asked: Asked, Json(wanted): Json<Recording>) -> Result<StatusCode, Problem> {
    asked.of(&app, Operation::ControlCall, Wish::Record(wanted.into())).await
}

/// Who is to hear a call, and by whom it is heard.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Supervised {
    agent: String,
    mode: Mode,
}

/// `POST /api/v1/calls/{id}/supervise`: rings the supervisor's phone; one who is in the call changes its mode.
pub async fn supervise(State(app): State<Arc<App>>, asked: Asked, Json(wanted): Json<Supervised>) -> Result<StatusCode, Problem> {
    let wish = Wish::Supervise { agent: AgentId::new(&wanted.agent), mode: wanted.mode };
    asked.of(&app, Operation::Supervise, wish).await
}
