//! One record of the write-ahead log: its layout on disk and its checks.
//!
//! It knows neither files nor groups' state; it turns a record into bytes and bytes into a record or "not one".

/// Starts every record; the digit is the version of the layout.
pub(super) const MAGIC: u32 = u32::from_le_bytes(*b"TWL1");
/// Bytes before the payload.
pub(super) const HEADER_BYTES: usize = 56;
/// Records start at multiples of this, so that a scan for survivors behind a damaged one needs few looks.
pub(super) const ALIGN: usize = 8;
/// Set on the last record of a batch.
const FLAG_LAST: u8 = 1;

/// What a record means for its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// First record of a segment.
    Open,
    /// A log entry at `index`.
    Entry,
    /// The group's newest vote.
    Vote,
    /// The group's newest known commit.
    Committed,
    /// Entries from `index` on are gone.
    Truncate,
    /// Entries up to `index`, inclusive, are gone.
    Purge,
    /// The whole group is gone from this node.
    Forget,
    /// Closes a batch whose end was torn off, so that what is written next is not taken for a proof of corruption.
    Seal,
}

impl Kind {
    fn from_byte(b: u8) -> Option<Self> {
        Some(match b {
            1 => Self::Open,
            2 => Self::Entry,
            3 => Self::Vote,
            4 => Self::Committed,
            5 => Self::Truncate,
            6 => Self::Purge,
            7 => Self::Forget,
            8 => Self::Seal,
            _ => return None,
        })
    }

    fn byte(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Entry => 2,
            Self::Vote => 3,
            Self::Committed => 4,
            Self::Truncate => 5,
            Self::Purge => 6,
            Self::Forget => 7,
            Self::Seal => 8,
        }
    }
}

/// Everything of a record but its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) group: u32,
    /// Number of the segment it was written to. A recycled file still holds records of its former life, whose CRC is right;
    /// only this tells them from live ones.
    pub(super) generation: u64,
    /// Number of the write it was part of: records of one batch became durable together or not at all.
    pub(super) batch: u64,
    /// Consecutive over the whole log.
    pub(super) seq: u64,
    pub(super) index: u64,
    pub(super) last_of_batch: bool,
}

/// A record as found in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) head: Head,
    pub(super) payload: &'a [u8],
    /// Bytes it takes, padding included.
    pub(super) size: usize,
}

/// Bytes a record with such a payload takes.
pub(super) fn size_of(payload_len: usize) -> usize {
    (HEADER_BYTES + payload_len).next_multiple_of(ALIGN)
}

/// Appends a record to `out`.
pub(super) fn encode(head: &Head, payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let len = u32::try_from(payload.len()).expect("payloads are checked against WAL_RECORD_MAX_BYTES before they come here");
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&head.group.to_le_bytes());
    for word in [head.generation, head.batch, head.seq, head.index] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&[head.kind.byte(), if head.last_of_batch { FLAG_LAST } else { 0 }, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(payload);
    let crc = crc32c::crc32c(&out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    out.resize(start + size_of(payload.len()), 0);
}

/// The record at the start of `bytes`, or `None` when no whole, undamaged record starts there.
pub(super) fn decode(bytes: &[u8]) -> Option<Record<'_>> {
    if bytes.len() < HEADER_BYTES || u32_at(bytes, 0) != MAGIC {
        return None;
    }
    let len = u32_at(bytes, 8) as usize;
    let size = size_of(len);
    if size > bytes.len() || crc32c::crc32c(&bytes[8..HEADER_BYTES + len]) != u32_at(bytes, 4) {
        return None;
    }
    let head = Head {
        kind: Kind::from_byte(bytes[48])?,
        group: u32_at(bytes, 12),
        generation: u64_at(bytes, 16),
        batch: u64_at(bytes, 24),
        seq: u64_at(bytes, 32),
        index: u64_at(bytes, 40),
        last_of_batch: bytes[49] & FLAG_LAST != 0,
    };
    Some(Record { head, payload: &bytes[HEADER_BYTES..HEADER_BYTES + len], size })
}

/// True when a header of this generation seems to start here, damaged or not.
pub(super) fn looks_written(bytes: &[u8], generation: u64) -> bool {
    bytes.len() >= 24 && u32_at(bytes, 0) == MAGIC && u64_at(bytes, 16) == generation
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes were sliced"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes were sliced"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head { kind: Kind::Entry, group: 3, generation: 9, batch: 17, seq: 40, index: 12, last_of_batch: true }
    }

    #[test]
    fn a_record_survives_the_round_trip_and_is_aligned() {
        for len in [0, 1, 7, 8, 200] {
            let payload = vec![0xA5; len];
            let mut out = Vec::new();
            encode(&head(), &payload, &mut out);
            assert_eq!(out.len() % ALIGN, 0);
            let record = decode(&out).unwrap();
            assert_eq!((record.head, record.payload, record.size), (head(), &payload[..], out.len()));
        }
    }

    #[test]
    fn every_flipped_bit_of_header_and_payload_is_noticed() {
        let mut out = Vec::new();
        encode(&head(), b"payload", &mut out);
        for bit in 0..(HEADER_BYTES + 7) * 8 {
            let mut bad = out.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bad), None, "bit {bit}");
        }
    }

    #[test]
    fn zeros_and_cut_records_are_not_records() {
        let mut out = Vec::new();
        encode(&head(), b"payload", &mut out);
        assert_eq!(decode(&[0; 128]), None);
        for n in 0..out.len() {
            assert_eq!(decode(&out[..n]), None, "{n} bytes");
        }
    }
}
