//! What AI agents of a node know, and the endpoints they may ask.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// All nodes should be given the same, since any may take a contact over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ai {
    /// Folder of a `manifest.toml` and its models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<PathBuf>,
    /// Folder with a folder of articles for each name that tenants may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knowledge: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language_model: Option<LanguageModel>,
    /// A voice and an ear; without it AI agents speak recorded prompts and go by keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speech: Option<Speech>,
}

/// An endpoint of chat completions as OpenAI has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanguageModel {
    /// Up to and with the version: `https://models.example/v1`.
    pub base: String,
    pub model: String,
    /// File with the bearer token in its first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Certificate authority in PEM, beside those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<PathBuf>,
}

/// Endpoints of speech and transcription as OpenAI has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Speech {
    pub base: String,
    /// The models that say and hear, and the voice.
    pub say: String,
    pub hear: String,
    pub voice: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<PathBuf>,
}

impl Ai {
    /// Every path in it.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let model = self.language_model.iter_mut().flat_map(|of| [&mut of.key_file, &mut of.authority]);
        let speech = self.speech.iter_mut().flat_map(|of| [&mut of.key_file, &mut of.authority]);
        [&mut self.models, &mut self.knowledge].into_iter().chain(model).chain(speech).flatten()
    }
}
