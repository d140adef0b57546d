//! The one place of the core that knows how values become bytes (bincode 2, standard configuration, through serde).
//!
//! It does not frame, version or checksum: whoever stores or sends the bytes does.

use std::io::Write;

use serde::{Serialize, de::DeserializeOwned};

use super::limits::DECODE_BYTES_MAX;

/// Bytes that are not the value they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("cannot decode: {0}")]
    Malformed(String),
    #[error("{0} bytes left over after the value")]
    Trailing(usize),
}

/// The bytes of `value`; equal values give equal bytes.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, bincode::config::standard()).expect("plain data in memory always encodes")
}

/// As [`encode`], into a writer that takes everything.
pub fn encode_into<T: Serialize>(value: &T, writer: &mut impl Write) {
    bincode::serde::encode_into_std_write(value, writer, bincode::config::standard()).expect("plain data in memory always encodes");
}

/// Reads a value that takes up all of `bytes`, claiming at most [`DECODE_BYTES_MAX`] of memory.
///
/// # Errors
/// [`Error`] when the bytes are short, too long or not of this type.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let config = bincode::config::standard().with_limit::<DECODE_BYTES_MAX>();
    whole(bytes, bincode::serde::decode_from_slice(bytes, config))
}

/// Reads a value without a bound on its size: only for a snapshot whose checksum has been verified.
///
/// # Errors
/// [`Error`] when the bytes are short, too long or not of this type.
pub fn decode_snapshot<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    whole(bytes, bincode::serde::decode_from_slice(bytes, bincode::config::standard()))
}

fn whole<T>(bytes: &[u8], result: Result<(T, usize), bincode::error::DecodeError>) -> Result<T, Error> {
    let (value, read) = result.map_err(|e| Error::Malformed(e.to_string()))?;
    if read == bytes.len() { Ok(value) } else { Err(Error::Trailing(bytes.len() - read)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_long_and_boastful_bytes_are_refused() {
        let bytes = encode(&(7_u32, "seven".to_owned()));
        assert_eq!(decode::<(u32, String)>(&bytes), Ok((7, "seven".to_owned())));
        assert!(matches!(decode::<(u32, String)>(&bytes[..3]), Err(Error::Malformed(_))));
        let long = [bytes.as_slice(), &[0]].concat();
        assert_eq!(decode::<(u32, String)>(&long), Err(Error::Trailing(1)));
        // A string that claims to be 2^60 bytes long.
        let boastful = [&[253_u8], (1_u64 << 60).to_le_bytes().as_slice()].concat();
        assert!(matches!(decode::<String>(&boastful), Err(Error::Malformed(_))));
    }
}
