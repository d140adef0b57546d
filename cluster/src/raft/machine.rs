//! openraft's view of a product's machine: apply, snapshot, restore. A panic inside `apply` ends the process.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
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

use super::type_config::{Batch, LogId, Replies, TypeConfig};
use crate::{Entry, GroupId, Machine, Token, log::snapshot::Store};

/// A machine with what Raft must remember about it. Clones share it.
#[derive(Clone)]
pub(crate) struct Applied {
    group: GroupId,
    inner: Arc<Mutex<Inner>>,
    store: Store,
}

struct Inner {
    machine: Box<dyn Machine>,
    last: Option<LogId>,
    membership: StoredMembershipOf<TypeConfig>,
    /// Log time of the last applied batch, and when this process applied it; unknown after a restart.
    time_ns: u64,
    at: Option<Instant>,
}

/// What a snapshot file says of itself.
pub(crate) type Meta = (SnapshotMetaOf<TypeConfig>, u64);

impl Applied {
    /// Restores the group's snapshot if there is one.
    pub(crate) fn open(group: GroupId, machine: Box<dyn Machine>, store: Store) -> io::Result<Self> {
        let mut inner = Inner { machine, last: None, membership: StoredMembership::default(), time_ns: 0, at: None };
        if let Some(((meta, time_ns), state)) = store.load::<Meta>(group)? {
            inner.machine.restore(&state)?;
            (inner.last, inner.membership, inner.time_ns) = (meta.last_log_id, meta.last_membership, time_ns);
        }
        Ok(Self { group, inner: Arc::new(Mutex::new(inner)), store })
    }

    /// Log time of the last applied batch, nanoseconds, and when this process applied it.
    pub(crate) fn time(&self) -> (u64, Option<Instant>) {
        let inner = self.inner.lock();
        (inner.time_ns, inner.at)
    }

    #[cfg(test)]
    pub(crate) fn set_time(&self, time_ns: u64, at: Option<Instant>) {
        let mut inner = self.inner.lock();
        (inner.time_ns, inner.at) = (time_ns, at);
    }

    pub(crate) fn role(&self, leading: Option<Token>) {
        self.inner.lock().machine.role(leading);
    }

    /// The state of this moment, what must be known of it, and its log time; its side files are durable on return. It blocks
    /// on the disk: call it off the async threads.
    pub(crate) fn durable_image(&self) -> io::Result<(SnapshotMetaOf<TypeConfig>, Vec<u8>, u64)> {
        let (image, durable) = {
            let mut inner = self.inner.lock();
            let state = inner.machine.snapshot()?;
            let meta = SnapshotMeta { last_log_id: inner.last, last_membership: inner.membership.clone() };
            ((meta, state, inner.time_ns), inner.machine.side_files()?)
        };
        durable()?;
        Ok(image)
    }

    fn apply_batch(&self, id: LogId, batch: &Batch) -> Vec<Bytes> {
        let mut inner = self.inner.lock();
        // Strictly monotonic whatever a leader stamped; the same on every replica.
        inner.time_ns = batch.time_ns.max(inner.time_ns + 1);
        inner.at = Some(Instant::now());
        let entry = Entry {
            group: self.group,
            index: id.index,
            term: id.committed_leader_id().term,
            time_ns: inner.time_ns,
            wall_ms: batch.wall_ms,
            commands: &batch.commands,
        };
        let machine = &mut inner.machine;
        match catch_unwind(AssertUnwindSafe(|| machine.apply(&entry))) {
            Ok(replies) => {
                assert!(replies.len() == batch.commands.len(), "a machine answers every command");
                replies
            }
            Err(_) => {
                tracing::error!(group = self.group, index = id.index, "the machine broke an invariant; this node ends rather than diverge");
                std::process::abort();
            }
        }
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Applied {
    type SnapshotData = Vec<u8>;

    /// Consensus and the pings of a node share few threads: none of them may wait for the disk here.
    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, Vec<u8>>, io::Error> {
        let applied = self.clone();
        let saved = tokio::task::spawn_blocking(move || {
            let (meta, state, time_ns) = applied.durable_image()?;
            applied.store.save(applied.group, &(&meta, time_ns), &state)?;
            Ok(Snapshot { meta, snapshot: with_time(time_ns, state) })
        });
        saved.await.map_err(io::Error::other)?
    }
}

/// A snapshot in flight carries its log time behind the state, which then need not be moved.
fn with_time(time_ns: u64, mut state: Vec<u8>) -> Vec<u8> {
    state.extend_from_slice(&time_ns.to_le_bytes());
    state
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
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(batch) => replies.replies = self.apply_batch(id, &batch),
                EntryPayload::Membership(membership) => self.inner.lock().membership = StoredMembership::new(Some(id), membership),
            }
            self.inner.lock().last = Some(id);
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
        let (state, time) =
            data.split_last_chunk::<8>().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a snapshot without its time"))?;
        let time_ns = u64::from_le_bytes(*time);
        let mut inner = self.inner.lock();
        inner.machine.restore(state)?;
        self.store.save(self.group, &(meta, time_ns), state)?;
        (inner.last, inner.membership, inner.time_ns) = (meta.last_log_id, meta.last_membership.clone(), time_ns);
        inner.at = None;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<TypeConfig, Vec<u8>>>, io::Error> {
        let found = self.store.load::<Meta>(self.group)?;
        Ok(found.map(|((meta, time_ns), state)| Snapshot { meta, snapshot: with_time(time_ns, state) }))
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
        fn snapshot(&mut self) -> io::Result<Vec<u8>> {
            Ok(Vec::new())
        }
        fn restore(&mut self, _: &[u8]) -> io::Result<()> {
            Ok(())
        }
        fn role(&mut self, _: Option<Token>) {}
    }
    Applied::open(group, Box::new(Nothing), Store::open(dir).expect("a temporary directory")).expect("nothing to restore")
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
        let applied = Applied::open(1, Box::new(machine), Store::open(dir.path()).expect("empty")).expect("nothing to restore");
        let apply = |index| {
            let id = LogId::new(LeaderIdOf::<TypeConfig>::new_committed(1, 1), index);
            applied.apply_batch(id, &Batch { time_ns: index, wall_ms: 0, commands: Vec::new() });
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
