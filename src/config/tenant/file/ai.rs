//! The keys of a tenant file that are about AI agents, and about what people are given by AI.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Seconds, Text};

/// A matter that is left to people: whoever raises it gets one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config::tenant) struct TopicRow {
    pub(in crate::config::tenant) name: Text,
    /// What gives it away, by language.
    #[serde(default)]
    pub(in crate::config::tenant) en: Vec<Text>,
    #[serde(default)]
    pub(in crate::config::tenant) zh: Vec<Text>,
    #[serde(default)]
    pub(in crate::config::tenant) es: Vec<Text>,
}

/// What the people of a queue are given while they have a contact.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config::tenant) struct AssistRow {
    /// What customers say is written down for the agent who has them.
    #[serde(default)]
    pub(in crate::config::tenant) transcript: bool,
    /// What agents say as well.
    #[serde(default)]
    pub(in crate::config::tenant) agents: bool,
    /// Answers from articles are suggested.
    #[serde(default)]
    pub(in crate::config::tenant) suggest: bool,
    /// ISO 639-1 code; English by default.
    pub(in crate::config::tenant) language: Option<Text>,
    /// A folder of articles, as the nodes call it.
    pub(in crate::config::tenant) knowledge: Option<Text>,
}

/// What an AI agent is to customers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config::tenant) struct AssistantRow {
    /// An ISO 639-1 code.
    pub(in crate::config::tenant) language: Option<Text>,
    /// What is said first, that no person speaks; left out, a text in that language.
    pub(in crate::config::tenant) disclosure: Option<WordsRow>,
    pub(in crate::config::tenant) greeting: Option<WordsRow>,
    /// What a key means, as if the customer had said it.
    #[serde(default)]
    pub(in crate::config::tenant) keys: BTreeMap<String, String>,
    #[serde(default)]
    pub(in crate::config::tenant) pack: String,
    #[serde(default)]
    pub(in crate::config::tenant) knowledge: String,
}

/// A text, or a text and the prompt that says it.
#[derive(Deserialize)]
#[serde(untagged)]
pub(in crate::config::tenant) enum WordsRow {
    Text(String),
    Recorded { text: String, prompt: String },
}

/// How AI agents and people share a queue.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config::tenant) struct SharingRow {
    pub(in crate::config::tenant) first: Option<bool>,
    /// Where people take contacts over; left out, this queue.
    pub(in crate::config::tenant) people: Option<Text>,
    pub(in crate::config::tenant) priority: Option<u8>,
    pub(in crate::config::tenant) within_s: Option<Seconds>,
    pub(in crate::config::tenant) unanswered: Option<UnansweredName>,
    pub(in crate::config::tenant) failures_max: Option<u8>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config::tenant) enum UnansweredName {
    Head,
    Rollback,
}
