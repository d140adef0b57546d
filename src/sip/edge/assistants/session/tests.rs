//! What an AI agent says, hears and reports, in the order of what happens to it.

use std::sync::Arc;

use super::*;
use crate::core::{
    assist::{Resolution, Resolved},
    policy::Assistant,
};

struct Talk {
    session: Session,
    now: Instant,
}

fn words(text: &str) -> Words {
    Words { text: text.into(), prompt: None }
}

impl Talk {
    fn new(transcript: Vec<Line>) -> Self {
        let assistant = Assistant { greeting: words("hello"), keys: [('0', "a person, please".to_owned())].into(), ..Assistant::default() };
        let now = Instant::now();
        let mut session = Session::new(Engage { agent: "ai".into(), assistant: Arc::new(assistant), transcript }, words("no person"), now);
        assert_eq!(session.begin(), [report(LegEvent::Assisted(Assisted::Engaged))]);
        Self { session, now }
    }

    fn input(&mut self, input: Input) -> Vec<Output> {
        self.session.input(self.now, WallTime(7), input)
    }

    fn after(&mut self, wait: Duration) -> Vec<Output> {
        self.now += wait;
        self.input(Input::Tick)
    }

    /// Said what it is, and listens.
    fn listening() -> Self {
        let mut talk = Self::new(Vec::new());
        assert_eq!(talk.input(Input::Converse), [Output::Say(words("no person"))]);
        assert_eq!(talk.input(Input::Spoken), [report(LegEvent::Assisted(Assisted::Disclosed))]);
        assert_eq!(said(&talk.input(Input::MaySpeak)), ["hello"]);
        talk.input(Input::Spoken);
        talk
    }
}

fn said(outputs: &[Output]) -> Vec<&str> {
    let mut texts = Vec::new();
    for output in outputs {
        if let Output::Say(words) = output {
            texts.push(words.text.as_str());
        }
    }
    texts
}

fn turns(outputs: &[Output]) -> Vec<(Speaker, Option<Cause>)> {
    let mut turns = Vec::new();
    for output in outputs {
        if let Output::Report(event) = output
            && let LegEvent::Assisted(Assisted::Turn(turn)) = &**event
        {
            turns.push((turn.line.who, turn.wants));
        }
    }
    turns
}

fn ended(outputs: &[Output]) -> Option<HangUpCause> {
    outputs.iter().find_map(|output| match output {
        Output::Report(event) => match &**event {
            LegEvent::HungUp { cause } => Some(*cause),
            _ => None,
        },
        _ => None,
    })
}

#[test]
fn nothing_but_the_disclosure_is_said_before_it_is_on_record() {
    let mut talk = Talk::new(Vec::new());
    for early in [Input::MaySpeak, Input::Key('0'), Input::Heard("hi".into()), Input::Spoken] {
        assert_eq!(talk.input(early), []);
    }
    assert_eq!(said(&talk.input(Input::Converse)), ["no person"]);
    for early in [Input::MaySpeak, Input::Key('5'), Input::Answered(Box::default())] {
        assert_eq!(talk.input(early), []);
    }
    talk.input(Input::Spoken);
    assert_eq!(said(&talk.input(Input::MaySpeak)), ["hello"]);
}

#[test]
fn a_key_stops_what_is_said_and_is_what_it_means() {
    let mut talk = Talk::listening();
    talk.input(Input::Heard("my card".into()));
    talk.input(Input::Answered(Box::new(Answer { say: words("a long answer"), ..Answer::default() })));
    assert_eq!(talk.input(Input::Key('5')), [Output::Hush], "one that means nothing");
    assert_eq!(talk.input(Input::Key('0')), [Output::Think("a person, please".into())]);
}

#[test]
fn whoever_wants_a_person_hears_nothing_more_from_it() {
    let mut talk = Talk::listening();
    talk.input(Input::Heard("a person".into()));
    let outputs =
        talk.input(Input::Answered(Box::new(Answer { say: words("but I could"), wants: Some(Cause::Asked), ..Answer::default() })));
    assert_eq!((said(&outputs), turns(&outputs)), (vec![], vec![(Speaker::Customer, Some(Cause::Asked))]));
    assert_eq!(talk.input(Input::Heard("hello?".into())), []);
    assert_eq!(ended(&talk.after(ENGAGED_WITHIN)), Some(HangUpCause::EdgeFault), "nobody fenced it, so it is lost");
    assert!(talk.session.is_over());
}

