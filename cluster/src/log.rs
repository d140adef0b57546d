//! The write-ahead log of a node: one for all its groups, so that one fsync pays for all of them.
//!
//! It owns durability: what was reported done is on disk and comes back at the next start. Callers hand it bytes; that the
//! bytes are Raft entries is known only to `storage`. It decides nothing about when to snapshot; it reports which groups
//! hold old segments back ([`Wal::pinned`]) and leaves the rest to consensus.
//!
//! How a record becomes durable: callers queue requests; one thread takes all that wait, writes them as one *batch* with
//! one `pwrite` and one `fdatasync`, and then reports each done. Segments are zeroed ahead and recycled, because
//! overwriting allocated blocks needs no commit of the file system's own journal and is several times faster.

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc, thread};

use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::{GroupId, limits};

pub(crate) mod disk;
mod record;
mod recover;
pub(crate) mod snapshot;
pub(crate) mod storage;
#[cfg(test)]
mod tests;
mod tracker;
mod writer;

pub use disk::{DiskOp, Faults};
pub use recover::Recovered;

/// Called once with the error that stops the log. The default writes one log line and aborts the process.
pub type OnFatal = Arc<dyn Fn(&Error) + Send + Sync>;
/// Called from the writer thread when a request is durable, or certainly not going to be reported so.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Where the log lives and how it behaves.
#[derive(Clone)]
pub struct Options {
    /// Directory of the segments; created when missing.
    pub dir: PathBuf,
    /// Size of a segment in bytes. It may differ from that of earlier starts.
    pub segment_bytes: u64,
    /// Injected disk errors; nothing is armed by default.
    pub faults: Arc<Faults>,
    pub on_fatal: OnFatal,
}

impl Options {
    /// A log in `dir` with the default segment size that aborts the process when the disk fails.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), segment_bytes: limits::WAL_SEGMENT_BYTES, faults: Arc::default(), on_fatal: Arc::new(abort) }
    }
}

/// A write or fsync that failed may have left anything on the disk, and asking again can succeed without having written
/// (the kernel drops the dirty page and forgets the error). The only safe answer is to stop being a replica.
fn abort(error: &Error) {
    tracing::error!(%error, "the log cannot be made durable; this process ends so that its peers take over");
    std::process::abort();
}

/// Why the log cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    /// Data that was once durable is damaged. Starting anyway could forget acknowledged entries.
    #[error("log segment {} is corrupt at offset {offset}: {detail}; restore this node from its peers", segment.display())]
    Corrupt { segment: PathBuf, offset: u64, detail: String },
    #[error("log directory {} is in use by another process", .0.display())]
    InUse(PathBuf),
    #[error("a record of {0} bytes exceeds the limit of {max}", max = limits::WAL_RECORD_MAX_BYTES)]
    TooLarge(usize),
    #[error("segments of {0} bytes are too small; the least is {min}", min = limits::WAL_SEGMENT_MIN_BYTES)]
    SegmentSize(u64),
    #[error("the log is closed")]
    Closed,
}

impl Error {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

impl From<Error> for io::Error {
    fn from(e: Error) -> Self {
        let kind = match &e {
            Error::Io { source, .. } => source.kind(),
            Error::Corrupt { .. } => io::ErrorKind::InvalidData,
            Error::TooLarge(_) | Error::SegmentSize(_) => io::ErrorKind::InvalidInput,
            Error::InUse(_) => io::ErrorKind::ResourceBusy,
            Error::Closed => io::ErrorKind::BrokenPipe,
        };
        Self::new(kind, e)
    }
}

/// One change of one group's log. Changes of a group are applied in the order they are submitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Entries with their indexes, consecutive.
    Append(Vec<(u64, Vec<u8>)>),
    /// Replaces the group's vote.
    Vote(Vec<u8>),
    /// Drops the entries from this index on.
    Truncate(u64),
    /// Drops the entries up to this index, inclusive, and remembers the bytes as the group's purge mark.
    Purge(u64, Vec<u8>),
    /// Drops the group.
    Forget,
}

impl Op {
    fn largest(&self) -> usize {
        match self {
            Self::Append(entries) => entries.iter().map(|(_, p)| p.len()).max().unwrap_or(0),
            Self::Vote(p) | Self::Purge(_, p) => p.len(),
            Self::Truncate(_) | Self::Forget => 0,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Append(entries) => entries.iter().map(|(_, p)| record::size_of(p.len())).sum(),
            Self::Vote(p) | Self::Purge(_, p) => record::size_of(p.len()),
            Self::Truncate(_) | Self::Forget => record::HEADER_BYTES,
        }
    }
}

