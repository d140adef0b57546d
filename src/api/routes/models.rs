//! Versions of the models: which is current, which is tried out on whom, and who changed that.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Path, State},
    http::{StatusCode, request::Parts},
};
use serde::{Deserialize, Serialize};

use super::nodes;
use crate::{
    api::{
        access::{Operation, Principal},
        app::App,
        extract::{Caller, Json, Key},
        limits,
        models::{self, Held},
        problem::Problem,
        view::rfc3339,
    },
    core::{
        id::RequestId,
        models::{Canary, Change, Made, Models, Scorecard, Staged, Verdict},
    },
};

/// The choice, and what each node makes of it. A version that is null is the models a node was started with.
#[derive(Debug, Serialize)]
pub struct Choice {
    revision: u64,
    current: Option<String>,
    canary: Option<Canary>,
    /// What a rollback goes back to, the next one last.
    before: Vec<Option<String>>,
    versions: Vec<Version>,
    /// The latest changes, the oldest first.
    history: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nodes: Vec<NodeModels>,
}

/// A version that is staged.
#[derive(Debug, Serialize)]
pub struct Version {
    version: String,
    sha256: String,
    /// `current`, `canary` or `staged`.
    state: &'static str,
    /// Of its scorecards, the worst; null where nothing was measured.
    verdict: Option<Verdict>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scorecards: Option<Vec<Scorecard>>,
}

/// A change, and who made it.
#[derive(Debug, Serialize)]
pub struct Entry {
    revision: u64,
    at: String,
    by: String,
    what: String,
    reason: String,
}

#[derive(Debug, Serialize)]
pub struct NodeModels {
    id: u64,
    /// Null of a witness, and when it did not answer.
    models: Option<Held>,
}

impl From<&Models> for Choice {
    fn from(models: &Models) -> Self {
        let entry = |made: &Made| Entry {
            revision: made.revision,
            at: rfc3339(made.at),
            by: made.by.clone(),
            what: made.what.clone(),
            reason: made.reason.clone(),
        };
        Self {
            revision: models.revision,
            current: models.current.clone(),
            canary: models.canary.clone(),
            before: models.before.clone(),
            versions: models.staged.iter().map(|(name, staged)| version(models, name, staged)).collect(),
            history: models.history.iter().map(entry).collect(),
            nodes: Vec::new(),
        }
    }
}

fn version(models: &Models, name: &str, staged: &Staged) -> Version {
    let state = match &models.canary {
        _ if models.current.as_deref() == Some(name) => "current",
        Some(canary) if canary.version == name => "canary",
        _ => "staged",
    };
    Version { version: name.to_owned(), sha256: staged.sha256.clone(), state, verdict: staged.verdict(), scorecards: None }
}

/// `GET /api/v1/models`
pub async fn list(State(app): State<Arc<App>>, Caller(who): Caller) -> Result<axum::Json<Choice>, Problem> {
    who.check(Operation::ReadCluster)?;
    let chosen = models::chosen(app.live.cluster(), limits::READ_DEADLINE).await?;
    let rows = nodes::known(&app, 0).into_iter().map(|status| nodes::row(&app, &who, status));
    let rows = futures::future::join_all(rows).await;
    let nodes = rows.into_iter().map(|node| NodeModels { id: node.id, models: node.models }).collect();
    Ok(axum::Json(Choice { nodes, ..Choice::from(&chosen) }))
}

/// `GET /api/v1/models/{id}`: with its scorecards.
pub async fn one(State(app): State<Arc<App>>, Caller(who): Caller, Path(id): Path<String>) -> Result<axum::Json<Version>, Problem> {
    who.check(Operation::ReadCluster)?;
    let chosen = models::chosen(app.live.cluster(), limits::READ_DEADLINE).await?;
    let staged = chosen.staged.get(&id).ok_or_else(|| Problem::not_found(format!("no version {id} is staged")))?;
    Ok(axum::Json(Version { scorecards: Some(staged.scorecards.clone()), ..version(&chosen, &id, staged) }))
}

/// Who changes the choice, and under which key.
pub struct Changing {
    who: Principal,
    key: Option<RequestId>,
}

impl FromRequestParts<Arc<App>> for Changing {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let Caller(who) = Caller::from_request_parts(parts, app).await?;
        who.check(Operation::Models)?;
        let Key(key) = Key::from_request_parts(parts, app).await?;
        Ok(Self { who, key })
    }
}

impl Changing {
    async fn make(self, app: &App, change: &Change, reason: &str) -> Result<Choice, Problem> {
        app.quorum()?;
        let cluster = app.live.cluster().under(self.key.map(|RequestId(id)| id));
        let chosen = models::change(&cluster, change, &self.who.token, reason, limits::COMMAND_DEADLINE).await?;
        Ok(Choice::from(&chosen))
    }
}

/// A version whose files are placed on the nodes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    version: String,
    /// Of its `manifest.toml`.
    sha256: String,
    #[serde(default)]
    scorecards: Vec<Scorecard>,
}

/// `POST /api/v1/models`
pub async fn stage(
    State(app): State<Arc<App>>,
    by: Changing,
    Json(body): Json<Stage>,
) -> Result<(StatusCode, axum::Json<Choice>), Problem> {
    let Stage { version, sha256, scorecards } = body;
    let choice = by.make(&app, &Change::Stage { version, sha256, scorecards }, "").await?;
    Ok((StatusCode::CREATED, axum::Json(choice)))
}

/// `DELETE /api/v1/models/{id}`: forgets a version that judges nobody. Files stay where they are.
pub async fn remove(State(app): State<Arc<App>>, by: Changing, Path(version): Path<String>) -> Result<StatusCode, Problem> {
    by.make(&app, &Change::Remove { version }, "").await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How many contacts, and why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Try {
    percent: u8,
    #[serde(default)]
    reason: String,
}

/// `POST /api/v1/models/{id}/canary`
pub async fn canary(
    State(app): State<Arc<App>>,
    by: Changing,
    Path(version): Path<String>,
    Json(body): Json<Try>,
) -> Result<axum::Json<Choice>, Problem> {
    by.make(&app, &Change::Canary { version, percent: body.percent }, &body.reason).await.map(axum::Json)
}

/// Whether by force, and why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promote {
    #[serde(default)]
    force: bool,
    #[serde(default)]
    reason: String,
}

/// `POST /api/v1/models/{id}/promote`
pub async fn promote(
    State(app): State<Arc<App>>,
    by: Changing,
    Path(version): Path<String>,
    Json(body): Json<Promote>,
) -> Result<axum::Json<Choice>, Problem> {
    by.make(&app, &Change::Promote { version, force: body.force }, &body.reason).await.map(axum::Json)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Back {
    #[serde(default)]
    reason: String,
}

/// `POST /api/v1/models/rollback`: puts the canary away or, without one, goes back to what was current before.
pub async fn roll_back(State(app): State<Arc<App>>, by: Changing, Json(body): Json<Back>) -> Result<axum::Json<Choice>, Problem> {
    by.make(&app, &Change::RollBack, &body.reason).await.map(axum::Json)
}
