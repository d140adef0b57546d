//! One text to one answer: rules and models put together, and abstention. It owns no thread and no file.

use std::path::Path;

use super::{
    features::{self, Features},
    manifest::{Error, Head, Manifest, Task},
    rules,
    text::Text,
    verdict::{Confidence, Hash, Judged, Language, Next, Reason, Sentiment, Triage, Urgency},
};

/// Runs one head: features to one score a label. An error is told in words, and rules answer instead.
pub(super) trait Scores: Send + Sync {
    fn scores(&self, features: &Features) -> Result<Vec<f32>, String>;
}

/// A loaded version: heads of one manifest, ready to be asked from any thread.
pub struct Models {
    pub(super) manifest: Manifest,
    /// One for each head of the manifest, in its order.
    pub(super) heads: Vec<Box<dyn Scores>>,
}

/// What a head says of a text.
pub(super) struct Said<'a> {
    pub(super) label: &'a str,
    pub(super) confidence: Confidence,
    pub(super) head: &'a Head,
}

impl Models {
    /// Loads the models of a directory by its `manifest.toml`.
    ///
    /// # Errors
    /// When a file is missing, too large, has another hash than the manifest's, or cannot be run; nothing is half loaded.
    pub fn load(dir: &Path) -> Result<Self, Error> {
        let manifest = Manifest::read(dir)?;
        let heads = manifest.heads.iter().map(|head| open(dir, head)).collect::<Result<_, _>>()?;
        Ok(Self { manifest, heads })
    }

    /// What these models are called, whatever the version.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    /// The version's name, as its manifest gives it.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.manifest.version
    }

    /// What every decision of these models cites.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.manifest.hash
    }

    /// The packs of intents it has a head for.
    pub fn packs(&self) -> impl Iterator<Item = &str> {
        self.manifest.heads.iter().filter(|head| head.task == Task::Intent).map(|head| head.pack.as_str())
    }

    /// Asks the head of a task; none if there is none.
    pub(super) fn ask(&self, task: Task, pack: &str, features: &Features) -> Option<Result<Said<'_>, String>> {
        let at = self.manifest.heads.iter().position(|head| head.task == task && (task != Task::Intent || head.pack == pack))?;
        let head = &self.manifest.heads[at];
        Some(self.heads[at].scores(features).and_then(|scores| {
            if scores.len() != head.labels.len() || scores.iter().any(|score| !score.is_finite()) {
                return Err(format!("{}: {} scores for {} labels, or not numbers", head.name, scores.len(), head.labels.len()));
            }
            let (label, probability) = head.judge(&scores);
            Ok(Said { label: &head.labels[label], confidence: Confidence::of(probability), head })
        }))
    }

    /// What models say of a text, in place of what rules said.
    fn judge(&self, pack: &str, text: &Text, triage: &mut Triage) -> Result<(), String> {
        let features = features::of(text, self.manifest.rows_log2);
        if let Some(said) = self.ask(Task::Person, pack, &features).transpose()?
            && said.label == "yes"
            && said.confidence >= said.head.route_from
        {
            triage.next = Next::Person;
            triage.reason = Reason::AskedForPerson;
        }
        // A script is certain; a model only tells apart what is written alike.
        if triage.language.value != Language::Zh
            && let Some(said) = self.ask(Task::Language, pack, &features).transpose()?
            && said.confidence >= said.head.route_from
        {
            triage.language = Judged { value: Language::named(said.label), confidence: said.confidence };
        }
        // A word that a rule knows as urgent stays urgent.
        if triage.urgency.value == Urgency::Normal
            && let Some(said) = self.ask(Task::Urgency, pack, &features).transpose()?
        {
            let high = said.label == "high" && said.confidence >= said.head.route_from;
            let value = if high { Urgency::High } else { Urgency::Normal };
            triage.urgency = Judged { value, confidence: said.confidence };
        }
        if let Some(said) = self.ask(Task::Sentiment, pack, &features).transpose()?
            && said.confidence >= said.head.route_from
        {
            let value = match said.label {
                "negative" => Sentiment::Negative,
                "positive" => Sentiment::Positive,
                _ => Sentiment::Neutral,
            };
            triage.sentiment = Judged { value, confidence: said.confidence };
        }
        let Some(said) = self.ask(Task::Intent, pack, &features).transpose()? else { return Ok(()) };
        triage.intent = Some(Judged { value: said.label.to_owned(), confidence: said.confidence });
        if triage.next != Next::Person {
            (triage.next, triage.reason) = if said.confidence >= said.head.route_from {
                (Next::Route(said.label.to_owned()), Reason::Sure)
            } else if said.confidence >= said.head.clarify_from {
                (Next::Clarify, Reason::Unsure)
            } else {
                (Next::Generalist, Reason::Unsure)
            };
        }
        Ok(())
    }
}

#[cfg(feature = "ai")]
fn open(dir: &Path, head: &Head) -> Result<Box<dyn Scores>, Error> {
    let bytes = head.read(dir)?;
    super::onnx::load(&bytes, head.labels.len()).map_err(|message| Error::Model { path: dir.join(&head.name), message })
}

#[cfg(not(feature = "ai"))]
fn open(dir: &Path, head: &Head) -> Result<Box<dyn Scores>, Error> {
    head.read(dir).and(Err(Error::NotBuilt))
}

/// What runs models in this process, in words.
#[must_use]
pub fn backend() -> &'static str {
    #[cfg(feature = "ai")]
    return super::onnx::name();
    #[cfg(not(feature = "ai"))]
    "none"
}

/// Judges a text by rules, and by models if there are any. `pack` names the intents that are told apart.
#[must_use]
pub fn triage(models: Option<&Models>, pack: &str, text: &Text) -> Triage {
    let by_rules = without_models(text, Reason::NoModel);
    let Some(models) = models.filter(|_| by_rules.reason != Reason::Empty) else { return by_rules };
    let mut triage = Triage { model: Some(models.hash()), fallback: false, ..by_rules.clone() };
    match models.judge(pack, text, &mut triage) {
        // Models without a head for these intents judged the rest; the intent is nobody's guess.
        Ok(()) => triage,
        Err(error) => {
            tracing::warn!(model = %models.hash(), %error, "a model failed, rules answer");
            let reason = if by_rules.reason == Reason::NoModel { Reason::ModelFailed } else { by_rules.reason };
            Triage { reason, ..by_rules }
        }
    }
}

/// What rules alone say of a text, and why they were alone.
pub(super) fn without_models(text: &Text, why: Reason) -> Triage {
    let rules = rules::judge(text);
    let (next, reason) = if rules.person {
        (Next::Person, Reason::AskedForPerson)
    } else if text.words().next().is_none() {
        (Next::Clarify, Reason::Empty)
    } else {
        (Next::Generalist, why)
    };
    Triage {
        language: rules.language,
        intent: None,
        urgency: rules.urgency,
        sentiment: rules.sentiment,
        next,
        reason,
        model: None,
        fallback: true,
        truncated: text.truncated(),
    }
}
