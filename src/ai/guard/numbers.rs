//! Runs of digits that are somebody's: written in any common grouping, in full width, in Chinese, or spoken as words.
//!
//! It owns what counts as one run and what kind of number it is. Dates and amounts are left alone.

use super::mask::{Kind, Span};

/// Fewer digits than this are nobody's number.
const DIGITS_MIN: usize = 7;
/// A run longer than this is not searched for what it holds: it counts as the worst.
const DIGITS_MAX: usize = 64;
const AMOUNT_DIGITS_MAX: usize = 12;
/// Separators that may stand between two digits of one number.
const GAP_CHARS_MAX: usize = 3;
/// Digits as they are spoken, English and Spanish. No run of seven of them is an ordinary sentence.
const SPOKEN: &[(&str, u8)] = &[
    ("zero", 0),
    ("oh", 0),
    ("one", 1),
    ("two", 2),
    ("three", 3),
    ("four", 4),
    ("five", 5),
    ("six", 6),
    ("seven", 7),
    ("eight", 8),
    ("nine", 9),
    ("cero", 0),
    ("uno", 1),
    ("dos", 2),
    ("tres", 3),
    ("cuatro", 4),
    ("cinco", 5),
    ("seis", 6),
    ("siete", 7),
    ("ocho", 8),
    ("nueve", 9),
];

/// One digit of a run, where it stands, and what separates it from the one before.
#[derive(Debug, Clone, Copy)]
struct Digit {
    start: usize,
    end: usize,
    value: u8,
    gap: Gap,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    None,
    One(char),
    More,
}

/// Finds every number of somebody's in a text, in order.
pub(super) fn find(text: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut run: Vec<Digit> = Vec::new();
    let (mut gap, mut gap_chars) = (Gap::None, 0);
    let mut at = 0;
    let mut before = None;
    while let Some(c) = text[at..].chars().next() {
        let found = digit(c).map(|value| (value, c.len_utf8())).or_else(|| spoken(before, &text[at..]));
        if let Some((value, length)) = found {
            run.push(Digit { start: at, end: at + length, value, gap });
            (gap, gap_chars) = (Gap::None, 0);
            at += length;
            before = text[..at].chars().next_back();
            continue;
        }
        if !run.is_empty() && is_separator(c) && gap_chars < GAP_CHARS_MAX {
            gap = if gap == Gap::None { Gap::One(c) } else { Gap::More };
            gap_chars += 1;
        } else if !is_invisible(c) {
            close(text, &mut run, &mut spans);
            (gap, gap_chars) = (Gap::None, 0);
        }
        at += c.len_utf8();
        before = Some(c);
    }
    close(text, &mut run, &mut spans);
    spans
}

fn digit(c: char) -> Option<u8> {
    match c {
        '0'..='9' => u8::try_from(u32::from(c) - u32::from('0')).ok(),
        '０'..='９' => u8::try_from(u32::from(c) - u32::from('０')).ok(),
        // As recognisers write them; 十 and 百 make an amount of it, and are not here.
        c => "零一二三四五六七八九"
            .chars()
            .position(|han| han == c)
            .or(match c {
                '〇' => Some(0),
                '幺' => Some(1),
                _ => None,
            })
            .and_then(|value| u8::try_from(value).ok()),
    }
}

/// A spoken digit that begins here, as a whole word.
fn spoken(before: Option<char>, text: &str) -> Option<(u8, usize)> {
    if before.is_some_and(char::is_alphabetic) {
        return None;
    }
    let end = text.find(|c: char| !c.is_alphabetic()).unwrap_or(text.len());
    let word = &text[..end];
    SPOKEN.iter().find(|(spoken, _)| spoken.eq_ignore_ascii_case(word)).map(|(_, value)| (*value, end))
}