#[test]
fn a_settled_matter_ends_with_the_last_words() {
    let mut talk = Talk::listening();
    talk.input(Input::Heard("thanks".into()));
    let done = Some(Resolution { resolved: Resolved::Yes, confidence: 900, reason: "thanks".into() });
    let outputs = talk.input(Input::Answered(Box::new(Answer { say: words("bye"), done, ..Answer::default() })));
    assert_eq!((said(&outputs), ended(&outputs)), (vec!["bye"], None));
    assert_eq!(ended(&talk.input(Input::Spoken)), Some(HangUpCause::Bye));
}

#[test]
fn who_says_nothing_is_asked_again_and_then_given_to_a_person() {
    let mut talk = Talk::listening();
    for _ in 0..SILENCES_MAX {
        assert_eq!(said(&talk.after(LISTEN_FOR)), ["hello"]);
        talk.input(Input::Spoken);
    }
    assert_eq!(turns(&talk.after(LISTEN_FOR)), [(Speaker::Customer, Some(Cause::RepeatedFailure))]);
}

#[test]
fn an_answer_that_does_not_come_brings_a_person_and_is_not_said_later() {
    let mut talk = Talk::listening();
    talk.input(Input::Heard("my card".into()));
    assert_eq!(turns(&talk.after(ANSWER_WITHIN)), [(Speaker::Customer, Some(Cause::LowConfidence))]);
    assert_eq!(talk.input(Input::Answered(Box::new(Answer { say: words("late"), ..Answer::default() }))), []);
}

#[test]
fn every_state_ends() {
    let mut talk = Talk::new(Vec::new());
    assert_eq!(ended(&talk.after(ENGAGED_WITHIN)), Some(HangUpCause::EdgeFault));
    let mut talk = Talk::new(Vec::new());
    talk.input(Input::Converse);
    assert_eq!(ended(&talk.after(SPEECH_MAX)), Some(HangUpCause::EdgeFault));
    let mut talk = Talk::listening();
    talk.input(Input::Heard("x".into()));
    talk.input(Input::Answered(Box::new(Answer { say: words("endless"), ..Answer::default() })));
    assert_eq!(talk.after(SPEECH_MAX), [Output::Hush], "a voice that does not end is cut");
    assert_eq!(talk.input(Input::Heard("y".into())), [Output::Think("y".into())]);
}

#[test]
fn one_that_goes_on_does_not_greet_again() {
    let line = Line { at: WallTime(1), who: Speaker::Customer, text: "my card".into(), judged: None, sources: Vec::new() };
    let mut talk = Talk::new(vec![line]);
    talk.input(Input::Converse);
    talk.input(Input::Spoken);
    assert_eq!(talk.input(Input::MaySpeak), []);
}

#[test]
fn whoever_begins_to_speak_is_not_talked_over() {
    let mut talk = Talk::listening();
    talk.input(Input::Heard("my card".into()));
    assert_eq!(talk.input(Input::Speaks), [], "while it thinks there is nothing to stop");
    talk.input(Input::Answered(Box::new(Answer { say: words("a long answer"), ..Answer::default() })));
    assert_eq!(talk.input(Input::Speaks), [Output::Hush]);
    assert_eq!(talk.input(Input::Heard("no, the other one".into())), [Output::Think("no, the other one".into())]);
}

#[test]
fn who_asks_before_it_may_answer_is_heard_first() {
    let mut talk = Talk::new(Vec::new());
    talk.input(Input::Converse);
    assert_eq!(talk.input(Input::Key('0')), []);
    talk.input(Input::Spoken);
    assert_eq!(talk.input(Input::MaySpeak), [Output::Think("a person, please".into())]);
    talk.input(Input::Heard("still there?".into()));
    talk.input(Input::Answered(Box::new(Answer { say: words("an answer"), ..Answer::default() })));
    assert_eq!(talk.input(Input::Spoken), [Output::Think("still there?".into())]);
}

#[test]
fn what_cannot_say_that_it_is_no_person_says_nothing_and_leaves() {
    let mut talk = Talk::new(Vec::new());
    talk.input(Input::Converse);
    assert_eq!(ended(&talk.input(Input::NoVoice)), Some(HangUpCause::EdgeFault));
}
