//! openraft's view of the shared log: one group's entries, vote and progress, in memory and in the write-ahead log.

use std::{collections::BTreeMap, fmt::Debug, io, ops::RangeBounds, path::Path, sync::Arc};

use openraft::{
    OptionalSend,
    entry::RaftEntry,
    storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage},
};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{
    record::Kind,
    wal::{Item, Wal},
};
use crate::{
    GroupId, codec,
    raft::type_config::{LogEntry, LogId, TypeConfig, Vote},
};

/// What a group's log holds since its last purge.
#[derive(Default)]
struct Rows {
    entries: BTreeMap<u64, LogEntry>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
}

/// One group's log. Clones share it.
#[derive(Clone)]
pub(crate) struct GroupLog {
    group: GroupId,
    rows: Arc<Mutex<Rows>>,
    wal: Wal,
}

/// All logs of a node, as found at start.
pub(crate) struct NodeLog {
    wal: Wal,
    found: Mutex<BTreeMap<GroupId, Arc<Mutex<Rows>>>>,
}

impl NodeLog {
    /// Opens the node's log and rebuilds every group it holds.
    pub(crate) fn open(dir: &Path, segment_bytes: u64) -> io::Result<Self> {
        let mut found: BTreeMap<GroupId, Rows> = BTreeMap::new();
        let wal = Wal::open(dir, segment_bytes, |head, payload| {
            if head.kind == Kind::Open {
                return Ok(());
            }
            let rows = found.entry(head.group).or_default();
            match head.kind {
                Kind::Entry => {
                    rows.entries.insert(head.index, codec::decode(payload)?);
                }
                Kind::Vote => rows.vote = Some(codec::decode(payload)?),
                Kind::Committed => rows.committed = codec::decode(payload)?,
                Kind::Truncate => {
                    rows.entries.split_off(&head.index);
                }
                Kind::Purge => {
                    rows.entries = rows.entries.split_off(&(head.index + 1));
                    rows.purged = Some(codec::decode(payload)?);
                }
                Kind::Forget => *rows = Rows::default(),
                Kind::Open => {}
            }
            Ok(())
        })?;
        let found = found.into_iter().map(|(group, rows)| (group, Arc::new(Mutex::new(rows)))).collect();
        Ok(Self { wal, found: Mutex::new(found) })
    }

    /// Groups with anything in the log.
    pub(crate) fn groups(&self) -> Vec<GroupId> {
        self.found.lock().keys().copied().collect()
    }

    pub(crate) fn group(&self, group: GroupId) -> GroupLog {
        let rows = Arc::clone(self.found.lock().entry(group).or_default());
        GroupLog { group, rows, wal: self.wal.clone() }
    }
}

impl GroupLog {
    fn item(&self, kind: Kind, index: u64, payload: Vec<u8>) -> Item {
        Item { kind, group: self.group, index, payload }
    }

    async fn durable(&self, item: Item) -> io::Result<()> {
        let (tell, told) = oneshot::channel();
        self.wal.write(
            vec![item],
            Box::new(move || {
                // The receiver is only gone when the caller gave up.
                let _ = tell.send(());
            }),
        )?;
        told.await.map_err(|_| io::Error::other("the log's writer has ended"))
    }
}

impl RaftLogReader<TypeConfig> for GroupLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<LogEntry>, io::Error> {
        Ok(self.rows.lock().entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.rows.lock().vote)
    }
}

impl RaftLogStorage<TypeConfig> for GroupLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let rows = self.rows.lock();
        let last = rows.entries.values().next_back().map(RaftEntry::log_id).or(rows.purged);
        Ok(LogState { last_purged_log_id: rows.purged, last_log_id: last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.rows.lock().vote = Some(*vote);
        self.durable(self.item(Kind::Vote, 0, codec::encode(vote)?)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.rows.lock().committed = committed;
        // Not waited for: it only spares re-application from being late after a restart.
        self.wal.write(vec![self.item(Kind::Committed, 0, codec::encode(&committed)?)], Box::new(|| {}))
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let rows = self.rows.lock();
        let last = rows.entries.values().next_back().map(RaftEntry::log_id).or(rows.purged);
        // A crash may have kept the note and lost the entries after the last fsync; the note then says too much.
        Ok(rows.committed.min(last))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut items = Vec::new();
        {
            let mut rows = self.rows.lock();
            for entry in entries {
                let index = entry.log_id().index;
                items.push(self.item(Kind::Entry, index, codec::encode(&entry)?));
                rows.entries.insert(index, entry);
            }
        }
        self.wal.write(items, Box::new(move || callback.io_completed(Ok(()))))
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let from = last.map_or(0, |last| last.index + 1);
        self.rows.lock().entries.split_off(&from);
        self.durable(self.item(Kind::Truncate, from, Vec::new())).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        {
            let mut rows = self.rows.lock();
            rows.entries = rows.entries.split_off(&(upto.index + 1));
            rows.purged = Some(upto);
        }
        self.wal.write(vec![self.item(Kind::Purge, upto.index, codec::encode(&upto)?)], Box::new(|| {}))
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use std::sync::atomic::{AtomicUsize, Ordering};

    use openraft::{StorageError, testing::log::StoreBuilder};

    use super::*;
    use crate::raft::machine::{self, Applied};

    /// Fresh logs for openraft's own suite, all in one directory that goes when the suite ends.
    struct Builder {
        dir: TempDir,
        made: AtomicUsize,
    }

    impl StoreBuilder<TypeConfig, GroupLog, Applied, ()> for Builder {
        async fn build(&self) -> Result<((), GroupLog, Applied), StorageError<TypeConfig>> {
            let dir = self.dir.path().join(self.made.fetch_add(1, Ordering::Relaxed).to_string());
            let log = NodeLog::open(&dir.join("wal"), 1 << 20).expect("a fresh log opens");
            Ok(((), log.group(1), machine::for_tests(1, &dir.join("snapshots"))))
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_log_passes_openrafts_own_storage_suite() {
        let builder = Builder { dir: tempfile::tempdir().expect("a temporary directory"), made: AtomicUsize::new(0) };
        openraft::testing::log::Suite::test_all(builder).await.expect("the suite passes");
    }
}
