//! The files in which a replica keeps the closed calls of its group: append-only, chained by hash, cut back on restart.
//!
//! It owns sequences and bytes. What a record says, and the head of the chain that all replicas agree on, are
//! `core::cdr`'s; which records exist is decided by `apply` alone.

mod fill;
mod read;
mod segment;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs::{self, File},
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::core::{cdr, effect::Record, id::CallId};
pub(super) use fill::Fill;
pub(super) use read::{NoLongerKept, Rows, closed_at};
use segment::Segment;

/// How far a replica's files are, for comparing replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveStatus {
    /// Records ever, and so the sequence of the next one.
    pub records: u64,
    /// Sequence of the first record that is kept.
    pub kept_from: u64,
    /// Bytes of all records ever, without framing.
    pub bytes: u64,
    /// Chain hash of the last record.
    pub hash: [u8; 32],
    /// False while records that a snapshot stands for are being fetched from a peer.
    pub complete: bool,
}

/// Calls closed lately, by id.
#[derive(Debug, Default)]
struct Recent {
    seqs: HashMap<CallId, u64>,
    ages: VecDeque<CallId>,
    /// Records before this sequence were looked at.
    to: u64,
}

/// The archive of one group on this node.
#[derive(Debug)]
pub(super) struct Archive {
    dir: PathBuf,
    segment_bytes: u64,
    /// By first sequence. Ranges never overlap; a hole between two is missing here.
    segments: BTreeMap<u64, Segment>,
    /// The end of the last segment, open for appending.
    tail: Option<File>,
    /// The chain after the last applied record.
    head: cdr::Archive,
    /// The chain before the first record that is kept.
    kept: cdr::Archive,
    recent: Recent,
}

impl Archive {
    /// Opens the files in `dir`. What lies beyond the state that is about to be restored is cut when that is known.
    pub(super) fn open(dir: &Path, segment_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut segments = BTreeMap::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            match Segment::open(path.clone())? {
                Some(segment) => drop(segments.insert(segment.first(), segment)),
                // A header that a crash cut short: nothing was ever written behind it.
                None if path.extension().is_some_and(|extension| extension == "open") => fs::remove_file(path)?,
                None => {}
            }
        }
        let (head, kept) = Default::default();
        Ok(Self { dir: dir.to_owned(), segment_bytes, segments, tail: None, head, kept, recent: Recent::default() })
    }

    /// Takes on the head that a snapshot carries: what lies beyond is cut and written again by the replay, what is
    /// missing before it is fetched from a peer.
    pub(super) fn restore(&mut self, head: &cdr::Archive, kept: &cdr::Archive) -> io::Result<()> {
        self.cut(head.next_seq)?;
        self.head = head.clone();
        self.keep_from(kept)
    }

    /// Removes the files whose records are all before those that are kept. Reads of such records are refused from now on,
    /// whether their file could go or not.
    pub(super) fn keep_from(&mut self, kept: &cdr::Archive) -> io::Result<()> {
        self.kept = kept.clone();
        let old: Vec<u64> = self.segments.values().filter(|s| s.is_full() && s.next <= kept.next_seq).map(Segment::first).collect();
        for segment in old.iter().filter_map(|first| self.segments.remove(first)) {
            fs::remove_file(&segment.path)?;
        }
        self.sync_dir()
    }

    /// Ends the file being written, so that the next record begins another.
    fn end_file(&mut self) -> io::Result<()> {
        self.tail = None;
        match self.segments.values_mut().next_back().filter(|last| !last.is_full()) {
            Some(last) => last.seal(),
            None => Ok(()),
        }
    }

    /// Appends what an application closed. A record that is here already begins the replay: the rest is cut.
    /// A record that is the first of its day begins a new file.
    pub(super) fn append(&mut self, records: &[Record], day_begins: Option<u64>) -> io::Result<()> {
        for record in records {
            if record.seq < self.end() {
                self.cut(record.seq)?;
            }
            assert_eq!(record.seq, self.head.next_seq, "records are applied in sequence");
            if day_begins == Some(record.seq) {
                self.end_file()?;
            }
            self.rotate()?;
            let (_, segment) = self.segments.iter_mut().next_back().expect("rotate leaves a segment to append to");
            let tail = self.tail.as_mut().expect("rotate opens it");
            segment.append(tail, &record.bytes)?;
            segment::extend(&mut self.head, &record.bytes);
            assert_eq!(self.head.hash, record.hash, "the files continue the chain of the state");
        }
        Ok(())
    }

    /// Makes sure that the last segment ends where the next record goes, is open and has room.
    fn rotate(&mut self) -> io::Result<()> {
        let last = self.segments.values_mut().next_back();
        let fits = last.as_ref().is_some_and(|last| !last.is_full() && last.next == self.head.next_seq && last.len < self.segment_bytes);
        if !fits {
            if let Some(last) = last.filter(|last| !last.is_full()) {
                last.seal()?;
            }
            let segment = Segment::create(&self.dir, &self.head)?;
            self.tail = Some(segment.writer()?);
            self.segments.insert(segment.first(), segment);
            self.sync_dir()?;
        } else if self.tail.is_none() {
            self.tail = last.map(|last| last.writer()).transpose()?;
        }
        Ok(())
    }

    /// Removes every record from `seq` on.
    fn cut(&mut self, seq: u64) -> io::Result<()> {
        self.tail = None;
        self.recent = Recent::default();
        for (first, segment) in self.segments.split_off(&seq) {
            fs::remove_file(&segment.path)?;
            if first == seq {
                self.head = segment.before;
            }
        }
        if let Some(last) = self.segments.values_mut().next_back().filter(|last| last.next > seq) {
            self.head = last.cut(seq)?;
        }
        self.sync_dir()
    }

    /// The file whose sync makes everything appended so far durable, if there is any: it may be waited for without the archive.
    pub(super) fn unsynced(&self) -> io::Result<Option<File>> {
        match (&self.tail, self.segments.values().next_back().filter(|last| !last.is_full())) {
            (Some(tail), _) => tail.try_clone().map(Some),
            // Written by the life before, which may have ended before it synced.
            (None, Some(last)) => File::open(&last.path).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    /// Sequence after the last record on disk.
    fn end(&self) -> u64 {
        self.segments.values().next_back().map_or(0, |segment| segment.next)
    }

    /// Sequences that should be here and are not.
    pub(super) fn holes(&self) -> Vec<Range<u64>> {
        let mut holes = Vec::new();
        let mut from = self.kept.next_seq;
        for segment in self.segments.values() {
            if segment.first() > from {
                holes.push(from..segment.first());
            }
            from = from.max(segment.next);
        }
        if self.head.next_seq > from {
            holes.push(from..self.head.next_seq);
        }
        holes
    }

    /// The files, open to be copied: they may be renamed afterwards, and end behind what is applied now.
    pub(super) fn files(&self) -> io::Result<Vec<(String, File)>> {
        if !self.holes().is_empty() {
            return Err(io::Error::other("archived records are still being fetched from a peer; another node has them"));
        }
        let open = |segment: &Segment| {
            let name = segment.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok((name, File::open(&segment.path)?))
        };
        self.segments.values().map(open).collect()
    }

    pub(super) fn status(&self) -> ArchiveStatus {
        ArchiveStatus {
            records: self.head.next_seq,
            kept_from: self.kept.next_seq,
            bytes: self.head.bytes,
            hash: self.head.hash,
            complete: self.holes().is_empty(),
        }
    }
}
