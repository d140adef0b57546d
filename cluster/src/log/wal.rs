//! The write-ahead log: one writer thread, one write and one fdatasync for everything that waited, then all callbacks.
//!
//! It stores records of groups and forgets segments that no group needs. What entries mean is in `storage`. A write or
//! fsync error ends the process: after it nobody knows what is on the disk.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::Instant,
};

use super::{
    record::{self, Head, Kind},
    recovery::{self, Tail, path_of},
};
use crate::{
    GroupId,
    limits::{WAL_BATCH_MAX_BYTES, WAL_BATCH_MAX_REQUESTS, WAL_QUEUE_REQUESTS, WAL_SEGMENT_MIN_BYTES},
};

/// A record to be written.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) kind: Kind,
    pub(super) group: GroupId,
    pub(super) index: u64,
    pub(super) payload: Vec<u8>,
}

/// Called once the records are durable.
pub(super) type Done = Box<dyn FnOnce() + Send>;

struct Request {
    items: Vec<Item>,
    done: Done,
}

/// Hands records to the writer thread. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Wal {
    requests: SyncSender<Request>,
}

/// What a new segment must repeat of a group, so that older segments can go.
#[derive(Default)]
struct Standing {
    vote: Option<Vec<u8>>,
    committed: Option<Vec<u8>>,
    purged: Option<(u64, Vec<u8>)>,
    /// Highest entry index per segment.
    highest: BTreeMap<u64, u64>,
}

struct Writer {
    dir: PathBuf,
    segment_bytes: u64,
    file: File,
    tail: Tail,
    groups: BTreeMap<GroupId, Standing>,
    buffer: Vec<u8>,
}

impl Wal {
    /// Opens or creates the log in `dir`, calling `each` for every record it holds.
    pub(super) fn open(dir: &Path, segment_bytes: u64, mut each: impl FnMut(&Head, &[u8]) -> io::Result<()>) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut groups: BTreeMap<GroupId, Standing> = BTreeMap::new();
        let tail = recovery::replay(dir, |generation, head, payload| {
            note(&mut groups, generation, head.kind, head.group, head.index, payload);
            each(head, payload)
        })?;
        let segment_bytes = segment_bytes.max(WAL_SEGMENT_MIN_BYTES);
        let mut writer = match tail.segments.last() {
            Some(last) if tail.offset > 0 => {
                let file = OpenOptions::new().read(true).write(true).open(path_of(dir, *last))?;
                Writer { dir: dir.to_path_buf(), segment_bytes, file, tail, groups, buffer: Vec::new() }
            }
            _ => {
                // A last segment without a whole record is the remains of a crash while it was made.
                let mut tail = tail;
                if let Some(empty) = tail.segments.pop() {
                    std::fs::remove_file(path_of(dir, empty))?;
                }
                let generation = tail.segments.last().map_or(1, |last| last + 1);
                let file = create_segment(dir, generation, segment_bytes)?;
                tail.segments.push(generation);
                tail.offset = 0;
                Writer { dir: dir.to_path_buf(), segment_bytes, file, tail, groups, buffer: Vec::new() }
            }
        };
        let (requests, inbox) = sync_channel(WAL_QUEUE_REQUESTS);
        thread::Builder::new().name("tandem-wal".to_owned()).spawn(move || writer.run(&inbox))?;
        Ok(Self { requests })
    }

    /// Queues records; `done` runs on the writer thread once they are durable.
    pub(super) fn write(&self, items: Vec<Item>, done: Done) -> io::Result<()> {
        self.requests.send(Request { items, done }).map_err(|_| io::Error::other("the log's writer has ended"))
    }
}

fn note(groups: &mut BTreeMap<GroupId, Standing>, generation: u64, kind: Kind, group: GroupId, index: u64, payload: &[u8]) {
    let standing = groups.entry(group).or_default();
    match kind {
        Kind::Vote => standing.vote = Some(payload.to_vec()),
        Kind::Committed => standing.committed = Some(payload.to_vec()),
        Kind::Purge => standing.purged = Some((index, payload.to_vec())),
        Kind::Entry => {
            let highest = standing.highest.entry(generation).or_default();
            *highest = index.max(*highest);
        }
        Kind::Forget => *standing = Standing::default(),
        Kind::Open | Kind::Truncate => {}
    }
}

/// A zeroed file: overwriting it later changes no extent, so that fdatasync has only data to write.
fn create_segment(dir: &Path, generation: u64, bytes: u64) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path_of(dir, generation))?;
    let zeros = vec![0_u8; 1 << 20];
    let mut at = 0;
    while at < bytes {
        let len = zeros.len().min((bytes - at) as usize);
        file.write_all_at(&zeros[..len], at)?;
        at += len as u64;
    }
    file.sync_all()?;
    File::open(dir)?.sync_all()?;
    Ok(file)
}

