//! openraft's log storage on the shared log: each group's entries in memory, its changes queued to the writer.
//!
//! Reads never touch the disk: a group keeps its entries since the last purge, and snapshots keep those few. It owns no
//! file; what is durable is the business of [`Wal`].

use std::{
    collections::BTreeMap,
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    path::Path,
    sync::Arc,
};

use openraft::{
    LogState, OptionalSend, RaftLogReader,
    entry::RaftEntry,
    storage::{IOFlushed, RaftLogStorage},
};
use parking_lot::Mutex;

use super::{Error, Faults, Op, Options, Recovered, Stats, Wal};
use crate::{
    GroupId, codec, limits,
    raft::type_config::{LogEntry, LogId, TypeConfig, Vote},
};

/// All groups' logs of a node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct NodeLog {
    wal: Wal,
    groups: Arc<Mutex<BTreeMap<GroupId, Arc<Mutex<Index>>>>>,
}

impl NodeLog {
    /// Opens the node's log and decodes what it holds.
    ///
    /// # Errors
    /// As for [`Wal::open`]; [`Error::Io`] when an intact record does not decode, which only another version could write.
    pub(crate) fn open(dir: &Path, segment_bytes: u64, faults: Arc<Faults>) -> Result<Self, Error> {
        let segment_bytes = segment_bytes.max(limits::WAL_SEGMENT_MIN_BYTES);
        Self::with(Options { segment_bytes, faults, ..Options::new(dir) })
    }

    /// As [`NodeLog::open`], with everything an option.
    ///
    /// # Errors
    /// As for [`NodeLog::open`].
    pub(crate) fn with(options: Options) -> Result<Self, Error> {
        let (wal, recovered) = Wal::open(options)?;
        let mut groups = BTreeMap::new();
        for (group, recovered) in recovered {
            let index = Index::decode(recovered).map_err(|e| Error::io(format!("cannot decode the log of group {group}"))(e.into()))?;
            groups.insert(group, Arc::new(Mutex::new(index)));
        }
        Ok(Self { wal, groups: Arc::new(Mutex::new(groups)) })
    }

    /// The log of a group; empty when the node never had one. Opening it again gives the same log.
    pub(crate) fn group(&self, group: GroupId) -> GroupLog {
        let index = Arc::clone(self.groups.lock().entry(group).or_default());
        GroupLog { group, wal: self.wal.clone(), index }
    }

    /// The groups that keep old segments from being recycled: see [`Wal::pinned`].
    pub(crate) fn pinned(&self) -> Vec<GroupId> {
        self.wal.pinned()
    }

    pub(crate) fn stats(&self) -> Stats {
        self.wal.stats()
    }

    /// Waits until all is written and gives the directory free.
    pub(crate) async fn close(&self) {
        self.wal.close().await;
    }

    /// The groups this node has a log of.
    pub(crate) fn groups(&self) -> Vec<GroupId> {
        self.groups.lock().keys().copied().collect()
    }

    #[cfg(test)]
    pub(crate) fn wal(&self) -> &Wal {
        &self.wal
    }
}

/// What a group's log holds, decoded.
#[derive(Default)]
struct Index {
    purged: Option<LogId>,
    entries: BTreeMap<u64, LogEntry>,
    vote: Option<Vote>,
    committed: Option<LogId>,
}

impl Index {
    fn decode(recovered: Recovered) -> Result<Self, codec::Error> {
        let Recovered { vote, committed, purged, entries } = recovered;
        Ok(Self {
            purged: purged.map(|(_, bytes)| codec::decode(&bytes)).transpose()?,
            entries: entries.into_iter().map(|(i, bytes)| Ok((i, codec::decode(&bytes)?))).collect::<Result<_, codec::Error>>()?,
            vote: vote.map(|bytes| codec::decode(&bytes)).transpose()?,
            // `None` can be saved as well: the option is part of the encoded value.
            committed: committed.map(|bytes| codec::decode::<Option<LogId>>(&bytes)).transpose()?.flatten(),
        })
    }
}

/// The log of one group: openraft's `RaftLogStorage`, and its own reader.
#[derive(Clone)]
pub(crate) struct GroupLog {
    group: GroupId,
    wal: Wal,
    index: Arc<Mutex<Index>>,
}

