//! Bencode (BEP 3), the notation of rtpengine's control protocol: written, and read with bounds.
//!
//! It knows no command. What it reads came over the network: nothing in it may panic, recurse without end or allocate more
//! than the bytes it was given.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::media::limits::{BENCODE_DEPTH_MAX, BENCODE_VALUES_MAX};

/// A value. Strings are bytes: nothing says that they are text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Int(i64),
    Bytes(Bytes),
    List(Vec<Self>),
    Dict(BTreeMap<Bytes, Self>),
}

/// Why bytes are not a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("it ends in the middle")]
    Short,
    #[error("it goes on after its end")]
    Long,
    #[error("byte {0} begins nothing")]
    Unknown(u8),
    #[error("a number that is none")]
    Number,
    #[error("a dictionary whose key is no string")]
    Key,
    #[error("too deep, or too many values")]
    TooMuch,
}

impl Value {
    /// A dictionary of these rows.
    pub fn dict(rows: impl IntoIterator<Item = (&'static str, Self)>) -> Self {
        Self::Dict(rows.into_iter().map(|(key, value)| (Bytes::from_static(key.as_bytes()), value)).collect())
    }

    pub fn text(text: impl Into<String>) -> Self {
        Self::Bytes(Bytes::from(text.into()))
    }

    /// What a dictionary has under `key`.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Dict(rows) => rows.get(key.as_bytes()),
            Self::Int(_) | Self::Bytes(_) | Self::List(_) => None,
        }
    }

    pub fn as_bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Int(_) | Self::List(_) | Self::Dict(_) => None,
        }
    }

    /// The bytes of a value, keys in order.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Int(number) => out.extend_from_slice(format!("i{number}e").as_bytes()),
            Self::Bytes(bytes) => write_bytes(out, bytes),
            Self::List(values) => {
                out.push(b'l');
                values.iter().for_each(|value| value.write(out));
                out.push(b'e');
            }
            Self::Dict(rows) => {
                out.push(b'd');
                for (key, value) in rows {
                    write_bytes(out, key);
                    value.write(out);
                }
                out.push(b'e');
            }
        }
    }

    /// Reads one value, which must be all of `bytes`. Keys may be in any order, since rtpengine does not sort them; of two
    /// alike the last counts.
    ///
    /// # Errors
    /// When it is not one.
    pub fn decode(bytes: &Bytes) -> Result<Self, Error> {
        let mut reader = Reader { bytes, at: 0, values: 0 };
        let value = reader.value(0)?;
        if reader.at == bytes.len() { Ok(value) } else { Err(Error::Long) }
    }
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes.len().to_string().as_bytes());
    out.push(b':');
    out.extend_from_slice(bytes);
}

struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
    values: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, Error> {
        self.values += 1;
        if depth > BENCODE_DEPTH_MAX || self.values > BENCODE_VALUES_MAX {
            return Err(Error::TooMuch);
        }
        match self.peek()? {
            b'i' => {
                self.at += 1;
                self.number(b'e').map(Value::Int)
            }
            b'0'..=b'9' => self.string().map(Value::Bytes),
            b'l' => {
                self.at += 1;
                let mut values = Vec::new();
                while !self.ends()? {
                    values.push(self.value(depth + 1)?);
                }
                Ok(Value::List(values))
            }
            b'd' => {
                self.at += 1;
                let mut rows = BTreeMap::new();
                while !self.ends()? {
                    if !self.peek()?.is_ascii_digit() {
                        return Err(Error::Key);
                    }
                    let key = self.string()?;
                    rows.insert(key, self.value(depth + 1)?);
                }
                Ok(Value::Dict(rows))
            }
            other => Err(Error::Unknown(other)),
        }
    }

    fn peek(&self) -> Result<u8, Error> {
        self.bytes.get(self.at).copied().ok_or(Error::Short)
    }

    /// True at the end of a list or dictionary, which it then passes.
    fn ends(&mut self) -> Result<bool, Error> {
        let ends = self.peek()? == b'e';
        self.at += usize::from(ends);
        Ok(ends)
    }

    /// A decimal number and the byte after it.
    fn number(&mut self, end: u8) -> Result<i64, Error> {
        let rest = &self.bytes[self.at..];
        let length =
            rest.iter().take(21).position(|byte| *byte == end).ok_or(if rest.len() < 21 { Error::Short } else { Error::Number })?;
        let text = std::str::from_utf8(&rest[..length]).map_err(|_| Error::Number)?;
        // `parse` takes a plus, which bencode has not.
        let number = text.parse().ok().filter(|_| !text.starts_with('+')).ok_or(Error::Number)?;
        self.at += length + 1;
        Ok(number)
    }

    fn string(&mut self) -> Result<Bytes, Error> {
        let length = usize::try_from(self.number(b':')?).map_err(|_| Error::Number)?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len()).ok_or(Error::Short)?;
        let string = self.bytes.slice(self.at..end);
        self.at = end;
        Ok(string)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
        let leaf = prop_oneof![any::<i64>().prop_map(Value::Int), bytes().prop_map(Value::Bytes)];
        leaf.prop_recursive(4, 64, 8, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::List),
                prop::collection::btree_map(prop::collection::vec(any::<u8>(), 0..8).prop_map(Bytes::from), inner, 0..8)
                    .prop_map(Value::Dict),
            ]
        })
    }

    fn decode(bytes: &[u8]) -> Result<Value, Error> {
        Value::decode(&Bytes::copy_from_slice(bytes))
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in any_value()) {
            prop_assert_eq!(Value::decode(&value.encode().into()), Ok(value));
        }

        #[test]
        fn garbage_is_refused_or_read_and_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }

        /// Close to what is right is where a reader stumbles.
        #[test]
        fn a_damaged_value_never_panics(value in any_value(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = value.encode();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = decode(&bytes);
            let _ = decode(&bytes[..at]);
        }
    }

    #[test]
    fn an_answer_of_rtpengine_is_read_though_its_keys_are_not_in_order() {
        let value = decode(b"d6:result5:error12:error-reason15:Unknown call-ide").expect("a dictionary");
        assert_eq!(value.get("error-reason").and_then(Value::as_bytes).map(|b| &b[..]), Some(&b"Unknown call-id"[..]));
        assert_eq!(value.get("sdp"), None);
    }

    #[test]
    fn a_request_is_written_with_its_keys_in_order() {
        let request = Value::dict([("command", Value::text("ping")), ("call-id", Value::text("x"))]);
        assert_eq!(request.encode(), b"d7:call-id1:x7:command4:pinge");
    }

    #[test]
    fn what_is_no_value_is_refused_by_name() {
        for (bytes, error) in [
            (&b""[..], Error::Short),
            (b"i12", Error::Short),
            (b"5:abc", Error::Short),
            (b"l", Error::Short),
            (b"d1:a", Error::Short),
            (b"i1ei2e", Error::Long),
            (b"x", Error::Unknown(b'x')),
            (b"ie", Error::Number),
            (b"i+1e", Error::Number),
            (b"i99999999999999999999e", Error::Number),
            (b"99999999999999999999:", Error::Number),
            (b"di1e1:ae", Error::Key),
        ] {
            assert_eq!(decode(bytes), Err(error), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn depth_and_number_of_values_are_bounded() {
        assert_eq!(decode(&b"l".repeat(100_000)), Err(Error::TooMuch));
        let mut wide = b"l".to_vec();
        wide.extend(b"i0e".repeat(BENCODE_VALUES_MAX + 1));
        wide.push(b'e');
        assert_eq!(decode(&wide), Err(Error::TooMuch));
        // A length far beyond what there is allocates nothing.
        assert_eq!(decode(b"9223372036854775807:"), Err(Error::Short));
    }
}
