//! One group on this node: its replica, its proposer, and whether it leads.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use openraft::{
    BasicNode, ChangeMembers, Config, ReadPolicy, SnapshotPolicy,
    alias::SnapshotMetaOf,
    async_runtime::watch::WatchReceiver,
    metrics::{RaftDataMetrics, RaftMetrics},
    raft::TransferLeaderRequest,
};
use openraft_multi::GroupNetworkFactory;
use parking_lot::Mutex;
use tokio::{
    sync::{broadcast, watch},
    time::Instant,
};

use super::{
    machine::{Applied, Beside},
    network::{Factory, Raft, Router},
    proposer::Proposer,
    type_config::{LogId, TypeConfig},
};
use crate::{Committed, GroupId, GroupStatus, NodeId, ProposeError, RoleChange, Timing, Token, log::storage::GroupLog};
use crate::{electorate::Electorate, pace::Work};

/// Pause before a new leader that cannot yet confirm itself tries again.
const CONFIRM_PAUSE: Duration = Duration::from_millis(2);

/// A group this node hosts. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Group {
    pub(crate) id: GroupId,
    pub(crate) raft: Raft,
    applied: Applied,
    proposer: Proposer,
    leading: watch::Sender<Option<Token>>,
    led_since: Arc<Mutex<Instant>>,
    /// When this replica last heard of a leader, for the grace of a new one.
    heard_ms: Arc<AtomicU64>,
    started: Instant,
}

/// What [`Group::compact`] set going.
pub(crate) enum Compaction {
    Snapshot,
    Purge,
    /// All that is applied is in a snapshot and purged.
    Nothing,
}

/// What a group needs from the node it is opened on.
pub(crate) struct Setting {
    pub(crate) node: NodeId,
    pub(crate) timing: Timing,
    pub(crate) snapshot_every: u64,
    pub(crate) router: Router,
    pub(crate) roles: broadcast::Sender<RoleChange>,
}

fn config(setting: &Setting) -> Result<Arc<Config>, String> {
    let config = Config {
        heartbeat_interval: setting.timing.heartbeat_ms,
        election_timeout_min: setting.timing.election_min_ms,
        election_timeout_max: setting.timing.election_max_ms,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(setting.snapshot_every),
        max_in_snapshot_log_to_keep: setting.snapshot_every / 4,
        install_snapshot_timeout: 30_000,
        enable_pre_vote: Some(true),
        // A leader that starts again must not go on in its old term: it replicates entries before its own disk has them, and
        // those it lost it would write anew, with other content, under the same log ids.
        enable_leader_restore: Some(false),
        ..Config::default()
    };
    config.validate().map(Arc::new).map_err(|error| error.to_string())
}

impl Group {
    pub(crate) async fn open(id: GroupId, log: GroupLog, applied: Applied, setting: &Setting) -> Result<Self, String> {
        let factory = Factory(GroupNetworkFactory::new(setting.router.clone(), id));
        if let Some(index) = applied.struck_out() {
            log.forget_committed_from(index);
        }
        let raft = Raft::new(setting.node, config(setting)?, factory, log, applied.clone()).await.map_err(|error| error.to_string())?;
        let leading = watch::Sender::new(None);
        let proposer = Proposer::start(id, raft.clone(), applied.clone(), leading.subscribe());
        let (started, led_since) = (Instant::now(), Arc::new(Mutex::new(Instant::now())));
        let group = Self { id, raft, applied, proposer, leading, led_since, heard_ms: Arc::default(), started };
        tokio::spawn(follow_roles(group.clone(), setting.node, setting.roles.clone()));
        Ok(group)
    }

    pub(crate) fn metrics(&self) -> RaftMetrics<TypeConfig> {
        self.raft.metrics().borrow_watched().clone()
    }

    pub(crate) fn data(&self) -> RaftDataMetrics<TypeConfig> {
        self.raft.data_metrics().borrow_watched().clone()
    }

    pub(crate) fn leading(&self) -> Option<Token> {
        *self.leading.borrow()
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.raft.server_metrics().borrow_watched().current_leader
    }

    #[cfg(feature = "sim")]
    pub(crate) fn led_by(&self) -> (GroupId, u64, Option<NodeId>) {
        let metrics = self.raft.server_metrics();
        let seen = metrics.borrow_watched();
        let id = seen.vote.leader_id();
        // The vote is the one on disk, the leader the one in memory: until the disk has caught up they are of two terms.
        (self.id, id.term, seen.current_leader.filter(|leader| *leader == id.node_id))
    }

