//! People take contacts over from AI agents: one contact, or all of a queue, a tenant or the cluster ("AI off").
//!
//! `?dry_run=true` says what it would do and does nothing.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Path, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use tandem_cluster::GroupId;

use super::{calls::place, control::Asked};
use crate::{
    api::{
        access::{Operation, Principal},
        app::App,
        extract::{Caller, Json, Key, Params},
        limits,
        problem::Problem,
        view,
    },
    core::{
        Command, Outcome, State as Core,
        assist::{Cause, Off},
        command::{Envelope, Scope},
        domain::Domain,
        id::{DomainId, QueueId, RequestId},
    },
};

/// Where the contact goes, and why.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TakeOver {
    /// The queue of people; left out, as the contact's queue says.
    #[serde(default)]
    queue: Option<String>,
    #[serde(default)]
    cause: Why,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Why {
    #[default]
    Supervisor,
    /// The customer asked by another way, such as on the web: nothing gives the contact to an AI agent again.
    Asked,
}

/// `POST /api/v1/calls/{id}/takeover`: a person is to have the contact. The AI agent that has it is silent from the commit on.
pub async fn contact(State(app): State<Arc<App>>, asked: Asked, Json(body): Json<TakeOver>) -> Result<StatusCode, Problem> {
    let cause = match body.cause {
        Why::Supervisor => Cause::Supervisor,
        Why::Asked => Cause::Asked,
    };
    let to = body.queue.map(|queue| QueueId::new(&queue));
    asked.give(&app, Operation::TakeOver, |domain, call, by| Command::TakeOver { domain, call, to, cause, by }).await
}

/// AI off or on, and why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    off: bool,
    #[serde(default)]
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mode {
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    tenant: Option<String>,
}

/// What a switch would move, or has moved.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// Contacts that AI agents have or are offered.
    contacts: usize,
    /// People who are free for one at once.
    people_ready: usize,
    /// People at work, free or not.
    people: usize,
}

impl Reach {
    fn of(domain: &Domain, queue: Option<&str>) -> Self {
        let meant = |of: &QueueId| queue.is_none_or(|queue| of.as_str() == queue);
        let with_ai = domain.calls().values().filter(|call| meant(&call.queue) && call.legs.values().any(|leg| leg.assistant));
        let serves = |queues: &[QueueId]| queues.is_empty() || queues.iter().any(meant);
        let policy = |id| &domain.policy().agents[id];
        let people = || domain.agents().iter().filter(|(id, _)| policy(*id).assistant.is_none() && serves(&policy(*id).queues));
        Self {
            contacts: with_ai.count(),
            people_ready: people().filter(|(id, row)| row.is_free(policy(*id))).count(),
            people: people().filter(|(_, row)| row.is_at_work()).count(),
        }
    }

    fn and(self, other: &Self) -> Self {
        Self {
            contacts: self.contacts + other.contacts,
            people_ready: self.people_ready + other.people_ready,
            people: self.people + other.people,
        }
    }
}

/// `POST /api/v1/queues/{id}/ai`: AI off or on for a queue.
pub async fn queue(
    State(app): State<Arc<App>>,
    asked: Switched,
    Path(id): Path<String>,
    Json(body): Json<Switch>,
) -> Result<Response, Problem> {
    let tenant = app.tenant(&asked.who, Operation::TakeOver, asked.mode.tenant.as_deref())?;
    asked.switch(&app, &tenant, Some(&id), body).await
}

/// `POST /api/v1/tenants/{id}/ai`: the same for a tenant.
pub async fn tenant(
    State(app): State<Arc<App>>,
    asked: Switched,
    Path(id): Path<String>,
    Json(body): Json<Switch>,
) -> Result<Response, Problem> {
    let tenant = app.tenant(&asked.who, Operation::TakeOver, Some(&id))?;
    asked.switch(&app, &tenant, None, body).await
}

/// Who throws a switch, and how.
pub struct Switched {
    who: Principal,
    key: Option<RequestId>,
    mode: Mode,
}

impl FromRequestParts<Arc<App>> for Switched {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let Caller(who) = Caller::from_request_parts(parts, app).await?;
        let Key(key) = Key::from_request_parts(parts, app).await?;
        let Params(mode) = Params::from_request_parts(parts, app).await?;
        Ok(Self { who, key, mode })
    }
}

impl Switched {
    /// Switches AI for a queue, or for the whole tenant. Says what that reaches.
    async fn switch(self, app: &App, tenant: &DomainId, queue: Option<&str>, body: Switch) -> Result<Response, Problem> {
        let reach = reach(app, tenant, queue).await?;
        if !self.mode.dry_run {
            let scope = match queue {
                Some(queue) => Scope::Queue(tenant.clone(), QueueId::new(queue)),
                None => Scope::Domain(tenant.clone()),
            };
            app.command(tenant, self.key, Command::SwitchAi { scope, off: body.off, reason: body.reason, by: self.who.actor() }).await?;
        }
        Ok(axum::Json(reach).into_response())
    }
}

