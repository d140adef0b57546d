//! One file of the archive: a header, then framed records. How it is laid out on disk, and nothing else.
//!
//! ```text
//! header  magic 8 | first sequence 8 | chain hash before it 32 | bytes before it 8 | CRC-32 of these 4
//! record  length 4 | CRC-32 of sequence and bytes 4 | sequence 8 | bytes
//! ```
//! Integers are little endian. A segment being written is `FIRST.open`; a full one is renamed `FIRST-NEXT.seg`, so that
//! a directory listing says which sequences are there.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crate::{
    actor::limits::{INDEX_STRIDE, RECORD_BYTES_MAX},
    core::cdr,
};

const MAGIC: &[u8; 8] = b"TNDMARC1";
const HEADER_BYTES: u64 = 60;
const FRAME_BYTES: u64 = 16;

/// A run of records in one file.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    /// The chain before its first record, whose sequence is `before.next_seq`.
    pub(super) before: cdr::Archive,
    /// Sequence after its last record.
    pub(super) next: u64,
    /// Bytes of the file up to there.
    pub(super) len: u64,
    /// Offset of every [`INDEX_STRIDE`]th record; empty for a full segment nobody has read yet.
    index: Vec<u64>,
}

fn invalid(path: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", path.display()))
}

fn checksum(seq: u64, bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&seq.to_le_bytes());
    crc.update(bytes);
    crc.finalize()
}

impl Segment {
    /// Makes an empty segment that continues a chain.
    pub(super) fn create(dir: &Path, before: &cdr::Archive) -> io::Result<Self> {
        let path = dir.join(format!("{:020}.open", before.next_seq));
        let mut header = Vec::with_capacity(HEADER_BYTES as usize);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&before.next_seq.to_le_bytes());
        header.extend_from_slice(&before.hash);
        header.extend_from_slice(&before.bytes.to_le_bytes());
        header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
        File::create(&path)?.write_all(&header)?;
        Ok(Self { path, before: before.clone(), next: before.next_seq, len: HEADER_BYTES, index: Vec::new() })
    }

    /// Opens a segment file. A full one is believed by its name; one being written is read, checked against the chain
    /// and cut after its last good record. `None` for a file that is no segment, or whose header was never finished.
    pub(super) fn open(path: PathBuf) -> io::Result<Option<Self>> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let full = name.strip_suffix(".seg").and_then(|range| range.split_once('-')).and_then(|(_, next)| next.parse().ok());
        if full.is_none() && !name.ends_with(".open") {
            return Ok(None);
        }
        let mut file = File::open(&path)?;
        let Some(before) = read_header(&mut file)? else { return Ok(None) };
        let mut segment = Self { path, next: before.next_seq, before, len: HEADER_BYTES, index: Vec::new() };
        match full {
            Some(next) => {
                segment.next = next;
                segment.len = file.metadata()?.len();
            }
            None => {
                segment.scan(u64::MAX)?;
                OpenOptions::new().write(true).open(&segment.path)?.set_len(segment.len)?;
            }
        }
        Ok(Some(segment))
    }

    pub(super) const fn first(&self) -> u64 {
        self.before.next_seq
    }

    pub(super) fn is_full(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "seg")
    }

    /// Reads on from the start to `until`, checking sequence, checksum and chain. Stops at the first record that fails, sets
    /// `next`, `len` and the index, and returns the chain there.
    pub(super) fn scan(&mut self, until: u64) -> io::Result<cdr::Archive> {
        let mut chain = self.before.clone();
        let mut offset = HEADER_BYTES;
        let mut index = Vec::new();
        let mut reader = BufReader::new(File::open(&self.path)?);
        reader.seek(SeekFrom::Start(HEADER_BYTES))?;
        while chain.next_seq < until {
            let Some(bytes) = read_record(&mut reader, chain.next_seq)? else { break };
            if (chain.next_seq - self.first()).is_multiple_of(INDEX_STRIDE) {
                index.push(offset);
            }
            extend(&mut chain, &bytes);
            offset += FRAME_BYTES + bytes.len() as u64;
        }
        (self.next, self.len, self.index) = (chain.next_seq, offset, index);
        Ok(chain)
    }

    /// Appends a record, whose sequence is `next`.
    pub(super) fn append(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        let mut frame = Vec::with_capacity(FRAME_BYTES as usize + bytes.len());
        let len = u32::try_from(bytes.len()).ok().filter(|len| *len as usize <= RECORD_BYTES_MAX);
        frame.extend_from_slice(&len.ok_or_else(|| invalid(&self.path, "a record is too long"))?.to_le_bytes());
        frame.extend_from_slice(&checksum(self.next, bytes).to_le_bytes());
        frame.extend_from_slice(&self.next.to_le_bytes());
        frame.extend_from_slice(bytes);
        file.write_all(&frame)?;
        if (self.next - self.first()).is_multiple_of(INDEX_STRIDE) {
            self.index.push(self.len);
        }
        self.next += 1;
        self.len += frame.len() as u64;
        Ok(())
    }

    /// Drops every record from `seq` on, and returns the chain before it.
    pub(super) fn cut(&mut self, seq: u64) -> io::Result<cdr::Archive> {
        if self.is_full() {
            let open = self.path.with_file_name(format!("{:020}.open", self.first()));
            fs::rename(&self.path, &open)?;
            self.path = open;
        }
        let chain = self.scan(seq)?;
        OpenOptions::new().write(true).open(&self.path)?.set_len(self.len)?;
        Ok(chain)
    }

    /// Makes the records durable and says by the name that no more will follow.
    pub(super) fn seal(&mut self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()?;
        let full = self.path.with_file_name(format!("{:020}-{:020}.seg", self.first(), self.next));
        fs::rename(&self.path, &full)?;
        self.path = full;
        Ok(())
    }

    /// Opens the file for appending.
    pub(super) fn writer(&self) -> io::Result<File> {
        let mut file = OpenOptions::new().write(true).open(&self.path)?;
        file.seek(SeekFrom::Start(self.len))?;
        Ok(file)
    }

    /// Where to begin to read `seq`: the offset and sequence of the nearest indexed record before it.
    pub(super) fn locate(&mut self, seq: u64) -> io::Result<(u64, u64)> {
        if self.index.is_empty() && self.next > self.first() {
            let next = self.next;
            self.scan(next)?;
            if self.next < next {
                return Err(invalid(&self.path, &format!("damaged at record {}", self.next)));
            }
        }
        let slot = (seq.saturating_sub(self.first()) / INDEX_STRIDE) as usize;
        Ok(self.index.get(slot).map_or((HEADER_BYTES, self.first()), |offset| (*offset, self.first() + slot as u64 * INDEX_STRIDE)))
    }
}

