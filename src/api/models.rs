//! The cluster's choice of models as a row of the table that every node shares, and what one node makes of it.
//!
//! The rules are `core::models`; loading files is the node's. Two who change the row at once do not undo each other: the second is refused.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tandem_cluster::Cluster;

use super::problem::Problem;
use crate::core::{
    models::{Change, Models, Refusal},
    time::WallTime,
};

/// The row's key.
const ROW: &str = "models";

/// The models of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The choice it follows, by its count of changes.
    pub revision: u64,
    pub current: Judge,
    /// None where there is no canary.
    pub canary: Option<Judge>,
    /// Versions it should have and has not.
    pub missing: Vec<Missing>,
}

/// What judges contacts; without a version, rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judge {
    pub version: Option<String>,
    pub sha256: Option<String>,
    /// In the place of a version that is missing here.
    pub stand_in: bool,
}

/// A version that is chosen, and why it is not here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    pub version: String,
    pub why: String,
}

/// The row as last seen here, unread: to be compared with what was seen before.
#[must_use]
pub fn row(cluster: &Cluster) -> Option<Vec<u8>> {
    cluster.shared(ROW)
}

/// A row's choice; without a row, that of the beginning.
///
/// # Errors
/// When a newer program wrote it.
pub fn read(row: Option<&[u8]>) -> Result<Models, serde_json::Error> {
    row.map_or_else(|| Ok(Models::default()), serde_json::from_slice)
}

/// The choice as it was committed last.
///
/// # Errors
/// 503 without a quorum.
pub async fn chosen(cluster: &Cluster, deadline: Duration) -> Result<Models, Problem> {
    let row = cluster.shared_now(ROW, deadline).await?;
    read(row.as_deref()).map_err(unreadable)
}

/// Makes a change, once under the handle's idempotency key, and returns the choice it led to.
///
/// # Errors
/// 404 for a version that is not staged, 422 for nonsense, 409 for what the choice does not allow now or when somebody else changed it in
/// between; 503 and 504 as for any command.
pub async fn change(cluster: &Cluster, change: &Change, by: &str, reason: &str, deadline: Duration) -> Result<Models, Problem> {
    if cluster.done_before(deadline).await? {
        return chosen(cluster, deadline).await;
    }
    let row = cluster.shared_now(ROW, deadline).await?;
    let mut models = read(row.as_deref()).map_err(unreadable)?;
    models.make(change, by, reason, WallTime(cluster.wall_ms())).map_err(|refusal| refused(&refusal))?;
    let fresh = serde_json::to_vec(&models).expect("a choice is plain strings and numbers");
    cluster.replace(ROW, row, fresh, deadline).await?;
    tracing::info!(%change, %by, %reason, revision = models.revision, "the choice of models was changed");
    Ok(models)
}

fn refused(refusal: &Refusal) -> Problem {
    let detail = refusal.to_string();
    match refusal {
        Refusal::Unknown(_) => Problem::not_found(detail),
        _ if refusal.is_nonsense() => Problem::invalid(detail),
        _ => Problem::conflict(detail),
    }
}

fn unreadable(error: serde_json::Error) -> Problem {
    Problem::internal(format!("the choice of models is not as this program writes it: {error}"))
}
