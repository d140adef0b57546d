//! openraft's view of a product's machine: apply, snapshot, restore. A panic inside `apply` ends the process.

use std::{
    collections::BTreeSet,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StoredMembership,
    alias::{SnapshotMetaOf, SnapshotOf, StoredMembershipOf},
    entry::RaftEntry,
    storage::{EntryResponder, RaftStateMachine},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{runtime::Handle, time::Instant};

use super::{
    poison::{Poison, Verdict},
    type_config::{Batch, LogId, Replies, TypeConfig},
};
use crate::{Entry, GroupId, Machine, Token, codec, log::snapshot::Store, offload, pace::Work};

/// A machine with what Raft must remember about it. Clones share it.
#[derive(Clone)]
pub(crate) struct Applied {
    group: GroupId,
    inner: Arc<Mutex<Inner>>,
    store: Store,
    poison: Poison,
    work: Arc<Mutex<Work>>,
}

struct Inner {
    machine: Box<dyn Machine>,
    last: Option<LogId>,
    membership: StoredMembershipOf<TypeConfig>,
    beside: Beside,
    /// When this process applied the last batch; unknown after a restart.
    at: Option<Instant>,
}

/// What this crate keeps beside the product's state, in a snapshot and everywhere that goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Beside {
    /// Log time of the last applied batch.
    pub(crate) time_ns: u64,
    /// Entries that were skipped. One that the cluster skips and that is not here was applied by mistake.
    pub(crate) skipped: BTreeSet<u64>,
}

/// What a snapshot file says of itself.
pub(crate) type Meta = (SnapshotMetaOf<TypeConfig>, Beside);

impl Applied {
    /// Restores the group's snapshot if there is one.
    pub(crate) fn open(group: GroupId, machine: Box<dyn Machine>, store: Store, poison: Poison) -> io::Result<Self> {
        let mut inner = Inner { machine, last: None, membership: StoredMembership::default(), beside: Beside::default(), at: None };
        if let Some(((meta, beside), state)) = store.load::<Meta>(group)? {
            inner.machine.restore(&state)?;
            (inner.last, inner.membership, inner.beside) = (meta.last_log_id, meta.last_membership, beside);
        }
        Ok(Self { group, inner: Arc::new(Mutex::new(inner)), store, poison, work: Arc::default() })
    }

    /// Log time of the last applied batch, nanoseconds, and when this process applied it.
    pub(crate) fn time(&self) -> (u64, Option<Instant>) {
        let inner = self.inner.lock();
        (inner.beside.time_ns, inner.at)
    }

    #[cfg(test)]
    pub(crate) fn set_time(&self, time_ns: u64, at: Option<Instant>) {
        let mut inner = self.inner.lock();
        (inner.beside.time_ns, inner.at) = (time_ns, at);
    }

    pub(crate) fn role(&self, leading: Option<Token>) {
        self.inner.lock().machine.role(leading);
    }

    /// The state of this moment, what must be known of it, and what is kept beside it; its side files are durable on return.
    /// It blocks on the disk: call it off the async threads.
    pub(crate) fn durable_image(&self) -> io::Result<(SnapshotMetaOf<TypeConfig>, Vec<u8>, Beside)> {
        let (image, durable) = {
            let mut inner = self.inner.lock();
            let state = inner.machine.snapshot()?;
            let meta = SnapshotMeta { last_log_id: inner.last, last_membership: inner.membership.clone() };
            ((meta, state, inner.beside.clone()), inner.machine.side_files()?)
        };
        durable()?;
        Ok(image)
    }

    /// The entry this replica waits at, because it ended the node before.
    pub(crate) fn poisoned(&self) -> Option<u64> {
        self.poison.waiting(self.group)
    }

    /// The entry this replica will wait at when it comes to it.
    pub(crate) fn struck_out(&self) -> Option<u64> {
        self.poison.struck_out(self.group)
    }

    /// How applying entries goes.
    pub(crate) fn work(&self) -> Work {
        *self.work.lock()
    }

    /// An entry among those the cluster skips that this replica applied.
    pub(crate) fn applied_though(&self, skips: &BTreeSet<u64>) -> Option<u64> {
        let inner = self.inner.lock();
        let last = inner.last.map_or(0, |id| id.index);
        skips.iter().copied().find(|index| *index <= last && !inner.beside.skipped.contains(index))
    }

