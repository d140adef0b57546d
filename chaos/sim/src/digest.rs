//! One number for a value, by which the judge tells whether two replicas hold the same.
//!
//! The value is encoded straight into the number: every application on every replica is looked at, and to write a whole state
//! down for each took half of a simulation's time.

use std::io::{self, Write};

use serde::Serialize;
use tandem::core::codec;

/// 2^64 divided by the golden ratio, odd: to multiply by it loses nothing.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// The digest of the bytes a value is encoded to. Values of one type that differ have the same one by an accident of 1 in 2^64; it is
/// the same in every run.
pub(super) fn digest<T: Serialize>(value: &T) -> u64 {
    let mut sum = Sum(0);
    codec::encode_into(value, &mut sum);
    // The last word has been multiplied once; its upper bits are not in the lower ones yet.
    (sum.0 ^ (sum.0 >> 32)).wrapping_mul(SPREAD)
}

struct Sum(u64);

impl Sum {
    #[inline(always)]
    fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(SPREAD);
    }
}

impl Write for Sum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    #[inline(always)]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = rest.len() as u64;
            for byte in rest {
                last = last << 8 | u64::from(*byte);
            }
            self.word(last);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_one_digest_and_any_change_gives_another() {
        let value = |text: &str, number: u64| digest(&(text.to_owned(), number, vec![1_u8, 2, 3]));
        assert_eq!(value("a text of some length", 300), value("a text of some length", 300));
        let mut all: Vec<u64> = (0..64).map(|bit| value("a text", 1 << bit)).collect();
        all.extend(["", "a", "a text", "a texu", "b text", "a text of some length", "a text of some lengti"].map(|text| value(text, 0)));
        let many = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), many);
    }
}
