//! openraft's own suite for log storages, and the restart behaviour it does not cover.

use std::io;

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use openraft::{
    EntryPayload, RaftLogReader, RaftSnapshotBuilder, StorageError, alias,
    entry::RaftEntry,
    storage::{EntryResponder, IOFlushed, RaftLogStorage, RaftStateMachine},
    testing::log::{StoreBuilder, Suite},
    type_config::TypeConfigExt,
    vote::RaftLeaderIdExt,
};

use super::*;
use crate::{
    log::store::{GroupLog, LogStore},
    raft::type_config::{Batch, LogEntry, LogId, Replies, TypeConfig, Vote},
};

type Snapshot = alias::SnapshotOf<TypeConfig, Vec<u8>>;
type SnapshotMeta = alias::SnapshotMetaOf<TypeConfig>;
type Membership = alias::StoredMembershipOf<TypeConfig>;

/// The least state machine the suite accepts: it remembers where it is.
#[derive(Clone, Default)]
struct Position(Arc<Mutex<(Option<LogId>, Membership, Option<SnapshotMeta>)>>);

impl RaftSnapshotBuilder<TypeConfig> for Position {
    type SnapshotData = Vec<u8>;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let mut state = self.0.lock();
        let meta = SnapshotMeta { last_log_id: state.0, last_membership: state.1.clone() };
        state.2 = Some(meta.clone());
        Ok(Snapshot { meta, snapshot: Vec::new() })
    }
}

impl RaftStateMachine<TypeConfig> for Position {
    type SnapshotData = Vec<u8>;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), io::Error> {
        let state = self.0.lock();
        Ok((state.0, state.1.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + Send,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            {
                let mut state = self.0.lock();
                state.0 = Some(entry.log_id());
                if let EntryPayload::Membership(m) = entry.payload {
                    state.1 = Membership::new(state.0, m);
                }
            }
            if let Some(responder) = responder {
                responder.send(Replies::default());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, _: Vec<u8>) -> Result<(), io::Error> {
        *self.0.lock() = (meta.last_log_id, meta.last_membership.clone(), Some(meta.clone()));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.0.lock().2.clone().map(|meta| Snapshot { meta, snapshot: Vec::new() }))
    }
}

struct Builder;

impl StoreBuilder<TypeConfig, GroupLog, Position, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, GroupLog, Position), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let log = LogStore::open(options(&dir)).unwrap().group(3);
        Ok((dir, log, Position::default()))
    }
}

#[tokio::test]
async fn the_log_passes_the_suite_of_openraft() {
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
    let store = LogStore::open(options(&dir)).unwrap();
    let mut log = store.group(5);
    append(&mut log, (0..10).map(|i| entry(1, i)).collect()).await;
    log.truncate_after(Some(id(1, 7))).await.unwrap();
    append(&mut log, vec![entry(2, 8)]).await;
    log.purge(id(1, 2)).await.unwrap();
    log.save_vote(&Vote::new(3, 1)).await.unwrap();
    log.save_committed(Some(id(2, 8))).await.unwrap();
    assert_eq!(store.group(5).get_log_state().await.unwrap().last_log_id, Some(id(2, 8)), "opened twice, it is one log");
    store.wal().close().await;

    let store = LogStore::open(options(&dir)).unwrap();
    assert_eq!(store.hosted(), [5]);
    let mut log = store.group(5);
    let state = log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(id(1, 2)), Some(id(2, 8))));
    let want: Vec<LogEntry> = (3..8).map(|i| entry(1, i)).chain([entry(2, 8)]).collect();
    assert_eq!(log.try_get_log_entries(..).await.unwrap(), want);
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(3, 1)));
    assert_eq!(log.read_committed().await.unwrap(), Some(id(2, 8)));

    store.forget(5).await.unwrap();
    store.wal().close().await;
    assert_eq!(LogStore::open(options(&dir)).unwrap().hosted(), Vec::<GroupId>::new());
}

#[tokio::test]
async fn one_read_for_a_lagging_peer_is_bounded_but_never_empty() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogStore::open(options(&dir)).unwrap().group(5);
    let big = |index| {
        let commands = vec![Bytes::from(vec![1; limits::LOG_READ_MAX_BYTES / 2 + 1])];
        LogEntry::new(id(1, index), EntryPayload::Normal(Batch { time_ns: 0, wall_ms: 0, commands }))
    };
    append(&mut log, (0..4).map(big).collect()).await;
    assert_eq!(log.limited_get_log_entries(0, 4).await.unwrap().len(), 1);
    assert_eq!(log.limited_get_log_entries(2, 4).await.unwrap()[0].index(), 2);
    assert!(log.limited_get_log_entries(4, 4).await.unwrap().is_empty());
}