    /// Commits a command here, if this replica leads.
    pub(crate) async fn propose(&self, command: Bytes, deadline: Instant) -> Result<Committed, ProposeError> {
        self.proposer.propose(command, deadline).await
    }

    /// The index up to which a reader must have applied (ReadIndex), if this replica leads; waits for its own apply.
    pub(crate) async fn read_index(&self) -> Result<u64, ProposeError> {
        let read = self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await.map_err(|error| ProposeError::Definite(error.to_string()))?;
        Ok(read.log_id().index)
    }

    /// Waits until this replica has applied `index`.
    pub(crate) async fn applied_to(&self, index: u64, deadline: Duration) -> Result<(), ProposeError> {
        let metrics = self.raft.wait(Some(deadline));
        metrics
            .applied_index_at_least(Some(index), "read barrier")
            .await
            .map(|_| ())
            .map_err(|error| ProposeError::Definite(error.to_string()))
    }

    /// Waits until this replica has applied what it knew to be committed when it was opened, or until the time is up.
    pub(crate) async fn applied_what_is_committed(&self, within: Duration) {
        let committed = self.data().local_committed.map_or(0, |id| id.index);
        if let Err(error) = self.applied_to(committed, within).await {
            tracing::warn!(group = self.id, %error, "what is committed is not applied yet; the start goes on");
        }
    }

    pub(crate) async fn initialized(&self) -> Result<bool, String> {
        self.raft.is_initialized().await.map_err(|error| error.to_string())
    }

