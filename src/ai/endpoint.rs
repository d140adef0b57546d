//! A language model behind an OpenAI-compatible endpoint: asked within a deadline and a budget, left alone when it fails.
//!
//! It owns requests, bounds, the breaker and tools. What comes back is text to be checked, or one [`Failure`]; what is said instead of an
//! answer that failed is decided by `assistant.rs`.

pub(super) mod breaker;
mod chat;
mod events;
pub(super) mod http;
mod tools;
mod wire;

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use tokio::{sync::Semaphore, time::Instant};

use breaker::Breaker;
pub use http::Access;
use http::Http;
pub use tools::Tool;
use wire::Message;

use super::limits::{ANSWER_TOKENS_MAX, ASKED_AT_ONCE_MAX, FAILURES_MAX, MODEL_DEADLINE, REST, TOOL_ROUNDS_MAX, TOOLS_MAX};

/// How a language model is reached and bounded.
#[derive(Debug, Clone)]
pub struct Options {
    pub access: Access,
    /// The model's name at the endpoint.
    pub model: String,
    /// Longest an answer is waited for, tools included.
    pub deadline: Duration,
    /// Tokens of one answer.
    pub answer_tokens: u32,
    /// Failures in a row after which it is left alone for `rest`.
    pub failures: u32,
    pub rest: Duration,
    /// What it may call; it calls nothing else.
    pub tools: Vec<Tool>,
}

impl Options {
    /// A model with the usual bounds and without tools.
    #[must_use]
    pub fn new(access: Access, model: &str) -> Self {
        Self {
            access,
            model: model.to_owned(),
            deadline: MODEL_DEADLINE,
            answer_tokens: ANSWER_TOKENS_MAX,
            failures: FAILURES_MAX,
            rest: REST,
            tools: Vec::new(),
        }
    }
}

/// Why an endpoint gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    #[error("no answer in time")]
    Late,
    #[error("the endpoint cannot be reached, or broke off")]
    Unreachable,
    #[error("the endpoint refused with HTTP {0}")]
    Refused(u16),
    #[error("the answer is not what the protocol says")]
    Garbage,
    #[error("the answer is longer than its bound")]
    TooLong,
    #[error("the answer says nothing")]
    Empty,
    #[error("left alone after failures in a row")]
    Resting,
    #[error("too many are asking at once")]
    Busy,
    #[error("the answer says what an assistant may not")]
    Forbidden,
}

/// What is wrong with options.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("`{0}` is not an http or https address")]
    Address(String),
    #[error("the client's TLS: {0}")]
    Tls(String),
    #[error("{0} samples a second are no multiple of 8000 up to 48000")]
    Rate(usize),
    #[error("tool `{0}` has no name a model may call, is there twice, or is one too many")]
    Tool(String),
}

/// One question with all that goes with it.
#[derive(Debug, Clone, Default)]
pub struct Prompt {
    /// What the model is to be and do.
    pub system: String,
    /// Earlier turns, the oldest first: whether the assistant said it, and what.
    pub history: Vec<(bool, String)>,
    /// Passages as data, and what the customer said.
    pub said: String,
    /// Names this turn to webhooks: asked again, it is the same.
    pub turn: Vec<u8>,
}

/// What a model answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub say: String,
    /// It wants a person to take over.
    pub person: bool,
    /// Tools that were called, in order.
    pub tools: Vec<String>,
}

/// A language model. Cheap to clone.
#[derive(Clone)]
pub struct LanguageModel(Arc<Inner>);

struct Inner {
    options: Options,
    http: Http,
    breaker: Breaker,
    asked: Semaphore,
}

impl LanguageModel {
    /// Prepares a client; nothing is sent.
    ///
    /// # Errors
    /// When the address, the certificate authority or a tool is not one.
    pub fn new(options: Options) -> Result<Self, Error> {
        let http = Http::new(&options.access)?;
        for (at, tool) in options.tools.iter().enumerate() {
            let twice = options.tools[..at].iter().any(|other| other.name == tool.name);
            if twice || at >= TOOLS_MAX || !tool.is_valid() {
                return Err(Error::Tool(tool.name.clone()));
            }
        }
        let breaker = Breaker::new(options.failures, options.rest);
        Ok(Self(Arc::new(Inner { options, http, breaker, asked: Semaphore::new(ASKED_AT_ONCE_MAX) })))
    }

    /// Asks. It answers or fails within the deadline, and at once while the endpoint is left alone.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn answer(&self, prompt: &Prompt) -> Result<Answer, Failure> {
        let inner = &*self.0;
        let _place = inner.asked.try_acquire().map_err(|_| Failure::Busy)?;
        let attempt = inner.breaker.admit(Instant::now()).ok_or(Failure::Resting)?;
        let deadline = Instant::now() + inner.options.deadline;
        let answer = tokio::time::timeout_at(deadline, inner.ask(prompt)).await.unwrap_or(Err(Failure::Late));
        attempt.end(answer.is_ok(), Instant::now());
        if let Err(failure) = &answer {
            tracing::warn!(model = %inner.options.model, %failure, "a language model gave no answer");
        }
        answer
    }
}

impl Inner {
    async fn ask(&self, prompt: &Prompt) -> Result<Answer, Failure> {
        let mut messages = vec![Message::system(&prompt.system)];
        messages.extend(prompt.history.iter().map(|(assistant, text)| Message::said(*assistant, text)));
        messages.push(Message::said(false, &prompt.said));
        let mut called = Vec::new();
        for round in 0..=TOOL_ROUNDS_MAX {
            // In the last round it is given no tools, so that it has to say something.
            let tools: &[Tool] = if round < TOOL_ROUNDS_MAX { &self.options.tools } else { &[] };
            let said = chat::round(&self.http, &self.options, &messages, tools).await?;
            let person = said.calls.iter().any(|call| call.name == tools::HAND_OVER);
            if person || said.calls.is_empty() {
                let say = said.text;
                return if say.is_empty() && !person { Err(Failure::Empty) } else { Ok(Answer { say, person, tools: called }) };
            }
            messages.push(Message::calls(&said.text, &said.calls));
            for call in &said.calls {
                let result = tools::call(&self.http, tools, call, &prompt.turn).await;
                called.push(call.name.clone());
                messages.push(Message::result(&call.id, &result));
            }
        }
        Err(Failure::Empty)
    }
}
