//! `POST /api/v1/drills`: actors stopped and crashed on purpose, where the node's configuration allows it.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use crate::{
    actor::{self, Kind},
    api::{
        access::{Operation, Principal},
        app::App,
        extract::{self, Body, Caller, Params},
        forward,
        problem::Problem,
    },
    core::id::CallId,
};

/// `?node=`: whose actors are meant; those of the node asked otherwise.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnNode {
    node: Option<u64>,
}

/// What is to happen.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Drill {
    /// A panic in one actor of a kind, or in every one.
    Crash {
        actor: Kind,
        #[serde(default)]
        every: bool,
    },
    /// Every actor of the node, at once.
    StopAll {},
    /// The actor of one call, on whichever node it lives.
    StopCall { call: String },
    /// Whether actors that stopped are spawned again.
    Respawn { on: bool },
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Done {
    node: u64,
    /// Actors that were stopped or will panic.
    hit: usize,
    respawn: bool,
}

pub async fn run(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Params(on): Params<OnNode>,
    headers: HeaderMap,
    forwarded: Option<axum::Extension<forward::Forwarded>>,
    Body(body): Body,
) -> Result<Response, Problem> {
    who.check(Operation::Drill)?;
    let drill: Drill = extract::json(&headers, &body)?;
    let place = place(&app, &drill, on.node)?.filter(|_| forwarded.is_none());
    if let Some(node) = place {
        let request = Request::builder().method(Method::POST).uri("/api/v1/drills").header(header::CONTENT_TYPE, "application/json");
        let request = request.body(body.into()).map_err(|e| Problem::internal(e.to_string()))?;
        return forward::send(app.live.cluster(), node, &who, request).await;
    }
    if !app.drills {
        return Err(Problem::drills_off("start it with `drills = true` in its file, or `tandem dev --drills`"));
    }
    let hit = act(&app, &who, &drill).await?;
    let done = Done { node: app.live.cluster().node(), hit, respawn: app.live.respawns() };
    Ok(axum::Json(done).into_response())
}

/// The other node whose actors are meant, if it is another.
fn place(app: &App, drill: &Drill, named: Option<u64>) -> Result<Option<u64>, Problem> {
    let cluster = app.live.cluster();
    let node = match drill {
        Drill::StopCall { call } if named.is_none() => {
            let (_, group) = app.live.find_call(parse(call)?).ok_or_else(|| Problem::not_found(format!("no live call {call} here")))?;
            cluster.leader(group)
        }
        _ => named,
    };
    Ok(node.filter(|node| *node != cluster.node()))
}

fn parse(call: &str) -> Result<CallId, Problem> {
    call.parse().map_err(|_| Problem::bad_request(format!("{call:?} is no call id")))
}

async fn act(app: &App, who: &Principal, drill: &Drill) -> Result<usize, Problem> {
    tracing::warn!(?drill, by = %who.token, "drill");
    let drill = match drill {
        Drill::Crash { actor, every } => actor::Drill::Crash { kind: *actor, every: *every },
        Drill::StopAll {} => actor::Drill::StopAll,
        Drill::StopCall { call } => actor::Drill::StopCall(parse(call)?),
        Drill::Respawn { on } => {
            app.live.set_respawn(*on);
            return Ok(0);
        }
    };
    Ok(app.live.drill(drill).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drill_is_told_by_its_kind_and_an_unknown_one_is_refused() {
        let parse = |text: &str| serde_json::from_str::<Drill>(text);
        assert_eq!(parse(r#"{"kind":"crash","actor":"queue"}"#).unwrap(), Drill::Crash { actor: Kind::Queue, every: false });
        assert_eq!(parse(r#"{"kind":"stop-all"}"#).unwrap(), Drill::StopAll {});
        assert_eq!(parse(r#"{"kind":"respawn","on":false}"#).unwrap(), Drill::Respawn { on: false });
        for wrong in [r#"{"kind":"crash","actor":"root"}"#, r#"{"kind":"stop-all","every":true}"#, r#"{"kind":"reboot"}"#] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
