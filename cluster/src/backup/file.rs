//! The layout of a backup: a magic, sections, an end that counts them. It does not know what the sections mean.
//!
//! ```text
//! file     magic 8 | section … | end section
//! section  kind 1 | length of head 4 | length of body 8 | head | body | CRC-32C of all of it 4
//! ```
//! Integers are little endian. A file without its end was cut off and is refused.

use std::io::{self, Read, Write};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    codec,
    limits::{BACKUP_COPY_BYTES, BACKUP_HEAD_MAX_BYTES},
};

const MAGIC: &[u8; 8] = b"TBACKUP\x01";
const END: u8 = 0;

fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

/// Writes a backup from front to back.
pub(super) struct Writer<W> {
    out: W,
    sections: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn begin(mut out: W) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        Ok(Self { out, sections: 0 })
    }

    /// Writes a section whose body is exactly `len` bytes of `body`.
    pub(super) fn section<H: Serialize>(&mut self, kind: u8, head: &H, body: &mut dyn Read, len: u64) -> io::Result<()> {
        let head = codec::encode(head)?;
        let mut front = vec![kind];
        front.extend_from_slice(&(head.len() as u32).to_le_bytes());
        front.extend_from_slice(&len.to_le_bytes());
        front.extend_from_slice(&head);
        self.out.write_all(&front)?;
        let sum = copy(body, &mut self.out, len, crc32c::crc32c(&front))?;
        self.out.write_all(&sum.to_le_bytes())?;
        self.sections += 1;
        Ok(())
    }

    /// Writes the end; without it the file counts for nothing.
    pub(super) fn end(mut self) -> io::Result<W> {
        let sections = self.sections;
        self.section(END, &sections, &mut io::empty(), 0)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Copies exactly `len` bytes; continues a checksum over them.
fn copy(from: &mut dyn Read, to: &mut dyn Write, len: u64, mut sum: u32) -> io::Result<u32> {
    let mut buffer = vec![0; BACKUP_COPY_BYTES];
    let mut left = len;
    while left > 0 {
        let piece = &mut buffer[..BACKUP_COPY_BYTES.min(usize::try_from(left).unwrap_or(usize::MAX))];
        from.read_exact(piece)?;
        sum = crc32c::crc32c_append(sum, piece);
        to.write_all(piece)?;
        left -= piece.len() as u64;
    }
    Ok(sum)
}

/// The front of a section; its body is still to be read.
pub(super) struct Section {
    pub(super) kind: u8,
    pub(super) len: u64,
    head: Vec<u8>,
    sum: u32,
}

impl Section {
    pub(super) fn head<H: DeserializeOwned>(&self) -> io::Result<H> {
        Ok(codec::decode(&self.head)?)
    }
}

/// Reads a backup from front to back.
pub(super) struct Reader<R> {
    from: R,
    sections: u64,
}

impl<R: Read> Reader<R> {
    pub(super) fn begin(mut from: R) -> io::Result<Self> {
        let mut magic = [0; MAGIC.len()];
        from.read_exact(&mut magic).map_err(|_| invalid("this is no backup"))?;
        if &magic != MAGIC {
            return Err(invalid("this is no backup, or one of another version"));
        }
        Ok(Self { from, sections: 0 })
    }

    /// The next section, or none at the honest end. Its body must be read before the next.
    pub(super) fn next(&mut self) -> io::Result<Option<Section>> {
        let mut front = vec![0; 1 + 4 + 8];
        self.from.read_exact(&mut front).map_err(cut)?;
        let head = u32::from_le_bytes(front[1..5].try_into().expect("four bytes were sliced")) as usize;
        let len = u64::from_le_bytes(front[5..13].try_into().expect("eight bytes were sliced"));
        if head > BACKUP_HEAD_MAX_BYTES {
            return Err(invalid(format!("section {}: its head is damaged", self.sections)));
        }
        front.resize(front.len() + head, 0);
        self.from.read_exact(&mut front[13..]).map_err(cut)?;
        let section = Section { kind: front[0], len, sum: crc32c::crc32c(&front), head: front.split_off(13) };
        if section.kind != END {
            self.sections += 1;
            return Ok(Some(section));
        }
        let counted = self.sections;
        self.body(&section, &mut io::sink())?;
        if section.head::<u64>()? != counted {
            return Err(invalid("sections are missing"));
        }
        Ok(None)
    }

    /// Copies the body of the section just begun. What was written counts only when this returns well.
    pub(super) fn body(&mut self, section: &Section, to: &mut dyn Write) -> io::Result<()> {
        let sum = copy(&mut self.from, to, section.len, section.sum).map_err(cut)?;
        let mut expected = [0; 4];
        self.from.read_exact(&mut expected).map_err(cut)?;
        if u32::from_le_bytes(expected) != sum {
            return Err(invalid(format!("section {}: its checksum is wrong", self.sections)));
        }
        Ok(())
    }
}

fn cut(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof { invalid("the backup is cut off") } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Vec<u8> {
        let mut writer = Writer::begin(Vec::new()).expect("memory takes all");
        writer.section(7, &"one".to_owned(), &mut &b"body"[..], 4).expect("written");
        writer.section(8, &2u32, &mut io::empty(), 0).expect("written");
        writer.end().expect("written")
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<(u8, Vec<u8>)>> {
        let mut reader = Reader::begin(bytes)?;
        let mut found = Vec::new();
        while let Some(section) = reader.next()? {
            let mut body = Vec::new();
            reader.body(&section, &mut body)?;
            found.push((section.kind, body));
        }
        Ok(found)
    }

    #[test]
    fn sections_come_back_in_order() {
        assert_eq!(read(&written()).expect("whole"), [(7, b"body".to_vec()), (8, Vec::new())]);
    }

    #[test]
    fn any_flipped_byte_or_cut_is_refused() {
        let good = written();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x20;
            assert!(read(&bad).is_err(), "byte {at}");
            assert!(read(&good[..at]).is_err(), "cut at {at}");
        }
    }
}