impl GroupLog {
    pub(crate) fn id(&self) -> GroupId {
        self.group
    }

    /// Takes nothing from `index` on for committed until a leader says so.
    ///
    /// openraft applies what is noted as committed before a replica is open. One that waits at a poisoned entry would not
    /// open, and its node, with all its other groups, not start.
    pub(crate) fn forget_committed_from(&self, index: u64) {
        let mut log = self.index.lock();
        if log.committed.is_some_and(|committed| committed.index >= index) {
            log.committed = log.entries.range(..index).next_back().map(|(_, entry)| entry.log_id());
        }
    }

    /// Appends entries behind the last one; durable on return.
    pub(crate) async fn write(&self, entries: Vec<LogEntry>) -> io::Result<()> {
        let encoded = entries.iter().map(|e| Ok((e.index(), codec::encode(e)?))).collect::<Result<_, codec::Error>>()?;
        self.index.lock().entries.extend(entries.into_iter().map(|e| (e.index(), e)));
        self.wal.commit(self.group, Op::Append(encoded)).await
    }

    async fn submit_quietly(&self, op: Op) -> io::Result<()> {
        // Durable with, and before, whatever is appended next; a crash before that leaves a longer log, which is harmless.
        Ok(self.wal.submit(self.group, op, Box::new(|_| {})).await?)
    }
}

impl RaftLogReader<TypeConfig> for GroupLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<LogEntry>, io::Error> {
        if is_empty(&range) {
            return Ok(Vec::new());
        }
        Ok(self.index.lock().entries.range(range).map(|(_, e)| e.clone()).collect())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<LogEntry>, io::Error> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        if start >= end {
            return Ok(entries);
        }
        for (_, entry) in self.index.lock().entries.range(start..end) {
            bytes += weight(entry);
            if bytes > limits::LOG_READ_MAX_BYTES && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.index.lock().vote)
    }
}

impl RaftLogStorage<TypeConfig> for GroupLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let index = self.index.lock();
        let last = index.entries.last_key_value().map(|(_, e)| e.log_id());
        Ok(LogState { last_purged_log_id: index.purged, last_log_id: last.or(index.purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.wal.commit(self.group, Op::Vote(codec::encode(vote)?)).await?;
        self.index.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.index.lock().committed = committed;
        self.wal.note_committed(self.group, codec::encode(&committed)?);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let index = self.index.lock();
        let last = index.entries.last_key_value().map(|(_, e)| e.log_id()).or(index.purged);
        // The mark may have reached the disk with a batch that did not take this group's newest entries any more.
        Ok(index.committed.min(last))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<LogEntry> = entries.into_iter().collect();
        let encoded = entries.iter().map(|e| Ok((e.index(), codec::encode(e)?))).collect::<Result<_, codec::Error>>()?;
        // Readable before durable: openraft replicates an entry while it is being flushed.
        self.index.lock().entries.extend(entries.into_iter().map(|e| (e.index(), e)));
        self.wal.submit(self.group, Op::Append(encoded), Box::new(move |result| callback.io_completed(result))).await?;
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let from = last.map_or(0, |l| l.index + 1);
        drop(self.index.lock().entries.split_off(&from));
        self.submit_quietly(Op::Truncate(from)).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let mark = codec::encode(&upto)?;
        {
            let mut index = self.index.lock();
            let kept = index.entries.split_off(&(upto.index + 1));
            index.entries = kept;
            index.purged = Some(upto);
        }
        self.submit_quietly(Op::Purge(upto.index, mark)).await
    }
}

/// Roughly the memory and the wire size of an entry, bytes.
fn weight(entry: &LogEntry) -> usize {
    match &entry.payload {
        openraft::EntryPayload::Normal(batch) => 64 + batch.commands.iter().map(|c| c.len() + 8).sum::<usize>(),
        _ => 1024,
    }
}

/// `BTreeMap::range` panics on a range that is empty or reversed.
fn is_empty(range: &impl RangeBounds<u64>) -> bool {
    let start = match range.start_bound() {
        Bound::Included(&s) => s,
        Bound::Excluded(&s) => s.saturating_add(1),
        Bound::Unbounded => 0,
    };
    match range.end_bound() {
        Bound::Included(&e) => start > e,
        Bound::Excluded(&e) => start >= e,
        Bound::Unbounded => false,
    }
}
