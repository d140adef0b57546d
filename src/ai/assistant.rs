//! One conversation's brain: what a customer said goes in, what to say and what happens next comes out.
//!
//! It owns the order in which things are tried: a person where one is wanted or needed, then the articles, then a language model, then a
//! question back, at most twice. It knows no call, leg or node, keeps nothing between two turns, and never fails: whoever asks gets
//! something to say.

mod prompt;
mod reply;

use std::sync::Arc;

pub use reply::{By, Greeting, Handover, Line, Next, Reply};

use super::{
    endpoint::{Failure, LanguageModel},
    engine::Engine,
    guard::{Topic, Topics},
    knowledge::{Hit, Knowledge, SURE_FROM},
    limits::{ASSISTANT_TURNS_MAX, CLARIFY_MAX, LINES_MAX},
    persona::{Persona, Phrase},
    rules::{self, Page},
    text::Text,
    verdict::{Language, Next as Triaged, Reason, Triage, Urgency},
    words,
};

/// What a tenant decides of its assistant.
#[derive(Default)]
pub struct Rules {
    /// Pack of intents that triage tells apart.
    pub pack: String,
    /// Matters left to people, beside the shipped ones.
    pub topics: Topics,
    /// Intents that go to a person at once.
    pub person_intents: Vec<String>,
}

/// Answers turns of conversations, any number at a time. Made once for a version of persona, articles and rules; a conversation that holds
/// it goes on with that version.
pub struct Assistant {
    engine: Engine,
    knowledge: Option<Arc<Knowledge>>,
    model: Option<LanguageModel>,
    persona: Persona,
    rules: Rules,
}

/// A decision before it is put into words for the caller.
struct Decision {
    next: Next,
    by: By,
    say: String,
    sources: Vec<String>,
    tools: Vec<String>,
    failure: Option<Failure>,
}

/// One turn, as far as it was understood.
struct Turn<'a> {
    contact: &'a [u8],
    history: &'a [Line],
    text: Text,
    language: Language,
    triage: Triage,
    /// Turns in a row, up to this one, that did not help.
    unhelped: usize,
}

impl Assistant {
    /// An assistant that hears what is wanted and answers nothing; what it answers from is added to it.
    #[must_use]
    pub fn new(engine: Engine, persona: Persona, rules: Rules) -> Self {
        Self { engine, knowledge: None, model: None, persona, rules }
    }

    /// Lets it answer from articles.
    #[must_use]
    pub fn with_knowledge(self, knowledge: Arc<Knowledge>) -> Self {
        Self { knowledge: Some(knowledge), ..self }
    }

    /// Lets it ask a language model where articles have no sure answer.
    #[must_use]
    pub fn with_model(self, model: LanguageModel) -> Self {
        Self { model: Some(model), ..self }
    }

    #[must_use]
    pub fn persona(&self) -> &Persona {
        &self.persona
    }

    /// The first thing it says: that it is a machine, then the greeting. Said again when a person gives a conversation back.
    #[must_use]
    pub fn greeting(&self, language: Language) -> Greeting {
        let disclosure = self.persona.disclosure(language);
        let say = format!("{} {}", disclosure.text, self.persona.say(disclosure.language, Phrase::Greeting));
        Greeting { say, disclosure }
    }

    /// Answers what was said. `contact` names the conversation, so that one version of the models judges all of it; `history` is what was said
    /// before, the oldest first. It takes no longer than the deadlines of triage and of the language model together.
    pub async fn reply(&self, contact: &[u8], history: &[Line], said: &str) -> Reply {
        let triage = self.engine.judge(contact, &self.rules.pack, said.as_bytes()).await;
        let history = &history[history.len().saturating_sub(LINES_MAX)..];
        let language = self.language(&triage, history);
        let unhelped = history.iter().rev().filter_map(Line::helped).take_while(|helped| !helped).count();
        let turn = Turn { contact, history, text: Text::read(said.as_bytes()), language, triage, unhelped };
        let Decision { next, by, say, sources, tools, failure } = self.decide(&turn, said).await;
        let knowledge = self.knowledge.as_ref().map(|knowledge| knowledge.hash());
        let persona = (self.persona.name.clone(), self.persona.version);
        Reply { say, language, next, by, sources, tools, failure, triage: turn.triage, persona, knowledge }
    }

    /// The language of this turn; of a turn too short to tell, the one spoken before.
    fn language(&self, triage: &Triage, history: &[Line]) -> Language {
        let before = || {
            let customers = history.iter().rev().filter(|line| line.helped().is_none());
            customers.map(|line| rules::judge(&Text::read(line.text().as_bytes())).language.value).find(|of| *of != Language::Unknown)
        };
        let now = Some(triage.language.value).filter(|of| *of != Language::Unknown);
        self.persona.speaks(now.or_else(before).unwrap_or(Language::Unknown))
    }

    async fn decide(&self, turn: &Turn<'_>, said: &str) -> Decision {
        if let Some(decision) = self.person_first(turn) {
            return decision;
        }
        if turn.greets() {
            return self.phrase(turn, Phrase::Greeting, Next::Clarify);
        }
        let hits = match &self.knowledge {
            Some(knowledge) => knowledge.search(turn.language, turn.text.as_str()),
            None => Vec::new(),
        };
        match hits.first() {
            Some(hit) if hit.confidence >= SURE_FROM => return self.quote(turn, hit, By::Knowledge),
            None if turn.ends() => return self.phrase(turn, Phrase::Goodbye, Next::Done),
            None if turn.takes_note() => return self.phrase(turn, Phrase::More, Next::Continue),
            _ => {}
        }
        let failure = match &self.model {
            // Silence is no question.
            Some(model) if turn.triage.reason != Reason::Empty => match self.ask(model, turn, said, &hits).await {
                Ok(decision) => return decision,
                Err(failure) => Some(failure),
            },
            _ => None,
        };
        Decision { failure, ..self.without_answer(turn, &hits, failure.is_some()) }
    }

