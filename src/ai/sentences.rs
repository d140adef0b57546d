//! An embedding model's folder: sentences to vectors whose nearness is nearness of meaning.
//!
//! It owns the folder's manifest and what is done without the backend. Heads on vectors come with the models, and belong to the embedding
//! whose hash they name; the folder itself is not shipped (`docs/AI.md` says how it is fetched).

use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{
    limits::{EMBEDDING_BYTES_MAX, MANIFEST_BYTES_MAX, TOKENIZER_BYTES_MAX},
    manifest::{Error, read, read_checked},
    text::Text,
    verdict::Hash,
};

/// Runs an embedding model: a text to a vector of length one. An error is told in words, and heads on words answer alone.
pub(super) trait Embeds: Send + Sync {
    fn vector(&self, text: &Text) -> Result<Vec<f32>, String>;
}

/// Judges by meaning as well: a head's scores and a vector to better scores of the same labels.
pub(super) trait Refines: Send + Sync {
    fn scores(&self, scores: &[f32], vector: &[f32]) -> Result<Vec<f32>, String>;
}

/// A loaded embedding model.
pub struct Embedding {
    pub(super) name: String,
    pub(super) hash: Hash,
    pub(super) model: Box<dyn Embeds>,
}

/// `manifest.toml` of an embedding's folder, beside `model.onnx` and `tokenizer.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    licence: String,
    model_sha256: String,
    tokenizer_sha256: String,
}

impl Embedding {
    /// Loads the folder.
    ///
    /// # Errors
    /// When a file is missing, too large, has another hash than the manifest's, or cannot be run; nothing is half loaded.
    pub fn load(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("manifest.toml");
        let bytes = read(&path, MANIFEST_BYTES_MAX)?;
        let wrong = |message: String| Error::Manifest { path: path.clone(), message };
        let text = std::str::from_utf8(&bytes).map_err(|error| wrong(error.to_string()))?;
        let manifest: Manifest = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if manifest.name.is_empty() || manifest.licence.is_empty() {
            return Err(wrong("name and licence must say what it is".to_owned()));
        }
        let tokenizer = read_checked(&dir.join("tokenizer.json"), TOKENIZER_BYTES_MAX, &manifest.tokenizer_sha256)?;
        let model = dir.join("model.onnx");
        let bytes = read_checked(&model, EMBEDDING_BYTES_MAX, &manifest.model_sha256)?;
        let opened = open(&bytes, &tokenizer).map_err(|error| match error {
            Some(message) => Error::Model { path: model, message },
            None => Error::NotBuilt,
        })?;
        Ok(Self { name: manifest.name, hash: Hash(Sha256::digest(text.as_bytes()).into()), model: opened })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of its manifest, which heads on its vectors name and decisions cite.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }
}

#[cfg(feature = "ai")]
fn open(model: &[u8], tokenizer: &[u8]) -> Result<Box<dyn Embeds>, Option<String>> {
    super::encoder::load(model, tokenizer).map_err(Some)
}

#[cfg(not(feature = "ai"))]
fn open(_: &[u8], _: &[u8]) -> Result<Box<dyn Embeds>, Option<String>> {
    Err(None)
}
