//! A snapshot on its way to another replica: the state as it is, what must be known of it, and a checksum behind both.
//!
//! The state is neither encoded nor copied on the way, so that its size is bounded by `SNAPSHOT_MAX_BYTES` and not by the
//! codec: it goes out from where it lies, and on arrival the buffer it was read into becomes the state.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::codec;

/// Length of the head and checksum of all before it.
const TRAILER_BYTES: usize = 4 + 4;

/// Why what arrived is no snapshot.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Error {
    #[error("a snapshot of {0} bytes is cut off")]
    Cut(usize),
    #[error("a snapshot was damaged on the way")]
    Checksum,
    #[error("the head of a snapshot: {0}")]
    Head(String),
}

/// What goes out behind the state.
pub(super) fn seal<T: Serialize>(head: &T, state: &[u8]) -> Result<Vec<u8>, codec::Error> {
    let mut tail = codec::encode(head)?;
    let length = tail.len() as u32;
    tail.extend_from_slice(&length.to_le_bytes());
    let sum = crc32c::crc32c_append(crc32c::crc32c(state), &tail);
    tail.extend_from_slice(&sum.to_le_bytes());
    Ok(tail)
}

/// Takes head and state out of what arrived.
pub(super) fn open<T: DeserializeOwned>(body: Bytes) -> Result<(T, Vec<u8>), Error> {
    let mut state = Vec::from(body);
    let word = |at: usize| u32::from_le_bytes(state[at..at + 4].try_into().expect("four bytes were sliced"));
    let trailer = state.len().checked_sub(TRAILER_BYTES).ok_or(Error::Cut(state.len()))?;
    let head = trailer.checked_sub(word(trailer) as usize).ok_or(Error::Cut(state.len()))?;
    if crc32c::crc32c(&state[..trailer + 4]) != word(trailer + 4) {
        return Err(Error::Checksum);
    }
    let meta = codec::decode(&state[head..trailer]).map_err(|error| Error::Head(error.to_string()))?;
    state.truncate(head);
    Ok((meta, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(state: &[u8]) -> Vec<u8> {
        [state, &seal(&(7u64, "head".to_owned()), state).expect("it encodes")].concat()
    }

    #[test]
    fn what_was_sealed_opens_as_it_was() {
        for state in [&b""[..], b"state"] {
            let opened = open::<(u64, String)>(sent(state).into());
            assert_eq!(opened, Ok(((7, "head".to_owned()), state.to_vec())));
        }
    }

    #[test]
    fn any_flipped_byte_or_cut_is_refused() {
        let good = sent(b"state");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(open::<(u64, String)>(bad.into()).is_err(), "byte {at}");
            assert!(open::<(u64, String)>(good[..at].to_vec().into()).is_err(), "cut at {at}");
        }
    }
}
