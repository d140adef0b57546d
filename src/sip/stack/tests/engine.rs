//! Calls carried by another process: nothing crosses before it was asked, and what else comes does not wait.

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::*;
use crate::{
    core::image::{CSEQ_JUMP, Stage},
    media::{self, Crossing, Event, Kind},
};

/// What crossed, in short: `0 offers 1`.
type Asked = String;

/// A plane that answers when it is told to.
struct Slow {
    asked: Mutex<Vec<Asked>>,
    known: Mutex<BTreeSet<Asked>>,
    answered: Mutex<BTreeSet<Asked>>,
    fails: Mutex<bool>,
    closed: Mutex<Vec<String>>,
    events: broadcast::Sender<Event>,
}

impl Slow {
    fn new() -> Arc<Self> {
        let events = broadcast::channel(1).0;
        let (known, answered) = (Mutex::default(), Mutex::default());
        Arc::new(Self { asked: Mutex::default(), known, answered, fails: Mutex::default(), closed: Mutex::default(), events })
    }

    fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock())
    }
}

impl MediaPlane for Slow {
    fn prepare(&self, crossing: &Crossing<'_>) -> bool {
        let verb = match crossing.kind {
            Kind::Offer => "offers",
            Kind::Answer => "answers",
            Kind::Both { .. } => "stands with",
        };
        let sdp = String::from_utf8_lossy(crossing.sdp).trim().to_owned();
        let text = format!("{} {verb} {}: {sdp}", crossing.from.n, crossing.to.n);
        if self.known.lock().insert(text.clone()) {
            self.asked.lock().push(text.clone());
        }
        self.answered.lock().contains(&text)
    }

    fn pass(&self, from: LegId, to: LegId, sdp: &[u8]) -> Result<Bytes, media::Error> {
        if *self.fails.lock() {
            return Err(media::Error::Engine("gone".into()));
        }
        let text = String::from_utf8_lossy(sdp).into_owned();
        Ok(Bytes::from(format!("{text} by the engine for {} of {}", to.n, from.n)))
    }

    fn anchors(&self) -> bool {
        false
    }

    fn check(&self, _sdp: &[u8]) -> Result<(), media::Error> {
        Ok(())
    }

    fn close(&self, leg: LegId) {
        self.closed.lock().push(format!("close {}", leg.n));
    }

