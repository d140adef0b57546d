//! A message made fit to judge: bounded, valid, folded. It owns what counts as the same text, and judges nothing.
//!
//! `models/train/features.py` does the same to what models learn from; `tests/golden.tsv` holds both to it.

use super::limits::{INPUT_BYTES_MAX, TEXT_CHARS_MAX};

/// A normalised text: lower case, half-width, no control or zero-width characters, single spaces, at most
/// 2,000 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    folded: String,
    truncated: bool,
}

impl Text {
    /// Reads bytes that claim to be UTF-8. Invalid sequences become U+FFFD, which belongs to no word; anything beyond the bounds
    /// is cut off.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let cut = bytes.len() > INPUT_BYTES_MAX;
        let looked_at = if cut { &bytes[..INPUT_BYTES_MAX] } else { bytes };
        let mut text = Self { folded: String::new(), truncated: cut };
        let mut chars = 0_usize;
        let mut last_is_space = true;
        // Chunks, not a lossy copy: a megabyte costs no allocation beyond the characters that are kept.
        for chunk in looked_at.utf8_chunks() {
            let replaced = if chunk.invalid().is_empty() { "" } else { "\u{fffd}" };
            for c in chunk.valid().chars().chain(replaced.chars()) {
                let Some(c) = fold(c) else { continue };
                if c == ' ' && last_is_space {
                    continue;
                }
                last_is_space = c == ' ';
                for lower in c.to_lowercase() {
                    if chars == TEXT_CHARS_MAX {
                        text.truncated = true;
                        text.trim();
                        return text;
                    }
                    text.folded.push(lower);
                    chars += 1;
                }
            }
        }
        text.trim();
        text
    }

    fn trim(&mut self) {
        self.folded.truncate(self.folded.trim_end_matches(' ').len());
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.folded
    }

    /// More was said than is judged.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// Runs of letters, digits and apostrophes; a run ends where Han begins or ends.
    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        let mut rest = self.folded.as_str();
        std::iter::from_fn(move || {
            rest = rest.trim_start_matches(|c| !in_word(c));
            let first = rest.chars().next()?;
            let end = rest.find(|c| !in_word(c) || is_han(c) != is_han(first)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            rest = after;
            Some(word)
        })
    }
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '\''
}

/// Whether a character is a Chinese one.
pub(super) fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{2fa1f}')
}

/// One character as it is judged, before lower case; none for one that is not seen.
fn fold(c: char) -> Option<char> {
    match c {
        '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' => None,
        // Full-width forms, as Chinese keyboards write them.
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0),
        '\u{2019}' => Some('\''),
        c if c.is_control() || c.is_whitespace() => Some(' '),
        c => Some(c),
    }
}
