//! `manifest.toml` beside the model files: what they are, what they were made of, and from which confidence they may decide.
//!
//! It owns reading and checking; a file with another hash than the manifest's is refused. Running the files is `onnx.rs`.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{
    features::FEATURES,
    limits::{HEADS_MAX, LABELS_MAX, MANIFEST_BYTES_MAX, MODEL_BYTES_MAX, ROWS_LOG2_MAX},
    verdict::{Confidence, Hash},
};

/// Why models were not loaded. Triage goes on with those it had, or with rules.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: larger than {most} bytes")]
    TooLarge { path: PathBuf, most: u64 },
    #[error("{path}: {message}")]
    Manifest { path: PathBuf, message: String },
    #[error("{path}: its sha256 is {found}, the manifest says {expected}: refused")]
    WrongHash { path: PathBuf, expected: String, found: String },
    #[error("{path}: {message}")]
    Model { path: PathBuf, message: String },
    #[error("this program was built without the feature `ai`: no model can be loaded")]
    NotBuilt,
}

/// What a head tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    Intent,
    Language,
    Urgency,
    Sentiment,
    Person,
}

/// A directory's manifest.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) name: String,
    pub(super) version: String,
    /// How text becomes features; must be this program's way.
    features: String,
    pub(super) rows_log2: u32,
    #[serde(rename = "head")]
    pub(super) heads: Vec<Head>,
    /// Heads for the same intents that take the scores of the one above and a vector of an embedding model.
    #[serde(default, rename = "refined")]
    pub(super) refined: Vec<Head>,
    /// Of the manifest's bytes.
    #[serde(skip, default = "no_hash")]
    pub(super) hash: Hash,
}

/// One model file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    pub(super) name: String,
    pub(super) task: Task,
    /// Which set of intents; empty for other tasks.
    #[serde(default)]
    pub(super) pack: String,
    file: String,
    sha256: String,
    pub(super) labels: Vec<String>,
    /// The label that stands for none of the others, which is never routed to.
    #[serde(default)]
    outside: Option<String>,
    /// Of the manifest of the embedding model whose vectors it takes; heads on words have none.
    #[serde(default)]
    pub(super) embedding: Option<String>,
    calibration: Calibration,
    /// Least confidence to act on, and to ask back instead of handing over; thousandths.
    #[serde(deserialize_with = "thousandths")]
    pub(super) route_from: Confidence,
    #[serde(deserialize_with = "thousandths")]
    pub(super) clarify_from: Confidence,
    /// What it learnt from, and under which licence that is.
    pub(super) data: String,
    pub(super) licence: String,
}

/// Scores to the probability that the best label is right: a logistic curve fitted on data kept apart from training.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Calibration {
    bias: f32,
    /// Of the best score, of its lead over the second, and of the score for "none of them".
    top: f32,
    lead: f32,
    outside: f32,
}

fn no_hash() -> Hash {
    Hash([0; 32])
}

fn thousandths<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Confidence, D::Error> {
    let value = u16::deserialize(deserializer)?;
    if value > Confidence::FULL.0 { Err(serde::de::Error::custom("a confidence is at most 1000")) } else { Ok(Confidence(value)) }
}

impl Head {
    /// The best label by its place, and the probability that it is right.
    pub(super) fn judge(&self, scores: &[f32]) -> (usize, f32) {
        let outside = self.outside.as_ref().and_then(|outside| self.labels.iter().position(|label| label == outside));
        let (mut best, mut top, mut second) = (0, f32::NEG_INFINITY, f32::NEG_INFINITY);
        for (at, score) in scores.iter().copied().enumerate().filter(|(at, _)| Some(*at) != outside) {
            if score > top {
                (best, top, second) = (at, score, top);
            } else {
                second = second.max(score);
            }
        }
        let outside = outside.map_or(0.0, |at| scores[at]);
        let Calibration { bias, top: a, lead: b, outside: c } = self.calibration;
        (best, 1.0 / (1.0 + (-(bias + a * top + b * (top - second) + c * outside)).exp()))
    }

