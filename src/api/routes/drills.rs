//! `POST /api/v1/drills`: actors, disk and clock of a node hurt on purpose, where its configuration allows it.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use tandem_cluster::log::{DiskOp, Faults};

use crate::{
    actor::{self, Hurt, Kind, Whom},
    api::{
        access::{Operation, Principal},
        app::App,
        extract::{self, Body, Caller, Params},
        forward,
        problem::Problem,
    },
    core::id::{CallId, DomainId},
};

/// Longest an actor may be made to hang, and a disk be slowed, milliseconds.
const HANG_MS_MAX: u64 = 600_000;
const SLOW_MS_MAX: u64 = 10_000;
/// What the kernel says of a broken disk, and of a full one.
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

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
    /// A panic in one actor of a kind, or in every one; of one tenant, or of all.
    Crash {
        actor: Kind,
        #[serde(default)]
        every: bool,
        #[serde(default)]
        tenant: Option<String>,
    },
    /// As `Crash`, but the actor takes no message for so long.
    Hang {
        actor: Kind,
        #[serde(default)]
        every: bool,
        #[serde(default)]
        tenant: Option<String>,
        for_ms: u64,
    },
    /// The log's disk: what becomes of its syncs from now on. Without anything, it is well again.
    Disk {
        #[serde(default)]
        error: Option<DiskError>,
        /// Each sync takes so much longer.
        #[serde(default)]
        slow_ms: u64,
    },
    /// The node's wall clock, so much ahead of the machine's; negative is behind.
    Clock { ahead_ms: i64 },
    /// Every actor of the node, at once.
    StopAll {},
    /// The actor of one call, on whichever node it lives.
    StopCall { call: String },
    /// Whether actors that stopped are spawned again.
    Respawn { on: bool },
}

/// How a disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskError {
    /// The next sync says EIO.
    Sync,
    /// The next write says that there is no room.
    Full,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Done {
    node: u64,
    /// Actors that were stopped, will panic or hang; 1 for a disk or a clock.
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
    let whom = |kind: &Kind, every: &bool, tenant: &Option<String>| Whom {
        kind: *kind,
        every: *every,
        tenant: tenant.as_deref().map(DomainId::new),
    };
    let drill = match drill {
        Drill::Crash { actor, every, tenant } => actor::Drill::Hurt(whom(actor, every, tenant), Hurt::Crash),
        Drill::Hang { for_ms, .. } if *for_ms > HANG_MS_MAX => {
            return Err(Problem::invalid(format!("for_ms: at most {HANG_MS_MAX}")));
        }
        Drill::Hang { actor: Kind::Partition, .. } => return Err(Problem::invalid("actor: a partition's actor cannot be hung")),
        Drill::Hang { actor, every, tenant, for_ms } => actor::Drill::Hurt(whom(actor, every, tenant), Hurt::Hang { for_ms: *for_ms }),
        Drill::Disk { slow_ms, .. } if *slow_ms > SLOW_MS_MAX => {
            return Err(Problem::invalid(format!("slow_ms: at most {SLOW_MS_MAX}")));
        }
        Drill::Disk { error, slow_ms } => {
            hurt_disk(app.live.cluster().disk_faults(), *error, *slow_ms);
            return Ok(1);
        }
        Drill::Clock { ahead_ms } => {
            tandem_cluster::put_wall_ahead(*ahead_ms);
            return Ok(1);
        }
        Drill::StopAll {} => actor::Drill::StopAll,
        Drill::StopCall { call } => actor::Drill::StopCall(parse(call)?),
        Drill::Respawn { on } => {
            app.live.set_respawn(*on);
            return Ok(0);
        }
    };
    Ok(app.live.drill(drill).await)
}

fn hurt_disk(disk: &Faults, error: Option<DiskError>, slow_ms: u64) {
    disk.clear();
    disk.slow(Duration::from_millis(slow_ms));
    match error {
        Some(DiskError::Sync) => disk.arm(DiskOp::Sync, EIO, 0),
        Some(DiskError::Full) => disk.arm(DiskOp::Write, ENOSPC, 0),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drill_is_told_by_its_kind_and_an_unknown_one_is_refused() {
        let parse = |text: &str| serde_json::from_str::<Drill>(text);
        assert_eq!(parse(r#"{"kind":"crash","actor":"queue"}"#).unwrap(), Drill::Crash { actor: Kind::Queue, every: false, tenant: None });
        let hang = r#"{"kind":"hang","actor":"call","tenant":"t","every":true,"for_ms":9}"#;
        assert_eq!(parse(hang).unwrap(), Drill::Hang { actor: Kind::Call, every: true, tenant: Some("t".into()), for_ms: 9 });
        assert_eq!(parse(r#"{"kind":"disk","error":"sync"}"#).unwrap(), Drill::Disk { error: Some(DiskError::Sync), slow_ms: 0 });
        assert_eq!(parse(r#"{"kind":"disk"}"#).unwrap(), Drill::Disk { error: None, slow_ms: 0 });
        assert_eq!(parse(r#"{"kind":"clock","ahead_ms":-5}"#).unwrap(), Drill::Clock { ahead_ms: -5 });
        assert_eq!(parse(r#"{"kind":"stop-all"}"#).unwrap(), Drill::StopAll {});
        assert_eq!(parse(r#"{"kind":"respawn","on":false}"#).unwrap(), Drill::Respawn { on: false });
        for wrong in [r#"{"kind":"crash","actor":"root"}"#, r#"{"kind":"stop-all","every":true}"#, r#"{"kind":"reboot"}"#] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
