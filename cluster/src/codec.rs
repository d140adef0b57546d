//! Values to bytes and back: the only place that names bincode.
//!
//! Every encoded value starts with a version byte, so that the encoding can be replaced without guessing what old bytes
//! are, and is bounded, so that a length prefix from the network or from a damaged disk cannot ask for all memory. It
//! does not frame or checksum; the log and the transport do.

use bincode::{
    config::{self, Configuration, Limit, LittleEndian, Varint},
    error::{DecodeError, EncodeError},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::limits::CODEC_MAX_BYTES;

/// First byte of every encoded value: bincode 2, little endian, variable-length integers, serde's data model.
pub const VERSION: u8 = 1;

type Config = Configuration<LittleEndian, Varint, Limit<CODEC_MAX_BYTES>>;

const CONFIG: Config = config::standard().with_limit::<CODEC_MAX_BYTES>();

/// Why a value could not be encoded or decoded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("nothing to decode: the version byte is missing")]
    Empty,
    #[error("encoded by version {0}, this binary reads version {VERSION}")]
    Version(u8),
    #[error("{0} bytes exceed the limit of {1}")]
    TooLarge(usize, usize),
    #[error("{0} bytes follow the value")]
    Trailing(usize),
    #[error("cannot encode: {0}")]
    Encode(String),
    #[error("cannot decode: {0}")]
    Decode(String),
}

impl From<Error> for std::io::Error {
    fn from(e: Error) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, e)
    }
}

/// Encodes a value behind its version byte.
///
/// # Errors
/// [`Error::TooLarge`] beyond [`CODEC_MAX_BYTES`]; [`Error::Encode`] when the value has a shape serde cannot express.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(64);
    encode_into(value, &mut out)?;
    Ok(out)
}

/// As [`encode`], appended to `out`. On an error `out` is left as it was.
///
/// # Errors
/// As for [`encode`].
pub fn encode_into<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), Error> {
    let start = out.len();
    out.push(VERSION);
    let result = bincode::serde::encode_into_std_write(value, out, CONFIG).map_err(encode_error).map(|_| ());
    let len = out.len() - start;
    let result = result.and(if len > CODEC_MAX_BYTES { Err(Error::TooLarge(len, CODEC_MAX_BYTES)) } else { Ok(()) });
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Decodes exactly one value that fills `bytes`.
///
/// # Errors
/// When the version is another one, the bytes are too many, damaged, or more than the value.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let (value, rest) = decode_head(bytes)?;
    if rest.is_empty() { Ok(value) } else { Err(Error::Trailing(rest.len())) }
}

/// Decodes a value at the start of `bytes` and returns what follows it: an encoded head before a raw body.
///
/// # Errors
/// As for [`decode`], but a rest is no error and does not count against the limit.
pub fn decode_head<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), Error> {
    let (&version, body) = bytes.split_first().ok_or(Error::Empty)?;
    if version != VERSION {
        return Err(Error::Version(version));
    }
    let (value, read) = bincode::serde::decode_from_slice(body, CONFIG).map_err(decode_error)?;
    Ok((value, &body[read..]))
}

fn encode_error(e: EncodeError) -> Error {
    Error::Encode(e.to_string())
}

fn decode_error(e: DecodeError) -> Error {
    match e {
        DecodeError::LimitExceeded => Error::TooLarge(CODEC_MAX_BYTES + 1, CODEC_MAX_BYTES),
        other => Error::Decode(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    type Value = (u64, String, Vec<Bytes>);

    fn value() -> Value {
        (7, "queue".into(), vec![Bytes::from_static(b"abc"), Bytes::new()])
    }

    #[test]
    fn a_value_survives_the_round_trip() {
        let bytes = encode(&value()).unwrap();
        assert_eq!(bytes[0], VERSION);
        assert_eq!(decode::<Value>(&bytes).unwrap(), value());
    }

    #[test]
    fn a_head_leaves_the_body_behind_it() {
        let mut bytes = encode(&value()).unwrap();
        bytes.extend_from_slice(b"body");
        assert_eq!(decode_head::<Value>(&bytes).unwrap(), (value(), &b"body"[..]));
        assert!(matches!(decode::<Value>(&bytes), Err(Error::Trailing(4))));
    }

    #[test]
    fn another_version_is_named_and_refused() {
        let mut bytes = encode(&value()).unwrap();
        bytes[0] = 9;
        assert_eq!(decode::<Value>(&bytes).unwrap_err().to_string(), "encoded by version 9, this binary reads version 1");
        assert!(matches!(decode::<Value>(&[]), Err(Error::Empty)));
    }

    #[test]
    fn a_length_prefix_cannot_ask_for_all_memory() {
        // Version byte, then the eight-byte form of a variable-length integer: a string of 2^60 bytes.
        let mut bytes = vec![VERSION, 253];
        bytes.extend_from_slice(&(1u64 << 60).to_le_bytes());
        assert!(matches!(decode::<String>(&bytes), Err(Error::TooLarge(..))));
    }

    #[test]
    fn every_truncation_is_an_error_and_never_a_panic() {
        let bytes = encode(&value()).unwrap();
        for n in 0..bytes.len() {
            assert!(decode::<Value>(&bytes[..n]).is_err(), "{n} of {} bytes decoded", bytes.len());
        }
    }

    #[test]
    fn a_value_beyond_the_limit_is_refused_and_leaves_the_buffer_alone() {
        let mut out = b"kept".to_vec();
        let big = Bytes::from(vec![0u8; CODEC_MAX_BYTES]);
        assert!(encode_into(&big, &mut out).is_err());
        assert_eq!(out, b"kept");
    }
}
