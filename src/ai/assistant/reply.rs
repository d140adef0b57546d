//! What an assistant hears and says, as data. It decides nothing.

use serde::Serialize;

use crate::ai::{
    endpoint::Failure,
    guard::{Disclosure, Topic, mask},
    verdict::{Hash, Language, Triage},
};

/// Something said earlier in a conversation, without personal data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line(Who, String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Customer,
    Assistant { helped: bool },
}

impl Line {
    /// What the customer said; personal data is taken out here.
    #[must_use]
    pub fn customer(said: &str) -> Self {
        Self(Who::Customer, mask(said))
    }

    /// What the assistant said, and whether it answered; [`Reply::line`] makes it of a reply.
    #[must_use]
    pub fn assistant(said: &str, helped: bool) -> Self {
        Self(Who::Assistant { helped }, mask(said))
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.1
    }

    /// Whether the assistant answered by it; none of a customer's.
    #[must_use]
    pub fn helped(&self) -> Option<bool> {
        match self.0 {
            Who::Customer => None,
            Who::Assistant { helped } => Some(helped),
        }
    }
}

/// The first thing an assistant says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Greeting {
    /// Disclosure and greeting, in this order.
    pub say: String,
    /// What the record of the contact keeps as evidence.
    pub disclosure: Disclosure,
}

/// What happens after the reply was said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "next")]
pub enum Next {
    /// The customer speaks.
    Continue,
    /// The customer speaks, and was asked to say more.
    Clarify,
    /// A person takes over, and should be told what was said.
    Person { reason: Handover },
    /// Nothing: the customer has said goodbye.
    Done,
}

/// Why a person takes over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Handover {
    /// A person was asked for.
    Asked,
    /// A matter no machine may answer.
    Topic(Topic),
    /// Something that cannot wait, and no answer to it.
    Urgent,
    /// The intent is known; the tenant wants a person for it, or nothing is written about it.
    Intent(String),
    /// No answer was found, more than twice, or the answer did not help.
    Unanswered,
    /// The language model wanted it.
    Model,
    /// The language model failed, and nothing else answers.
    Failed,
    /// The conversation goes on and on.
    TooLong,
}

/// Where the words come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// A phrase, by rules and triage.
    Rules,
    /// An article, quoted.
    Knowledge,
    /// A language model.
    Model,
    /// An article that may have to do with it, where nothing was surely right.
    Fallback,
}

/// What to say, what next, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reply {
    pub say: String,
    /// The language it is in.
    pub language: Language,
    pub next: Next,
    pub by: By,
    /// Articles and headings that are quoted, or that the language model was given.
    pub sources: Vec<String>,
    /// Tools the language model called.
    pub tools: Vec<String>,
    /// Why the language model, which was asked, did not answer.
    pub failure: Option<Failure>,
    pub triage: Triage,
    /// Name and version of the persona.
    pub persona: (String, u32),
    /// The articles that were searched.
    pub knowledge: Option<Hash>,
}

impl Reply {
    /// Whether it answers; a question back, a try and a handover do not.
    #[must_use]
    pub fn helped(&self) -> bool {
        self.next == Next::Continue && self.by != By::Fallback
    }

    /// The reply as a line of the conversation's history.
    #[must_use]
    pub fn line(&self) -> Line {
        Line::assistant(&self.say, self.helped())
    }
}
