//! `GET /api/v1/partitions`: who leads what, how far every log is, and the head of each archive.

use std::{collections::BTreeMap, sync::Arc};

use axum::extract::State;
use serde::{Deserialize, Serialize};
use tandem_cluster::GroupStatus;

use crate::api::{
    access::Operation,
    app::App,
    extract::{Caller, Params},
    forward, limits,
    page::{self, Page, Query},
    problem::Problem,
};

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
        let asked = forward::peers(cluster).into_iter().map(|node| {
            let uri = format!("/api/v1/partitions?stale=true&limit={}", limits::PAGE_MAX);
            let who = who.clone();
            async move { forward::get::<Page<Partition>>(cluster, node, &who, &uri, limits::PEER_DEADLINE).await }
        });
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
        bytes: head.bytes,
        hash: head.hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        complete: head.complete,
    });
    let domains = app.read(status.group, true, |state| state.domains().keys().map(ToString::to_string).collect()).await;
    Partition { status, seen_by: app.live.cluster().node(), archive, domains: domains.unwrap_or_default() }
}
