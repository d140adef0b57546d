//! Forced recovery: makes one survivor of a lost quorum a cluster of its own. Offline, and at the operator's word only.
//!
//! What the dead majority had acknowledged and this node never received is lost; what this node holds, committed or not,
//! stays. It is done in the log: behind each group's last entry stands a membership of this node alone, under a later
//! term, and in the meta group the command that lets all other nodes have left. No machine is needed for that, so no
//! state is interpreted.

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use openraft::{
    EntryPayload,
    alias::LeaderIdOf,
    entry::RaftEntry as _,
    storage::{RaftLogReader as _, RaftLogStorage as _},
    vote::RaftLeaderIdExt as _,
};

use crate::{
    GroupId, NodeId,
    backup::sole_voter,
    codec,
    limits::WAL_SEGMENT_BYTES,
    log::{
        snapshot::Store,
        storage::{GroupLog, NodeLog},
    },
    meta::{META, MetaCommand},
    node::notes,
    raft::{
        machine::Meta,
        poison,
        type_config::{Batch, LogEntry, LogId, TypeConfig, Vote},
    },
};

/// What the survivor holds of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub group: GroupId,
    /// Term and index of its last entry: what others acknowledged behind it is lost.
    pub last: (u64, u64),
    /// The last entry it knew to be committed. Those behind it are kept, acknowledged or not.
    pub committed: u64,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    pub node: NodeId,
    pub groups: Vec<Held>,
}

/// Rewrites the data directory of a node that is not running.
///
/// # Errors
/// When a node runs on it, none ever did, or its log is damaged.
pub async fn recover(data_dir: &Path) -> io::Result<Recovered> {
    let node = notes::named(data_dir)?;
    if notes::has_left(data_dir) {
        return Err(io::Error::other(format!("node {node} had left its cluster: what it holds is not the cluster's state")));
    }
    let log = NodeLog::open(&data_dir.join("wal"), WAL_SEGMENT_BYTES, Arc::default())?;
    let store = Store::open(&data_dir.join("snapshots"))?;
    let mut found = BTreeMap::new();
    for group in log.groups() {
        if let Some(last) = last(&log.group(group), &store).await? {
            found.insert(group, last);
        }
    }
    // Nothing is written unless the group that all others hang on can be.
    if !found.contains_key(&META) {
        return Err(io::Error::other(format!("node {node} holds nothing of the meta group; it was never a member")));
    }
    let mut groups = Vec::new();
    for (group, last) in found {
        groups.push(claim(&mut log.group(group), node, group, last).await?);
    }
    log.close().await;
    notes::forget_peers(data_dir)?;
    Ok(Recovered { node, groups })
}

/// Lets the node of a data directory pass over an entry of the meta group that ends it, from its next start on. To be done
/// on every node: their meta groups differ otherwise.
///
/// # Errors
/// When no node ever ran there, or the disk takes no note.
pub fn skip_offline(data_dir: &Path, index: u64) -> io::Result<NodeId> {
    let node = notes::named(data_dir)?;
    poison::note_skip(data_dir, index)?;
    Ok(node)
}

/// The last entry of a group, in its log or in its snapshot; none if it never had any.
async fn last(log: &GroupLog, store: &Store) -> io::Result<Option<LogId>> {
    let state = log.clone().get_log_state().await?;
    let snapshot = store.load::<Meta>(log.id())?.and_then(|((meta, _), _)| meta.last_log_id);
    Ok(state.last_log_id.max(snapshot))
}

/// Makes this node the only voter of a group.
async fn claim(log: &mut GroupLog, node: NodeId, group: GroupId, last: LogId) -> io::Result<Held> {
    let committed = log.read_committed().await?.map_or(0, |id| id.index);
    let last_term = last.committed_leader_id().term;
    let voted = log.read_vote().await?.map_or(0, |vote| vote.leader_id().term);
    let term = last_term.max(voted) + 1;
    let id = |after: u64| LogId::new(LeaderIdOf::<TypeConfig>::new_committed(term, node), last.index + after);
    if log.get_log_state().await?.last_log_id < Some(last) {
        // The snapshot came from a peer and the log was not cut to it yet.
        log.purge(last).await?;
    }
    log.save_vote(&Vote::new(term, node)).await?;
    let mut entries = vec![LogEntry::new(id(1), EntryPayload::Membership(sole_voter(node)?))];
    if group == META {
        let command = codec::encode(&MetaCommand::Refound { node })?.into();
        entries.push(LogEntry::new(id(2), EntryPayload::Normal(Batch { time_ns: 0, wall_ms: 0, commands: vec![command] })));
    }
    log.write(entries).await?;
    Ok(Held { group, last: (last_term, last.index), committed })
}