    fn apply_batch(&self, id: LogId, batch: &Batch, verdict: Verdict) -> Vec<Bytes> {
        let mut inner = self.inner.lock();
        // Strictly monotonic whatever a leader stamped; the same on every replica.
        inner.beside.time_ns = batch.time_ns.max(inner.beside.time_ns + 1);
        inner.at = Some(Instant::now());
        let entry = Entry {
            group: self.group,
            index: id.index,
            term: id.committed_leader_id().term,
            time_ns: inner.beside.time_ns,
            wall_ms: batch.wall_ms,
            commands: &batch.commands,
        };
        if verdict == Verdict::Skip {
            inner.beside.skipped.insert(id.index);
            metrics::counter!("raft_skipped_entries_total", "group" => self.group.to_string()).increment(1);
            tracing::error!(
                group = self.group,
                index = id.index,
                commands = batch.commands.len(),
                "an entry is skipped: its commands are void"
            );
            return inner.machine.skip(&entry);
        }
        let machine = &mut inner.machine;
        match catch_unwind(AssertUnwindSafe(|| machine.apply(&entry))) {
            Ok(replies) => {
                assert!(replies.len() == batch.commands.len(), "a machine answers every command");
                replies
            }
            Err(_) => {
                self.poison.struck(self.group, id.index);
                tracing::error!(group = self.group, index = id.index, "the machine broke an invariant; this node ends rather than diverge");
                std::process::abort();
            }
        }
    }
}

