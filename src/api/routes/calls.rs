//! Live calls: the list, one of them, why it went where it went, and an operator's hand on it.

use std::sync::Arc;

use axum::{
    extract::{Path, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use tandem_cluster::GroupId;

use super::{
    agents::InTenant,
    cdrs,
    collect::{Slice, Source},
};
use crate::{
    api::{
        access::{Operation, Principal},
        app::App,
        extract::{Caller, Json, Key, Params},
        forward,
        page::Query,
        problem::Problem,
        view::{self, CallView, ExplainView},
    },
    core::{
        Command,
        id::{CallId, DomainId, QueueId},
    },
};

pub struct Calls {
    stale: bool,
    queue: Option<String>,
    state: Option<String>,
    open: bool,
}

impl Source for Calls {
    type Row = CallView;
    const NAME: &'static str = "calls";
    const OPERATION: Operation = Operation::ReadCalls;

    fn of(query: &Query, who: &Principal) -> Self {
        Self { stale: query.stale, queue: query.queue.clone(), state: query.state.clone(), open: who.may(Operation::PersonalLive) }
    }

    async fn slice(
        &self,
        app: &App,
        tenant: &DomainId,
        group: GroupId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Slice<CallView>, Problem> {
        let after: Option<CallId> =
            after.map(str::parse).transpose().map_err(|_| Problem::bad_request("cursor: not one this API gave out"))?;
        app.read(group, self.stale, |state| {
            let Some(domain) = state.domains().get(tenant) else { return Slice::default() };
            let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
            let rows = domain.calls().range((from, std::ops::Bound::Unbounded)).map(|(_, call)| call);
            let rows = rows.filter(|call| self.queue.as_ref().is_none_or(|queue| queue == call.queue.as_str()));
            let rows = rows.filter(|call| self.state.as_ref().is_none_or(|wanted| wanted == call.state.name()));
            Slice::cut(rows.map(|call| view::call(tenant, call, self.open)), limit, |row| row.id.clone())
        })
        .await
    }
}

/// Where a call is, as far as this node can tell.
pub(super) struct Place {
    pub(super) tenant: DomainId,
    group: GroupId,
}

pub(super) fn parse(id: &str) -> Result<CallId, Problem> {
    id.parse().map_err(|_| Problem::bad_request(format!("{id:?} is no call id")))
}

/// The tenant named in the query, else the one among the local replicas that has the call live, else the only tenant.
pub(super) fn place(app: &App, who: &Principal, operation: Operation, id: CallId, named: Option<&str>) -> Result<Place, Problem> {
    let found = if named.is_none() { app.live.find_call(id) } else { None };
    let tenant = match found {
        Some((tenant, _)) => app.tenant(who, operation, Some(tenant.as_str()))?,
        None => app.tenant(who, operation, named)?,
    };
    let group = app.group_of(&tenant)?;
    Ok(Place { tenant, group })
}

/// `GET /api/v1/calls/{id}`: a live call.
pub async fn one(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Path(id): Path<String>,
    Params(query): Params<InTenant>,
    request: Request,
) -> Result<Response, Problem> {
    let call = parse(&id)?;
    let place = place(&app, &who, Operation::ReadCalls, call, query.tenant.as_deref())?;
    if !app.live.cluster().hosts(place.group) {
        return elsewhere(&app, &who, &place, request).await;
    }
    let open = who.may(Operation::PersonalLive);
    let found = app
        .read(place.group, false, |state| {
            let row = state.domains().get(&place.tenant)?.calls().get(&call)?;
            Some(view::call(&place.tenant, row, open))
        })
        .await?;
    found.map(|view| axum::Json(view).into_response()).ok_or_else(|| Problem::not_found(format!("no live call {call}")))
}

/// `GET /api/v1/calls/{id}/explain`: the decisions about a call, live or archived.
pub async fn explain(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Path(id): Path<String>,
    Params(query): Params<InTenant>,
    request: Request,
) -> Result<Response, Problem> {
    let call = parse(&id)?;
    let place = place(&app, &who, Operation::Explain, call, query.tenant.as_deref())?;
    if !app.live.cluster().hosts(place.group) {
        return elsewhere(&app, &who, &place, request).await;
    }
    let live = app
        .read(place.group, false, |state| {
            let row = state.domains().get(&place.tenant)?.calls().get(&call)?;
            let (decisions, attempts) = (&row.decisions, &row.attempts.rows);
            Some(view::explain(id.clone(), &place.tenant, "live", &decisions.rows, decisions.dropped, attempts))
        })
        .await?;
    let view: ExplainView = match live {
        Some(view) => view,
        None => {
            let closed = cdrs::find(&app, &place.tenant, place.group, call).await?;
            let decisions = &closed.decisions;
            view::explain(id, &place.tenant, closed.outcome.name(), &decisions.rows, decisions.dropped, &closed.attempts.rows)
        }
    };
    Ok(axum::Json(view).into_response())
}

async fn elsewhere(app: &App, who: &Principal, place: &Place, request: Request) -> Result<Response, Problem> {
    if request.extensions().get::<forward::Forwarded>().is_some() {
        return Err(Problem::unavailable(format!("partition {} has just moved; try again", place.group)));
    }
    let cluster = app.live.cluster();
    forward::send(cluster, forward::host_of(cluster, place.group)?, who, request).await
}

/// `DELETE /api/v1/calls/{id}`: ends a call.
pub async fn hang_up(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Key(key): Key,
    Path(id): Path<String>,
    Params(query): Params<InTenant>,
) -> Result<StatusCode, Problem> {
    let call = parse(&id)?;
    let Place { tenant, .. } = place(&app, &who, Operation::HangUp, call, query.tenant.as_deref())?;
    app.command(&tenant, key, Command::HangUp { domain: tenant.clone(), call, by: who.actor() }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A new place for a waiting call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requeue {
    queue: Option<String>,
    priority: Option<u8>,
}

/// `POST /api/v1/calls/{id}/requeue`: another queue or priority; the call's age is kept.
pub async fn requeue(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Key(key): Key,
    Path(id): Path<String>,
    Params(query): Params<InTenant>,
    Json(body): Json<Requeue>,
) -> Result<StatusCode, Problem> {
    let call = parse(&id)?;
    if body.queue.is_none() && body.priority.is_none() {
        return Err(Problem::invalid("give a queue, a priority or both"));
    }
    let Place { tenant, .. } = place(&app, &who, Operation::Requeue, call, query.tenant.as_deref())?;
    let queue = body.queue.as_deref().map(QueueId::new);
    let command = Command::Requeue { domain: tenant.clone(), call, queue, priority: body.priority, by: who.actor() };
    app.command(&tenant, key, command).await?;
    Ok(StatusCode::NO_CONTENT)
}