    /// Reads its file and holds it to its hash.
    pub(super) fn read(&self, dir: &Path) -> Result<Vec<u8>, Error> {
        read_checked(&dir.join(&self.file), MODEL_BYTES_MAX, &self.sha256)
    }
}

impl Manifest {
    /// Reads the manifest of a directory.
    pub(super) fn read(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("manifest.toml");
        let bytes = read(&path, MANIFEST_BYTES_MAX)?;
        Self::parse(&bytes).map_err(|message| Error::Manifest { path, message })
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        let mut manifest: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        manifest.hash = Hash(Sha256::digest(bytes).into());
        manifest.check().map(|()| manifest)
    }

    fn check(&self) -> Result<(), String> {
        if self.features != FEATURES {
            return Err(format!("features `{}` are not this program's, which are `{FEATURES}`", self.features));
        }
        let most = self.heads.len().max(self.refined.len());
        if self.rows_log2 == 0 || self.rows_log2 > ROWS_LOG2_MAX || self.heads.is_empty() || most > HEADS_MAX {
            return Err(format!("rows_log2 must be 1 to {ROWS_LOG2_MAX}, and heads 1 to {HEADS_MAX}"));
        }
        Self::check_heads(&self.heads)?;
        Self::check_heads(&self.refined)?;
        if let Some(head) = self.heads.iter().find(|head| head.embedding.is_some()) {
            return Err(format!("head `{}`: only refined heads name an embedding", head.name));
        }
        for Head { name, task, pack, labels, embedding, .. } in &self.refined {
            let plain = self.heads.iter().find(|head| head.task == Task::Intent && head.pack == *pack);
            if *task != Task::Intent || embedding.is_none() || plain.is_none_or(|head| head.labels != *labels) {
                return Err(format!("head `{name}`: a refined head names its embedding, and a head for the same intents"));
            }
        }
        Ok(())
    }

    fn check_heads(heads: &[Head]) -> Result<(), String> {
        for (at, head) in heads.iter().enumerate() {
            let Head { name, labels, file, .. } = head;
            if labels.len() < 2 || labels.len() > LABELS_MAX {
                return Err(format!("head `{name}`: labels must be 2 to {LABELS_MAX}"));
            }
            if head.outside.as_ref().is_some_and(|outside| labels.len() < 3 || !labels.contains(outside)) {
                return Err(format!("head `{name}`: `outside` must be a third label"));
            }
            if Path::new(file).file_name().is_none_or(|plain| plain != file.as_str()) {
                return Err(format!("head `{name}`: file must be a name in the manifest's own directory"));
            }
            if (head.task == Task::Intent) == head.pack.is_empty() {
                return Err(format!("head `{name}`: heads for intents, and no others, name a pack"));
            }
            if head.data.is_empty() || head.licence.is_empty() {
                return Err(format!("head `{name}`: data and licence must say what it was made of"));
            }
            if heads[..at].iter().any(|other| other.task == head.task && other.pack == head.pack) {
                return Err(format!("head `{name}`: there is another for the same task"));
            }
        }
        Ok(())
    }
}

/// Reads a file and holds it to its hash, in hex.
pub(super) fn read_checked(path: &Path, most: u64, sha256: &str) -> Result<Vec<u8>, Error> {
    let bytes = read(path, most)?;
    let found = Hash(Sha256::digest(&bytes).into()).to_string();
    if found == sha256 { Ok(bytes) } else { Err(Error::WrongHash { path: path.to_owned(), expected: sha256.to_owned(), found }) }
}

pub(super) fn read(path: &Path, most: u64) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    // A Vec is never longer than u64 counts.
    if bytes.len() as u64 > most { Err(Error::TooLarge { path: path.to_owned(), most }) } else { Ok(bytes) }
}
