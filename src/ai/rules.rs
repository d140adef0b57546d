//! Judging without a model: the script tells the language, lists of words tell urgency, sentiment and the wish for a person.
//!
//! It is what answers when no model is there, and "a person, please" is found here whatever a model thinks. It guesses no intent.

use super::{
    text::{Text, is_han},
    verdict::{Confidence, Judged, Language, Sentiment, Urgency},
    words,
};

/// What a rule that matched is worth, and what is worth the absence of any.
const MATCHED: Confidence = Confidence(800);
const UNMATCHED: Confidence = Confidence(500);
/// A script that only one of the languages is written in.
const SCRIPT: Confidence = Confidence(950);

/// What rules say of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) language: Judged<Language>,
    pub(super) urgency: Judged<Urgency>,
    pub(super) sentiment: Judged<Sentiment>,
    pub(super) person: bool,
}

pub(super) fn judge(text: &Text) -> Rules {
    let page = Page::of(text);
    let urgent = page.holds_any(words::URGENT);
    let urgency = if urgent { (Urgency::High, MATCHED) } else { (Urgency::Normal, UNMATCHED) };
    // Praise beside a complaint is mostly the politeness around it.
    let sentiment = if page.holds_any(words::NEGATIVE) {
        (Sentiment::Negative, MATCHED)
    } else if page.holds_any(words::POSITIVE) {
        (Sentiment::Positive, MATCHED)
    } else {
        (Sentiment::Neutral, UNMATCHED)
    };
    Rules {
        language: language(text),
        urgency: Judged { value: urgency.0, confidence: urgency.1 },
        sentiment: Judged { value: sentiment.0, confidence: sentiment.1 },
        person: page.holds_any(words::PERSON),
    }
}

/// A text laid out for matching phrases: those that begin with Han anywhere, others as whole words.
pub(super) struct Page {
    /// Its words with a space around each.
    spaced: String,
    /// Its words without any, so that "转 人 工" is found as well.
    joined: String,
}

impl Page {
    pub(super) fn of(text: &Text) -> Self {
        let mut page = Self { spaced: " ".to_owned(), joined: String::new() };
        for word in text.words() {
            page.spaced.push_str(word);
            page.spaced.push(' ');
            page.joined.push_str(word);
        }
        page
    }

    pub(super) fn holds_any<P: AsRef<str>>(&self, phrases: &[P]) -> bool {
        phrases
            .iter()
            .map(AsRef::as_ref)
            .any(|phrase| if phrase.starts_with(is_han) { self.joined.contains(phrase) } else { self.holds(phrase) })
    }

    /// Whether a phrase stands there as whole words.
    fn holds(&self, phrase: &str) -> bool {
        self.spaced
            .match_indices(phrase)
            .any(|(at, _)| self.spaced[..at].ends_with(' ') && self.spaced[at + phrase.len()..].starts_with(' '))
    }
}

/// Chinese by its script; English and Spanish by their commonest words and by letters only one of them has.
fn language(text: &Text) -> Judged<Language> {
    let (mut han, mut latin, mut other, mut spanish_letters) = (0_u32, 0_u32, 0_u32, 0_u32);
    for c in text.as_str().chars().filter(|c| c.is_alphabetic()) {
        match c {
            c if is_han(c) => han += 1,
            'ñ' | 'á' | 'é' | 'í' | 'ó' | 'ú' => {
                spanish_letters += 1;
                latin += 1;
            }
            'a'..='z' | '\u{df}'..='\u{24f}' => latin += 1,
            _ => other += 1,
        }
    }
    let unknown = Judged { value: Language::Unknown, confidence: Confidence::NONE };
    // A Chinese character says about as much as a word of four letters; kana, Hangul or Cyrillic beside it says it is not Chinese.
    if han * 4 > latin && han > other {
        return Judged { value: Language::Zh, confidence: SCRIPT };
    }
    if other > latin {
        return unknown;
    }
    let count = |list: &[&str]| text.words().filter(|word| list.contains(word)).count();
    // Accents count a little: French and Portuguese have them too.
    let spanish = count(words::SPANISH) + spanish_letters.min(2) as usize + usize::from(text.as_str().contains(['¿', '¡', 'ñ']));
    let english = count(words::ENGLISH);
    match spanish.cmp(&english) {
        std::cmp::Ordering::Greater => Judged { value: Language::Es, confidence: MATCHED },
        std::cmp::Ordering::Less => Judged { value: Language::En, confidence: MATCHED },
        std::cmp::Ordering::Equal => unknown,
    }
}
