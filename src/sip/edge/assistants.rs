//! The AI agents of this edge: a conversation each, on the caller's leg, until that leg is ordered something else.
//!
//! That is the fence. Whoever comes next is ordered on the same leg of the same edge, or on another edge once this one's lease is
//! over, and from the moment this edge performs it no sample of the agent goes out.

mod session;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use super::{inbox::Finding, metrics as names, worker::Worker};
use crate::{
    core::{
        assist::Assisted,
        command::{LegEvent, LegReport},
        effect::{Action, Order},
        id::{CallId, DomainId, EffectId, LegId},
        party::{Engage, Target},
        policy::Words,
        time::WallTime,
    },
    media::{Item, Program, Tone},
    sip::{
        brain::{Answer, Said},
        limits::{ANSWER_WITHIN, ASSISTANTS_MAX, HEAR_WITHIN, VOICE_WITHIN},
    },
};

use session::{Input, Output, Session};

/// What stands for words that there is no voice for: the caller hears that something is there.
const INSTEAD: Item = Item::Tone(Tone::Comfort, std::time::Duration::from_secs(1));

/// What was found for a conversation, beside the worker.
#[derive(Debug)]
pub(super) enum Found {
    Answer(Box<Answer>),
    /// Audio of words; none if there is no voice.
    Voice(Option<Arc<[i16]>>),
    /// What the caller said; none if nobody can tell.
    Said(Option<String>),
}

#[derive(Debug)]
struct Row {
    leg: LegId,
    /// The latest order that it goes by; an older one for its caller came late.
    order: EffectId,
    domain: DomainId,
    caller: LegId,
    session: Session,
    seq: u32,
    /// Counts what was asked for: what was found for an earlier step is not wanted any more.
    step: u64,
}

/// By call, since a call has one AI agent at most.
#[derive(Debug, Default)]
pub(super) struct Assistants {
    rows: BTreeMap<CallId, Row>,
    /// The last leg of an AI agent that was ended, by call: an order for it, or for one before, comes late.
    over: BTreeMap<CallId, u16>,
}

impl Assistants {
    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.over.clear();
    }

    fn ended(&mut self, leg: LegId) {
        if self.over.len() >= 4 * ASSISTANTS_MAX {
            // Ids begin with the time: the oldest calls go.
            self.over.pop_first();
        }
        self.over.insert(leg.call, leg.n);
    }

    fn is_over(&self, leg: LegId) -> bool {
        let live = self.rows.get(&leg.call).map(|row| row.leg.n);
        self.over.get(&leg.call).copied().max(live).is_some_and(|last| leg.n <= last)
    }
}

impl Worker {
    /// Performs what of an order concerns an AI agent. True if nobody else need see it.
    pub(super) fn assist(&mut self, now: Instant, order: &Order) -> bool {
        let call = order.leg.call;
        match &order.action {
            Action::Ring(ring) => match &ring.target {
                Target::Assistant(engage) => {
                    self.engage(now, order, engage);
                    true
                }
                Target::Contact { .. } | Target::Binding { .. } | Target::Trunk { .. } => false,
            },
            Action::Write(write) => {
                self.compose(order, write);
                true
            }
            Action::Speak => {
                self.converses(now, call, Some(order.leg), Input::MaySpeak);
                true
            }
            Action::HangUp { .. } if self.assistants.rows.get(&call).is_some_and(|row| row.leg == order.leg) => {
                self.fence(call);
                true
            }
            Action::Media(_) => false,
            // Another leg of the call: of a phone, say.
            _ if self.assistants.rows.get(&call).is_none_or(|row| row.caller != order.leg || order.id < row.order) => false,
            // The caller is answered first.
            Action::Converse { .. } => false,
            _ => {
                self.fence(call);
                false
            }
        }
    }

    /// The caller was put through to an AI agent.
    pub(super) fn put_through(&mut self, now: Instant, order: &Order) {
        if let Action::Converse { peer } = &order.action {
            if let Some(row) = self.assistants.rows.get_mut(&peer.call).filter(|row| row.leg == *peer) {
                row.order = row.order.max(order.id);
                if self.brain.as_ref().is_some_and(|brain| brain.hears()) {
                    self.media.own.listen(order.leg, true);
                }
                self.converses(now, peer.call, Some(*peer), Input::Converse);
            } else {
                // It was here and is not any more: the core must hear so, or the caller waits for words that never come.
                let event = LegEvent::HungUp { cause: crate::core::command::HangUpCause::EdgeFault };
                self.report(LegReport { domain: order.domain.clone(), leg: *peer, edge: self.me, seq: u32::MAX, event });
            }
        }
    }