/// Numbers of the log's health.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Segments that hold data.
    pub segments: usize,
    /// Batches written, each with one fdatasync, since the log was opened.
    pub batches: u64,
    /// Duration of the last write and fdatasync, and of all together, microseconds.
    pub last_batch_us: u64,
    pub total_us: u64,
    /// When the batch began that is being written now.
    pub writing_since: Option<Instant>,
}

struct Request {
    group: GroupId,
    op: Op,
    done: Done,
}

enum Message {
    Change(Request),
    Stop(oneshot::Sender<()>),
}

/// What the handles and the writer thread share.
#[derive(Default)]
struct Shared {
    /// Newest commit of each group, not yet written: it rides with the next batch and never causes one.
    committed: Mutex<BTreeMap<GroupId, Vec<u8>>>,
    pinned: Mutex<Vec<GroupId>>,
    stats: Mutex<Stats>,
}

/// Handle of an open log. Cheap to clone; the log closes when the last one is dropped.
#[derive(Clone)]
pub struct Wal {
    tx: mpsc::Sender<Message>,
    shared: Arc<Shared>,
}

impl Wal {
    /// Opens the log in `options.dir`, recovers what is in it and starts the writer thread.
    ///
    /// # Errors
    /// [`Error::Corrupt`] names segment and offset when durable data is damaged; [`Error::InUse`] when another process
    /// holds the directory; [`Error::Io`] when the disk refuses or is full.
    pub fn open(options: Options) -> Result<(Self, BTreeMap<GroupId, Recovered>), Error> {
        if options.segment_bytes < limits::WAL_SEGMENT_MIN_BYTES {
            return Err(Error::SegmentSize(options.segment_bytes));
        }
        let disk = disk::Disk::open(&options)?;
        let recovery = recover::recover(&disk)?;
        let (tx, rx) = mpsc::channel(limits::WAL_QUEUE_REQUESTS);
        let shared = Arc::new(Shared::default());
        let (writer, groups) = writer::Writer::new(disk, recovery, Arc::clone(&shared), options.on_fatal)?;
        #[cfg(feature = "sim")]
        if let Some(platter) = crate::sim::platter(&options.dir) {
            tokio::spawn(writer.run_simulated(rx, platter));
            return Ok((Self { tx, shared }, groups));
        }
        thread::Builder::new()
            .name("wal".into())
            .spawn(move || writer.run(rx))
            .map_err(Error::io("cannot start the log's writer thread"))?;
        Ok((Self { tx, shared }, groups))
    }

    /// Queues a change. `done` is called from the writer thread once it is durable; do not block in it. Waits while the
    /// queue is full.
    ///
    /// # Errors
    /// [`Error::TooLarge`] or [`Error::Closed`]; `done` is then never called.
    pub async fn submit(&self, group: GroupId, op: Op, done: Done) -> Result<(), Error> {
        let largest = op.largest();
        if largest > limits::WAL_RECORD_MAX_BYTES {
            return Err(Error::TooLarge(largest));
        }
        self.tx.send(Message::Change(Request { group, op, done })).await.map_err(|_| Error::Closed)
    }

    /// Submits a change and waits until it is durable.
    ///
    /// # Errors
    /// As for [`Wal::submit`], or the disk's error.
    pub async fn commit(&self, group: GroupId, op: Op) -> io::Result<()> {
        let (tx, rx) = oneshot::channel();
        let done = move |result| {
            let _ = tx.send(result);
        };
        self.submit(group, op, Box::new(done)).await?;
        rx.await.unwrap_or_else(|_| Err(Error::Closed.into()))
    }

    /// Remembers how far a group is committed. Not durable by itself: it is written with the next batch or at the close.
    pub fn note_committed(&self, group: GroupId, mark: Vec<u8>) {
        self.shared.committed.lock().insert(group, mark);
    }

    /// The groups that keep the oldest segment from being recycled while too many are in use. Each must be snapshotted
    /// *and purged up to its last applied entry*; a snapshot alone frees nothing.
    pub fn pinned(&self) -> Vec<GroupId> {
        self.shared.pinned.lock().clone()
    }

    pub fn stats(&self) -> Stats {
        *self.shared.stats.lock()
    }

    /// Writes what waits, stops the writer and gives the directory free. Other handles get [`Error::Closed`] from then on.
    pub async fn close(&self) {
        let (tx, rx) = oneshot::channel();
        if self.tx.send(Message::Stop(tx)).await.is_ok() {
            // An error means that the writer is gone already, which is what was asked for.
            let _ = rx.await;
        }
    }
}
