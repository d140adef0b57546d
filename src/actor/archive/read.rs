//! Reading closed calls back: by sequence, and by call id.

use std::{
    fs::File,
    io::{self, BufReader, Seek, SeekFrom},
    path::PathBuf,
};

use super::{Archive, segment};
use crate::{
    actor::limits::{PAGE_BYTES_MAX, PAGE_RECORDS_MAX, RECENT_CALLS_MAX},
    core::{cdr::ClosedCall, id::CallId},
};

/// Records with their sequences.
pub(in crate::actor) type Rows = Vec<(u64, Vec<u8>)>;

/// The records asked for were dropped when their time was up.
#[derive(Debug, thiserror::Error)]
#[error("records before {from} are no longer kept")]
pub(in crate::actor) struct NoLongerKept {
    from: u64,
}

/// Where the next records are, taken under the archive's lock and read without it.
#[derive(Debug)]
pub(in crate::actor) struct Plan {
    from: u64,
    limit: usize,
    /// Sequence after the last record there is.
    end: u64,
    /// Files with the offset and sequence to begin at and the sequence to stop before.
    pieces: Vec<(PathBuf, u64, u64, u64)>,
}

impl Plan {
    /// Records, and where to go on if there are more.
    pub(in crate::actor) fn read(self) -> io::Result<(Rows, Option<u64>)> {
        let mut items = Vec::new();
        let (mut next, mut bytes_read) = (self.from, 0);
        'pieces: for (path, offset, mut seq, stop) in self.pieces {
            let mut reader = BufReader::new(File::open(path)?);
            reader.seek(SeekFrom::Start(offset))?;
            while seq < stop {
                if items.len() >= self.limit || bytes_read >= PAGE_BYTES_MAX {
                    break 'pieces;
                }
                let Some(bytes) = segment::read_record(&mut reader, seq)? else {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the archive is damaged at record {seq}")));
                };
                if seq >= self.from {
                    bytes_read += bytes.len();
                    next = seq + 1;
                    items.push((seq, bytes));
                }
                seq += 1;
            }
        }
        Ok((items, (next < self.end).then_some(next)))
    }
}

/// The wall-clock time a record's call ended, milliseconds.
pub(in crate::actor) fn closed_at(bytes: &[u8]) -> io::Result<(CallId, i64)> {
    let closed = ClosedCall::decode(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok((closed.call_id, closed.ended.wall.0))
}

impl Archive {
    /// Plans to read up to `limit` records from `from` on.
    ///
    /// # Errors
    /// `NotFound` when those records are still being fetched from a peer, or, as [`NoLongerKept`], were dropped.
    pub(in crate::actor) fn plan(&mut self, from: u64, limit: usize) -> io::Result<Plan> {
        if from < self.kept.next_seq {
            return Err(io::Error::new(io::ErrorKind::NotFound, NoLongerKept { from: self.kept.next_seq }));
        }
        let hole = self.holes().into_iter().find(|hole| hole.end > from);
        if let Some(hole) = hole.as_ref().filter(|hole| hole.start <= from) {
            let why = format!("records {} to {} are still being fetched from a peer", hole.start, hole.end - 1);
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        }
        let stop = hole.map_or(self.head.next_seq, |hole| hole.start);
        let limit = limit.min(PAGE_RECORDS_MAX);
        let mut pieces = Vec::new();
        let mut wanted = from;
        for segment in self.segments.values_mut().filter(|segment| segment.next > from && segment.first() < stop) {
            if wanted >= from.saturating_add(limit as u64) {
                break;
            }
            let (offset, seq) = segment.locate(wanted)?;
            pieces.push((segment.path.clone(), offset, seq, segment.next.min(stop)));
            wanted = segment.next;
        }
        Ok(Plan { from, limit, end: self.head.next_seq, pieces })
    }

    /// The sequence of a call that closed lately, and from where on records have not been looked at yet.
    pub(in crate::actor) fn recent(&mut self, call: CallId) -> Result<u64, u64> {
        let oldest = self.head.next_seq.saturating_sub(RECENT_CALLS_MAX as u64).max(self.kept.next_seq);
        self.recent.seqs.get(&call).copied().ok_or(self.recent.to.max(oldest))
    }

    /// Remembers which calls these records, which follow those looked at before, belong to.
    pub(in crate::actor) fn remember(&mut self, calls: &[(u64, CallId)]) {
        for (seq, call) in calls {
            self.recent.to = self.recent.to.max(seq + 1);
            if self.recent.seqs.insert(*call, *seq).is_none() {
                self.recent.ages.push_back(*call);
            }
            if self.recent.ages.len() > RECENT_CALLS_MAX
                && let Some(oldest) = self.recent.ages.pop_front()
            {
                self.recent.seqs.remove(&oldest);
            }
        }
    }
}