    pub(crate) async fn initialize(&self, members: BTreeMap<NodeId, BasicNode>) -> Result<(), String> {
        match self.raft.initialize(members).await {
            Ok(()) => Ok(()),
            // A peer was faster: its first entry is here already.
            Err(_) if self.raft.is_initialized().await.unwrap_or(false) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Asks this replica to give its lease up and, if it is the one preferred, to campaign at once.
    pub(crate) async fn succeed(&self, preferred: NodeId) {
        let data = self.data();
        let vote = self.metrics().vote;
        // A failure means the replica is shutting down; somebody else will lead.
        let _ = self.raft.handle_transfer_leader(TransferLeaderRequest::new(vote, preferred, data.last_log)).await;
    }

    pub(crate) async fn give_leadership_to(&self, node: NodeId) -> Result<(), String> {
        self.raft.trigger().transfer_leader(node).await.map_err(|error| error.to_string())
    }

    /// The voters' sets (two in the middle of a change) and every node that follows, voters included.
    pub(crate) fn membership(&self) -> (Vec<BTreeSet<NodeId>>, BTreeSet<NodeId>) {
        let metrics = self.raft.server_metrics();
        let seen = metrics.borrow_watched();
        let membership = seen.membership_config.membership();
        (membership.get_joint_config().clone(), membership.nodes().map(|(id, _)| *id).collect())
    }

    pub(crate) fn voters(&self) -> BTreeSet<NodeId> {
        self.membership().0.into_iter().flatten().collect()
    }

    /// Whom this replica counts on for a quorum, and the entry that says so.
    pub(crate) fn electorate(&self) -> Electorate {
        let metrics = self.raft.server_metrics();
        let seen = metrics.borrow_watched();
        let version = seen.membership_config.log_id().as_ref().map_or((0, 0), |id| (id.committed_leader_id().term, id.index));
        Electorate { version, sets: seen.membership_config.membership().get_joint_config().clone() }
    }

    /// Every node of the membership that is known to be committed.
    pub(crate) fn committed_members(&self) -> BTreeSet<NodeId> {
        let metrics = self.raft.server_metrics();
        let seen = metrics.borrow_watched();
        let now = seen.membership_config.membership().nodes();
        now.chain(seen.committed_membership_config.membership().nodes()).map(|(id, _)| *id).collect()
    }

    /// The last log index and how far every follower is known to be, if this replica leads.
    pub(crate) fn progress(&self) -> (u64, BTreeMap<NodeId, u64>) {
        let data = self.data();
        let matched = data.replication.unwrap_or_default().into_iter();
        let matched = matched.filter_map(|(id, matched)| Some((id, matched?.index))).collect();
        (data.last_log.map_or(0, |id| id.index), matched)
    }

    /// True once this replica has led for this long.
    pub(crate) fn led_for(&self, while_: Duration) -> bool {
        self.leading().is_some() && self.led_since.lock().elapsed() >= while_
    }

    pub(crate) async fn add_learner(&self, node: NodeId, addr: SocketAddr) -> Result<(), String> {
        self.raft.add_learner(node, BasicNode::new(addr), false).await.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Makes `voters` the voters, through a joint step; those that vote no longer go on following.
    pub(crate) async fn change_voters(&self, voters: BTreeSet<NodeId>) -> Result<(), String> {
        self.raft.change_membership(voters, true).await.map(|_| ()).map_err(|error| error.to_string())
    }

    pub(crate) async fn drop_learner(&self, node: NodeId) -> Result<(), String> {
        let change = ChangeMembers::RemoveNodes(BTreeSet::from([node]));
        self.raft.change_membership(change, true).await.map(|_| ()).map_err(|error| error.to_string())
    }

    /// How applying entries goes here.
    pub(crate) fn applying(&self) -> Work {
        self.applied.work()
    }

    /// An entry among those the cluster skips that this replica applied: it is not what the others are any more.
    pub(crate) fn applied_though(&self, skips: &BTreeSet<u64>) -> Option<u64> {
        self.applied.applied_though(skips)
    }

    /// What this replica would put into a snapshot now. It blocks on the machine: call it off the async threads.
    pub(crate) fn image(&self) -> std::io::Result<(SnapshotMetaOf<TypeConfig>, Vec<u8>, Beside)> {
        self.applied.durable_image()
    }

    /// Sets the next step going that lets the log forget this group's applied entries: the purge of those in a snapshot, or a
    /// snapshot of the others.
    pub(crate) async fn compact(&self) -> Compaction {
        let metrics = self.metrics();
        let index = |id: Option<LogId>| id.map(|id| id.index);
        let (applied, snapshot, purged) = (index(metrics.last_applied), index(metrics.snapshot), index(metrics.purged));
        // An error means that the replica is shutting down.
        match snapshot {
            // First: a busy group has always applied more than its snapshot holds.
            Some(covered) if purged < snapshot => {
                let _ = self.raft.trigger().purge_log(covered).await;
                Compaction::Purge
            }
            covered if covered < applied => {
                let _ = self.raft.trigger().snapshot().await;
                Compaction::Snapshot
            }
            _ => Compaction::Nothing,
        }
    }

    pub(crate) fn status(&self) -> GroupStatus {
        let metrics = self.metrics();
        let voters = metrics.membership_config.membership().voter_ids().collect();
        let learners = metrics.membership_config.membership().learner_ids().collect();
        GroupStatus {
            group: self.id,
            leader: metrics.current_leader,
            term: metrics.current_term,
            last_log: metrics.last_log_index.unwrap_or(0),
            applied: metrics.last_applied.map_or(0, |id| id.index),
            poisoned: self.applied.poisoned(),
            voters,
            learners,
        }
    }

    pub(crate) fn heard_leader(&self) {
        self.heard_ms.store(self.started.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn gap_ms(&self) -> u64 {
        (self.started.elapsed().as_millis() as u64).saturating_sub(self.heard_ms.load(Ordering::Relaxed))
    }
}

/// Tells the machine and the product when this replica begins and ceases to lead.
async fn follow_roles(group: Group, node: NodeId, roles: broadcast::Sender<RoleChange>) {
    let mut metrics = group.raft.server_metrics();
    loop {
        let (leads, term) = {
            let seen = metrics.borrow_watched();
            (seen.current_leader == Some(node) && seen.state.is_leader(), seen.vote.leader_id().term)
        };
        let current = group.leading();
        let token = leads.then_some(Token { term, node });
        if current.is_some() && current != token {
            change(&group, None, &roles);
        }
        if let Some(token) = token.filter(|token| current != Some(*token)) {
            // Confirmed by a quorum and caught up with its own first entry.
            if group.read_index().await.is_ok() {
                metrics::counter!("raft_leader_changes_total").increment(1);
                change(&group, Some(token), &roles);
            } else {
                tokio::time::sleep(CONFIRM_PAUSE).await;
            }
            continue;
        }
        if metrics.changed().await.is_err() {
            change(&group, None, &roles);
            return;
        }
    }
}

/// The machine knows its role before the first command of the leadership is proposed, and after the last.
fn change(group: &Group, leading: Option<Token>, roles: &broadcast::Sender<RoleChange>) {
    let gap_ms = group.gap_ms();
    if leading.is_none() {
        group.leading.send_replace(None);
        // A leader hears of itself; the silence of a successor begins now.
        group.heard_leader();
    }
    group.applied.role(leading);
    *group.led_since.lock() = Instant::now();
    if leading.is_some() {
        group.leading.send_replace(leading);
    }
    // Nobody listens while the node starts; the product asks `leads` when it begins to.
    let _ = roles.send(RoleChange { group: group.id, leading, gap_ms });
}
