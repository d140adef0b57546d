//! How an AI agent presents itself, and when a person takes its contacts over.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::core::id::QueueId;

/// What an AI agent is to customers. It travels with every offer to one, so that any node can be it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Assistant {
    /// ISO 639-1 code of the language it begins in.
    pub language: String,
    /// Said before anything else: that this is no person. With nothing in it, what is shipped for the language.
    pub disclosure: Words,
    /// Said next; with nothing in it, the customer speaks first.
    pub greeting: Words,
    /// What a pressed key means, as if the customer had said it.
    pub keys: BTreeMap<char, String>,
    /// The intents it tells apart, as a pack of the models is called; empty for the node's own.
    pub pack: String,
    /// Which articles it answers from, as a folder of them is called; empty for none.
    pub knowledge: String,
    /// Matters its tenant leaves to people, beside those that always are.
    pub topics: Arc<Vec<Topic>>,
}

/// A matter that no machine answers: whoever raises it gets a person, and no AI agent speaks of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Topic {
    pub name: String,
    /// What gives it away, in any language.
    pub phrases: Vec<String>,
}

/// Something to say: a recorded prompt where there is one, else the text by a voice.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Words {
    pub text: String,
    pub prompt: Option<String>,
}

impl Words {
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.prompt.is_none()
    }
}

/// How AI agents and people share the contacts of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sharing {
    /// A contact goes to an AI agent while one is ready; else to a person, and to an AI agent only when no person is.
    pub ai_first: bool,
    /// Where people take contacts over; none is the queue they are in.
    pub people: Option<QueueId>,
    /// Priority of a contact that is taken over; none keeps what it has.
    pub priority: Option<u8>,
    /// How long a takeover may wait for a person.
    pub within_ms: u64,
    pub unanswered: Unanswered,
    /// Turns in a row in which an AI agent could not help, until a person takes over; 0 never.
    pub failures_max: u8,
}

impl Default for Sharing {
    fn default() -> Self {
        Self { ai_first: true, people: None, priority: None, within_ms: 60_000, unanswered: Unanswered::Head, failures_max: 3 }
    }
}

/// What becomes of a takeover that no person accepts in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unanswered {
    /// The contact moves to the head of its queue and waits on.
    Head,
    /// An AI agent has it again, unless the customer asked for a person or AI is off.
    Rollback,
}
