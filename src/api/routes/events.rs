//! `GET /api/v1/events`: what happens, as it happens: server-sent events, each a CloudEvent (1.0, structured JSON).

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::HeaderMap,
    response::{
        IntoResponse, Response,
        sse::{Event as SseEvent, KeepAlive, Sse},
    },
};
use futures::{Stream, StreamExt as _, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, broadcast};

use crate::{
    api::{
        access::{Operation, Principal, Role},
        app::App,
        extract::{Caller, Params},
        feed::{self, Start},
        forward,
        problem::Problem,
        view,
    },
    core::effect::Event,
};

/// Shorter than any idle time of a proxy, and than our own.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Which events are wanted; every one given must match.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    tenant: Option<String>,
    queue: Option<String>,
    agent: Option<String>,
    call: Option<String>,
    /// A type or a prefix of types: `contact.queued`, `contact.`
    #[serde(rename = "type")]
    kind: Option<String>,
    /// As the header `Last-Event-ID`, for clients that cannot set it.
    last_event_id: Option<String>,
}

impl Filter {
    fn wants(&self, event: &Event) -> bool {
        let same = |wanted: &Option<String>, is: Option<&str>| wanted.as_deref().is_none_or(|wanted| is == Some(wanted));
        same(&self.tenant, Some(event.domain.as_str()))
            && same(&self.queue, event.queue.as_ref().map(|queue| queue.as_str()))
            && same(&self.agent, event.agent.as_ref().map(|agent| agent.as_str()))
            && same(&self.call, event.call.map(|call| call.to_string()).as_deref())
            && self
                .kind
                .as_deref()
                .is_none_or(|kind| event.kind.name() == kind || (kind.ends_with('.') && event.kind.name().starts_with(kind)))
    }
}

/// At least once: a stream that is taken up again may repeat events; drop those whose id you have.
pub async fn stream(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Params(mut filter): Params<Filter>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    who.check(Operation::Events)?;
    if let Some(tenant) = &filter.tenant {
        who.check_in(Operation::Events, tenant)?;
    }
    filter.tenant = filter.tenant.or_else(|| who.tenant.clone());
    if who.role == Role::Agent {
        // What happens to others is none of its business.
        let own = who.agent.clone().ok_or_else(|| Problem::forbidden("the token speaks for no agent"))?;
        if filter.agent.as_ref().is_some_and(|agent| *agent != own) {
            return Err(Problem::forbidden("an agent hears of itself alone"));
        }
        filter.agent = Some(own);
    }
    if let Some(elsewhere) = redirect(&app, filter.tenant.as_deref(), "events")? {
        return Ok(elsewhere);
    }
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).or(filter.last_event_id.as_deref());
    let last = match last {
        Some(text) => Some(feed::parse_id(text).ok_or_else(|| Problem::bad_request("Last-Event-ID: not one this API gave out"))?),
        None => None,
    };
    let permit = Arc::clone(&app.streams).try_acquire_owned().map_err(|_| Problem::busy("too many event streams"))?;
    let events = follow(app.feed.start(last), filter, who, permit);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

/// A tenant without a replica here: its stream of this path is on another node, which the client is sent to.
pub(super) fn redirect(app: &App, tenant: Option<&str>, path: &str) -> Result<Option<Response>, Problem> {
    let Some(tenant) = tenant else { return Ok(None) };
    let group = app.group_of(&tenant.into())?;
    let cluster = app.live.cluster();
    if cluster.hosts(group) {
        return Ok(None);
    }
    forward::away(cluster, group, &format!("/api/v1/{path}?tenant={}", super::collect::escape(tenant))).map(Some)
}

fn follow(start: Start, filter: Filter, who: Principal, permit: OwnedSemaphorePermit) -> impl Stream<Item = Result<SseEvent, Infallible>> {
    let first = start.gap.then(gap);
    let (filter, who) = (Arc::new(filter), Arc::new(who));
    let (early, allowed) = (Arc::clone(&filter), Arc::clone(&who));
    let backlog =
        stream::iter(start.backlog).filter(move |event| std::future::ready(shown(&early, &allowed, event))).map(|event| render(&event));
    let live = stream::unfold((start.live, filter, who, permit), |(mut live, filter, who, permit)| async move {
        loop {
            let event = match live.recv().await {
                Ok(event) if shown(&filter, &who, &event) => render(&event),
                Ok(_) => continue,
                Err(broadcast::error::RecvError::Lagged(_)) => gap(),
                Err(broadcast::error::RecvError::Closed) => return None,
            };
            return Some((event, (live, filter, who, permit)));
        }
    });
    stream::iter(first).chain(backlog).chain(live).map(Ok)
}

fn shown(filter: &Filter, who: &Principal, event: &Event) -> bool {
    filter.wants(event) && who.may_in(Operation::Events, event.domain.as_str())
}

/// Tells the receiver that events are missing and that it should read the collections again.
fn gap() -> SseEvent {
    SseEvent::default().event("gap").data(r#"{"detail":"events are missing here; read the collections again"}"#)
}

fn render(event: &Event) -> SseEvent {
    SseEvent::default().id(feed::print_id(event.id)).event(event.kind.name()).data(cloud_event(event).to_string())
}

/// CloudEvents 1.0, structured content mode.
pub fn cloud_event(event: &Event) -> serde_json::Value {
    let mut data: serde_json::Map<String, serde_json::Value> =
        event.data.iter().map(|(key, value)| (key.to_string(), json!(value))).collect();
    let named = [
        ("call", event.call.map(|call| call.to_string())),
        ("agent", event.agent.as_ref().map(ToString::to_string)),
        ("queue", event.queue.as_ref().map(ToString::to_string)),
    ];
    for (key, value) in named {
        if let Some(value) = value {
            data.insert(key.to_owned(), json!(value));
        }
    }
    json!({
        "specversion": "1.0",
        "id": feed::print_id(event.id),
        "source": format!("/tandem/tenants/{}", event.domain),
        "type": event.kind.name(),
        "time": view::rfc3339(event.wall),
        "subject": event.call.map(|call| call.to_string()),
        "datacontenttype": "application/json",
        "data": data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{effect::EventKind, id::EffectId, time::WallTime};

    fn queued() -> Event {
        Event {
            id: EffectId { group: 2, index: 9, n: 1 },
            wall: WallTime(1_795_000_000_123),
            domain: "demo".into(),
            kind: EventKind::ContactQueued,
            call: None,
            agent: None,
            queue: Some("support".into()),
            data: vec![("position".into(), "3".into())],
        }
    }

    #[test]
    fn an_event_is_a_cloud_event_with_its_replicated_id() {
        let event = cloud_event(&queued());
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["id"], "2-9-1");
        assert_eq!(event["type"], "contact.queued");
        assert_eq!(event["time"], "2026-11-18T11:06:40.123Z");
        assert_eq!(event["data"], json!({ "position": "3", "queue": "support" }));
    }

    #[test]
    fn a_filter_by_prefix_takes_a_family_of_types() {
        let filter = |kind: &str| Filter { kind: Some(kind.into()), ..Filter::default() };
        assert!(filter("contact.").wants(&queued()) && filter("contact.queued").wants(&queued()));
        assert!(!filter("contact").wants(&queued()) && !filter("agent.").wants(&queued()));
    }
}