async fn reach(app: &App, tenant: &DomainId, queue: Option<&str>) -> Result<Reach, Problem> {
    let group = app.group_of(tenant)?;
    let found = app.read(group, false, |state| state.domains().get(tenant).map(|domain| Reach::of(domain, queue))).await?;
    found.ok_or_else(|| Problem::not_found(format!("no such tenant: {tenant}")))
}

/// One partition's answer to a switch of the whole cluster.
#[derive(Debug, Serialize)]
pub struct Part {
    partition: GroupId,
    #[serde(flatten)]
    reach: Reach,
    /// `done`, `already`, `planned`, or `failed` with the reason.
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// `POST /api/v1/ai`: AI off or on in every partition, and for tenants to come. Answers 200 when every partition has it, else 503 with
/// each one's answer: to repeat it is safe.
pub async fn cluster(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Params(mode): Params<Mode>,
    Json(body): Json<Switch>,
) -> Result<Response, Problem> {
    who.check(Operation::TakeOverAll)?;
    app.quorum()?;
    // The first group holds the cluster's own rows, and no contact.
    let groups = app.live.cluster().groups().into_iter().map(|status| status.group).filter(|group| *group != 0);
    let parts = futures::future::join_all(groups.map(|group| switch_group(&app, &who, group, &mode, &body))).await;
    tracing::warn!(off = body.off, by = %who.token, dry_run = mode.dry_run, "AI was switched for the cluster");
    let status = if parts.iter().any(|part| part.result == "failed") { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    Ok((status, axum::Json(parts)).into_response())
}

async fn switch_group(app: &App, who: &Principal, group: GroupId, mode: &Mode, body: &Switch) -> Part {
    let of = |state: &Core| state.domains().values().map(|domain| Reach::of(domain, None)).fold(Reach::default(), |sum, of| sum.and(&of));
    let reach = app.read(group, true, of).await.unwrap_or_default();
    if mode.dry_run {
        return Part { partition: group, reach, result: "planned", why: None };
    }
    let command = Command::SwitchAi { scope: Scope::Everywhere, off: body.off, reason: body.reason.clone(), by: who.actor() };
    let done = app.live.command_group(group, Envelope { request: None, command }, limits::COMMAND_DEADLINE).await;
    let (result, why) = match done {
        Ok(Outcome::Duplicate) => ("already", None),
        Ok(Outcome::Accepted) => ("done", None),
        Ok(other) => ("failed", Some(format!("{other:?}"))),
        Err(error) => ("failed", Some(error.to_string())),
    };
    Part { partition: group, reach, result, why }
}

/// Where AI is off.
#[derive(Debug, Serialize)]
pub struct OffView {
    /// `cluster` (as this tenant's partition has it), `tenant` or `queue:NAME`.
    scope: String,
    by: String,
    at: String,
    reason: String,
}

/// AI and people of a tenant now.
#[derive(Debug, Serialize)]
pub struct Standing {
    tenant: String,
    #[serde(flatten)]
    reach: Reach,
    /// Contacts that wait for a person to take them over.
    waiting_for_people: usize,
    off: Vec<OffView>,
}

/// `GET /api/v1/ai`: who has the contacts of a tenant, and where AI is off.
pub async fn standing(State(app): State<Arc<App>>, Caller(who): Caller, Params(mode): Params<Mode>) -> Result<Response, Problem> {
    let tenant = app.tenant(&who, Operation::ReadQueues, mode.tenant.as_deref())?;
    let group = app.group_of(&tenant)?;
    let found = app
        .read(group, false, |state| {
            let domain = state.domains().get(&tenant)?;
            let open = |off: &Off, scope: String| OffView {
                scope,
                by: off.by.to_string(),
                at: view::rfc3339(off.at.wall),
                reason: off.reason.clone(),
            };
            let switches = domain.switches();
            let all = switches.all.iter().map(|off| open(off, "tenant".to_owned()));
            let queues = switches.queues.iter().map(|(queue, off)| open(off, format!("queue:{queue}")));
            let off = state.ai_off().map(|off| open(off, "cluster".to_owned())).into_iter().chain(all).chain(queues).collect();
            let waiting = domain.calls().values().filter(|call| call.assist.as_ref().is_some_and(|assist| assist.takeover.is_some()));
            Some(Standing { tenant: tenant.to_string(), reach: Reach::of(domain, None), waiting_for_people: waiting.count(), off })
        })
        .await?;
    let found = found.ok_or_else(|| Problem::not_found(format!("no such tenant: {tenant}")))?;
    Ok(axum::Json(found).into_response())
}

/// `GET /api/v1/calls/{id}/transcript`: what was said, for whoever may see personal data of live calls.
pub async fn transcript(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Path(id): Path<String>,
    Params(mode): Params<Mode>,
) -> Result<Response, Problem> {
    let call = super::calls::parse(&id)?;
    let place = place(&app, &who, Operation::PersonalLive, call, mode.tenant.as_deref())?;
    let group = app.group_of(&place.tenant)?;
    let found = app
        .read(group, false, |state| {
            let row = state.domains().get(&place.tenant)?.calls().get(&call)?;
            Some(row.transcript().iter().map(view::line).collect())
        })
        .await?;
    let lines: Vec<view::LineView> = found.ok_or_else(|| Problem::not_found(format!("no live call {id}")))?;
    Ok(axum::Json(lines).into_response())
}
