//! What AI agents of this node answer from: models, articles and rules, put together for the SIP edge.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use parking_lot::Mutex;
use tandem_cluster::BoxFuture;

use super::endpoints;
use crate::{
    ai::{
        Engine, Language, Options, Registry, Sentiment, Triage, Urgency,
        assistant::{Assistant, By, Handover, Line, Next, Reply, Rules},
        endpoint::LanguageModel,
        guard::{Disclosure, Jurisdiction, Topics, discloses, mask},
        knowledge::Knowledge,
        persona::Persona,
        speech::SpeechEngine,
    },
    config::node::Ai,
    core::{
        assist::{self, Cause, Judged, Resolution, Resolved, Speaker},
        policy::{self, Topic, Words},
    },
    sip::brain::{Answer, Brain, Said, Suggestion},
};

/// Assistants kept ready; tenants have few, and one that is not kept is made again.
const ASSISTANTS_KEPT: usize = 256;
/// How an assistant's line says that it was no answer, among its sources.
const NO_ANSWER: [&str; 2] = ["fallback", "clarify"];

/// What makes an assistant another one: pack, articles, language, matters left to people.
type Kind = (String, String, String, Arc<Vec<Topic>>);

pub(super) struct Minds {
    engine: Engine,
    knowledge: BTreeMap<String, Arc<Knowledge>>,
    model: Option<LanguageModel>,
    speech: Option<Arc<dyn SpeechEngine>>,
    kept: Mutex<BTreeMap<Kind, Arc<Assistant>>>,
}

impl Minds {
    /// Loads what the configuration names, models apart: those of the registry judge. What cannot be loaded is left out and told: calls are
    /// answered all the same.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(config: &Ai, registry: Arc<Registry>) -> std::io::Result<Self> {
        let engine = Engine::start(registry, &Options::default())?;
        let knowledge = config.knowledge.as_deref().map(articles).unwrap_or_default();
        let told = |what| move |error: &String| tracing::error!(%error, "{what} is not used");
        let model = config.language_model.as_ref().map(endpoints::language_model);
        let model = model.and_then(|model| model.inspect_err(told("the language model")).ok());
        let speech = config.speech.as_ref().map(endpoints::voice);
        let speech = speech.and_then(|speech| speech.inspect_err(told("the voice")).ok());
        Ok(Self { engine, knowledge, model, speech, kept: Mutex::default() })
    }

    fn assistant(&self, of: &policy::Assistant) -> Arc<Assistant> {
        let kind = (of.pack.clone(), of.knowledge.clone(), of.language.clone(), Arc::clone(&of.topics));
        let mut kept = self.kept.lock();
        if let Some(assistant) = kept.get(&kind) {
            return Arc::clone(assistant);
        }
        let mut persona = Persona::default();
        persona.language = language(&of.language);
        let rules = Rules { pack: of.pack.clone(), topics: topics(&of.topics), ..Rules::default() };
        let assistant = Assistant::new(self.engine.clone(), persona, rules);
        let assistant = match self.knowledge.get(&of.knowledge) {
            Some(knowledge) => assistant.with_knowledge(Arc::clone(knowledge)),
            None => assistant,
        };
        let assistant = match &self.model {
            Some(model) => assistant.with_model(model.clone()),
            None => assistant,
        };
        let assistant = Arc::new(assistant);
        // Those of policies that were published since would stay for ever otherwise.
        if kept.len() >= ASSISTANTS_KEPT {
            kept.clear();
        }
        kept.insert(kind, Arc::clone(&assistant));
        assistant
    }
}

/// A tenant's matters that are left to people.
fn topics(of: &[Topic]) -> Topics {
    let mut topics = Topics::default();
    for Topic { name, phrases } in of {
        if let Err(phrase) = topics.add(name, phrases.iter().map(String::as_str)) {
            tracing::error!(name, phrase, "a topic with this phrase is not heeded");
        }
    }
    topics
}

/// The articles of every folder below one.
fn articles(dir: &Path) -> BTreeMap<String, Arc<Knowledge>> {
    let folders = match fs::read_dir(dir) {
        Ok(folders) => folders,
        Err(error) => {
            tracing::error!(dir = %dir.display(), %error, "no articles");
            return BTreeMap::new();
        }
    };
    let mut found = BTreeMap::new();
    for folder in folders.filter_map(Result::ok).filter(|entry| entry.path().is_dir()) {
        let name = folder.file_name().to_string_lossy().into_owned();
        match Knowledge::read(&folder.path()) {
            Ok(knowledge) => drop(found.insert(name, Arc::new(knowledge))),
            Err(error) => tracing::error!(%name, %error, "these articles are not used"),
        }
    }
    found
}

fn language(code: &str) -> Language {
    match code {
        "zh" => Language::Zh,
        "es" => Language::Es,
        _ => Language::En,
    }
}

impl Brain for Minds {
    fn disclosure(&self, assistant: &policy::Assistant) -> Words {
        let own = &assistant.disclosure;
        if own.prompt.is_some() || discloses(language(&assistant.language), &own.text) {
            return own.clone();
        }
        // Words that do not say it are said after those that do.
        let shipped = Disclosure::shipped(Jurisdiction::default(), language(&assistant.language)).text;
        let text = if own.text.is_empty() { shipped } else { format!("{shipped} {}", own.text) };
        Words { text, prompt: None }
    }

