//! Matters an assistant leaves to people, by lists of phrases: what customers ask about, and what an assistant must not say.
//!
//! It owns the matching. The lists are `words.rs`; a tenant adds its own, and cannot take any away.

use super::words;
use crate::ai::{
    limits::{PHRASE_CHARS_MAX, PHRASES_MAX},
    rules::Page,
    text::Text,
};

/// A matter with a name; a tenant's own has the tenant's name for it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Topic(pub String);

/// Phrases that were found, as one of them.
struct List {
    topic: Topic,
    phrases: Vec<String>,
}

/// What is left to people. The shipped lists are always in it.
#[derive(Default)]
pub struct Topics {
    tenant: Vec<List>,
    phrases: usize,
}

impl Topics {
    /// Adds a tenant's matter. Phrases are folded as texts are; those beyond the bounds, or without a word, are not taken.
    ///
    /// # Errors
    /// The phrase that was not taken.
    pub fn add<'a>(&mut self, topic: &str, phrases: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
        let mut folded = Vec::new();
        for phrase in phrases {
            let text = Text::read(phrase.as_bytes());
            let words: Vec<&str> = text.words().collect();
            let chinese = words.iter().all(|word| word.starts_with(crate::ai::text::is_han));
            if words.is_empty() || phrase.chars().count() > PHRASE_CHARS_MAX || self.phrases == PHRASES_MAX {
                return Err(phrase.chars().take(PHRASE_CHARS_MAX).collect());
            }
            self.phrases += 1;
            folded.push(words.join(if chinese { "" } else { " " }));
        }
        self.tenant.push(List { topic: Topic(topic.to_owned()), phrases: folded });
        Ok(())
    }

    /// The matter a customer raises that no machine may answer, if any.
    #[must_use]
    pub fn asked(&self, said: &Text) -> Option<Topic> {
        let page = Page::of(said);
        let shipped = words::ASKED.iter().find(|(_, phrases)| page.holds_any(phrases)).map(|(topic, _)| Topic((*topic).to_owned()));
        shipped.or_else(|| self.tenants(&page))
    }

    /// The reason for which an assistant may not say this, if any: a promise, advice, or a claim to be a person.
    #[must_use]
    pub fn said(&self, say: &Text) -> Option<Topic> {
        let page = Page::of(say);
        let shipped = words::SAID.iter().find(|(_, phrases)| page.holds_any(phrases)).map(|(topic, _)| Topic((*topic).to_owned()));
        shipped.or_else(|| self.tenants(&page))
    }

    fn tenants(&self, page: &Page) -> Option<Topic> {
        self.tenant.iter().find(|list| page.holds_any(&list.phrases)).map(|list| list.topic.clone())
    }
}