    fn leave(&self, leg: LegId) {
        self.closed.lock().push(format!("leave {}", leg.n));
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
}

fn caller() -> LegId {
    LegId::caller(call())
}

fn bench() -> (Bench, Arc<Slow>) {
    let (mut bench, slow) = (Bench::new(), Slow::new());
    bench.stack.options.engine = Some(slow.clone());
    (bench, slow)
}

fn ready(bench: &mut Bench, slow: &Slow) {
    let known = slow.known.lock().clone();
    slow.answered.lock().extend(known);
    bench.stack.ready(bench.now, call());
    bench.drain();
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

/// A caller who waits, by the engine.
fn waiting() -> (Bench, Arc<Slow>) {
    let (mut bench, slow) = bench();
    bench.arrive("", "v=0 caller");
    bench.stack.legs.get_mut(&caller()).unwrap().dialog.carrier = "e:1".into();
    (bench, slow)
}

fn answer(bench: &mut Bench, phone: LegId) {
    bench.order(caller(), Action::Answer { peer: phone, sdp: Sdp::from(b"v=0 phone".to_vec()) });
}

/// A call that talks.
fn talking() -> (Bench, Arc<Slow>, LegId) {
    let (mut bench, slow) = waiting();
    let phone = bench.ring(Some("v=0 caller"));
    ready(&mut bench, &slow);
    bench.phone_answers("INVITE", 200, "v=0 phone");
    answer(&mut bench, phone);
    ready(&mut bench, &slow);
    bench.caller_says("ACK", 1, "");
    (bench, slow, phone)
}

#[test]
fn a_phone_is_rung_once_the_engine_has_taken_the_offer() {
    let (mut bench, slow) = waiting();
    bench.ring(Some("v=0 caller"));
    assert_eq!((bench.count("INVITE"), slow.take()), (0, vec!["0 offers 1: v=0 caller".to_owned()]));
    ready(&mut bench, &slow);
    assert_eq!(text(&bench.last("INVITE").body), "v=0 caller by the engine for 1 of 0");
    assert_eq!(bench.stack.legs[&LegId { call: call(), n: 1 }].dialog.carrier, "e:1", "whoever takes the leg over must know");
}

#[test]
fn the_caller_is_answered_with_what_the_engine_made_of_the_answer() {
    let (mut bench, slow) = waiting();
    let phone = bench.ring(Some("v=0 caller"));
    ready(&mut bench, &slow);
    bench.phone_answers("INVITE", 200, "v=0 phone");
    slow.take();
    answer(&mut bench, phone);
    assert_eq!((bench.count("200"), slow.take()), (0, vec!["1 answers 0: v=0 phone".to_owned()]));
    ready(&mut bench, &slow);
    assert_eq!(text(&bench.last("200").body), "v=0 phone by the engine for 0 of 1");
}

#[test]
fn a_late_offer_is_one_in_the_200_and_its_answer_comes_in_the_ack() {
    let (mut bench, slow) = bench();
    bench.arrive("", "");
    bench.stack.legs.get_mut(&caller()).unwrap().dialog.carrier = "e:1".into();
    let phone = bench.ring(None);
    assert_eq!(bench.count("INVITE"), 1, "there is nothing to ask");
    bench.phone_answers("INVITE", 200, "v=0 phone");
    answer(&mut bench, phone);
    ready(&mut bench, &slow);
    bench.caller_says("ACK", 1, "v=0 caller");
    assert_eq!(slow.take(), ["1 offers 0: v=0 phone", "0 answers 1: v=0 caller"]);
    assert_eq!(bench.count("ACK"), 0);
    ready(&mut bench, &slow);
    assert_eq!(text(&bench.last("ACK").body), "v=0 caller by the engine for 1 of 0");
}

#[test]
fn hold_crosses_both_ways_and_a_repeat_waits_with_its_first() {
    let (mut bench, slow, _) = talking();
    slow.take();
    let passed = bench.count("INVITE");
    bench.caller_says("INVITE", 2, "v=0 hold\na=sendonly");
    bench.caller_says("INVITE", 2, "v=0 hold\na=sendonly");
    assert_eq!((slow.take().len(), bench.count("INVITE")), (1, passed));
    ready(&mut bench, &slow);
    assert_eq!(bench.count("INVITE"), passed + 1);
    bench.phone_answers("INVITE", 200, "v=0 held\na=recvonly");
    let answers = bench.count("200");
    assert_eq!(slow.take(), ["1 answers 0: v=0 held\r\na=recvonly"]);
    ready(&mut bench, &slow);
    assert_eq!(bench.count("200"), answers + 1);
    assert!(text(&bench.last("200").body).ends_with("by the engine for 0 of 1"));
}

#[test]
fn whoever_hangs_up_meanwhile_is_not_waited_for() {
    let (mut bench, slow, phone) = talking();
    bench.caller_says("INVITE", 2, "v=0 hold\na=sendonly");
    bench.caller_says("BYE", 3, "");
    assert!(matches!(bench.event(), LegEvent::HungUp { cause: HangUpCause::Bye }));
    bench.order(phone, Action::HangUp { cause: "x".into() });
    let sent = bench.count("INVITE");
    ready(&mut bench, &slow);
    assert_eq!(bench.count("INVITE"), sent, "nothing is passed on for a caller who is gone");
}

#[test]
fn no_phone_is_rung_for_a_caller_who_left_while_the_engine_was_asked() {
    let (mut bench, slow) = waiting();
    bench.ring(Some("v=0 caller"));
    bench.receive(CALLER, &format!("CANCEL sip:support@127.0.0.1 SIP/2.0\nVia: SIP/2.0/UDP {CALLER};branch=z9hG4bKcaller\nFrom: <sip:a@x>;tag=ct\nTo: <sip:support@y>\nCall-ID: c1\nCSeq: 1 CANCEL\n\n"));
    ready(&mut bench, &slow);
    assert_eq!(bench.count("INVITE"), 0);
    assert!(matches!(bench.event(), LegEvent::Ended));
}

#[test]
fn without_an_engine_the_call_ends_and_no_agent_is_blamed() {
    let (mut bench, slow) = waiting();
    *slow.fails.lock() = true;
    bench.ring(Some("v=0 caller"));
    ready(&mut bench, &slow);
    let first = bench.reports.first().expect("the caller's end");
    assert_eq!((first.leg, &first.event), (caller(), &LegEvent::HungUp { cause: HangUpCause::MediaLost }));
    assert_eq!((bench.count("480"), bench.count("INVITE")), (1, 0));
}

#[test]
fn parties_are_told_where_their_audio_went() {
    let (mut bench, _, phone) = talking();
    for (leg, told) in [(caller(), "v=0 new for caller"), (phone, "v=0 new for phone")] {
        bench.stack.moved(bench.now, leg, Bytes::from(told), "e:2");
        bench.drain();
        assert_eq!(text(&bench.last("INVITE").body), told);
        let LegEvent::Media { dialog, .. } = bench.event() else { panic!("whoever takes it over must know") };
        assert_eq!(dialog.carrier, "e:2");
    }
}

#[test]
fn a_call_whose_audio_nobody_carries_any_more_is_ended() {
    let (mut bench, _, _) = talking();
    bench.stack.media_lost(bench.now, caller());
    bench.drain();
    assert_eq!(bench.event(), &LegEvent::HungUp { cause: HangUpCause::MediaLost });
    assert_eq!(bench.count("BYE"), 1);
}

#[test]
fn a_leg_that_is_over_is_closed_and_one_that_was_handed_over_is_left() {
    let (mut bench, slow, phone) = talking();
    bench.order(phone, Action::Release);
    bench.caller_says("BYE", 2, "");
    assert_eq!(*slow.closed.lock(), ["leave 1", "close 0"]);
}

#[test]
fn legs_taken_over_are_resumed_once_the_engine_has_their_session_again() {
    let (donor, _, phone) = talking();
    let sdp = |text: &str| Some(Sdp::from(text.as_bytes().to_vec()));
    let dialog = |leg| {
        let mut dialog = donor.stack.legs[&leg].dialog.clone();
        dialog.local_cseq += CSEQ_JUMP;
        dialog
    };
    let image = |leg, peer, own, other| Image {
        stage: Stage::Up { unconfirmed: false },
        dialog: dialog(leg),
        adoptions: 1,
        trunk: None,
        anchored: false,
        peer: Some(peer),
        sdp: sdp(own),
        other: sdp(other),
    };
    let (mut heir, slow) = bench();
    heir.order_with(caller(), Action::Resume, Some(image(caller(), phone, "v=0 caller", "v=0 phone")));
    heir.order_with(phone, Action::Resume, Some(image(phone, caller(), "v=0 phone", "v=0 caller")));
    assert_eq!(heir.count("INVITE"), 0);
    assert_eq!(slow.take(), ["0 stands with 1: v=0 caller", "1 stands with 0: v=0 phone"]);
    ready(&mut heir, &slow);
    // The ACK that the phone may not have got says nothing of media.
    let told = heir.sent.iter().map(|(_, message)| text(&message.body)).filter(|body| !body.is_empty());
    assert_eq!(told.collect::<Vec<_>>(), ["v=0 phone by the engine for 0 of 1", "v=0 caller by the engine for 1 of 0"]);
}
