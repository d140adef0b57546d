//! What every handler holds, and the helpers they share: tenants, reads, commands.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use parking_lot::Mutex;
use tandem_cluster::GroupId;
use tokio::sync::Semaphore;

use super::{
    access::{Operation, Principal},
    feed::Feed,
    limits,
    models::Held,
    pace::Pace,
    page::Staleness,
    problem::Problem,
    tokens::Book,
};
use crate::{
    actor,
    core::{
        Command, Outcome, State,
        command::Envelope,
        id::{DomainId, RequestId},
    },
};

/// The state of the HTTP side.
pub struct App {
    pub live: actor::Handle,
    pub tokens: Book,
    pub metrics: PrometheusHandle,
    pub feed: Arc<Feed>,
    /// Why the SIP edge of this node should be sent no calls.
    pub sip: Box<dyn Fn() -> Option<String> + Send + Sync>,
    /// Whether actors of this node may be stopped on purpose.
    pub drills: bool,
    /// Requests at once.
    pub requests: Semaphore,
    /// Event streams at once.
    pub streams: Arc<Semaphore>,
    /// Streams of chats at once.
    pub chat_streams: Arc<Semaphore>,
    /// Chats being opened.
    pub opened: Mutex<Pace>,
    /// A text as it may be kept: personal data of known kinds is masked.
    pub mask: fn(&str) -> String,
    /// What this node's models are; a witness has none.
    pub models: Option<Arc<Mutex<Held>>>,
    /// Backups at once.
    pub backups: Arc<Semaphore>,
}

impl App {
    /// The tenant a request means: the one it names, else the token's own, else the only one there is.
    ///
    /// # Errors
    /// 400 when it is ambiguous, 403 when the token may not touch it, 404 when there is none.
    pub fn tenant(&self, principal: &Principal, operation: Operation, named: Option<&str>) -> Result<DomainId, Problem> {
        let tenant = match named.or(principal.tenant.as_deref()) {
            Some(name) => name.to_owned(),
            None => {
                let mut all = self.tenants().into_iter();
                match (all.next(), all.next()) {
                    (Some(only), None) => only.to_string(),
                    (None, _) => return Err(Problem::not_found("there is no tenant yet: `tandem apply FILE`")),
                    (Some(_), Some(_)) => return Err(Problem::bad_request("there are several tenants: name one with ?tenant=")),
                }
            }
        };
        principal.check_in(operation, &tenant)?;
        Ok(DomainId::new(&tenant))
    }

    /// Every tenant this node knows of, in order.
    pub fn tenants(&self) -> Vec<DomainId> {
        self.live.directory().borrow().domains.keys().cloned().collect()
    }

    /// # Errors
    /// 404 for a tenant that was never created.
    pub fn group_of(&self, tenant: &DomainId) -> Result<GroupId, Problem> {
        self.live.cluster().group_of(tenant.as_str()).ok_or_else(|| Problem::not_found(format!("no such tenant: {tenant}")))
    }

    /// Runs `read` on the replica of a group here.
    ///
    /// # Errors
    /// 503 without a quorum (unless stale) or without a replica.
    pub async fn read<R: Send>(&self, group: GroupId, stale: bool, read: impl FnOnce(&State) -> R + Send) -> Result<R, Problem> {
        let found = self.live.read(group, stale, limits::READ_DEADLINE, read).await?;
        found.ok_or_else(|| Problem::unavailable(format!("this node holds no replica of partition {group}")))
    }

    /// How far the local replicas of these groups may be behind.
    pub fn staleness(&self, groups: &[GroupId]) -> Staleness {
        let all = self.live.cluster().groups();
        let mine = all.iter().filter(|status| groups.contains(&status.group));
        mine.fold(Staleness { entries_behind: 0, leader_known: true }, |sum, status| Staleness {
            entries_behind: sum.entries_behind + status.last_log.saturating_sub(status.applied),
            leader_known: sum.leader_known && status.leader.is_some(),
        })
    }

    /// To be asked before anything is proposed: what was never sent was certainly not done.
    ///
    /// # Errors
    /// 503 with the reason while most nodes are out of reach.
    pub fn quorum(&self) -> Result<(), Problem> {
        if self.live.cluster().lease_valid() { Ok(()) } else { Err(actor::no_quorum().into()) }
    }

    /// Commits a command; a rejection by the core becomes its problem.
    ///
    /// # Errors
    /// 503 at once without a quorum, 504 when the outcome is unknown, else the rejection's own status.
    pub async fn command(&self, tenant: &DomainId, request: Option<RequestId>, command: Command) -> Result<Outcome, Problem> {
        let envelope = Envelope { request, command };
        match self.live.command(tenant, envelope, limits::COMMAND_DEADLINE).await? {
            Outcome::Rejected(reason) | Outcome::Refused { reason, .. } => Err(Problem::rejected(&reason)),
            outcome => Ok(outcome),
        }
    }
}
