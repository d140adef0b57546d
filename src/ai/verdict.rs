//! What triage says of a text: data only, without floats, so that a command of the core can carry it.

use std::fmt;

use serde::Serialize;

/// How sure a judgement is, in thousandths: calibrated for models, a fixed low figure for rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Confidence(pub u16);

impl Confidence {
    pub const NONE: Self = Self(0);
    pub const FULL: Self = Self(1_000);

    /// Of a probability; what is no number, or outside 0 to 1, is clamped.
    #[must_use]
    pub fn of(probability: f32) -> Self {
        // `as` saturates and maps NaN to 0, which is the least sure.
        Self((probability.clamp(0.0, 1.0) * 1_000.0) as u16)
    }
}

/// A value and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Judged<T> {
    pub value: T,
    pub confidence: Confidence,
}

/// The language a text is in, as far as Tandem has words for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    En,
    Zh,
    Es,
    /// Not one of them, or too little to tell.
    #[serde(rename = "und")]
    Unknown,
}

impl Language {
    /// Its ISO 639 code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh",
            Self::Es => "es",
            Self::Unknown => "und",
        }
    }

    /// Of a label of a model: an ISO 639-1 code.
    pub(super) fn named(label: &str) -> Self {
        match label {
            "en" => Self::En,
            "zh" => Self::Zh,
            "es" => Self::Es,
            _ => Self::Unknown,
        }
    }
}

/// Whether the matter can wait its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Urgency {
    Normal,
    High,
}

/// How the customer speaks of the matter. Of customers only: nobody judges agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sentiment {
    Negative,
    Neutral,
    Positive,
}

impl Sentiment {
    /// As a label of a model.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Negative => "negative",
            Self::Neutral => "neutral",
            Self::Positive => "positive",
        }
    }
}

/// Where the contact should go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "to", content = "intent")]
pub enum Next {
    /// To whoever the tenant named for the intent.
    Route(String),
    /// A question back: something was understood, too little to act on.
    Clarify,
    /// To somebody who handles anything.
    Generalist,
    /// A person was asked for. Nothing overrides it.
    Person,
}

/// Why triage says what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The model was sure enough.
    Sure,
    /// The model's confidence was below its threshold.
    Unsure,
    /// It asked for a person.
    AskedForPerson,
    /// Nothing was left to judge.
    Empty,
    /// No model is loaded.
    NoModel,
    /// The model failed on this text.
    ModelFailed,
    /// The model did not answer in time.
    Late,
    /// Too many texts were waiting for the model.
    Busy,
}

/// SHA-256 of a manifest, which names the SHA-256 of each of its model files.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What was understood of a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Triage {
    pub language: Judged<Language>,
    /// The likeliest intent, also where it was too unsure to route by; none without a model.
    pub intent: Option<Judged<String>>,
    pub urgency: Judged<Urgency>,
    pub sentiment: Judged<Sentiment>,
    pub next: Next,
    pub reason: Reason,
    /// The models that were asked; none where rules alone answered.
    pub model: Option<Hash>,
    /// The embedding model that the intent was told by as well, if one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Hash>,
    /// What should have answered did not: rules did, or with `model` another version than was chosen.
    pub fallback: bool,
    /// The text was longer than what is judged.
    pub truncated: bool,
}
