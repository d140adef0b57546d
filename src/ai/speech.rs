//! Voice: text to audio, audio to text, by whatever engine there is.
//!
//! It owns the seam and the forms: audio is 8 kHz, one channel, 16 bits, as a telephone has it; text comes as it is understood. It knows
//! nothing of packets or of who listens, and nothing of when somebody has finished speaking: that is for whoever holds the microphone.

mod decimate;
mod endpoint;
mod scripted;

use futures::stream::BoxStream;

pub use endpoint::{Endpoint, Options};
pub use scripted::Scripted;

use super::{endpoint::Failure, verdict::Language};

/// Samples a second of all audio here.
pub const SAMPLES_PER_SECOND: usize = 8_000;

/// Something to be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoken {
    pub text: String,
    pub language: Language,
    /// As the engine names it; its own default otherwise.
    pub voice: Option<String>,
}

/// Something understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// What it seems to be so far; the next one replaces it. Engines need not give any.
    Partial(String),
    /// What was said, and the last of one utterance.
    Final(String),
}

/// A voice and an ear. Dropping a stream stops the work for it, which is how a caller who speaks up interrupts.
pub trait SpeechEngine: Send + Sync {
    /// Audio of a text, in pieces as they come. An error is the last piece.
    fn say(&self, spoken: Spoken) -> BoxStream<'static, Result<Vec<i16>, Failure>>;

    /// Text of one utterance, whose audio comes in pieces and ends where the speaker does. An error is the last event.
    fn hear(&self, audio: BoxStream<'static, Vec<i16>>, language: Language) -> BoxStream<'static, Result<Heard, Failure>>;
}