fn is_separator(c: char) -> bool {
    c.is_whitespace() || matches!(c, '-' | '\u{2010}'..='\u{2015}' | '.' | '(' | ')' | '/' | ',' | '，' | '、' | '（' | '）' | '－' | '·')
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

/// Ends a run, and keeps it if it is somebody's number.
fn close(text: &str, run: &mut Vec<Digit>, spans: &mut Vec<Span>) {
    let digits = std::mem::take(run);
    let mut digits = digits.as_slice();
    while let Some(after) = past_date(digits) {
        digits = after;
    }
    let [first, .., last] = digits else { return };
    if digits.len() < DIGITS_MIN || is_amount(digits) {
        return;
    }
    let values: Vec<u8> = digits.iter().map(|digit| digit.value).collect();
    let (mut start, mut end) = (first.start, last.end);
    if let Some(before) = text[..start].chars().next_back().filter(|c| matches!(c, '+' | '＋')) {
        start -= before.len_utf8();
    }
    // The check character of an identity number may be an X.
    let x = text[end..].starts_with(['X', 'x']) && values.len() >= 17;
    end += usize::from(x);
    spans.push(Span { start, end, kind: kind(&values, x, start < first.start, digits) });
}

fn kind(values: &[u8], x: bool, plus: bool, digits: &[Digit]) -> Kind {
    if values.len() > DIGITS_MAX {
        return Kind::Card;
    }
    if values.windows(17).enumerate().any(|(at, first)| is_id(first, values.get(at + 17).copied().or(x.then_some(10)))) {
        return Kind::Id;
    }
    if (13..=19).any(|length| values.windows(length).any(luhn)) {
        return Kind::Card;
    }
    let grouped = digits.iter().skip(1).any(|digit| digit.gap != Gap::None);
    let telephone = (plus || (grouped && values.len() <= 12) || matches!(values.len(), 10 | 11)) && values.len() <= 15;
    if telephone { Kind::Phone } else { Kind::Number }
}

/// GB 11643: weights 2^(17-i) mod 11, the last of eighteen checks the rest; ten is written X.
fn is_id(first: &[u8], check: Option<u8>) -> bool {
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let sum: u32 = first.iter().zip(WEIGHTS).map(|(digit, weight)| u32::from(*digit) * weight).sum();
    check.is_some_and(|check| (12 - sum % 11) % 11 == u32::from(check))
}

/// ISO/IEC 7812: every second digit from the right doubled. Nothing but zeros is no card.
fn luhn(values: &[u8]) -> bool {
    let sum: u32 = values
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let worth = u32::from(*digit) << (place % 2);
            if worth > 9 { worth - 9 } else { worth }
        })
        .sum();
    sum != 0 && sum.is_multiple_of(10)
}

/// Lengths of the groups of a run, at most `N` of them, and what separates them.
fn groups<const N: usize>(digits: &[Digit]) -> ([usize; N], [Gap; N]) {
    let (mut lengths, mut gaps, mut at) = ([0; N], [Gap::None; N], 0);
    for (place, digit) in digits.iter().enumerate() {
        if place > 0 && digit.gap != Gap::None {
            at += 1;
        }
        if at >= N {
            break;
        }
        if lengths[at] == 0 {
            gaps[at] = digit.gap;
        }
        lengths[at] += 1;
    }
    (lengths, gaps)
}

/// What follows a date at the beginning of a run: 2026-11-28 or 28/11/2026. A century nobody lives in is no date.
fn past_date(digits: &[Digit]) -> Option<&[Digit]> {
    let (lengths, gaps) = groups::<4>(digits);
    let [Gap::One(first), Gap::One(second)] = gaps[1..3] else { return None };
    if first != second || !matches!(first, '-' | '/' | '.') || (lengths[3] > 0 && !matches!(gaps[3], Gap::One(' ') | Gap::More)) {
        return None;
    }
    let year = match lengths[..3] {
        [4, 1..=2, 1..=2] => &digits[..4],
        [1..=2, 1..=2, 4] => &digits[lengths[0] + lengths[1]..],
        _ => return None,
    };
    let century = (year[0].value, year[1].value);
    let length: usize = lengths[..3].iter().sum();
    (century == (1, 9) || century == (2, 0)).then(|| &digits[length..])
}

/// 1,234,567 or 1.234.567,89: groups of three between marks of thousands. Beyond twelve digits nobody's money is meant.
fn is_amount(digits: &[Digit]) -> bool {
    let mut starts: Vec<usize> = (1..digits.len()).filter(|at| digits[*at].gap != Gap::None).collect();
    let mut whole = digits.len();
    let Some(first) = starts.first().copied() else { return false };
    let mark = digits[first].gap;
    // The cents stand behind the other mark.
    if let Some(last) = starts.last().copied().filter(|last| digits[*last].gap != mark && digits.len() - last <= 2) {
        if !matches!(digits[last].gap, Gap::One(',' | '.')) {
            return false;
        }
        whole = last;
        starts.pop();
    }
    starts.push(whole);
    digits.len() <= AMOUNT_DIGITS_MAX
        && matches!(mark, Gap::One(',' | '.'))
        && (1..=3).contains(&first)
        && starts[..starts.len() - 1].iter().all(|start| digits[*start].gap == mark)
        && starts.windows(2).all(|pair| pair[1] - pair[0] == 3)
}