    /// Lets the language model answer, with what may have to do with the question. What it may not say is not said.
    async fn ask(&self, model: &LanguageModel, turn: &Turn<'_>, said: &str, hits: &[Hit<'_>]) -> Result<Decision, Failure> {
        let answer = model.answer(&prompt::of(&self.persona, turn, said, hits)).await?;
        if self.rules.topics.said(&Text::read(answer.say.as_bytes())).is_some() {
            return Err(Failure::Forbidden);
        }
        let tools = answer.tools;
        if answer.person {
            return Ok(Decision { tools, ..self.person(turn, Handover::Model) });
        }
        let sources = hits.iter().map(|hit| hit.passage.source()).collect();
        Ok(Decision { next: Next::Continue, by: By::Model, say: answer.say, sources, tools, failure: None })
    }

    /// Whether a person takes over whatever could be answered.
    fn person_first(&self, turn: &Turn<'_>) -> Option<Decision> {
        let intent = turn.triage.intent.as_ref().map(|intent| intent.value.as_str());
        let reason = if turn.triage.next == Triaged::Person {
            Handover::Asked
        } else if let Some(topic) = self.rules.topics.asked(&turn.text) {
            Handover::Topic(topic)
        } else if let (Triaged::Route(_), Some(intent)) = (&turn.triage.next, intent)
            && self.rules.person_intents.iter().any(|of| of == intent)
        {
            Handover::Intent(intent.to_owned())
        } else if turn.history.iter().filter(|line| line.helped().is_some()).count() >= ASSISTANT_TURNS_MAX {
            Handover::TooLong
        } else {
            return None;
        };
        Some(self.person(turn, reason))
    }

    fn person(&self, turn: &Turn<'_>, reason: Handover) -> Decision {
        let danger = reason == Handover::Topic(Topic("danger".to_owned()));
        self.phrase(turn, if danger { Phrase::Danger } else { Phrase::Person }, Next::Person { reason })
    }

    fn phrase(&self, turn: &Turn<'_>, phrase: Phrase, next: Next) -> Decision {
        Decision {
            next,
            by: By::Rules,
            say: self.persona.say(turn.language, phrase),
            sources: Vec::new(),
            tools: Vec::new(),
            failure: None,
        }
    }

    /// Says a passage as its author wrote it. To whoever was told it a moment ago it is no help a second time.
    fn quote(&self, turn: &Turn<'_>, hit: &Hit<'_>, by: By) -> Decision {
        let passage = hit.passage;
        let say = match by {
            By::Fallback => format!("{} {}", self.persona.say(turn.language, Phrase::Near), passage.text),
            _ => passage.text.clone(),
        };
        let last = turn.history.iter().rev().find(|line| line.helped().is_some());
        if last.is_some_and(|line| line.text().ends_with(&super::guard::mask(&passage.text))) {
            return self.person(turn, Handover::Unanswered);
        }
        Decision { next: Next::Continue, by, say, sources: vec![passage.source()], tools: Vec::new(), failure: None }
    }

    /// Nothing is surely right: what may help, a question back, or a person once that did not help twice or cannot wait.
    fn without_answer(&self, turn: &Turn<'_>, hits: &[Hit<'_>], failed: bool) -> Decision {
        if turn.unhelped >= CLARIFY_MAX {
            return self.person(turn, Handover::Unanswered);
        }
        match (&turn.triage.next, hits.first()) {
            _ if turn.triage.urgency.value == Urgency::High => self.person(turn, Handover::Urgent),
            (_, Some(near)) => self.quote(turn, near, By::Fallback),
            // Nobody is asked to say it again because a machine failed.
            _ if failed => self.person(turn, Handover::Failed),
            // What it is about is known, and nothing is written about it: asking again would not help.
            (Triaged::Route(intent), None) => self.person(turn, Handover::Intent(intent.clone())),
            _ => self.phrase(turn, Phrase::Clarify(turn.unhelped), Next::Clarify),
        }
    }
}

impl Turn<'_> {
    /// A greeting and nothing else. One may go on and on, so that it counts as a question back.
    fn greets(&self) -> bool {
        self.unhelped < CLARIFY_MAX && self.triage.reason != Reason::Empty && self.text.words().all(|word| words::HELLO.contains(&word))
    }

    /// A farewell, to somebody who was answered before.
    fn ends(&self) -> bool {
        let answered = self.history.iter().any(|line| line.helped() == Some(true));
        answered && self.is_short() && (Page::of(&self.text).holds_any(words::FAREWELL) || words::NO.contains(&self.only()))
    }

    /// "Thanks", right after an answer.
    fn takes_note(&self) -> bool {
        let answered = self.history.iter().rev().find_map(Line::helped) == Some(true);
        answered && self.is_short() && Page::of(&self.text).holds_any(words::NOTED)
    }

    fn is_short(&self) -> bool {
        self.text.words().count() <= 6 && self.text.as_str().chars().count() <= 40
    }

    /// The only word; nothing where there are several.
    fn only(&self) -> &str {
        let mut words = self.text.words();
        words.next().filter(|_| words.next().is_none()).unwrap_or_default()
    }
}
