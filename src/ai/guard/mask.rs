//! Personal data out of a text: card and identity numbers, IBANs, telephone numbers, e-mail addresses, long numbers.
//!
//! It owns what is taken out and what stands in its place. It goes by form and checksum only: names and addresses of streets are not
//! found. When in doubt a number goes: a stored order number too few costs less than a stored card.

use super::numbers;
use crate::ai::limits::INPUT_BYTES_MAX;

/// What was found, by what stands in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Card,
    Id,
    Iban,
    Email,
    Phone,
    /// Seven digits or more that say nothing of what they are: an order, an account, a badly heard telephone number.
    Number,
}

impl Kind {
    fn label(self) -> &'static str {
        match self {
            Self::Card => "[card]",
            Self::Id => "[id]",
            Self::Iban => "[iban]",
            Self::Email => "[email]",
            Self::Phone => "[phone]",
            Self::Number => "[number]",
        }
    }
}

/// A stretch of text to be replaced, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: Kind,
}

/// A text as it may be stored: everything that was found is replaced. Of a text beyond 1 MiB the rest is cut off.
#[must_use]
pub fn mask(text: &str) -> String {
    replace(text, |_| true)
}

/// A text as a language model outside may see it: as [`mask`] does, but for numbers of no known kind, without which no tool could look
/// an order up.
#[must_use]
pub fn mask_for_model(text: &str) -> String {
    replace(text, |kind| kind != Kind::Number)
}

fn replace(text: &str, wanted: impl Fn(Kind) -> bool) -> String {
    let text = &text[..text.floor_char_boundary(INPUT_BYTES_MAX)];
    let mut spans = ibans(text);
    spans.extend(emails(text));
    spans.extend(numbers::find(text));
    spans.retain(|span| wanted(span.kind));
    // The longer of two that begin together names both.
    spans.sort_by_key(|span| (span.start, std::cmp::Reverse(span.end)));
    let mut masked = String::with_capacity(text.len());
    let mut done = 0;
    for span in spans {
        if span.end <= done {
            continue;
        }
        if span.start >= done {
            masked.push_str(&text[done..span.start]);
            masked.push_str(span.kind.label());
        }
        // One that begins inside another is gone with it, to its own end.
        done = span.end;
    }
    masked.push_str(&text[done..]);
    masked
}

/// Addresses as they are written; "wang at example dot com" is not found.
fn emails(text: &str) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for (at, sign) in text.match_indices(['@', '＠']) {
        let from = spans.last().map_or(0, |span| span.end);
        if at < from {
            continue;
        }
        // Han is left out: in "邮箱是wang@example.com" the address begins after it.
        let local = text[from..at].trim_end_matches(|c: char| c.is_ascii_alphanumeric() || ".!#$%&'*+/=?^_`{|}~-".contains(c));
        let start = from + local.len();
        let host = &text[at + sign.len()..];
        let end = host.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '-')).unwrap_or(host.len());
        let host = host[..end].trim_end_matches(['.', '-']);
        if start < at && host.contains('.') {
            spans.push(Span { start, end: at + sign.len() + host.len(), kind: Kind::Email });
        }
    }
    spans
}

const IBAN_CHARS: std::ops::RangeInclusive<usize> = 15..=34;

/// Two letters, two check digits and the account, with or without spaces, where the checksum holds.
fn ibans(text: &str) -> Vec<Span> {
    let bytes = text.as_bytes();
    let mut spans = Vec::new();
    let mut at = 0;
    while at + 4 <= bytes.len() {
        let begins = bytes[at].is_ascii_alphabetic()
            && bytes[at + 1].is_ascii_alphabetic()
            && bytes[at + 2].is_ascii_digit()
            && bytes[at + 3].is_ascii_digit()
            && (at == 0 || !bytes[at - 1].is_ascii_alphanumeric());
        match if begins { iban(&bytes[at..]) } else { None } {
            Some(length) => {
                spans.push(Span { start: at, end: at + length, kind: Kind::Iban });
                at += length;
            }
            None => at += 1,
        }
    }
    spans
}

/// How many bytes the longest IBAN at the beginning takes, if there is one. ISO 7064 mod 97-10, the first four characters last.
fn iban(bytes: &[u8]) -> Option<usize> {
    let mut written = Vec::with_capacity(*IBAN_CHARS.end());
    let mut found = None;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b' ' | b'-' if at > 0 && bytes[at - 1].is_ascii_alphanumeric() => continue,
            byte if byte.is_ascii_alphanumeric() && written.len() < *IBAN_CHARS.end() => written.push(byte.to_ascii_uppercase()),
            _ => break,
        }
        if IBAN_CHARS.contains(&written.len()) && mod_97(&written) == 1 {
            found = Some(at + 1);
        }
    }
    found
}

fn mod_97(written: &[u8]) -> u32 {
    written[4..].iter().chain(&written[..4]).fold(0, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        letter => (rest * 100 + u32::from(letter - b'A') + 10) % 97,
    })
}
