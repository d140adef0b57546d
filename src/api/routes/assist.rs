//! `GET /api/v1/agents/{id}/assist`: what is said in an agent's own calls and what articles answer, as it happens.
//!
//! Every event comes from a read of its own behind a barrier: what is sent was its receiver's when the read began, and once the
//! commit that gives a call to somebody else is applied nothing more of it is. Of a stream that broke, what was missed is sent as
//! long as the call is still the agent's.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::{
        IntoResponse, Response,
        sse::{Event as SseEvent, KeepAlive, Sse},
    },
};
use futures::{Stream, stream};
use serde::Deserialize;
use serde_json::json;
use tandem_cluster::GroupId;
use tokio::sync::{OwnedSemaphorePermit, broadcast};

use super::events;
use crate::{
    api::{
        access::Operation,
        app::App,
        extract::{Caller, Params},
        limits::ASSIST_RETRY,
        problem::Problem,
        view,
    },
    core::{
        aid::{Note, NoteKind},
        domain::Domain,
        effect::Event,
        id::{AgentId, CallId, DomainId},
    },
};

/// `?tenant=`, and where a broken stream is taken up again.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    tenant: Option<String>,
    /// As the header `Last-Event-ID`, for clients that cannot set it.
    last_event_id: Option<String>,
}

/// The agent's own token alone opens it.
///
/// # Errors
/// 403 for anybody else, 404 for an agent that is not there, 503 when too many streams are open.
pub async fn stream(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Path(id): Path<String>,
    Params(query): Params<Query>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let tenant = app.tenant(&who, Operation::OwnAssist, query.tenant.as_deref())?;
    if who.agent.as_deref() != Some(id.as_str()) {
        return Err(Problem::forbidden("what is said is for the agent who has the call: this is another agent's token"));
    }
    if let Some(elsewhere) = events::redirect(&app, Some(tenant.as_str()), &format!("agents/{}/assist", super::collect::escape(&id)))? {
        return Ok(elsewhere);
    }
    let (group, agent) = (app.group_of(&tenant)?, AgentId::new(&id));
    let known = app.read(group, false, |state| state.domains().get(&tenant).is_some_and(|domain| domain.agents().contains_key(&agent)));
    if !known.await? {
        return Err(Problem::not_found(format!("no such agent: {agent}")));
    }
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).or(query.last_event_id.as_deref());
    let last = last.map(parse_id).transpose()?;
    let permit = Arc::clone(&app.streams).try_acquire_owned().map_err(|_| Problem::busy("too many event streams"))?;
    let live = app.feed.start(None).live;
    let sent = Sent { calls: BTreeMap::new(), resumed: last };
    Ok(Sse::new(follow(Follower { app, tenant, group, agent, live, sent, _permit: permit }))
        .keep_alive(KeepAlive::new().interval(events::KEEP_ALIVE))
        .into_response())
}

/// What was sent of each call that the agent has.
#[derive(Debug, Default)]
struct Sent {
    /// The leg it is had on, and the number of the last note sent.
    calls: BTreeMap<CallId, (u16, u32)>,
    /// The last note that a stream before this one brought.
    resumed: Option<(CallId, u32)>,
}

/// One event for an agent.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// A call is the agent's from now on.
    Began(CallId),
    Noted(CallId, Note),
    /// It is not any more.
    Ended(CallId),
}

impl Sent {
    /// What is to be sent next, as the state stands; nothing if all is said. What ends is told before what begins.
    fn next(&mut self, domain: Option<&Domain>, agent: &AgentId) -> Option<Step> {
        let row = domain.and_then(|domain| domain.agents().get(agent));
        let has = |(call, leg): &(CallId, u16)| domain.and_then(|domain| domain.calls().get(call)?.person_on()) == Some(*leg);
        let had: Vec<(CallId, u16)> = row.into_iter().flat_map(|row| row.contacts.iter().copied()).filter(has).collect();
        if let Some(over) = self.calls.iter().map(|(call, (leg, _))| (*call, *leg)).find(|of| !had.contains(of)) {
            self.calls.remove(&over.0);
            return Some(Step::Ended(over.0));
        }
        for (call, leg) in had {
            let Some((_, after)) = self.calls.get_mut(&call) else {
                let seen = self.resumed.filter(|(of, _)| *of == call).map_or(0, |(_, n)| n);
                self.calls.insert(call, (leg, seen));
                return Some(Step::Began(call));
            };
            let notes = domain.and_then(|domain| domain.calls().get(&call)?.notes());
            if let Some(note) = notes.and_then(|notes| notes.of(leg, *after).next()) {
                *after = note.n;
                return Some(Step::Noted(call, note.clone()));
            }
        }
        None
    }

    fn concerns(&self, event: &Event, tenant: &DomainId, agent: &AgentId) -> bool {
        event.domain == *tenant && (event.agent.as_ref() == Some(agent) || event.call.is_some_and(|call| self.calls.contains_key(&call)))
    }
}

struct Follower {
    app: Arc<App>,
    tenant: DomainId,
    group: GroupId,
    agent: AgentId,
    live: broadcast::Receiver<Arc<Event>>,
    sent: Sent,
    _permit: OwnedSemaphorePermit,
}

fn follow(follower: Follower) -> impl Stream<Item = Result<SseEvent, Infallible>> {
    stream::unfold(follower, |mut this| async move {
        loop {
            let Follower { app, tenant, group, agent, sent, .. } = &mut this;
            match app.read(*group, false, |state| sent.next(state.domains().get(tenant), agent)).await {
                Ok(Some(step)) => return Some((Ok(render(&step)), this)),
                Ok(None) => this.wait().await?,
                // Nothing can be read: nothing is sent until something can.
                Err(_) => tokio::time::sleep(ASSIST_RETRY).await,
            }
        }
    })
}

