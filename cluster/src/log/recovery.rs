//! Reads the segments of a log back at start: what is whole, where it ends, and whether anything in it is damaged.
//!
//! A damaged record with a valid one of a later batch behind it is corruption, and the node must not start. Damage with
//! nothing later behind it is the torn tail of the last write, which was never acknowledged, and is cut.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::record::{self, ALIGN, Head, Kind};

/// Where to go on writing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tail {
    /// Segments in order, by generation.
    pub(super) segments: Vec<u64>,
    /// First free byte of the last segment.
    pub(super) offset: u64,
    pub(super) batch: u64,
    pub(super) seq: u64,
}

pub(super) fn path_of(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("{generation:016}.wal"))
}

fn generations(dir: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if let Some(generation) = name.to_str().and_then(|name| name.strip_suffix(".wal")).and_then(|name| name.parse().ok()) {
            found.push(generation);
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn corrupt(path: &Path, offset: usize, why: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{} is damaged at byte {offset}: {why}; restore this node from its peers under a new id, or from a backup", path.display()),
    )
}

/// Calls `each` for every live record in order and returns where the log ends.
pub(super) fn replay(dir: &Path, mut each: impl FnMut(u64, &Head, &[u8]) -> io::Result<()>) -> io::Result<Tail> {
    let segments = generations(dir)?;
    let mut tail = Tail { segments: segments.clone(), ..Tail::default() };
    for (at, generation) in segments.iter().enumerate() {
        let path = path_of(dir, *generation);
        let bytes = fs::read(&path)?;
        let mut offset = 0;
        while let Some(record) =
            record::decode(&bytes[offset..]).filter(|record| belongs(&record.head, *generation, &tail, at == 0 && offset == 0))
        {
            each(*generation, &record.head, record.payload)?;
            (tail.batch, tail.seq) = (record.head.batch, record.head.seq);
            offset += record.size;
        }
        if let Some(later) = later_batch(&bytes, offset, *generation, tail.batch) {
            return Err(corrupt(&path, offset, &format!("a valid record of a later write follows at byte {later}")));
        }
        let last = at + 1 == segments.len();
        if offset == 0 && !last {
            return Err(corrupt(&path, 0, "a whole segment is missing from the middle of the log"));
        }
        tail.offset = offset as u64;
    }
    Ok(tail)
}

/// True for the next record of this segment's life; a stale one of an earlier write has another number.
fn belongs(head: &Head, generation: u64, tail: &Tail, first: bool) -> bool {
    head.generation == generation && (first || head.seq == tail.seq + 1) && (!first || head.kind == Kind::Open)
}

fn later_batch(bytes: &[u8], from: usize, generation: u64, batch: u64) -> Option<usize> {
    (from.next_multiple_of(ALIGN)..bytes.len()).step_by(ALIGN).find(|at| {
        record::looks_written(&bytes[*at..], generation)
            && record::decode(&bytes[*at..]).is_some_and(|record| record.head.generation == generation && record.head.batch > batch + 1)
    })
}
