//! A group's archive on this node: an append-only file of closed calls, checked record by record against the chain.
//!
//! Records come from apply, keyed by sequence; one that is there already is left alone, one that is ahead waits until the
//! records before it were fetched from a peer. What a record means is not its business.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, BufReader, Read},
    os::unix::fs::FileExt,
    path::Path,
};

use super::limits::BACKLOG_MAX;
use crate::core::{cdr, effect::Record};

/// Length, CRC, sequence and chain hash stand before a record's bytes.
const HEAD: usize = 4 + 4 + 8 + 32;
/// Largest record taken for one and not for damage.
const RECORD_BYTES_MAX: usize = 1 << 24;

pub(super) struct Archive {
    file: File,
    /// Where each record starts, and where the next one will.
    offsets: Vec<u64>,
    end: u64,
    hash: [u8; 32],
    backlog: BTreeMap<u64, Record>,
}

/// How far an archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub records: u64,
    pub bytes: u64,
    pub hash: [u8; 32],
    /// False while records are being fetched from a peer.
    pub complete: bool,
}

impl Archive {
    /// Opens the file and cuts a torn tail.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut archive = Self { file, offsets: Vec::new(), end: 0, hash: [0; 32], backlog: BTreeMap::new() };
        let mut reader = BufReader::new(archive.file.try_clone()?);
        while let Some((record, size)) = read_next(&mut reader)? {
            if record.seq != archive.next() || cdr::chain(&archive.hash, &record.bytes) != record.hash {
                break;
            }
            archive.offsets.push(archive.end);
            archive.end += size;
            archive.hash = record.hash;
        }
        archive.file.set_len(archive.end)?;
        Ok(archive)
    }

    pub(super) fn next(&self) -> u64 {
        self.offsets.len() as u64
    }

    /// Adds a record, or holds it until those before it are here.
    pub(super) fn append(&mut self, record: &Record) -> io::Result<()> {
        if record.seq > self.next() {
            if self.backlog.len() < BACKLOG_MAX {
                self.backlog.insert(record.seq, record.clone());
            }
            return Ok(());
        }
        if record.seq < self.next() {
            return Ok(());
        }
        self.write(record)?;
        while let Some(next) = self.backlog.remove(&self.next()) {
            self.write(&next)?;
        }
        Ok(())
    }

    fn write(&mut self, record: &Record) -> io::Result<()> {
        if cdr::chain(&self.hash, &record.bytes) != record.hash {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("archive record {} does not continue the chain", record.seq)));
        }
        let mut frame = Vec::with_capacity(HEAD + record.bytes.len());
        frame.extend_from_slice(&(record.bytes.len() as u32).to_le_bytes());
        frame.extend_from_slice(&crc32fast::hash(&record.bytes).to_le_bytes());
        frame.extend_from_slice(&record.seq.to_le_bytes());
        frame.extend_from_slice(&record.hash);
        frame.extend_from_slice(&record.bytes);
        self.file.write_all_at(&frame, self.end)?;
        self.offsets.push(self.end);
        self.end += frame.len() as u64;
        self.hash = record.hash;
        Ok(())
    }

    pub(super) fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// At most `max` records from `from` on.
    pub(super) fn read(&self, from: u64, max: usize) -> io::Result<Vec<Record>> {
        let first = usize::try_from(from).unwrap_or(usize::MAX);
        self.offsets.iter().skip(first).take(max).map(|offset| self.read_at(*offset)).collect()
    }

    fn read_at(&self, offset: u64) -> io::Result<Record> {
        let mut head = [0_u8; HEAD];
        self.file.read_exact_at(&mut head, offset)?;
        let (len, crc, seq, hash) = split(&head);
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, offset + HEAD as u64)?;
        if crc32fast::hash(&bytes) != crc {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("archive record {seq} is damaged")));
        }
        Ok(Record { seq, hash, bytes })
    }

    pub(super) fn status(&self, expected: u64) -> Status {
        let bytes = self.end - self.next() * HEAD as u64;
        Status { records: self.next(), bytes, hash: self.hash, complete: self.next() >= expected }
    }
}

fn split(head: &[u8; HEAD]) -> (usize, u32, u64, [u8; 32]) {
    let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes were sliced"));
    let seq = u64::from_le_bytes(head[8..16].try_into().expect("eight bytes were sliced"));
    (word(0) as usize, word(4), seq, head[16..].try_into().expect("the head ends with the hash"))
}

/// The next whole record, or `None` at the end or at damage.
fn read_next(reader: &mut impl Read) -> io::Result<Option<(Record, u64)>> {
    let mut head = [0_u8; HEAD];
    if let Err(error) = reader.read_exact(&mut head) {
        return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) };
    }
    let (len, crc, seq, hash) = split(&head);
    let mut bytes = vec![0; len.min(RECORD_BYTES_MAX)];
    if len > RECORD_BYTES_MAX || reader.read_exact(&mut bytes).is_err() || crc32fast::hash(&bytes) != crc {
        return Ok(None);
    }
    Ok(Some((Record { seq, hash, bytes }, (HEAD + len) as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(n: u64) -> Vec<Record> {
        let mut hash = [0; 32];
        (0..n)
            .map(|seq| {
                let bytes = format!("call {seq}").into_bytes();
                hash = cdr::chain(&hash, &bytes);
                Record { seq, hash, bytes }
            })
            .collect()
    }

    #[test]
    fn records_survive_a_reopening_and_a_torn_tail_is_cut_and_rewritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.archive");
        let all = records(5);
        let mut archive = Archive::open(&path).unwrap();
        all.iter().for_each(|record| archive.append(record).unwrap());
        drop(archive);
        let len = std::fs::metadata(&path).unwrap().len();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(len - 3).unwrap();
        let mut archive = Archive::open(&path).unwrap();
        assert_eq!(archive.next(), 4);
        all.iter().for_each(|record| archive.append(record).unwrap());
        assert_eq!((archive.read(3, 10).unwrap(), archive.status(5).complete), (all[3..].to_vec(), true));
    }

    #[test]
    fn a_record_that_is_ahead_waits_for_those_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut archive = Archive::open(&dir.path().join("1.archive")).unwrap();
        let all = records(3);
        archive.append(&all[2]).unwrap();
        archive.append(&all[0]).unwrap();
        assert_eq!(archive.next(), 1);
        archive.append(&all[1]).unwrap();
        assert_eq!(archive.next(), 3);
    }
}
