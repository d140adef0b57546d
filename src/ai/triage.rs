//! One text to one answer: rules and models put together, and abstention. It owns no thread and no file.

use std::{path::Path, sync::Arc};

use super::{
    features::{self, Features},
    manifest::{Error, Head, Manifest, Task},
    rules,
    sentences::{Embedding, Refines},
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
    pub(super) meaning: Option<Meaning>,
}

/// An embedding model, and the heads of a version that take its vectors.
pub(super) struct Meaning {
    pub(super) embedding: Arc<Embedding>,
    pub(super) heads: Vec<(Head, Box<dyn Refines>)>,
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
        Ok(Self { manifest, heads, meaning: None })
    }

    /// Version and hash of a directory's models, as its `manifest.toml` says. Whether its files are what that names is found out by loading them.
    ///
    /// # Errors
    /// When the manifest cannot be read or is none.
    pub fn peek(dir: &Path) -> Result<(String, Hash), Error> {
        Manifest::read(dir).map(|manifest| (manifest.version, manifest.hash))
    }

    /// Lets these models, read from `dir`, tell intents by the meaning of a sentence as well, and says whether they have heads for that
    /// embedding. Without any, or after an error, they answer as before.
    ///
    /// # Errors
    /// When a head that belongs to the embedding cannot be loaded.
    pub fn embed(&mut self, dir: &Path, embedding: Arc<Embedding>) -> Result<bool, Error> {
        let hash = embedding.hash().to_string();
        let mine = self.manifest.refined.iter().filter(|head| head.embedding.as_ref() == Some(&hash));
        let heads =
            mine.map(|head| open_refined(dir, head, &embedding).map(|opened| (head.clone(), opened))).collect::<Result<Vec<_>, _>>()?;
        self.meaning = (!heads.is_empty()).then_some(Meaning { embedding, heads });
        Ok(self.meaning.is_some())
    }

    /// The embedding that intents of a pack are told by as well.
    #[must_use]
    pub fn embedding(&self, pack: &str) -> Option<&Embedding> {
        let meaning = self.meaning.as_ref()?;
        meaning.heads.iter().any(|(head, _)| head.pack == pack).then_some(&*meaning.embedding)
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
        let (head, scores) = self.scores(task, pack, features)?;
        Some(scores.map(|scores| said(head, &scores)))
    }

    fn scores(&self, task: Task, pack: &str, features: &Features) -> Option<(&Head, Result<Vec<f32>, String>)> {
        let at = self.manifest.heads.iter().position(|head| head.task == task && (task != Task::Intent || head.pack == pack))?;
        let head = &self.manifest.heads[at];
        Some((head, self.heads[at].scores(features).and_then(|scores| sound(head, scores))))
    }

    /// The intent, by meaning as well where that is possible, and the embedding it was told by. An embedding that fails costs its text the
    /// meaning, not the intent.
    fn intent(&self, pack: &str, text: &Text, features: &Features) -> Result<Option<(Said<'_>, Option<Hash>)>, String> {
        let Some((head, scores)) = self.scores(Task::Intent, pack, features) else { return Ok(None) };
        let scores = scores?;
        let refined = self.meaning.as_ref().and_then(|meaning| meaning.refine(pack, text, &scores));
        Ok(Some(match refined {
            Some(Ok((said, hash))) => (said, Some(hash)),
            Some(Err(error)) => {
                tracing::warn!(model = %self.hash(), %error, "an embedding failed, words alone tell the intent");
                (said(head, &scores), None)
            }
            None => (said(head, &scores), None),
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
        let Some((said, embedding)) = self.intent(pack, text, &features)? else { return Ok(()) };
        triage.embedding = embedding;
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

impl Meaning {
    /// Better scores than a head's, and whose; none where no head takes vectors for these intents.
    fn refine(&self, pack: &str, text: &Text, scores: &[f32]) -> Option<Result<(Said<'_>, Hash), String>> {
        let (head, refines) = self.heads.iter().find(|(head, _)| head.pack == pack)?;
        let refined = self.embedding.model.vector(text).and_then(|vector| refines.scores(scores, &vector));
        Some(refined.and_then(|scores| sound(head, scores)).map(|scores| (said(head, &scores), self.embedding.hash())))
    }
}

/// Scores that are one number a label.
fn sound(head: &Head, scores: Vec<f32>) -> Result<Vec<f32>, String> {
    if scores.len() == head.labels.len() && scores.iter().all(|score| score.is_finite()) {
        Ok(scores)
    } else {
        Err(format!("{}: {} scores for {} labels, or not numbers", head.name, scores.len(), head.labels.len()))
    }
}

fn said<'a>(head: &'a Head, scores: &[f32]) -> Said<'a> {
    let (label, probability) = head.judge(scores);
    Said { label: &head.labels[label], confidence: Confidence::of(probability), head }
}

#[cfg(feature = "ai")]
fn open_refined(dir: &Path, head: &Head, embedding: &Embedding) -> Result<Box<dyn Refines>, Error> {
    let bytes = head.read(dir)?;
    let wrong = |message| Error::Model { path: dir.join(&head.name), message };
    let dimensions = embedding.model.vector(&Text::read(b"how many numbers")).map_err(wrong)?.len();
    super::onnx::load_refining(&bytes, head.labels.len(), dimensions).map_err(wrong)
}

#[cfg(not(feature = "ai"))]
fn open_refined(dir: &Path, head: &Head, _: &Embedding) -> Result<Box<dyn Refines>, Error> {
    head.read(dir).and(Err(Error::NotBuilt))
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
        embedding: None,
        fallback: true,
        truncated: text.truncated(),
    }
}
