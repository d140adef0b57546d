//! One AI agent with one caller, from the offer to the end: when it speaks, when it listens, and when it must be silent.
//!
//! Pure: what happens comes in with the time, what is to be done comes out. Every state but the last has a deadline.

use std::time::{Duration, Instant};

use crate::{
    core::{
        assist::{Assisted, Cause, Line, Speaker, Turn},
        command::{HangUpCause, LegEvent},
        limits::LINES_MAX,
        party::Engage,
        policy::Words,
        time::WallTime,
    },
    sip::{
        brain::Answer,
        limits::{ANSWER_WITHIN, ENGAGED_WITHIN, LISTEN_FOR, SILENCES_MAX, SPEECH_MAX, SPOKEN_WITHIN},
    },
};

/// Something that happened to the conversation.
#[derive(Debug)]
pub(super) enum Input {
    /// The caller was put through: it hears us from here on.
    Converse,
    /// What we said is over.
    Spoken,
    /// There is no voice for it.
    NoVoice,
    /// The disclosure is on record.
    MaySpeak,
    Key(char),
    /// The caller begins to speak.
    Speaks,
    /// The caller said this.
    Heard(String),
    Answered(Box<Answer>),
    /// The clock.
    Tick,
}

/// Something to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Say this, in place of whatever is said.
    Say(Words),
    /// Be silent.
    Hush,
    Report(Box<LegEvent>),
    /// Find an answer to this.
    Think(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The contact is ours, and its caller not yet put through.
    Engaged,
    /// The caller hears what we are.
    Disclosing,
    /// It has heard it; the record of that is on its way.
    Disclosed,
    Speaking,
    /// The last words, before we hang up.
    Leaving,
    Listening,
    Thinking,
    /// A person is to take over. We are silent until we are taken from the call.
    Yielding,
    Over,
}

#[derive(Debug)]
pub(super) struct Session {
    engage: Engage,
    disclosure: Words,
    state: State,
    until: Instant,
    /// What the caller said while nobody could answer.
    pending: Option<String>,
    /// Times in a row that the caller said nothing.
    silences: u8,
    pub(super) history: Vec<Line>,
    out: Vec<Output>,
}

impl Session {
    /// Takes what is offered.
    pub(super) fn new(engage: Engage, disclosure: Words, now: Instant) -> Self {
        let (history, out) = (engage.transcript.clone(), vec![report(LegEvent::Assisted(Assisted::Engaged))]);
        Self { engage, disclosure, state: State::Engaged, until: now + ENGAGED_WITHIN, pending: None, silences: 0, history, out }
    }

    pub(super) const fn engage(&self) -> &Engage {
        &self.engage
    }

    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Whether the caller was put through.
    pub(super) fn is_heard(&self) -> bool {
        self.state != State::Engaged
    }

    pub(super) fn is_disclosing(&self) -> bool {
        self.state == State::Disclosing
    }

    pub(super) const fn until(&self) -> Instant {
        self.until
    }

    pub(super) fn input(&mut self, now: Instant, wall: WallTime, input: Input) -> Vec<Output> {
        match (self.state, input) {
            (State::Engaged, Input::Converse) => self.disclose(now),
            (State::Disclosing, Input::Spoken) => {
                self.enter(State::Disclosed, now, ENGAGED_WITHIN);
                self.report(Assisted::Disclosed);
            }
            // Whoever asks before it may answer is answered first.
            (State::Disclosing | State::Disclosed | State::Thinking, Input::Key(key)) => {
                self.pending = self.engage.assistant.keys.get(&key).cloned().or(self.pending.take());
            }
            (State::Disclosing | State::Disclosed | State::Thinking, Input::Heard(text)) => self.pending = Some(text),
            (State::Disclosing, Input::NoVoice) => self.leave(HangUpCause::EdgeFault),
            (State::Disclosed, Input::MaySpeak) => match self.pending.take() {
                Some(text) => self.think(now, text),
                None => self.greet(now, wall),
            },
            (State::Speaking, Input::Spoken) => match self.pending.take() {
                Some(text) => self.think(now, text),
                None => self.enter(State::Listening, now, LISTEN_FOR),
            },
            (State::Speaking | State::Listening, Input::Key(key)) => {
                // Whoever acts is listened to, at once.
                self.hush(now);
                if let Some(meaning) = self.engage.assistant.keys.get(&key).cloned() {
                    self.think(now, meaning);
                }
            }
            (State::Speaking | State::Listening, Input::Speaks) => {
                self.hush(now);
                self.until = now + SPOKEN_WITHIN;
            }
            (State::Speaking | State::Listening, Input::Heard(text)) => {
                self.hush(now);
                self.think(now, text);
            }
            (State::Thinking, Input::Answered(answer)) => self.answered(now, wall, *answer),
            (State::Leaving, Input::Spoken) => self.leave(HangUpCause::Bye),
            (_, Input::Tick) if now >= self.until => self.late(now, wall),
            // What comes too late or too early changes nothing.
            _ => {}
        }
        std::mem::take(&mut self.out)
    }

