//! openraft's own suite for log storages, and the restart behaviour it does not cover.

use bytes::Bytes;
use openraft::{
    EntryPayload, RaftLogReader, StorageError, alias,
    entry::RaftEntry,
    storage::{IOFlushed, RaftLogStorage},
    testing::log::{StoreBuilder, Suite},
    type_config::TypeConfigExt,
    vote::RaftLeaderIdExt,
};

use super::*;
use crate::{
    log::storage::{GroupLog, NodeLog},
    raft::{
        machine::{self, Applied},
        type_config::{Batch, LogEntry, LogId, TypeConfig, Vote},
    },
};

struct Builder;

impl StoreBuilder<TypeConfig, GroupLog, Applied, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, GroupLog, Applied), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let log = NodeLog::with(options(&dir)).unwrap().group(3);
        let machine = machine::for_tests(3, &dir.path().join("snapshots"));
        Ok((dir, log, machine))
    }
}

#[tokio::test]
async fn the_log_passes_openrafts_own_storage_suite() {
    Suite::test_all(Builder).await.unwrap();
}

fn id(term: u64, index: u64) -> LogId {
    LogId::new(alias::LeaderIdOf::<TypeConfig>::new_committed(term, 1), index)
}

fn entry(term: u64, index: u64) -> LogEntry {
    let commands = vec![Bytes::from(format!("command {index}")), Bytes::new()];
    LogEntry::new(id(term, index), EntryPayload::Normal(Batch { time_ns: index, wall_ms: -1, commands }))
}

async fn append(log: &mut GroupLog, entries: Vec<LogEntry>) {
    let (tx, rx) = <TypeConfig as TypeConfigExt>::oneshot();
    log.append(entries, IOFlushed::signal(tx)).await.unwrap();
    rx.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_group_finds_its_entries_vote_and_commit_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = NodeLog::with(options(&dir)).unwrap();
    let mut log = store.group(5);
    append(&mut log, (0..10).map(|i| entry(1, i)).collect()).await;
    log.truncate_after(Some(id(1, 7))).await.unwrap();
    append(&mut log, vec![entry(2, 8)]).await;
    log.purge(id(1, 2)).await.unwrap();
    log.save_vote(&Vote::new(3, 1)).await.unwrap();
    log.save_committed(Some(id(2, 8))).await.unwrap();
    assert_eq!(store.group(5).get_log_state().await.unwrap().last_log_id, Some(id(2, 8)), "opened twice, it is one log");
    store.wal().close().await;

    let store = NodeLog::with(options(&dir)).unwrap();
    assert_eq!(store.groups(), [5]);
    let mut log = store.group(5);
    let state = log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(id(1, 2)), Some(id(2, 8))));
    let want: Vec<LogEntry> = (3..8).map(|i| entry(1, i)).chain([entry(2, 8)]).collect();
    assert_eq!(log.try_get_log_entries(..).await.unwrap(), want);
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(3, 1)));
    assert_eq!(log.read_committed().await.unwrap(), Some(id(2, 8)));
}

#[tokio::test]
async fn what_a_replica_will_wait_at_is_not_committed_while_it_opens() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = NodeLog::with(options(&dir)).unwrap().group(5);
    append(&mut log, (0..6).map(|i| entry(1, i)).collect()).await;
    log.save_committed(Some(id(1, 4))).await.unwrap();
    log.forget_committed_from(5);
    assert_eq!(log.read_committed().await.unwrap(), Some(id(1, 4)), "it is before that");
    log.forget_committed_from(3);
    assert_eq!(log.read_committed().await.unwrap(), Some(id(1, 2)));
    log.forget_committed_from(0);
    assert_eq!(log.read_committed().await.unwrap(), None);
}

#[tokio::test]
async fn one_read_for_a_lagging_peer_is_bounded_but_never_empty() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = NodeLog::with(options(&dir)).unwrap().group(5);
    let big = |index| {
        let commands = vec![Bytes::from(vec![1; limits::LOG_READ_MAX_BYTES / 2 + 1])];
        LogEntry::new(id(1, index), EntryPayload::Normal(Batch { time_ns: 0, wall_ms: 0, commands }))
    };
    append(&mut log, (0..4).map(big).collect()).await;
    assert_eq!(log.limited_get_log_entries(0, 4).await.unwrap().len(), 1);
    assert_eq!(log.limited_get_log_entries(2, 4).await.unwrap()[0].index(), 2);
    assert!(log.limited_get_log_entries(4, 4).await.unwrap().is_empty());
}
