//! A contact that an AI agent has, had, or must not have: disclosure, transcript, what was understood, and its takeovers.
//!
//! How it goes is `domain::{assist, takeover}`'s. What is understood of a text is somebody else's judgement, outside of `apply`: it
//! arrives in a command as data, with the name of what judged.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    cdr::Kept,
    command::Actor,
    id::{AgentId, QueueId},
    limits::{LINE_BYTES_MAX, LINES_MAX, TAKEOVERS_PER_RECORD_MAX},
    time::{LogTime, Stamp, WallTime},
};

/// What a call carries beyond others once AI has to do with it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Assist {
    /// The leg of the AI agent that has the call now.
    pub leg: Option<u16>,
    /// When the customer had been told that no person speaks, on this leg. Nothing else is said before.
    pub disclosed: Option<Stamp>,
    /// A person is to have it: no AI agent is offered it any more.
    pub person_only: bool,
    /// The customer asked for one. Nothing undoes that.
    pub asked: bool,
    /// The takeover that waits for a person.
    pub takeover: Option<Takeover>,
    /// Takeovers that came to an end.
    pub takeovers: Kept<Taken>,
    pub transcript: Kept<Line>,
    pub turns: u32,
    /// Turns in a row that did not help.
    pub failures: u8,
    /// AI agents that were lost with the call.
    pub losses: u8,
    pub resolution: Option<Resolution>,
}

impl Assist {
    /// An AI agent has it and may speak.
    pub const fn is_active(&self) -> bool {
        self.leg.is_some() && self.disclosed.is_some()
    }
}

impl super::call::Call {
    /// What the phone of a person is told of a takeover, before anybody answers.
    pub(super) fn takeover_headers(&self) -> Vec<(String, String)> {
        let Some(assist) = &self.assist else { return Vec::new() };
        let cause = assist.takeover.iter().map(|open| ("X-Tandem-Takeover".to_owned(), open.cause.name().to_owned()));
        let judged = assist.transcript.rows.iter().rev().find_map(|line| line.judged.as_ref()?.intent.clone());
        cause.chain(judged.map(|intent| ("X-Tandem-Intent".to_owned(), intent))).collect()
    }
}

/// A takeover, from its commit until a person has the contact. The leg it was taken from is fenced: nothing it says is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takeover {
    pub cause: Cause,
    pub by: Actor,
    pub at: Stamp,
    /// Who had it, on which leg; none if nobody did.
    pub from: Option<(AgentId, u16)>,
    /// The queue it came from, should it go back.
    pub queue: QueueId,
    pub until: LogTime,
}

/// A takeover that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    pub cause: Cause,
    pub by: Actor,
    pub at: Stamp,
    pub from: Option<(AgentId, u16)>,
    pub ended: Stamp,
    pub result: TakeoverResult,
}

/// How a takeover ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TakeoverResult {
    /// This person has it.
    Accepted(AgentId),
    /// Nobody accepted in time, and an AI agent is to have it again.
    RolledBack,
    /// Nobody accepted in time: it waits at the head of its queue.
    QueueHead,
    /// The customer left first, or the call ended by other means.
    Ended,
}

impl TakeoverResult {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::RolledBack => "rolled_back",
            Self::QueueHead => "queue_head",
            Self::Ended => "ended",
        }
    }
}

/// Why a person takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The customer asked for a person.
    Asked,
    LowConfidence,
    Anger,
    ForbiddenTopic,
    /// It cannot wait, and nothing answers it.
    Urgent,
    /// What it is about goes to people.
    Intent,
    RepeatedFailure,
    /// The AI agent was lost, more than once.
    AssistantLost,
    /// A supervisor, or an API client for one.
    Supervisor,
    /// AI was switched off for the queue, the tenant or the cluster.
    AiOff,
}

impl Cause {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::LowConfidence => "low_confidence",
            Self::Anger => "anger",
            Self::ForbiddenTopic => "forbidden_topic",
            Self::Urgent => "urgent",
            Self::Intent => "intent",
            Self::RepeatedFailure => "repeated_failure",
            Self::AssistantLost => "assistant_lost",
            Self::Supervisor => "supervisor",
            Self::AiOff => "ai_off",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an AI agent's leg reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Assisted {
    /// It takes the contact.
    Engaged,
    /// The customer has heard the disclosure.
    Disclosed,
    /// Somebody said something.
    Turn(Box<Turn>),
    /// It is done: it says good-bye and hangs up next.
    Resolved(Resolution),
    /// In a chat: it takes the contact by writing that no person does.
    Opened(Box<Line>),
    /// In a chat: its answer, and how the matter stands if it is done.
    Wrote(Box<Turn>, Option<Resolution>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    pub line: Line,
    /// A person is to take over.
    pub wants: Option<Cause>,
    /// The customer was helped on by it, as far as the agent can tell; none says nothing either way.
    pub helped: Option<bool>,
}

/// A line of a transcript. Personal data is masked before it is proposed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub at: WallTime,
    pub who: Speaker,
    /// At most `LINE_BYTES_MAX`; longer ones are cut.
    pub text: String,
    /// What was understood of it, of a customer's line.
    pub judged: Option<Judged>,
    /// What an answer comes from: names of articles, `model`, `fallback`.
    pub sources: Vec<String>,
}

impl Line {
    /// Cut to what the state carries, at a character.
    pub(super) fn bounded(mut self) -> Self {
        if self.text.len() > LINE_BYTES_MAX {
            let end = (0..=LINE_BYTES_MAX).rev().find(|end| self.text.is_char_boundary(*end)).unwrap_or_default();
            self.text.truncate(end);
        }
        self.sources.truncate(4);
        self.sources.iter_mut().filter(|source| source.len() > 256).for_each(String::clear);
        self
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    Customer,
    Assistant,
    /// An agent who is a person.
    Person,
}

impl Speaker {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Assistant => "assistant",
            Self::Person => "person",
        }
    }
}

/// What was understood of a line, in thousandths of certainty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Judged {
    pub language: String,
    pub intent: Option<String>,
    pub confidence: u16,
    pub urgent: bool,
    pub sentiment: String,
    /// SHA-256 of the manifest of the models that judged, in hex, and behind a `+` that of an embedding that helped; empty where rules alone did.
    pub model: String,
    /// Rules alone judged, or with `model` another version than the cluster had chosen.
    pub fallback: bool,
}

/// Whether the customer's matter was settled, as the AI agent saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    pub resolved: Resolved,
    /// In thousandths.
    pub confidence: u16,
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolved {
    Yes,
    No,
    Unknown,
}

impl Resolved {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }
}

/// AI is off somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Off {
    pub by: Actor,
    pub at: Stamp,
    pub reason: String,
}

/// Where AI is switched off in a domain.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Switches {
    pub all: Option<Off>,
    pub queues: std::collections::BTreeMap<QueueId, Off>,
}

/// What the record of a call says of its AI side. What was said is sealed beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assistance {
    /// No person had it.
    pub contained: bool,
    pub turns: u32,
    pub takeovers: Kept<Taken>,
    pub resolution: Option<Resolution>,
    /// A bincoded `Kept<Line>` under the key of the caller.
    #[serde(with = "serde_bytes")]
    pub transcript: Vec<u8>,
}

impl Kept<Line> {
    pub(super) fn push(&mut self, line: Line) {
        self.push_within(line.bounded(), LINES_MAX);
    }
}

impl Kept<Taken> {
    pub(super) fn push(&mut self, row: Taken) {
        self.push_within(row, TAKEOVERS_PER_RECORD_MAX);
    }
}
