//! A chat as it goes on: server-sent events, read from the state of this node and taken up on any other.
//!
//! A line's number is its event's id. So nothing is kept for a stream: whoever comes back says the last number it has, and gets the rows
//! behind it.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::FromRequestParts,
    http::request::Parts,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{Stream, stream};
use serde::Deserialize;
use serde_json::json;
use tandem_cluster::GroupId;
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    api::{app::App, bells::Listener, extract::Params, forward, problem::Problem, view},
    core::{
        State,
        call::Call,
        id::{CallId, DomainId},
    },
};

/// Shorter than any idle time of a proxy, and than our own.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A node that has lost the others ends its streams this soon: their readers find a better one.
const LEASE_EVERY: Duration = Duration::from_secs(2);

/// The number of the last line that was seen: `Last-Event-ID`, or `?after=` for clients that cannot set it.
#[derive(Debug)]
pub struct After(pub u32);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    #[serde(default)]
    after: u32,
    /// Of agents.
    #[serde(rename = "tenant")]
    _tenant: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for After {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Params(Query { after, .. }) = Params::from_request_parts(parts, state).await?;
        let Some(header) = parts.headers.get("last-event-id") else { return Ok(Self(after)) };
        let seen = header.to_str().ok().and_then(|text| text.trim().parse().ok());
        seen.map(Self).ok_or_else(|| Problem::bad_request("Last-Event-ID: the number of a line is needed"))
    }
}

/// Whether whoever asked may see a chat, as it is now: an agent may not once somebody else has it.
pub(super) type MaySee = Arc<dyn Fn(&Call) -> bool + Send + Sync>;

/// Where a stream is.
struct Follow {
    app: Arc<App>,
    tenant: DomainId,
    group: GroupId,
    call: CallId,
    seen: u32,
    may_see: MaySee,
    told: Option<&'static str>,
    ready: VecDeque<Event>,
    over: bool,
    bell: Listener,
    _permit: OwnedSemaphorePermit,
}

/// Begins a stream of a chat that `may_see` allows.
///
/// # Errors
/// 404 for a chat that is over or of somebody else, 429 beyond the bound of streams, 503 without a quorum.
pub(super) async fn begin(
    app: &Arc<App>,
    (tenant, call): (DomainId, CallId),
    seen: u32,
    path: &str,
    may_see: MaySee,
) -> Result<Response, Problem> {
    let group = app.group_of(&tenant)?;
    if !app.live.cluster().hosts(group) {
        let join = if path.contains('?') { '&' } else { '?' };
        return forward::away(app.live.cluster(), group, &format!("{path}{join}after={seen}"));
    }
    // Before the first look, so that nothing comes between.
    let bell = app.feed.bells().listen(call);
    let seen_by = app.read(group, false, |state| row(state, &tenant, call).is_some_and(|call| may_see(call))).await?;
    if !seen_by {
        return Err(Problem::not_found(format!("no live chat {call} that this secret or token opens")));
    }
    let permit = Arc::clone(&app.chat_streams).try_acquire_owned().map_err(|_| Problem::busy("too many streams of chats"))?;
    let (app, ready) = (Arc::clone(app), VecDeque::new());
    let follow = Follow { app, tenant, group, call, seen, may_see, told: None, ready, over: false, bell, _permit: permit };
    Ok(Sse::new(events(follow)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

fn row<'a>(state: &'a State, tenant: &DomainId, call: CallId) -> Option<&'a Call> {
    state.domains().get(tenant)?.calls().get(&call).map(|call| &**call).filter(|call| call.chat.is_some())
}

fn events(follow: Follow) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(follow, |mut follow| async move {
        loop {
            if let Some(event) = follow.ready.pop_front() {
                return Some((Ok(event), follow));
            }
            if follow.over || !follow.look().await {
                return None;
            }
            if follow.ready.is_empty() {
                // Whatever was missed meanwhile is seen at the next look.
                tokio::time::timeout(LEASE_EVERY, follow.bell.rung()).await.ok();
            }
        }
    })
}

impl Follow {
    /// Reads what is new. False if this node cannot tell.
    async fn look(&mut self) -> bool {
        if self.app.quorum().is_err() {
            return false;
        }
        let (tenant, call, seen, may_see) = (self.tenant.clone(), self.call, self.seen, Arc::clone(&self.may_see));
        let read = |state: &State| {
            let row = row(state, &tenant, call).filter(|call| may_see(call))?;
            let chat = row.chat.as_ref()?;
            let lines: Vec<_> = chat.after(seen).map(|(number, line)| (number, view::line(line))).collect();
            Some((lines, row.chat_state()))
        };
        let Ok(found) = self.app.read(self.group, true, read).await else { return false };
        let Some((lines, state)) = found else {
            self.ready.push_back(Event::default().event("end").data("{}"));
            self.over = true;
            return true;
        };
        for (number, line) in lines {
            let data = json!({ "line": number, "who": line.who, "text": line.text, "at": line.at });
            self.ready.push_back(Event::default().id(number.to_string()).event("line").data(data.to_string()));
            self.seen = number;
        }
        if self.told.replace(state) != Some(state) {
            self.ready.push_back(Event::default().event("state").data(json!({ "state": state }).to_string()));
        }
        true
    }
}
