//! AI agents of a tenant file: how they present themselves, and which matters they leave to people.

use std::{collections::BTreeMap, sync::Arc};

use toml::Spanned;

use super::{
    Error, Source,
    file::{AgentRow, KindName, Text, TopicRow, WordsRow},
};
use crate::core::{
    limits::{TOPIC_PHRASE_CHARS_MAX, TOPIC_PHRASES_MAX, TOPICS_MAX},
    policy::{Assistant, Topic, Words},
};

/// Languages that AI agents have words for, by ISO 639-1 code.
const LANGUAGES: [&str; 3] = ["en", "es", "zh"];

/// The matters a tenant leaves to people, beside those that always are.
pub(super) fn topics(source: &Source<'_>, rows: &[TopicRow]) -> Result<Vec<Topic>, Error> {
    let (mut topics, mut seen, mut left) = (Vec::new(), BTreeMap::new(), TOPIC_PHRASES_MAX);
    for row in rows {
        let name = source.name("topic.name", &row.name)?;
        source.fresh("topic.name", &mut seen, &row.name)?;
        if topics.len() == TOPICS_MAX {
            return Err(source.at(row.name.span(), "topic", format_args!("more than {TOPICS_MAX} topics")));
        }
        let mut phrases = Vec::new();
        for (key, rows) in [("topic.en", &row.en), ("topic.zh", &row.zh), ("topic.es", &row.es)] {
            for text in rows {
                phrases.push(phrase(source, key, text)?);
                left = left.checked_sub(1).ok_or_else(|| {
                    source.at(text.span(), key, format_args!("more than {TOPIC_PHRASES_MAX} phrases in all topics together"))
                })?;
            }
        }
        if phrases.is_empty() {
            return Err(source.at(row.name.span(), "topic", "needs phrases: `en`, `zh` or `es`"));
        }
        topics.push(Topic { name: name.to_owned(), phrases });
    }
    Ok(topics)
}

fn phrase(source: &Source<'_>, key: &str, text: &Text) -> Result<String, Error> {
    let phrase = text.get_ref();
    if phrase.chars().count() > TOPIC_PHRASE_CHARS_MAX {
        return Err(source.at(text.span(), key, format_args!("a phrase is longer than {TOPIC_PHRASE_CHARS_MAX} characters")));
    }
    if !phrase.chars().any(char::is_alphanumeric) {
        return Err(source.at(text.span(), key, format_args!("{phrase:?} has no word in it")));
    }
    Ok(phrase.clone())
}

/// What an AI agent is to customers; all of it may be left out.
pub(super) fn assistant(source: &Source<'_>, row: &AgentRow, topics: &Arc<Vec<Topic>>) -> Result<Option<Assistant>, Error> {
    let written = match (&row.assistant, row.kind.unwrap_or(KindName::Human)) {
        (Some(written), KindName::Human) => return Err(source.at(written.span(), "agent.assistant", "only with kind = \"ai\"")),
        (None, KindName::Human) => return Ok(None),
        (written, KindName::Ai) => written.as_ref(),
    };
    let language = language(source, "agent.assistant.language", written.and_then(|row| row.get_ref().language.as_ref()))?;
    let Some(written) = written else {
        return Ok(Some(Assistant { language, topics: Arc::clone(topics), ..Assistant::default() }));
    };
    let (place, row) = (written.span(), written.get_ref());
    let words = |key: &str, words: &WordsRow| match words {
        WordsRow::Text(text) => Ok(Words { text: text.clone(), prompt: None }),
        WordsRow::Recorded { text, prompt } => {
            source.name(key, &Spanned::new(place.clone(), prompt.clone()))?;
            Ok(Words { text: text.clone(), prompt: Some(prompt.clone()) })
        }
    };
    let disclosure = row.disclosure.as_ref().map(|row| words("agent.assistant.disclosure", row)).transpose()?;
    if disclosure.as_ref().is_some_and(Words::is_empty) {
        return Err(source.at(place, "agent.assistant.disclosure", "a customer must be told that no person speaks"));
    }
    let mut keys = BTreeMap::new();
    for (key, meaning) in &row.keys {
        let mut chars = key.chars();
        match (chars.next(), chars.next()) {
            (Some(key @ ('0'..='9' | '*' | '#')), None) => drop(keys.insert(key, meaning.clone())),
            _ => return Err(source.at(place, "agent.assistant.keys", format_args!("{key:?} is no key of a phone"))),
        }
    }
    Ok(Some(Assistant {
        language,
        disclosure: disclosure.unwrap_or_default(),
        greeting: row.greeting.as_ref().map(|row| words("agent.assistant.greeting", row)).transpose()?.unwrap_or_default(),
        keys,
        pack: row.pack.clone(),
        knowledge: row.knowledge.clone(),
        topics: Arc::clone(topics),
    }))
}

/// A language that AI speaks; English unless another one is given.
pub(super) fn language(source: &Source<'_>, key: &str, code: Option<&Text>) -> Result<String, Error> {
    match code {
        Some(code) if !LANGUAGES.contains(&code.get_ref().as_str()) => {
            Err(source.at(code.span(), key, format_args!("{:?} is none of en, es, zh", code.get_ref())))
        }
        code => Ok(code.map_or("en", |code| code.get_ref()).to_owned()),
    }
}
