//! A text to the terms it is found by: stems of words, and pairs of Chinese characters.
//!
//! Pairs and not a dictionary's words: the shipped dictionary of jieba is 5 MB in the program, some tens of MB when it is loaded, and knows no
//! tenant's product; pairs know every one, cost nothing, and found as much in the measurements of Chinese retrieval that compared them.

use super::words::{STOP, STOP_HAN};
use crate::ai::text::{Text, is_han};

pub(super) fn of(text: &Text) -> Vec<String> {
    let mut terms = Vec::new();
    for word in text.words() {
        if word.starts_with(is_han) {
            pairs(word, &mut terms);
        } else if !STOP.contains(&word) {
            terms.push(stem(word));
        }
    }
    terms
}

/// Pairs of neighbours within what is left once words that carry no matter are taken out; a character alone stays alone.
fn pairs(run: &str, terms: &mut Vec<String>) {
    let mut kept = run.to_owned();
    for stop in STOP_HAN {
        kept = kept.replace(stop, " ");
    }
    for piece in kept.split(' ').filter(|piece| !piece.is_empty()) {
        let chars: Vec<char> = piece.chars().collect();
        if let [only] = chars[..] {
            terms.push(only.to_string());
        }
        terms.extend(chars.windows(2).map(|pair| pair.iter().collect::<String>()));
    }
}

/// What a word shares with its other forms, roughly: no accents, plural or common ending. English and Spanish at once, since the same
/// rules must meet a question and an article whose languages nobody is sure of.
fn stem(word: &str) -> String {
    let mut stem: String = word.chars().filter(|c| *c != '\'').map(plain).collect();
    for (ending, instead) in [("ciones", ""), ("cion", ""), ("ing", ""), ("ied", "y"), ("ies", "y"), ("ed", ""), ("s", "")] {
        if let Some(head) = stem.strip_suffix(ending)
            && head.len() >= 3
            && !head.ends_with('s')
        {
            stem = format!("{head}{instead}");
            break;
        }
    }
    // "cancelled" and "cancel", "close" and "closing".
    let bytes = stem.as_bytes();
    let doubled = matches!(bytes, [.., a, b] if a == b && !matches!(b, b's' | b'e' | b'o'));
    if (stem.len() > 4 && doubled) || (stem.len() > 3 && stem.ends_with(['e', 'a', 'o'])) {
        stem.pop();
    }
    stem
}

fn plain(c: char) -> char {
    match c {
        'á' | 'à' | 'ä' | 'â' => 'a',
        'é' | 'è' | 'ë' | 'ê' => 'e',
        'í' | 'ì' | 'ï' | 'î' => 'i',
        'ó' | 'ò' | 'ö' | 'ô' => 'o',
        'ú' | 'ù' | 'ü' | 'û' => 'u',
        'ñ' => 'n',
        c => c,
    }
}
