//! Understanding what a customer wrote or said, and what an assistant says to it.
//!
//! It owns the reading of text, the rules, the models and the registry that swaps them while calls go on; articles, personas, endpoints of
//! language and speech models, and the assistant that answers by them. It decides nothing about calls: a [`Triage`], like a reply of [`assistant`],
//! is data, which whoever proposes a command may put into it. It starts, judges and answers without any model: rules and articles alone
//! answer then, and the answer says so. What it honestly reaches: `docs/AI.md`.

pub mod assistant;
#[cfg(feature = "ai")]
mod encoder;
pub mod endpoint;
mod engine;
mod features;
pub mod guard;
pub mod knowledge;
mod limits;
mod manifest;
#[cfg(feature = "ai")]
mod onnx;
pub mod persona;
mod registry;
mod rules;
pub mod scorecard;
mod sentences;
pub mod speech;
#[cfg(test)]
mod tests;
mod text;
mod triage;
mod verdict;
mod words;

pub use engine::{Engine, Options};
pub use manifest::{Error, Task};
pub use registry::{Answers, Registry, Shelf};
pub use sentences::Embedding;
pub use text::Text;
pub use triage::{Models, backend, triage};
pub use verdict::{Confidence, Hash, Judged, Language, Next, Reason, Sentiment, Triage, Urgency};
