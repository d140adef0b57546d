//! Reads the log back at a start: which records count, where they end, and whether that end is honest.
//!
//! Sequence numbers run through the whole log, so a record that is missing or damaged shows as a gap. What follows the gap
//! tells a crash from corruption: batches are made durable one after the other, so a valid record of a *later batch*
//! proves that the damaged one was durable once. Then the log refuses to open. Otherwise the damage is in the last batch,
//! which nobody was told of yet, or whose damage cannot be told from that: the tail is cut there.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    Error,
    disk::Disk,
    record::{self, ALIGN, Head, Kind, MAGIC},
    tracker::{Marks, Tracker},
};
use crate::GroupId;

/// What the log held of one group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    pub vote: Option<Vec<u8>>,
    pub committed: Option<Vec<u8>>,
    /// Index and bytes of the last purge.
    pub purged: Option<(u64, Vec<u8>)>,
    /// Entries after the purge, without a gap.
    pub entries: BTreeMap<u64, Vec<u8>>,
}

/// The state from which the writer goes on.
pub(super) struct Recovery {
    pub(super) tracker: Tracker,
    pub(super) groups: BTreeMap<GroupId, Recovered>,
    /// Segment and offset to write at; `None` for a new log.
    pub(super) end: Option<(u64, u64)>,
    pub(super) next_seq: u64,
    pub(super) next_batch: u64,
    pub(super) spares: Vec<PathBuf>,
}

/// Where the valid records end.
struct End {
    segment: usize,
    offset: usize,
    last: Option<Head>,
}

/// Reads all segments, cuts a torn tail and returns what the log holds.
pub(super) fn recover(disk: &Disk) -> Result<Recovery, Error> {
    let (numbers, spares) = disk.list()?;
    let mut replay = Replay::default();
    let mut end = End { segment: 0, offset: 0, last: None };
    for (i, &number) in numbers.iter().enumerate() {
        let bytes = disk.read(number)?;
        if i > 0 && !continues(&bytes, number, end.last) {
            break;
        }
        end = replay.segment(i, number, &bytes, end.last);
        if end.last.is_none() {
            break;
        }
    }
    let dirty = check_rest(disk, &numbers, &end)?;
    replay.check_holes(disk, &numbers)?;
    if let Some(&number) = numbers.get(end.segment) {
        if dirty {
            tracing::warn!(segment = %disk.segment_path(number).display(), offset = end.offset, "cut the torn tail of the log");
            disk.wipe_tail(&disk.reopen(number)?, number, end.offset as u64)?;
        }
        drop_unused(disk, &numbers, &end)?;
        seal(disk, number, &mut end)?;
    }
    let position = end.last.and_then(|_| numbers.get(end.segment)).map(|&number| (number, end.offset as u64));
    let groups = replay.groups_with_marks();
    let (next_seq, next_batch) = end.last.map_or((1, 1), |h| (h.seq + 1, h.batch + 1));
    Ok(Recovery { tracker: replay.tracker, groups, end: position, next_seq, next_batch, spares })
}

/// True when a segment begins with the record that must follow `last`.
fn continues(bytes: &[u8], number: u64, last: Option<Head>) -> bool {
    record::decode(bytes).is_some_and(|r| {
        r.head.kind == Kind::Open && r.head.generation == number && last.is_none_or(|l| r.head.seq == l.seq + 1 && r.head.batch > l.batch)
    })
}

/// Closes a batch that lost its end. Without this the next batch, torn in its turn, would look like a later batch behind a
/// damaged record.
fn seal(disk: &Disk, number: u64, end: &mut End) -> Result<(), Error> {
    let Some(last) = end.last.filter(|h| !h.last_of_batch) else { return Ok(()) };
    let head = Head { kind: Kind::Seal, group: 0, index: 0, batch: last.batch + 1, seq: last.seq + 1, last_of_batch: true, ..last };
    let mut bytes = Vec::new();
    record::encode(&head, &[], &mut bytes);
    disk.write(&disk.reopen(number)?, number, end.offset as u64, &bytes)?;
    end.offset += bytes.len();
    end.last = Some(head);
    Ok(())
}

/// Files behind the last valid record hold at most a batch that never became durable. They are deleted, not reused: their
/// numbers will be, and a leftover record with a live generation must not exist.
fn drop_unused(disk: &Disk, numbers: &[u64], end: &End) -> Result<(), Error> {
    let keep = if end.last.is_some() { end.segment + 1 } else { 0 };
    for &number in &numbers[keep..] {
        disk.remove(&disk.segment_path(number))?;
    }
    disk.sync()
}

