//! Chats as agents have them: those they are offered or have, and what they do with them. An agent does it as itself alone.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Path, Request, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use super::{Continued, Phone, Said, Small, Written, line, phone_as, stream, written};
use crate::{
    api::{
        access::{Operation, Role},
        app::App,
        extract::{Caller, Key, Params},
        forward,
        problem::Problem,
        routes::{agents::InTenant, calls::parse},
        view,
    },
    core::{
        Command, Outcome,
        chat::{ChatStep, Writer},
        id::{AgentId, CallId, DomainId, RequestId},
    },
};

/// The agent that a token speaks for.
pub struct Agent {
    tenant: DomainId,
    agent: AgentId,
    key: Option<RequestId>,
}

impl FromRequestParts<Arc<App>> for Agent {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let Caller(who) = Caller::from_request_parts(parts, app).await?;
        let agent = who.agent.clone().filter(|_| who.role == Role::Agent);
        let agent = agent.ok_or_else(|| Problem::forbidden("only an agent's own token answers its chats"))?;
        let named = axum::extract::Query::<Named>::try_from_uri(&parts.uri).ok().and_then(|query| query.0.tenant);
        let tenant = app.tenant(&who, Operation::ControlCall, named.as_deref())?;
        let Key(key) = Key::from_request_parts(parts, app).await?;
        Ok(Self { tenant, agent: AgentId::new(&agent), key })
    }
}

/// `?tenant=`, beside whatever else a query has.
#[derive(Debug, Deserialize)]
struct Named {
    tenant: Option<String>,
}

impl Agent {
    async fn step(&self, app: &App, chat: &str, step: ChatStep) -> Result<Outcome, Problem> {
        let command = Command::Chat { domain: self.tenant.clone(), call: parse(chat)?, step };
        app.command(&self.tenant, self.key, command).await
    }

    fn writer(&self) -> Writer {
        Writer::Agent(self.agent.clone())
    }
}

/// A chat that an agent is offered, or has.
#[derive(Debug, Serialize)]
pub struct Held {
    chat: String,
    queue: String,
    /// It is to be accepted or declined.
    offered: bool,
    /// The number of its last line.
    last: u32,
}

/// `GET /api/v1/chats`: the chats that the agent is offered or has.
pub async fn list(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    own: Agent,
    Params(_): Params<InTenant>,
    request: Request,
) -> Result<Response, Problem> {
    let group = app.group_of(&own.tenant)?;
    let cluster = app.live.cluster();
    if !cluster.hosts(group) && request.extensions().get::<forward::Forwarded>().is_none() {
        return forward::send(cluster, forward::host_of(cluster, group)?, &who, request).await;
    }
    let held = app
        .read(group, false, |state| {
            let Some(domain) = state.domains().get(&own.tenant) else { return Vec::new() };
            let contacts = domain.agents().get(&own.agent).into_iter().flat_map(|agent| agent.contacts.iter());
            let view = |(call, n): &(CallId, u16)| {
                let row = domain.calls().get(call)?;
                let chat = row.chat.as_ref()?;
                let offered = row.legs.get(n).is_some_and(|leg| leg.answered.is_none());
                Some(Held { chat: call.to_string(), queue: row.queue.to_string(), offered, last: chat.last() })
            };
            contacts.filter_map(view).collect::<Vec<_>>()
        })
        .await?;
    Ok(axum::Json(view::Items { items: held }).into_response())
}

/// `POST /api/v1/chats/{id}/accept`: the agent takes a chat it is offered.
pub async fn accept(State(app): State<Arc<App>>, own: Agent, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    own.step(&app, &id, ChatStep::Reply { agent: own.agent.clone(), accept: true }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/v1/chats/{id}/decline`: the chat goes to somebody else.
pub async fn decline(State(app): State<Arc<App>>, own: Agent, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    own.step(&app, &id, ChatStep::Reply { agent: own.agent.clone(), accept: false }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/v1/chats/{id}/lines`: the agent writes.
pub async fn say(
    State(app): State<Arc<App>>,
    own: Agent,
    Path(id): Path<String>,
    Small(body): Small<Said>,
) -> Result<(StatusCode, axum::Json<Written>), Problem> {
    let step = ChatStep::Say { by: own.writer(), text: line(&app, &body.text)? };
    written(&own.step(&app, &id, step).await?)
}

/// `POST /api/v1/chats/{id}/end`: the agent ends the chat it has.
pub async fn end(State(app): State<Arc<App>>, own: Agent, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    own.step(&app, &id, ChatStep::End { by: own.writer() }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/v1/chats/{id}/phone`: the customer is to be called, by whoever is free.
pub async fn phone(
    State(app): State<Arc<App>>,
    own: Agent,
    Path(id): Path<String>,
    Small(body): Small<Phone>,
) -> Result<(StatusCode, axum::Json<Continued>), Problem> {
    phone_as(&app, own.writer(), body.number, async |step| own.step(&app, &id, step).await).await
}

/// `GET /api/v1/chats/{id}/events`: the lines of a chat that the agent is offered or has.
pub async fn events(
    State(app): State<Arc<App>>,
    own: Agent,
    Path(id): Path<String>,
    stream::After(after): stream::After,
) -> Result<Response, Problem> {
    let call = parse(&id)?;
    let path = format!("/api/v1/chats/{call}/events?tenant={}", super::super::collect::escape(own.tenant.as_str()));
    let agent = own.agent.clone();
    let may_see: stream::MaySee = Arc::new(move |call| call.legs.values().any(|leg| leg.agent == agent));
    stream::begin(&app, (own.tenant, call), after, &path, may_see).await
}
