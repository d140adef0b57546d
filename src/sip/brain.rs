//! What gives AI agents their words and their voice, as the edge needs it. The node puts one in; a test plays one.

use std::sync::Arc;

use tandem_cluster::BoxFuture;

use crate::core::{
    assist::{Cause, Judged, Line, Resolution},
    id::{AgentId, CallId, DomainId},
    policy::{Assistant, Words},
};

/// Something a customer said, and all that is needed to answer it.
#[derive(Debug, Clone)]
pub struct Said {
    pub domain: DomainId,
    pub call: CallId,
    pub agent: AgentId,
    pub assistant: Arc<Assistant>,
    /// What was said before, oldest first.
    pub history: Vec<Line>,
    pub text: String,
}

/// What is to be said, and what follows from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    pub say: Words,
    /// The same as it may be stored: personal data is masked.
    pub told: String,
    /// What the customer said, as it may be stored: personal data is masked.
    pub heard: String,
    pub judged: Option<Judged>,
    pub sources: Vec<String>,
    /// A person is to take over; nothing more is said.
    pub wants: Option<Cause>,
    pub helped: Option<bool>,
    /// The matter is settled: this is said, and then the call ends.
    pub done: Option<Resolution>,
}

/// Something that may help a person to answer a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// A passage of an article, as its author wrote it.
    pub text: String,
    /// Which one, by title and heading.
    pub source: String,
}

/// Never fails and never takes long: what has no better answer has a plain one. The edge has a deadline of its own all the same.
pub trait Brain: Send + Sync + 'static {
    /// What a customer is told first: that no person speaks.
    fn disclosure(&self, assistant: &Assistant) -> Words;

    fn answer(&self, said: Said) -> BoxFuture<Answer>;

    /// A text as audio: 8 kHz, one channel. `None` if there is no voice for it.
    fn voice(&self, assistant: Arc<Assistant>, text: String) -> BoxFuture<Option<Arc<[i16]>>>;

    /// Whether it can tell what is said. Otherwise nobody is listened to, and callers have their keys.
    fn hears(&self) -> bool;

    /// What a recording of one utterance says: 8 kHz, one channel. `None` if nobody can tell.
    fn hear(&self, assistant: Arc<Assistant>, samples: Vec<i16>) -> BoxFuture<Option<String>>;

    /// The same as it may be stored: personal data is masked.
    fn overhear(&self, assistant: Arc<Assistant>, samples: Vec<i16>) -> BoxFuture<Option<String>>;

    /// What the articles of an assistant have to do with what a customer said; `None` if nothing.
    fn suggest(&self, assistant: Arc<Assistant>, text: String) -> BoxFuture<Option<Suggestion>>;
}