/// Looks behind the end for records that prove corruption. Returns whether something of a torn batch is there.
fn check_rest(disk: &Disk, numbers: &[u64], end: &End) -> Result<bool, Error> {
    let Some(&first) = numbers.get(end.segment) else { return Ok(false) };
    let corrupt = |detail: String| Error::Corrupt { segment: disk.segment_path(first), offset: end.offset as u64, detail };
    if end.last.is_none() && first > 1 {
        // The first segment that is left was durable before its predecessor was recycled.
        return Err(corrupt("its first record is damaged".into()));
    }
    // The damaged record belongs to the batch of the last valid one, or to the next if that one was complete.
    let (seq, suspect) = end.last.map_or((0, 1), |h| (h.seq, if h.last_of_batch { h.batch + 1 } else { h.batch }));
    let mut dirty = false;
    for (i, &number) in numbers.iter().enumerate().skip(end.segment) {
        let bytes = disk.read(number)?;
        let from = if i == end.segment { end.offset } else { 0 };
        for at in (from..bytes.len()).step_by(ALIGN) {
            if !bytes[at..].starts_with(&MAGIC.to_le_bytes()) || !record::looks_written(&bytes[at..], number) {
                continue;
            }
            dirty |= i == end.segment;
            let later = |r: &record::Record<'_>| r.head.generation == number && r.head.seq > seq && r.head.batch > suspect;
            if let Some(found) = record::decode(&bytes[at..]).filter(later) {
                return Err(corrupt(format!(
                    "the record after sequence {seq} is damaged, but a later batch is intact (sequence {} in {} at offset {at})",
                    found.head.seq,
                    disk.segment_path(number).display()
                )));
            }
        }
    }
    Ok(dirty)
}

#[derive(Default)]
struct Replay {
    tracker: Tracker,
    entries: BTreeMap<GroupId, BTreeMap<u64, Vec<u8>>>,
}

impl Replay {
    /// Applies the valid records of a segment up to the first break.
    fn segment(&mut self, i: usize, number: u64, bytes: &[u8], mut last: Option<Head>) -> End {
        let mut offset = 0;
        while let Some(found) = record::decode(&bytes[offset..]) {
            let head = found.head;
            let follows = last.is_none_or(|l| head.seq == l.seq + 1 && if offset > 0 { follows_in_segment(&l, &head) } else { true });
            if head.generation != number || !follows || (offset == 0) != (head.kind == Kind::Open) {
                break;
            }
            if head.kind == Kind::Open {
                self.tracker.begin_segment(number);
            }
            self.apply(&head, found.payload);
            last = Some(head);
            offset += found.size;
        }
        End { segment: i, offset, last }
    }

    fn apply(&mut self, head: &Head, payload: &[u8]) {
        self.tracker.observe(head.kind, head.group, head.index, payload);
        match head.kind {
            Kind::Entry => {
                let entries = self.entries.entry(head.group).or_default();
                // An entry replaces whatever was at its index and after it.
                entries.split_off(&head.index);
                entries.insert(head.index, payload.to_vec());
            }
            Kind::Truncate => drop(self.entries.entry(head.group).or_default().split_off(&head.index)),
            Kind::Purge => {
                let entries = self.entries.entry(head.group).or_default();
                *entries = entries.split_off(&(head.index + 1));
            }
            Kind::Forget => drop(self.entries.remove(&head.group)),
            Kind::Open | Kind::Seal | Kind::Vote | Kind::Committed => {}
        }
    }

    /// A group's entries must be consecutive from its purge on. A hole means that a segment file is missing.
    fn check_holes(&self, disk: &Disk, numbers: &[u64]) -> Result<(), Error> {
        for (group, entries) in &self.entries {
            let purged = self.tracker.marks().get(group).and_then(|m| m.purged.as_ref()).map(|(i, _)| *i);
            let mut previous = purged;
            for &index in entries.keys() {
                // Without a purge a log begins at 0 (the first membership) or 1.
                if previous.map_or(index > 1, |p| index != p + 1) {
                    let detail = format!("group {group} has entry {index} but not the one before it; a segment file is missing");
                    let segment = disk.segment_path(numbers.first().copied().unwrap_or_default());
                    return Err(Error::Corrupt { segment, offset: 0, detail });
                }
                previous = Some(index);
            }
        }
        Ok(())
    }

    fn groups_with_marks(&mut self) -> BTreeMap<GroupId, Recovered> {
        let mut groups = BTreeMap::new();
        for (&group, marks) in self.tracker.marks() {
            let Marks { vote, committed, purged } = marks.clone();
            let entries = self.entries.remove(&group).unwrap_or_default();
            groups.insert(group, Recovered { vote, committed, purged, entries });
        }
        groups
    }
}

/// Within a segment a batch goes on until its last record and the next one begins right after.
fn follows_in_segment(last: &Head, next: &Head) -> bool {
    // Behind the intact part of a torn batch stands a seal with a number of its own.
    next.batch == last.batch && !last.last_of_batch || next.batch > last.batch
}
