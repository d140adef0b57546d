//! Text to sparse features: named pieces of words, hashed to rows of a table. It owns the hashing, and no weight.
//!
//! `models/train/features.py` is the same in Python. A change here is a change there and of [`FEATURES`] in both.

use std::collections::BTreeMap;

use super::{
    limits::FEATURES_MAX,
    text::{Text, is_han},
};

/// Name of this way to hash; a model made for another one is refused.
pub(super) const FEATURES: &str = "hash-1";

/// Longest pieces, in characters.
const HAN_MAX: usize = 4;
const PIECE_MIN: usize = 2;
const PIECE_MAX: usize = 5;

/// Rows in rising order, each once, and their weights: 1 + ln(count).
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Features {
    pub(super) rows: Vec<i64>,
    pub(super) weights: Vec<f32>,
}

/// Hashes a text into a table of 2^`rows_log2` rows.
pub(super) fn of(text: &Text, rows_log2: u32) -> Features {
    let mut counts = BTreeMap::new();
    let mut previous: Option<&str> = None;
    for word in text.words() {
        let mut count = |kind: u8, pieces: [&str; 3]| *counts.entry(row(kind, pieces, rows_log2)).or_insert(0_u32) += 1;
        if word.starts_with(is_han) {
            for size in 1..=HAN_MAX {
                pieces(word, size, |piece| count(b'h', [piece, "", ""]));
            }
        } else {
            count(b'w', [word, "", ""]);
            if let Some(previous) = previous {
                count(b'b', [previous, " ", word]);
            }
            let padded = format!(" {word} ");
            for size in PIECE_MIN..=PIECE_MAX {
                pieces(&padded, size, |piece| count(b'c', [piece, "", ""]));
            }
        }
        previous = Some(word);
    }
    let mut features = Features::default();
    for (row, count) in counts.into_iter().take(FEATURES_MAX) {
        features.rows.push(row);
        // Counts are bounded by the text, far below where f64 loses whole numbers.
        features.weights.push((1.0 + f64::from(count).ln()) as f32);
    }
    features
}

/// Every run of `size` characters of a word.
fn pieces<'a>(word: &'a str, size: usize, mut found: impl FnMut(&'a str)) {
    let ends = word.char_indices().map(|(at, _)| at).chain([word.len()]).skip(size);
    for ((start, _), end) in word.char_indices().zip(ends) {
        found(&word[start..end]);
    }
}

/// FNV-1a of 64 bits over a kind and its pieces, folded to a row.
fn row(kind: u8, pieces: [&str; 3], rows_log2: u32) -> i64 {
    let bytes = [kind].into_iter().chain(pieces.into_iter().flat_map(str::bytes));
    let mut hash = fnv(bytes);
    hash ^= hash >> 32;
    hash ^= hash >> 16;
    // At most 2^20, so the cast keeps the value.
    (hash & ((1 << rows_log2) - 1)) as i64
}

/// FNV-1a: small, the same everywhere, and good enough to spread pieces and canaries; not a defence against anybody.
pub(super) fn fnv(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
