//! Partitions: who leads what, how far every log is, the head of each archive, and the word to skip an entry.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use tandem_cluster::GroupStatus;

use crate::api::{
    access::{Operation, Principal},
    app::App,
    extract::{Caller, Json, Key, Params},
    forward, limits,
    page::{self, Page, Query},
    problem::Problem,
};
use crate::core::id::RequestId;

/// A partition as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    #[serde(flatten)]
    pub status: GroupStatus,
    /// The node that says so.
    pub seen_by: u64,
    /// Null for the meta group, which holds no calls.
    pub archive: Option<ArchiveHead>,
    pub domains: Vec<String>,
}

/// Equal on every replica that has applied the same log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveHead {
    pub records: u64,
    /// Sequence of the first record that is still kept.
    pub kept_from: u64,
    pub bytes: u64,
    /// Hex of the chain hash of the last record.
    pub hash: String,
    /// False while earlier records are being fetched from a peer.
    pub complete: bool,
}

/// With `?stale=true` only what this node itself holds, read locally: for comparing replicas.
pub async fn list(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Params(query): Params<Query>,
) -> Result<axum::Json<Page<Partition>>, Problem> {
    who.check(Operation::ReadCluster)?;
    let cluster = app.live.cluster();
    let mut rows: BTreeMap<u32, Partition> = BTreeMap::new();
    for status in cluster.groups() {
        rows.insert(status.group, local(&app, status).await);
    }
    if !query.stale {
        let asked = forward::peers(cluster).into_iter().map(|node| replicas(&app, &who, node));
        for page in futures::future::join_all(asked).await.into_iter().flatten() {
            for row in page.items {
                // The leader knows its group best; else whoever has any view of a group not hosted here.
                if row.status.leader == Some(row.seen_by) || !rows.contains_key(&row.status.group) {
                    rows.insert(row.status.group, row);
                }
            }
        }
    }
    let after = query.cursor()?.and_then(|cursor| cursor.key.parse::<u32>().ok());
    let rows = rows.into_values().filter(|row| after.is_none_or(|after| row.status.group > after));
    let mut page = page::cut(rows, query.limit()?, |row| row.status.group.to_string());
    if query.stale {
        let groups: Vec<u32> = page.items.iter().map(|row| row.status.group).collect();
        page.stale = Some(app.staleness(&groups));
    }
    Ok(axum::Json(page))
}

async fn local(app: &App, status: GroupStatus) -> Partition {
    // Group 0 is the cluster's own: it has no archive and no tenants.
    let archive = app.live.archive(status.group).map(|head| ArchiveHead {
        records: head.records,
        kept_from: head.kept_from,
        bytes: head.bytes,
        hash: head.hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        complete: head.complete,
    });
    let domains = app.read(status.group, true, |state| state.domains().keys().map(ToString::to_string).collect()).await;
    Partition { status, seen_by: app.live.cluster().node(), archive, domains: domains.unwrap_or_default() }
}

/// The entry to pass over.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skip {
    index: u64,
}

/// `POST /api/v1/partitions/{id}/skips`: makes every replica pass over an entry that ends each node that applies it. It is
/// refused unless the node asked waits at that entry, and while another node has applied it.
pub async fn skip(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Key(key): Key,
    Path(id): Path<String>,
    Json(Skip { index }): Json<Skip>,
) -> Result<StatusCode, Problem> {
    who.check(Operation::Skip)?;
    let group: u32 = id.parse().map_err(|_| Problem::bad_request(format!("{id:?} is no partition")))?;
    app.quorum()?;
    let cluster = app.live.cluster().under(key.map(|RequestId(id)| id));
    if cluster.done_before(limits::COMMAND_DEADLINE).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    let here = cluster.groups().into_iter().find(|status| status.group == group);
    let here = here.ok_or_else(|| Problem::not_found(format!("no partition {group} here")))?;
    if here.poisoned != Some(index) {
        let why = here.poisoned.map_or("waits at none".to_owned(), |index| format!("waits at {index}"));
        return Err(Problem::conflict(format!("this node does not wait at entry {index} of partition {group}: it {why}")));
    }
    let asked = forward::peers(&cluster).into_iter().map(|node| {
        let (app, who) = (&app, &who);
        async move { replicas(app, who, node).await.map_err(|problem| Problem { status: 409, ..problem }) }
    });
    for page in futures::future::join_all(asked).await {
        // Whoever applied it must not be told that it is skipped; a node that cannot say is waited for.
        if let Some(row) = page?.items.into_iter().find(|row| row.status.group == group && row.status.applied >= index) {
            return Err(Problem::conflict(format!(
                "node {} has applied entry {index}: the others need its program, not a skip",
                row.seen_by
            )));
        }
    }
    cluster.skip(group, index, limits::COMMAND_DEADLINE).await?;
    tracing::error!(group, index, by = %who.token, "an entry is to be skipped; its commands are void");
    Ok(StatusCode::NO_CONTENT)
}

/// The replicas of another node, as that node sees them.
async fn replicas(app: &App, who: &Principal, node: u64) -> Result<Page<Partition>, Problem> {
    let uri = format!("/api/v1/partitions?stale=true&limit={}", limits::PAGE_MAX);
    forward::get(app.live.cluster(), node, who, &uri, limits::PEER_DEADLINE).await
}