    fn engage(&mut self, now: Instant, order: &Order, engage: &Engage) {
        if let Some(row) = self.assistants.rows.get(&order.leg.call).filter(|row| row.leg == order.leg) {
            // Whoever repeats the offer may not have heard that it is taken.
            let event = LegEvent::Assisted(Assisted::Engaged);
            let report = LegReport { domain: row.domain.clone(), leg: row.leg, edge: self.me, seq: 1, event };
            return self.report(report);
        }
        if self.assistants.is_over(order.leg) {
            // It overtook nothing but its own end.
            return;
        }
        // Who could not say what it is must not answer.
        let able = self.brain.as_ref().map(|brain| (brain.disclosure(&engage.assistant), brain.hears()));
        let able = able.filter(|(disclosure, has_voice)| disclosure.prompt.is_some() || *has_voice);
        let Some((disclosure, _)) = able.filter(|_| self.assistants.rows.len() < ASSISTANTS_MAX) else {
            let event = LegEvent::Refused { status: 486, reason: "no room".to_owned(), contacts: Vec::new() };
            return self.report(LegReport { domain: order.domain.clone(), leg: order.leg, edge: self.me, seq: 1, event });
        };
        self.fence(order.leg.call);
        let session = Session::new(engage.clone(), disclosure, now);
        let caller = LegId::caller(order.leg.call);
        let mut row = Row { leg: order.leg, order: order.id, domain: order.domain.clone(), caller, session, seq: 0, step: 0 };
        let outputs = row.session.begin();
        self.assistants.rows.insert(order.leg.call, row);
        metrics::gauge!(names::ASSISTANTS).set(self.assistants.rows.len() as f64);
        self.carry_out(order.leg.call, outputs);
    }

    /// Ends what an AI agent says to a caller, here and now.
    fn fence(&mut self, call: CallId) {
        if let Some(row) = self.assistants.rows.remove(&call) {
            self.assistants.ended(row.leg);
            if row.session.is_heard() {
                self.media.own.stop(row.caller);
                self.media.own.listen(row.caller, false);
            }
            metrics::gauge!(names::ASSISTANTS).set(self.assistants.rows.len() as f64);
        }
    }

    /// Something happened in a conversation. `leg` must be its AI agent's, if given.
    fn converses(&mut self, now: Instant, call: CallId, leg: Option<LegId>, input: Input) {
        let wall = WallTime(self.wall_ms());
        let Some(row) = self.assistants.rows.get_mut(&call).filter(|row| leg.is_none_or(|leg| row.leg == leg)) else { return };
        let outputs = row.session.input(now, wall, input);
        self.carry_out(call, outputs);
        if self.assistants.rows.get(&call).is_some_and(|row| row.session.is_over()) {
            self.fence(call);
        }
    }

