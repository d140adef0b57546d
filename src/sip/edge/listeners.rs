//! What is said in calls that people have, written down for them: an utterance becomes a note, and an article that answers a
//! customer's becomes another.
//!
//! Whom to listen to is the plan's, and whether a note is still wanted is the core's: it refuses what comes after its owner is
//! another one. In between is a task for each owner, which takes one utterance after the other, so that notes keep their order.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::mpsc;

use super::{backend::Backend, metrics as names, worker::Worker};
use crate::{
    core::{
        Outcome,
        aid::{Aid, NewNote, Note, NoteKind},
        command::{Command, Envelope},
        id::{CallId, DomainId, Edge, LegId},
        limits::LINE_BYTES_MAX,
        policy::Assistant,
        time::WallTime,
    },
    sip::{
        brain::Brain,
        limits::{HEAR_WITHIN, LISTENERS_MAX, NOTED_PAUSE, NOTED_TIMEOUT, NOTED_TRIES_MAX, SUGGEST_WITHIN, UTTERANCES_WAITING_MAX},
    },
};

/// Something that was said, not yet understood.
#[derive(Debug)]
struct Utterance {
    seq: u64,
    kind: NoteKind,
    at: WallTime,
    /// 8 kHz, one channel.
    samples: Arc<[i16]>,
}

#[derive(Debug)]
struct Row {
    owner: LegId,
    aid: Arc<Aid>,
    utterances: mpsc::Sender<Utterance>,
}

/// By call, since a call has one owner.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    rows: BTreeMap<CallId, Row>,
    /// Counts utterances of this life of the node.
    seq: u64,
}

impl Listeners {
    pub(super) fn clear(&mut self) {
        self.rows.clear();
    }
}

impl Worker {
    /// A party of a call has spoken.
    pub(super) fn overheard(&mut self, leg: LegId, samples: &Arc<[i16]>) {
        let Some((domain, hearing)) = self.stack.hearing(leg) else { return };
        let Some(brain) = self.brain.as_ref().filter(|brain| brain.hears()) else { return };
        let owner = LegId { n: hearing.owner, ..leg };
        let kind = if leg == owner { NoteKind::Agent } else { NoteKind::Customer };
        // A note and what is suggested for it have two numbers.
        self.listeners.seq += 2;
        let utterance = Utterance { seq: self.listeners.seq, kind, at: WallTime(self.wall_ms()), samples: Arc::clone(samples) };
        let rows = &mut self.listeners.rows;
        let known = rows.get(&leg.call).filter(|row| row.owner == owner && row.aid == hearing.aid && !row.utterances.is_closed());
        if known.is_none() {
            if rows.len() >= LISTENERS_MAX && !rows.contains_key(&leg.call) {
                return metrics::counter!(names::UTTERANCES_LOST_TOTAL).increment(1);
            }
            let (utterances, waiting) = mpsc::channel(UTTERANCES_WAITING_MAX);
            let aid = Arc::clone(&hearing.aid);
            let scribe = Scribe::new(Arc::clone(brain), Arc::clone(&self.backend), domain.clone(), self.me, owner, &aid);
            tokio::spawn(scribe.run(waiting));
            rows.insert(leg.call, Row { owner, aid, utterances });
        }
        if rows[&leg.call].utterances.try_send(utterance).is_err() {
            metrics::counter!(names::UTTERANCES_LOST_TOTAL).increment(1);
        }
    }

    /// Lets go of owners who have their calls no more.
    pub(super) fn listeners_due(&mut self) {
        let stack = &self.stack;
        self.listeners.rows.retain(|_, row| stack.assists(row.owner));
    }
}

/// Writes down what is said in a call while one person has it.
struct Scribe {
    brain: Arc<dyn Brain>,
    backend: Arc<dyn Backend>,
    domain: DomainId,
    edge: Edge,
    owner: LegId,
    suggests: bool,
    /// What understands it and answers, by language and articles.
    assistant: Arc<Assistant>,
    /// What was suggested last: it is not said again in a row.
    suggested: String,
}

impl Scribe {
    fn new(brain: Arc<dyn Brain>, backend: Arc<dyn Backend>, domain: DomainId, edge: Edge, owner: LegId, aid: &Aid) -> Self {
        let assistant = Assistant { language: aid.language.clone(), knowledge: aid.knowledge.clone(), ..Assistant::default() };
        Self { brain, backend, domain, edge, owner, suggests: aid.suggest, assistant: Arc::new(assistant), suggested: String::new() }
    }

    /// Until nobody speaks to it any more, or the core wants no more of this owner's.
    async fn run(mut self, mut utterances: mpsc::Receiver<Utterance>) {
        while let Some(utterance) = utterances.recv().await {
            if !self.take(utterance).await {
                return;
            }
        }
    }

    /// False if nothing more is wanted.
    async fn take(&mut self, Utterance { seq, kind, at, samples }: Utterance) -> bool {
        let text = tokio::time::timeout(HEAR_WITHIN, self.brain.overhear(self.assistant.clone(), samples.to_vec())).await;
        let Some(text) = text.ok().flatten().filter(|text| !text.trim().is_empty()) else { return true };
        let mut line = text.clone();
        line.truncate(line.floor_char_boundary(LINE_BYTES_MAX));
        if !self.note(seq, kind, at, line, String::new()).await {
            return false;
        }
        if kind != NoteKind::Customer || !self.suggests {
            return true;
        }
        let found = tokio::time::timeout(SUGGEST_WITHIN, self.brain.suggest(self.assistant.clone(), text)).await;
        let Some(found) = found.ok().flatten().filter(|found| found.text != self.suggested) else { return true };
        self.suggested.clone_from(&found.text);
        self.note(seq + 1, NoteKind::Suggestion, at, found.text, found.source).await
    }

    /// Commits a note. One that cannot be committed in a while is lost: it would come too late to be of use.
    async fn note(&self, seq: u64, kind: NoteKind, at: WallTime, text: String, source: String) -> bool {
        let note = Note { n: 0, owner: self.owner.n, kind, at, text, source };
        let new = NewNote { domain: self.domain.clone(), call: self.owner.call, edge: self.edge, seq, note };
        let envelope = Envelope { request: None, command: Command::Note(Box::new(new)) };
        for _ in 0..NOTED_TRIES_MAX {
            match self.backend.command(self.domain.clone(), envelope.clone(), NOTED_TIMEOUT).await {
                Ok(Outcome::Rejected(reason)) => {
                    tracing::debug!(owner = %self.owner, %reason, "a note is not wanted");
                    return false;
                }
                Ok(_) => return true,
                Err(error) => tracing::debug!(owner = %self.owner, %error, "a note is not taken yet"),
            }
            tokio::time::sleep(NOTED_PAUSE).await;
        }
        metrics::counter!(names::UTTERANCES_LOST_TOTAL).increment(1);
        true
    }
}