impl Follower {
    /// Until something happened that may concern the agent; `None` when the node ends.
    async fn wait(&mut self) -> Option<()> {
        loop {
            match self.live.recv().await {
                Ok(event) if self.sent.concerns(&event, &self.tenant, &self.agent) => return Some(()),
                Ok(_) => {}
                // Whatever was missed is in the state.
                Err(broadcast::error::RecvError::Lagged(_)) => return Some(()),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

fn render(step: &Step) -> SseEvent {
    match step {
        Step::Began(call) => SseEvent::default().event("assist.began").data(json!({ "call": call.to_string() }).to_string()),
        Step::Ended(call) => SseEvent::default().event("assist.ended").data(json!({ "call": call.to_string() }).to_string()),
        Step::Noted(call, note) => {
            let kind = if note.kind == NoteKind::Suggestion { "assist.suggestion" } else { "assist.line" };
            let mut data = json!(view::note(note));
            data["call"] = json!(call.to_string());
            SseEvent::default().event(kind).id(format!("{call}/{}", note.n)).data(data.to_string())
        }
    }
}

/// Reads the id of an event back.
fn parse_id(text: &str) -> Result<(CallId, u32), Problem> {
    let read = |text: &str| text.split_once('/').and_then(|(call, n)| Some((call.parse().ok()?, n.parse().ok()?)));
    read(text).ok_or_else(|| Problem::bad_request("Last-Event-ID: not one this stream gave out"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        Command,
        aid::{Aid, NewNote},
        command::{Actor, TransferTo},
        policy::Strategy,
        tests::{
            World,
            world::{EDGE, agent},
        },
        time::WallTime,
    };

    /// Agent `a` of two slots talks with call 1, `b` is free; both are assisted.
    fn world() -> World {
        let mut world = World::new(Strategy::LongestIdle, &["a", "b"]);
        world.rules().aid = Some(Arc::new(Aid::default()));
        let two = crate::core::policy::Agent { capacity: [(crate::core::policy::Channel::Voice, 2)].into(), ..agent(&[("support", 5)]) };
        world.policy.agents.insert("a".into(), two);
        world.publish();
        world.arrive(1);
        world.answer("a");
        world
    }

    fn note(world: &mut World, owner: u16, seq: u64) {
        let note = Note { n: 0, owner, kind: NoteKind::Customer, at: WallTime(0), text: format!("line {seq}"), source: String::new() };
        let new = NewNote { domain: World::domain(), call: World::call(1), edge: EDGE, seq, note };
        world.apply(Command::Note(Box::new(new)));
    }

    fn send_on(world: &mut World, from: &str, to: &str) {
        let (call, by) = (World::call(1), Actor::Agent(from.into()));
        world.apply(Command::Transfer { domain: World::domain(), call, to: TransferTo::Agent(to.into()), by });
    }

    /// All that is to be sent to an agent now, in short.
    fn all(world: &World, sent: &mut Sent, agent: &str) -> Vec<String> {
        let domain = world.state.domains().get(&World::domain());
        let next = || {
            Some(match sent.next(domain, &agent.into())? {
                Step::Began(_) => "began".to_owned(),
                Step::Noted(_, note) => note.text,
                Step::Ended(_) => "ended".to_owned(),
            })
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn a_stream_says_what_its_agent_has_not_had_yet_and_ends_with_the_commit_that_gives_the_call_away() {
        let mut world = world();
        let (mut first, mut second) = (Sent::default(), Sent::default());
        note(&mut world, 1, 1);
        assert_eq!(all(&world, &mut first, "a"), ["began", "line 1"]);
        assert_eq!(all(&world, &mut first, "a"), [""; 0], "once");
        note(&mut world, 1, 2);
        note(&mut world, 1, 3);
        // Two lines wait to be sent, and the agent gives the call away.
        send_on(&mut world, "a", "b");
        assert_eq!(all(&world, &mut first, "a"), ["ended"], "not a word more");
        assert_eq!(all(&world, &mut second, "b"), [""; 0], "who is rung has nothing yet");
        world.answer("b");
        note(&mut world, 1, 4);
        note(&mut world, 2, 5);
        assert_eq!(all(&world, &mut second, "b"), ["began", "line 5"], "and no line of those before");
        assert_eq!(all(&world, &mut first, "a"), [""; 0]);
        // Who gets the call back begins anew.
        send_on(&mut world, "b", "a");
        world.answer("a");
        note(&mut world, 3, 6);
        assert_eq!(
            (all(&world, &mut second, "b"), all(&world, &mut first, "a")),
            (vec!["ended".into()], vec!["began".into(), "line 6".into()])
        );
    }

    #[test]
    fn a_call_that_came_back_between_two_looks_is_another_one() {
        let mut world = world();
        let mut sent = Sent::default();
        all(&world, &mut sent, "a");
        send_on(&mut world, "a", "b");
        world.answer("b");
        send_on(&mut world, "b", "a");
        world.answer("a");
        assert_eq!(all(&world, &mut sent, "a"), ["ended", "began"]);
    }

    #[test]
    fn a_broken_stream_goes_on_where_it_broke_and_an_id_that_is_none_is_refused() {
        let mut world = world();
        (1..=3).for_each(|seq| note(&mut world, 1, seq));
        let id = format!("{}/2", World::call(1));
        let mut sent = Sent { resumed: Some(parse_id(&id).expect("as it was given out")), ..Sent::default() };
        assert_eq!(all(&world, &mut sent, "a"), ["began", "line 3"]);
        for bad in ["", "7", "x/1", &format!("{}/x", World::call(1))] {
            assert!(parse_id(bad).is_err(), "{bad}");
        }
    }
}