    fn carry_out(&mut self, call: CallId, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Report(event) => {
                    let Some(row) = self.assistants.rows.get_mut(&call) else { return };
                    row.seq += 1;
                    let report = LegReport { domain: row.domain.clone(), leg: row.leg, edge: self.me, seq: row.seq, event: *event };
                    self.report(report);
                }
                Output::Hush => {
                    let Some(row) = self.assistants.rows.get_mut(&call) else { return };
                    row.step += 1;
                    self.media.own.stop(row.caller);
                }
                Output::Say(words) => self.say(call, words),
                Output::Think(text) => self.think(call, text),
            }
        }
    }

    fn say(&mut self, call: CallId, words: Words) {
        let Some(row) = self.assistants.rows.get_mut(&call) else { return };
        row.step += 1;
        let (leg, step, caller) = (row.leg, row.step, row.caller);
        let Some(brain) = self.brain.clone().filter(|_| words.prompt.is_none() && !words.text.is_empty()) else {
            let item = words.prompt.map_or(INSTEAD, |name| Item::Prompt(name.into()));
            return self.media.own.play(caller, Program { items: vec![item], repeat: false });
        };
        let (assistant, shared) = (row.session.engage().assistant.clone(), self.shared.clone());
        tokio::spawn(async move {
            let voice = tokio::time::timeout(VOICE_WITHIN, brain.voice(assistant, words.text)).await.ok().flatten();
            shared.inbox.found(Finding::Assistant { leg, step, found: Found::Voice(voice) });
        });
    }

    fn think(&mut self, call: CallId, text: String) {
        let Some(brain) = self.brain.clone() else { return };
        let Some(row) = self.assistants.rows.get_mut(&call) else { return };
        row.step += 1;
        let (leg, step, engage) = (row.leg, row.step, row.session.engage());
        let said = Said {
            domain: row.domain.clone(),
            call,
            agent: engage.agent.clone(),
            assistant: engage.assistant.clone(),
            history: row.session.history.clone(),
            text,
        };
        let shared = self.shared.clone();
        tokio::spawn(async move {
            // One that is late is not waited for here: the session has the same deadline, and asks for a person.
            if let Ok(answer) = tokio::time::timeout(ANSWER_WITHIN, brain.answer(said)).await {
                shared.inbox.found(Finding::Assistant { leg, step, found: Found::Answer(Box::new(answer)) });
            }
        });
    }

    /// Work beside the worker came to something.
    pub(super) fn found_for(&mut self, now: Instant, leg: LegId, step: u64, found: Found) {
        let Some(row) = self.assistants.rows.get(&leg.call).filter(|row| row.leg == leg && row.step == step) else { return };
        match found {
            Found::Answer(answer) => self.converses(now, leg.call, Some(leg), Input::Answered(answer)),
            Found::Said(text) => {
                if let Some(text) = text.filter(|text| !text.trim().is_empty()) {
                    self.converses(now, leg.call, Some(leg), Input::Heard(text));
                }
            }
            Found::Voice(None) if row.session.is_disclosing() => self.converses(now, leg.call, Some(leg), Input::NoVoice),
            Found::Voice(voice) => {
                let item = voice.filter(|samples| !samples.is_empty()).map_or(INSTEAD, Item::Samples);
                self.media.own.play(row.caller, Program { items: vec![item], repeat: false });
            }
        }
    }

    /// A program to a caller ended. True if it was an AI agent's.
    pub(super) fn spoken(&mut self, now: Instant, caller: LegId) -> bool {
        let ours = self.assistants.rows.get(&caller.call).is_some_and(|row| row.caller == caller && row.session.is_heard());
        if ours {
            self.converses(now, caller.call, None, Input::Spoken);
        }
        ours
    }

    /// The caller begins to speak: whoever talks is not talked over.
    pub(super) fn speaks(&mut self, now: Instant, caller: LegId) {
        if self.assistants.rows.get(&caller.call).is_some_and(|row| row.caller == caller) {
            self.converses(now, caller.call, None, Input::Speaks);
        }
    }

    /// The caller has spoken: what it said is found out beside the worker.
    pub(super) fn uttered(&self, caller: LegId, samples: &[i16]) {
        let Some(row) = self.assistants.rows.get(&caller.call).filter(|row| row.caller == caller) else { return };
        let Some(brain) = self.brain.clone() else { return };
        let (leg, step, assistant) = (row.leg, row.step, row.session.engage().assistant.clone());
        let (shared, samples) = (self.shared.clone(), samples.to_vec());
        tokio::spawn(async move {
            let text = tokio::time::timeout(HEAR_WITHIN, brain.hear(assistant, samples)).await.ok().flatten();
            shared.inbox.found(Finding::Assistant { leg, step, found: Found::Said(text) });
        });
    }

    pub(super) fn key_pressed(&mut self, now: Instant, caller: LegId, key: char) {
        if self.assistants.rows.get(&caller.call).is_some_and(|row| row.caller == caller) {
            self.converses(now, caller.call, None, Input::Key(key));
        }
    }

    /// Lets deadlines of conversations pass.
    pub(super) fn assistants_due(&mut self, now: Instant) {
        let due = self.assistants.rows.iter().filter(|(_, row)| now >= row.session.until()).map(|(call, _)| *call);
        for call in due.collect::<Vec<_>>() {
            self.converses(now, call, None, Input::Tick);
        }
    }
}