    /// What was to be done at the beginning.
    pub(super) fn begin(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.out)
    }

    fn enter(&mut self, state: State, now: Instant, within: Duration) {
        (self.state, self.until) = (state, now + within);
    }

    fn report(&mut self, event: Assisted) {
        self.out.push(report(LegEvent::Assisted(event)));
    }

    fn hush(&mut self, now: Instant) {
        if self.state == State::Speaking {
            self.out.push(Output::Hush);
        }
        self.silences = 0;
        self.enter(State::Listening, now, LISTEN_FOR);
    }

    fn disclose(&mut self, now: Instant) {
        self.enter(State::Disclosing, now, SPEECH_MAX);
        self.out.push(Output::Say(self.disclosure.clone()));
    }

    fn greet(&mut self, now: Instant, wall: WallTime) {
        let greeting = self.engage.assistant.greeting.clone();
        // One that goes on with a contact need not greet again.
        if greeting.is_empty() || !self.history.is_empty() {
            return self.enter(State::Listening, now, LISTEN_FOR);
        }
        let told = greeting.text.clone();
        self.say(now, wall, (greeting, told), Vec::new(), None, State::Speaking);
    }

    /// Says words, and reports them as they may be stored.
    fn say(
        &mut self,
        now: Instant,
        wall: WallTime,
        (words, told): (Words, String),
        sources: Vec<String>,
        helped: Option<bool>,
        then: State,
    ) {
        let line = Line { at: wall, who: Speaker::Assistant, text: told, judged: None, sources };
        self.remember(line.clone());
        self.report(Assisted::Turn(Box::new(Turn { line, wants: None, helped })));
        self.enter(then, now, SPEECH_MAX);
        self.out.push(Output::Say(words));
    }

    fn remember(&mut self, line: Line) {
        if self.history.len() >= LINES_MAX {
            self.history.remove(0);
        }
        self.history.push(line);
    }

    fn think(&mut self, now: Instant, text: String) {
        self.enter(State::Thinking, now, ANSWER_WITHIN);
        self.out.push(Output::Think(text));
    }

    fn answered(&mut self, now: Instant, wall: WallTime, answer: Answer) {
        let Answer { say, told, heard, judged, sources, wants, helped, done } = answer;
        let line = Line { at: wall, who: Speaker::Customer, text: heard, judged, sources: Vec::new() };
        self.remember(line.clone());
        self.report(Assisted::Turn(Box::new(Turn { line, wants, helped: None })));
        if wants.is_some() {
            return self.enter(State::Yielding, now, ENGAGED_WITHIN);
        }
        let then = if done.is_some() { State::Leaving } else { State::Speaking };
        self.say(now, wall, (say, told), sources, helped, then);
        if let Some(resolution) = done {
            self.report(Assisted::Resolved(resolution));
        }
    }

    fn leave(&mut self, cause: HangUpCause) {
        self.state = State::Over;
        self.out.push(report(LegEvent::HungUp { cause }));
    }

    /// What was to happen by now has not.
    fn late(&mut self, now: Instant, wall: WallTime) {
        match self.state {
            State::Listening if self.silences < SILENCES_MAX => {
                self.silences += 1;
                self.enter(State::Speaking, now, SPEECH_MAX);
                self.out.push(Output::Say(self.engage.assistant.greeting.clone()));
            }
            State::Listening => self.yields(now, wall, Cause::RepeatedFailure),
            // No answer is a failure like a bad one, and somebody waits.
            State::Thinking => self.yields(now, wall, Cause::LowConfidence),
            // A voice that never ends is cut.
            State::Speaking => self.hush(now),
            State::Leaving => self.leave(HangUpCause::Bye),
            State::Engaged | State::Disclosing | State::Disclosed | State::Yielding => self.leave(HangUpCause::EdgeFault),
            State::Over => {}
        }
    }

    fn yields(&mut self, now: Instant, wall: WallTime, cause: Cause) {
        let line = Line { at: wall, who: Speaker::Customer, text: String::new(), judged: None, sources: vec!["fallback".to_owned()] };
        self.report(Assisted::Turn(Box::new(Turn { line, wants: Some(cause), helped: Some(false) })));
        self.enter(State::Yielding, now, ENGAGED_WITHIN);
    }
}

fn report(event: LegEvent) -> Output {
    Output::Report(Box::new(event))
}

#[cfg(test)]
mod tests;