impl Applied {
    /// The word to skip an entry may come while the entry is being applied. From its snapshot and the log the replica comes
    /// back as the others are, so it ends. An entry without commands is as good as skipped.
    fn end_if_diverged(&self, index: u64, no_commands: bool) {
        if !self.poison.skips(self.group, index) {
            return;
        }
        if self.inner.lock().beside.skipped.insert(index) && !no_commands {
            tracing::error!(group = self.group, index, "an entry was applied that the cluster skips; this node ends rather than diverge");
            std::process::abort();
        }
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Applied {
    type SnapshotData = Vec<u8>;

    /// Consensus and the pings of a node share few threads: none of them may wait for the disk here.
    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, Vec<u8>>, io::Error> {
        let applied = self.clone();
        let saved = offload(Handle::current(), move || {
            let (meta, state, beside) = applied.durable_image()?;
            applied.store.save(applied.group, &(&meta, &beside), &state)?;
            Ok(Snapshot { meta, snapshot: with(&beside, state)? })
        });
        saved.await.map_err(io::Error::other)?
    }
}

/// A snapshot in flight carries what is kept beside the state behind it, which then need not be moved.
fn with(beside: &Beside, mut state: Vec<u8>) -> io::Result<Vec<u8>> {
    let tail = codec::encode(beside)?;
    state.extend_from_slice(&tail);
    state.extend_from_slice(&(tail.len() as u32).to_le_bytes());
    Ok(state)
}

/// Takes a snapshot in flight apart again.
fn without(data: &[u8]) -> io::Result<(&[u8], Beside)> {
    let short = || io::Error::new(io::ErrorKind::InvalidData, "a snapshot without what is kept beside it");
    let (rest, len) = data.split_last_chunk::<4>().ok_or_else(short)?;
    let at = rest.len().checked_sub(u32::from_le_bytes(*len) as usize).ok_or_else(short)?;
    let (state, tail) = rest.split_at(at);
    Ok((state, codec::decode(tail)?))
}

impl RaftStateMachine<TypeConfig> for Applied {
    type SnapshotData = Vec<u8>;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembershipOf<TypeConfig>), io::Error> {
        let inner = self.inner.lock();
        Ok((inner.last, inner.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let id = entry.log_id();
            let mut replies = Replies { index: id.index, replies: Vec::new() };
            let no_commands = !matches!(entry.payload, EntryPayload::Normal(_));
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(batch) => {
                    self.work.lock().begin();
                    let verdict = self.poison.verdict(self.group, id.index).await?;
                    replies.replies = self.apply_batch(id, &batch, verdict);
                    self.work.lock().end();
                }
                EntryPayload::Membership(membership) => self.inner.lock().membership = StoredMembership::new(Some(id), membership),
            }
            self.inner.lock().last = Some(id);
            self.end_if_diverged(id.index, no_commands);
            if let Some(responder) = responder {
                responder.send(replies);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<TypeConfig>, data: Vec<u8>) -> Result<(), io::Error> {
        let (state, beside) = without(&data)?;
        let mut inner = self.inner.lock();
        inner.machine.restore(state)?;
        self.store.save(self.group, &(meta, &beside), state)?;
        (inner.last, inner.membership, inner.beside) = (meta.last_log_id, meta.last_membership.clone(), beside);
        inner.at = None;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<TypeConfig, Vec<u8>>>, io::Error> {
        let found = self.store.load::<Meta>(self.group)?;
        found.map(|((meta, beside), state)| Ok(Snapshot { meta, snapshot: with(&beside, state)? })).transpose()
    }
}

/// A machine that keeps nothing, for the storage suite.
#[cfg(test)]
pub(crate) fn for_tests(group: GroupId, dir: &std::path::Path) -> Applied {
    struct Nothing;
    impl Machine for Nothing {
        fn apply(&mut self, entry: &Entry<'_>) -> Vec<Bytes> {
            vec![Bytes::new(); entry.commands.len()]
        }
        fn skip(&mut self, entry: &Entry<'_>) -> Vec<Bytes> {
            self.apply(entry)
        }
        fn snapshot(&mut self) -> io::Result<Vec<u8>> {
            Ok(Vec::new())
        }
        fn restore(&mut self, _: &[u8]) -> io::Result<()> {
            Ok(())
        }
        fn role(&mut self, _: Option<Token>) {}
    }
    let poison = Poison::open(dir, tokio::sync::watch::channel(Arc::default()).1);
    Applied::open(group, Box::new(Nothing), Store::open(dir).expect("a temporary directory"), poison).expect("nothing to restore")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use openraft::{alias::LeaderIdOf, vote::RaftLeaderIdExt as _};
    use tokio::sync::oneshot;

    use super::*;
    use crate::Durable;

    /// Counts its entries; its side files are durable when the test says so.
    struct Slow {
        applied: u8,
        begun: Option<oneshot::Sender<()>>,
        disk: Option<mpsc::Receiver<()>>,
    }

    impl Machine for Slow {
        fn apply(&mut self, _: &Entry<'_>) -> Vec<Bytes> {
            self.applied += 1;
            Vec::new()
        }
        fn skip(&mut self, _: &Entry<'_>) -> Vec<Bytes> {
            Vec::new()
        }
        fn snapshot(&mut self) -> io::Result<Vec<u8>> {
            Ok(vec![self.applied])
        }
        fn side_files(&mut self) -> io::Result<Durable> {
            let (begun, disk) = (self.begun.take().expect("asked once"), self.disk.take().expect("asked once"));
            Ok(Box::new(move || {
                begun.send(()).expect("the test waits");
                disk.recv().map_err(io::Error::other)
            }))
        }
        fn restore(&mut self, _: &[u8]) -> io::Result<()> {
            Ok(())
        }
        fn role(&mut self, _: Option<Token>) {}
    }

    /// On one thread, as a small node's consensus runs.
    #[tokio::test]
    async fn entries_are_applied_while_a_snapshot_waits_for_the_disk() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let ((begun, waits), (ready, disk)) = (oneshot::channel(), mpsc::channel());
        let machine = Slow { applied: 0, begun: Some(begun), disk: Some(disk) };
        let poison = Poison::open(dir.path(), tokio::sync::watch::channel(Arc::default()).1);
        let store = Store::open(dir.path()).expect("empty");
        let applied = Applied::open(1, Box::new(machine), store, poison).expect("nothing to restore");
        let apply = |index| {
            let id = LogId::new(LeaderIdOf::<TypeConfig>::new_committed(1, 1), index);
            applied.apply_batch(id, &Batch { time_ns: index, wall_ms: 0, commands: Vec::new() }, Verdict::Apply);
        };
        apply(1);
        let mut builder = applied.clone();
        let building = tokio::spawn(async move { builder.build_snapshot().await });
        waits.await.expect("it came to its side files");
        apply(2);
        assert!(applied.store.load::<Meta>(1).expect("readable").is_none(), "not before its side files are durable");
        ready.send(()).expect("it waits");
        let snapshot = building.await.expect("no panic").expect("saved").snapshot;
        assert_eq!(snapshot[0], 1, "the state of the moment it began");
    }
}