impl Writer {
    fn run(&mut self, inbox: &Receiver<Request>) {
        while let Ok(first) = inbox.recv() {
            let mut bytes = size(&first);
            let mut batch = vec![first];
            while batch.len() < WAL_BATCH_MAX_REQUESTS && bytes < WAL_BATCH_MAX_BYTES {
                let Ok(next) = inbox.try_recv() else { break };
                bytes += size(&next);
                batch.push(next);
            }
            if let Err(error) = self.commit(&batch) {
                tracing::error!(%error, "the log cannot be written; this node ends so that it cannot lie about what is durable");
                std::process::abort();
            }
            for request in batch {
                (request.done)();
            }
        }
    }

    fn commit(&mut self, batch: &[Request]) -> io::Result<()> {
        let started = Instant::now();
        self.buffer.clear();
        self.tail.batch += 1;
        if self.tail.offset == 0 {
            self.checkpoint();
        }
        let generation = *self.tail.segments.last().expect("a log has a segment");
        for item in batch.iter().flat_map(|request| &request.items) {
            self.encode(generation, item.kind, item.group, item.index, &item.payload);
            note(&mut self.groups, generation, item.kind, item.group, item.index, &item.payload);
        }
        if self.tail.offset + self.buffer.len() as u64 > self.segment_bytes && self.tail.offset > 0 {
            return self.roll(batch);
        }
        self.file.write_all_at(&self.buffer, self.tail.offset)?;
        self.file.sync_data()?;
        self.tail.offset += self.buffer.len() as u64;
        metrics::histogram!("wal_fsync_seconds").record(started.elapsed().as_secs_f64());
        Ok(())
    }

    /// The batch does not fit: it opens a new segment, after what the groups stand on.
    fn roll(&mut self, batch: &[Request]) -> io::Result<()> {
        let full = *self.tail.segments.last().expect("a log has a segment");
        for standing in self.groups.values_mut() {
            // The batch was noted for the full segment; it lands in the next one.
            if let Some(highest) = standing.highest.get(&full).copied() {
                standing.highest.insert(full + 1, highest);
            }
        }
        let items: u64 = batch.iter().map(|request| request.items.len() as u64).sum();
        self.tail.seq -= items;
        self.tail.batch -= 1;
        self.file = create_segment(&self.dir, full + 1, self.segment_bytes)?;
        self.tail.segments.push(full + 1);
        self.tail.offset = 0;
        self.drop_unneeded()?;
        self.commit(batch)
    }

    fn checkpoint(&mut self) {
        let generation = *self.tail.segments.last().expect("a log has a segment");
        self.encode(generation, Kind::Open, 0, 0, &[]);
        let standing: Vec<_> =
            self.groups.iter().map(|(group, s)| (*group, s.vote.clone(), s.committed.clone(), s.purged.clone())).collect();
        for (group, vote, committed, purged) in standing {
            if let Some(vote) = vote {
                self.encode(generation, Kind::Vote, group, 0, &vote);
            }
            if let Some((index, purged)) = purged {
                self.encode(generation, Kind::Purge, group, index, &purged);
            }
            if let Some(committed) = committed {
                self.encode(generation, Kind::Committed, group, 0, &committed);
            }
        }
    }

    fn encode(&mut self, generation: u64, kind: Kind, group: GroupId, index: u64, payload: &[u8]) {
        self.tail.seq += 1;
        let head = Head { kind, group, generation, batch: self.tail.batch, seq: self.tail.seq, index, last_of_batch: false };
        record::encode(&head, payload, &mut self.buffer);
    }

    /// Deletes segments from the oldest on while no group has an unpurged entry in them.
    fn drop_unneeded(&mut self) -> io::Result<()> {
        while let [oldest, _, ..] = self.tail.segments[..] {
            let needed = self.groups.values().any(|standing| {
                let purged = standing.purged.as_ref().map_or(0, |(index, _)| *index);
                standing.highest.get(&oldest).is_some_and(|highest| *highest > purged || standing.purged.is_none())
            });
            if needed {
                break;
            }
            std::fs::remove_file(path_of(&self.dir, oldest))?;
            self.tail.segments.remove(0);
            for standing in self.groups.values_mut() {
                standing.highest.remove(&oldest);
            }
        }
        metrics::gauge!("wal_segments").set(self.tail.segments.len() as f64);
        Ok(())
    }
}

fn size(request: &Request) -> usize {
    request.items.iter().map(|item| record::size_of(item.payload.len())).sum()
}