/// Extends a chain by one record's bytes.
pub(super) fn extend(chain: &mut cdr::Archive, bytes: &[u8]) {
    chain.hash = cdr::chain(&chain.hash, bytes);
    chain.bytes += bytes.len() as u64;
    chain.next_seq += 1;
}

fn read_header(file: &mut File) -> io::Result<Option<cdr::Archive>> {
    let mut header = [0_u8; HEADER_BYTES as usize];
    match file.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let (body, crc) = header.split_at(56);
    if &body[..8] != MAGIC || crc != crc32fast::hash(body).to_le_bytes() {
        return Ok(None);
    }
    let number = |from: usize| u64::from_le_bytes(body[from..from + 8].try_into().expect("eight bytes"));
    Ok(Some(cdr::Archive { next_seq: number(8), hash: body[16..48].try_into().expect("thirty-two bytes"), bytes: number(48) }))
}

/// The next record, if it is whole, undamaged and numbered `seq`.
pub(super) fn read_record(reader: &mut impl Read, seq: u64) -> io::Result<Option<Vec<u8>>> {
    let mut frame = [0_u8; FRAME_BYTES as usize];
    if !read_whole(reader, &mut frame)? {
        return Ok(None);
    }
    let word = |from: usize| u32::from_le_bytes(frame[from..from + 4].try_into().expect("four bytes"));
    let found = u64::from_le_bytes(frame[8..].try_into().expect("eight bytes"));
    let len = word(0) as usize;
    if found != seq || len > RECORD_BYTES_MAX {
        return Ok(None);
    }
    let mut bytes = vec![0; len];
    Ok((read_whole(reader, &mut bytes)? && checksum(seq, &bytes) == word(4)).then_some(bytes))
}

fn read_whole(reader: &mut impl Read, into: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(into) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
