//! Which version of the models judges which contacts, as the whole cluster has agreed: pure, and kept as one row of its shared table.
//!
//! It owns the rules of a release: what is staged, a canary beside the current version, promotion behind the scorecard's verdict, the way back,
//! and who did each of them. It holds hashes, not files: placing files is the deployer's work, and loading them is the node's.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::{
    limits::{
        CANARY_PERCENT_MAX, FIGURES_MAX, MODEL_CHANGES_MAX, MODEL_TEXT_BYTES_MAX, MODELS_BEFORE_MAX, MODELS_STAGED_MAX, SCORECARDS_MAX,
    },
    time::WallTime,
};

/// Whether figures keep their bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The whole 95 % interval keeps the bound.
    Pass,
    /// The share keeps it, and n is too small to say so with 95 %.
    Insufficient,
    /// The share itself misses it.
    Fail,
}

impl Verdict {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Insufficient => "insufficient",
            Self::Fail => "fail",
        }
    }
}

/// One share that was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scored {
    /// What is counted, of what.
    pub metric: String,
    pub hits: u64,
    pub n: u64,
    /// None of a share that is told only, and gates nothing.
    pub verdict: Option<Verdict>,
}

/// What models reached on one set of labelled texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scorecard {
    pub set: String,
    /// SHA-256 of the manifest that was measured, in hex.
    pub sha256: String,
    /// That of the embedding that helped, if one did.
    pub embedding: Option<String>,
    pub figures: Vec<Scored>,
}

/// A version the cluster knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// SHA-256 of its manifest, which names that of each of its files.
    pub sha256: String,
    pub scorecards: Vec<Scorecard>,
}

impl Staged {
    /// The worst that was measured; none where nothing was that gates.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        self.scorecards.iter().flat_map(|card| &card.figures).filter_map(|figure| figure.verdict).max()
    }
}

/// A version on trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    pub version: String,
    /// Of contacts, by a hash of their ids.
    pub percent: u8,
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    pub revision: u64,
    pub at: WallTime,
    /// The token of whoever made it.
    pub by: String,
    pub what: String,
    pub reason: String,
}

/// The cluster's choice. A version that is `None` is the models each node was started with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Models {
    /// Changes made so far.
    pub revision: u64,
    pub current: Option<String>,
    pub canary: Option<Canary>,
    /// What was current before, the latest last.
    pub before: Vec<Option<String>>,
    pub staged: BTreeMap<String, Staged>,
    /// The latest changes, the oldest first.
    pub history: VecDeque<Made>,
}

/// What somebody wants changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Makes a version known, or known with better figures.
    Stage { version: String, sha256: String, scorecards: Vec<Scorecard> },
    /// Forgets a version that judges nobody.
    Remove { version: String },
    /// Lets a version judge some of the contacts. Another canary is put away.
    Canary { version: String, percent: u8 },
    /// Makes a version the current one. `force`, with a reason, does so whatever its scorecard says.
    Promote { version: String, force: bool },
    /// Puts the canary away or, without one, goes back to what was current before.
    RollBack,
}

/// As the history says it.
impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stage { version, sha256, .. } => write!(f, "stage {version} sha256 {sha256}"),
            Self::Remove { version } => write!(f, "remove {version}"),
            Self::Canary { version, percent } => write!(f, "canary {version} {percent} %"),
            Self::Promote { version, force: false } => write!(f, "promote {version}"),
            Self::Promote { version, force: true } => write!(f, "promote {version} by force"),
            Self::RollBack => f.write_str("rollback"),
        }
    }
}

/// Why a change is not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no version {0} is staged")]
    Unknown(String),
    #[error("a version's name is 1 to 64 letters, digits, dots, dashes and underscores, and not `rollback`: {0:?} is none")]
    Name(String),
    #[error("sha256 must be 64 lower-case hexadecimal digits")]
    Hash,
    #[error("version {0} is staged with other files: remove it, or give these a version of their own")]
    OtherFiles(String),
    #[error("a scorecard of set {0} measured other models than these")]
    OtherScorecard(String),
    #[error("too large: at most {SCORECARDS_MAX} scorecards of {FIGURES_MAX} figures, and {MODEL_TEXT_BYTES_MAX} bytes of a text")]
    TooLarge,
    #[error("{MODELS_STAGED_MAX} versions are staged: remove one first")]
    Full,
    #[error("version {0} judges contacts now: promote another, or roll back, first")]
    InUse(String),
    #[error("a canary takes 1 to {CANARY_PERCENT_MAX} percent of contacts; more is a promotion")]
    Percent,
    #[error("version {0} is the current one already")]
    Current(String),
    #[error("the scorecard of version {version} says {}: promoting it all the same takes force and a reason", verdict.map_or("nothing", Verdict::name))]
    Verdict { version: String, verdict: Option<Verdict> },
    #[error("force needs a reason")]
    NoReason,
    #[error("there is no canary, and nothing was current before")]
    NothingBefore,
}