    fn answer(&self, said: Said) -> BoxFuture<Answer> {
        let assistant = self.assistant(&said.assistant);
        Box::pin(async move {
            let history: Vec<_> = said.history.iter().map(remembered).collect();
            let contact = said.call.0.to_be_bytes();
            let reply = assistant.reply(&contact, &history, &said.text).await;
            answer(&said, reply)
        })
    }

    fn voice(&self, of: Arc<policy::Assistant>, text: String) -> BoxFuture<Option<Arc<[i16]>>> {
        match self.speech.clone() {
            Some(engine) => Box::pin(endpoints::say(engine, text, language(&of.language))),
            None => Box::pin(async { None }),
        }
    }

    fn hears(&self) -> bool {
        self.speech.is_some()
    }

    fn hear(&self, of: Arc<policy::Assistant>, samples: Vec<i16>) -> BoxFuture<Option<String>> {
        match self.speech.clone() {
            Some(engine) => Box::pin(endpoints::hear(engine, samples, language(&of.language))),
            None => Box::pin(async { None }),
        }
    }

    fn overhear(&self, of: Arc<policy::Assistant>, samples: Vec<i16>) -> BoxFuture<Option<String>> {
        let heard = self.hear(of, samples);
        Box::pin(async move { heard.await.map(|text| mask(&text)) })
    }

    fn suggest(&self, of: Arc<policy::Assistant>, text: String) -> BoxFuture<Option<Suggestion>> {
        let knowledge = self.knowledge.get(&of.knowledge).cloned();
        Box::pin(async move {
            let knowledge = knowledge?;
            let passage = knowledge.search(language(&of.language), &text).first()?.passage;
            Some(Suggestion { text: passage.text.clone(), source: passage.source() })
        })
    }
}

/// A line of the contact as an assistant knows it.
fn remembered(line: &assist::Line) -> Line {
    match line.who {
        Speaker::Customer => Line::customer(&line.text),
        // A person who had the contact before: nothing it wrote asked to be said again.
        Speaker::Person => Line::assistant(&line.text, true),
        Speaker::Assistant => {
            let helped = !line.sources.iter().any(|source| NO_ANSWER.contains(&source.as_str()));
            Line::assistant(&line.text, helped)
        }
    }
}

fn answer(said: &Said, reply: Reply) -> Answer {
    let tag = match (reply.by, &reply.next) {
        (By::Fallback, _) => "fallback",
        (_, Next::Clarify) => "clarify",
        (By::Knowledge, _) => "knowledge",
        (By::Model, _) => "model",
        (By::Rules, _) => "rules",
    };
    let helped = match reply.next {
        Next::Continue | Next::Clarify => Some(reply.helped()),
        Next::Person { .. } | Next::Done => None,
    };
    let angry = reply.triage.sentiment.value == Sentiment::Negative && was_angry(&said.history);
    let wants = match &reply.next {
        Next::Person { reason } => Some(cause(reason)),
        _ if angry => Some(Cause::Anger),
        _ => None,
    };
    let topic = match &reply.next {
        Next::Person { reason: Handover::Topic(topic) } => Some(format!("topic:{}", topic.0)),
        _ => None,
    };
    let answered = said.history.iter().any(|line| line.sources.iter().any(|source| source == "knowledge" || source == "model"));
    let done = (reply.next == Next::Done).then(|| Resolution {
        resolved: if answered { Resolved::Yes } else { Resolved::Unknown },
        confidence: if answered { 700 } else { 500 },
        reason: "the customer said goodbye".to_owned(),
    });
    Answer {
        told: mask(&reply.say),
        say: Words { text: reply.say, prompt: None },
        heard: mask(&said.text),
        judged: Some(judged(&reply.triage)),
        sources: std::iter::once(tag.to_owned()).chain(topic).chain(reply.sources).collect(),
        wants,
        helped,
        done,
    }
}

/// The customer's last line was angry, too: one harsh word is none yet.
fn was_angry(history: &[assist::Line]) -> bool {
    let last = history.iter().rev().find(|line| line.who == Speaker::Customer);
    last.and_then(|line| line.judged.as_ref()).is_some_and(|judged| judged.sentiment == Sentiment::Negative.name())
}

fn cause(reason: &Handover) -> Cause {
    match reason {
        Handover::Asked => Cause::Asked,
        Handover::Topic(_) => Cause::ForbiddenTopic,
        Handover::Urgent => Cause::Urgent,
        Handover::Intent(_) => Cause::Intent,
        Handover::Model => Cause::LowConfidence,
        Handover::Unanswered | Handover::TooLong | Handover::Failed => Cause::RepeatedFailure,
    }
}

fn judged(triage: &Triage) -> Judged {
    Judged {
        language: triage.language.value.code().to_owned(),
        intent: triage.intent.as_ref().map(|intent| intent.value.clone()),
        confidence: triage.intent.as_ref().map_or(0, |intent| intent.confidence.0),
        urgent: triage.urgency.value == Urgency::High,
        sentiment: triage.sentiment.value.name().to_owned(),
        model: cited(triage),
        fallback: triage.fallback,
    }
}

/// The hash of the models, and behind a `+` that of the embedding that helped them.
fn cited(triage: &Triage) -> String {
    let hashes = triage.model.iter().chain(&triage.embedding);
    hashes.map(ToString::to_string).collect::<Vec<_>>().join("+")
}

#[cfg(test)]
mod tests;
