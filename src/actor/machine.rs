//! The replicated machine of a partition: the pure core behind bytes, its archive, and the way out for its effects.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tandem_cluster::{Entry, GroupId, Machine, Token};
use tokio::sync::{broadcast, mpsc};

use super::archive::Archive;
use crate::core::{
    Effects, State, codec,
    command::Envelope,
    effect::Event,
    time::{At, LogTime, WallTime},
};

/// What the machine of a group shares with the actors of its partition.
pub(super) struct Partition {
    pub(super) group: GroupId,
    pub(super) state: RwLock<State>,
    pub(super) archive: Mutex<Archive>,
    /// When the state last moved, to tell log time between entries.
    pub(super) moved: Mutex<Instant>,
    leading: AtomicBool,
    effects: mpsc::UnboundedSender<Effects>,
    pub(super) inbox: Mutex<Option<mpsc::UnboundedReceiver<Effects>>>,
    events: broadcast::Sender<Arc<Event>>,
}

impl Partition {
    pub(super) fn open(group: GroupId, dir: &Path, events: broadcast::Sender<Arc<Event>>) -> io::Result<Arc<Self>> {
        let archive = Archive::open(&path(dir, group))?;
        // Unbounded by type, bounded by apply: only a leader's effects enter, and its proposals are admitted.
        let (effects, inbox) = mpsc::unbounded_channel();
        Ok(Arc::new(Self {
            group,
            state: RwLock::default(),
            archive: Mutex::new(archive),
            moved: Mutex::new(Instant::now()),
            leading: AtomicBool::new(false),
            effects,
            inbox: Mutex::new(Some(inbox)),
            events,
        }))
    }

    /// Log time now, as a leader's next entry would be stamped or a little less.
    pub(super) fn log_now(&self) -> LogTime {
        let moved = *self.moved.lock();
        LogTime(self.state.read().now().0.saturating_add(moved.elapsed().as_nanos() as u64))
    }

    pub(super) fn is_leading(&self) -> bool {
        self.leading.load(Ordering::Acquire)
    }
}

fn path(dir: &Path, group: GroupId) -> PathBuf {
    dir.join("archive").join(format!("{group}.archive"))
}

/// The partition as consensus sees it.
pub(super) struct CoreMachine(pub(super) Arc<Partition>);

impl Machine for CoreMachine {
    fn apply(&mut self, entry: &Entry<'_>) -> Vec<Bytes> {
        let at = At { group: entry.group, index: entry.index, time: LogTime(entry.time_ns), wall: WallTime(entry.wall_ms) };
        let partition = &self.0;
        let mut effects = Effects::default();
        let replies = {
            let mut state = partition.state.write();
            let replies = entry.commands.iter().map(|command| {
                // Commands are written by this code alone; one that does not read is from a newer level and must stop us.
                let envelope: Envelope = codec::decode(command).expect("a command this binary cannot read: it is too old for its cluster");
                Bytes::from(codec::encode(&state.apply(at, &envelope, &mut effects)))
            });
            replies.collect()
        };
        *partition.moved.lock() = Instant::now();
        let mut archive = partition.archive.lock();
        for record in &effects.records {
            archive.append(record).expect("a record that cannot be written must not be acknowledged");
        }
        drop(archive);
        for event in effects.events.drain(..) {
            // Nobody subscribes on an idle node.
            let _ = partition.events.send(Arc::new(event));
        }
        if partition.is_leading() && !effects.orders.is_empty() {
            // The receiver lives as long as the node.
            let _ = partition.effects.send(effects);
        }
        replies
    }

    fn snapshot(&mut self) -> io::Result<Vec<u8>> {
        self.0.archive.lock().flush()?;
        Ok(codec::encode(&*self.0.state.read()))
    }

    fn restore(&mut self, snapshot: &[u8]) -> io::Result<()> {
        let state = codec::decode_snapshot(snapshot).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        *self.0.state.write() = state;
        *self.0.moved.lock() = Instant::now();
        Ok(())
    }

    fn role(&mut self, leading: Option<Token>) {
        self.0.leading.store(leading.is_some(), Ordering::Release);
    }
}