impl Refusal {
    /// What was asked makes no sense, whatever the choice is now.
    #[must_use]
    pub const fn is_nonsense(&self) -> bool {
        matches!(self, Self::Name(_) | Self::Hash | Self::OtherScorecard(_) | Self::TooLarge | Self::Percent | Self::NoReason)
    }
}

impl Models {
    /// Makes a change and remembers who made it.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is changed then.
    pub fn make(&mut self, change: &Change, by: &str, reason: &str, at: WallTime) -> Result<(), Refusal> {
        if reason.len() > MODEL_TEXT_BYTES_MAX {
            return Err(Refusal::TooLarge);
        }
        match change {
            Change::Stage { version, sha256, scorecards } => self.stage(version, sha256, scorecards)?,
            Change::Remove { version } => self.remove(version)?,
            Change::Canary { version, percent } => self.try_out(version, *percent)?,
            Change::Promote { version, force } => self.promote(version, *force, reason)?,
            Change::RollBack => self.roll_back()?,
        }
        self.revision += 1;
        if self.history.len() >= MODEL_CHANGES_MAX {
            self.history.pop_front();
        }
        let (by, reason) = (by.to_owned(), reason.to_owned());
        self.history.push_back(Made { revision: self.revision, at, by, what: change.to_string(), reason });
        Ok(())
    }

    fn known(&self, version: &str) -> Result<&Staged, Refusal> {
        self.staged.get(version).ok_or_else(|| Refusal::Unknown(version.to_owned()))
    }

    fn stage(&mut self, version: &str, sha256: &str, scorecards: &[Scorecard]) -> Result<(), Refusal> {
        if !is_name(version) {
            return Err(Refusal::Name(version.to_owned()));
        }
        if sha256.len() != 64 || !sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(Refusal::Hash);
        }
        let fits = |text: &str| text.len() <= MODEL_TEXT_BYTES_MAX;
        let small = |card: &Scorecard| {
            let texts = card.figures.iter().map(|figure| &figure.metric).chain([&card.set]).chain(&card.embedding);
            card.figures.len() <= FIGURES_MAX && texts.map(String::as_str).all(fits)
        };
        if scorecards.len() > SCORECARDS_MAX || !scorecards.iter().all(small) {
            return Err(Refusal::TooLarge);
        }
        if let Some(other) = scorecards.iter().find(|card| card.sha256 != sha256) {
            return Err(Refusal::OtherScorecard(other.set.clone()));
        }
        match self.staged.get(version) {
            Some(known) if known.sha256 != sha256 => return Err(Refusal::OtherFiles(version.to_owned())),
            None if self.staged.len() >= MODELS_STAGED_MAX => return Err(Refusal::Full),
            _ => {}
        }
        self.staged.insert(version.to_owned(), Staged { sha256: sha256.to_owned(), scorecards: scorecards.to_vec() });
        Ok(())
    }

    fn remove(&mut self, version: &str) -> Result<(), Refusal> {
        self.known(version)?;
        let on_trial = self.canary.as_ref().is_some_and(|canary| canary.version == version);
        if on_trial || self.current.as_deref() == Some(version) {
            return Err(Refusal::InUse(version.to_owned()));
        }
        self.staged.remove(version);
        self.before.retain(|before| before.as_deref() != Some(version));
        Ok(())
    }

    fn try_out(&mut self, version: &str, percent: u8) -> Result<(), Refusal> {
        self.known(version)?;
        if percent == 0 || percent > CANARY_PERCENT_MAX {
            return Err(Refusal::Percent);
        }
        if self.current.as_deref() == Some(version) {
            return Err(Refusal::Current(version.to_owned()));
        }
        self.canary = Some(Canary { version: version.to_owned(), percent });
        Ok(())
    }

    fn promote(&mut self, version: &str, force: bool, reason: &str) -> Result<(), Refusal> {
        let verdict = self.known(version)?.verdict();
        if force && reason.trim().is_empty() {
            return Err(Refusal::NoReason);
        }
        if self.current.as_deref() == Some(version) {
            return Err(Refusal::Current(version.to_owned()));
        }
        if verdict != Some(Verdict::Pass) && !force {
            return Err(Refusal::Verdict { version: version.to_owned(), verdict });
        }
        if self.before.len() >= MODELS_BEFORE_MAX {
            self.before.remove(0);
        }
        self.before.push(self.current.replace(version.to_owned()));
        self.canary = None;
        Ok(())
    }

    fn roll_back(&mut self) -> Result<(), Refusal> {
        if self.canary.take().is_none() {
            self.current = self.before.pop().ok_or(Refusal::NothingBefore)?;
        }
        Ok(())
    }
}

fn is_name(version: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=64).contains(&version.len()) && version.bytes().all(plain) && version != "rollback"
}
