//! Plans of a call's media: what the plane is asked to do, and that it is asked once.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::*;
use crate::{
    core::{
        image::Stage,
        matrix::{Hears, Plan, Taping},
    },
    media::{self, Event, Item, Program, Recording},
};

/// A plane that writes down what it is asked for.
struct Scribe {
    said: Mutex<Vec<String>>,
    events: broadcast::Sender<Event>,
}

impl Scribe {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.said.lock())
    }

    fn note(&self, text: String) {
        self.said.lock().push(text);
    }
}

impl MediaPlane for Scribe {
    fn pass(&self, from: LegId, to: LegId, sdp: &[u8]) -> Result<Bytes, media::Error> {
        self.note(format!("{} tells {}", from.n, to.n));
        Ok(Bytes::copy_from_slice(sdp))
    }

    fn anchors(&self) -> bool {
        true
    }

    fn check(&self, _sdp: &[u8]) -> Result<(), media::Error> {
        Ok(())
    }

    fn answer(&self, leg: LegId, offer: &[u8]) -> Result<Bytes, media::Error> {
        self.note(format!("{} described itself", leg.n));
        Ok(Bytes::copy_from_slice(offer))
    }

    fn offer(&self, from: LegId, to: LegId, _sdp: &[u8]) -> Result<Bytes, media::Error> {
        self.note(format!("{} is offered beside {}", to.n, from.n));
        Ok(Bytes::from_static(b"v=0 beside"))
    }

    fn restore(&self, leg: LegId, _image: &media::Image) -> Result<(), media::Error> {
        self.note(format!("{} restored", leg.n));
        Ok(())
    }

    fn image(&self, _leg: LegId) -> Option<media::Image> {
        None
    }

    fn hear(&self, leg: LegId, sources: &[LegId]) {
        self.note(format!("{} hears {:?}", leg.n, sources.iter().map(|leg| leg.n).collect::<Vec<_>>()));
    }

    fn play(&self, leg: LegId, program: Program) {
        let item = match &program.items[0] {
            Item::Prompt(name) => name.to_string(),
            other => format!("{other:?}"),
        };
        self.note(format!("{} is played {item}", leg.n));
    }

    fn stop(&self, _leg: LegId) {}

    fn record(&self, leg: LegId, recording: Recording) {
        self.note(format!("{} recorded: {recording:?}", leg.n));
    }

    fn close(&self, _leg: LegId) {}

    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
}

/// A talking call of this edge, whose media plane is a scribe.
fn talking() -> (Bench, Arc<Scribe>, LegId) {
    let scribe = Arc::new(Scribe { said: Mutex::default(), events: broadcast::channel(1).0 });
    let mut bench = Bench::new();
    bench.stack.options.media = scribe.clone();
    bench.arrive("", "v=0 caller");
    let phone = bench.ring(Some("v=0 caller"));
    bench.phone_answers("INVITE", 200, "v=0 phone");
    bench.order(LegId::caller(call()), Action::Answer { peer: phone, sdp: Sdp::from(b"v=0 phone".to_vec()) });
    bench.caller_says("ACK", 1, "");
    scribe.take();
    (bench, scribe, phone)
}

fn plan(version: u32, legs: &[(u16, Hears)]) -> Action {
    let legs: std::collections::BTreeMap<_, _> = legs.iter().cloned().collect();
    let taped = legs.keys().copied().collect();
    Action::Media(Arc::new(Plan { version, legs, taping: Taping::Off, taped, hearing: None }))
}

fn held(version: u32) -> Action {
    plan(version, &[(0, Hears::Music(Some("waltz".into()))), (1, Hears::Legs(vec![]))])
}

#[test]
fn only_what_differs_from_the_plan_before_is_asked_for() {
    let (mut bench, scribe, _) = talking();
    bench.order(LegId::caller(call()), held(1));
    assert_eq!(scribe.take(), ["0 is played waltz", "1 hears []"], "once, though it was ordered twice");
    bench.order(LegId::caller(call()), plan(2, &[(0, Hears::Music(Some("waltz".into()))), (1, Hears::Legs(vec![0]))]));
    assert_eq!(scribe.take(), ["1 hears [0]"]);
}

#[test]
fn an_older_plan_is_void_and_a_plan_says_nothing_to_the_parties() {
    let (mut bench, scribe, _) = talking();
    let sent = bench.sent.len();
    let old = Order {
        id: EffectId { group: 1, index: 1, n: 0 },
        domain: "demo".into(),
        leg: LegId::caller(call()),
        edge: EDGE,
        action: plan(1, &[(1, Hears::Legs(vec![0]))]),
        image: None,
    };
    bench.order(LegId::caller(call()), held(2));
    scribe.take();
    bench.stack.order(bench.now, &old);
    bench.drain();
    assert_eq!((scribe.take(), bench.sent.len()), (vec![], sent));
}

#[test]
fn a_plan_for_a_call_that_is_not_here_is_nobodys_end() {
    let mut bench = Bench::new();
    bench.order(LegId::caller(call()), held(1));
    assert!(bench.reports.is_empty());
}

#[test]
fn a_leg_that_is_restored_after_the_plan_came_hears_what_the_plan_says() {
    let (mut bench, scribe, phone) = talking();
    bench.order(LegId::caller(call()), held(1));
    scribe.take();
    let (leg, up) = (&bench.stack.legs[&phone], Stage::Up { unconfirmed: false });
    let sdp = Some(Sdp::from(b"v=0 phone".to_vec()));
    let image = Image {
        stage: up,
        dialog: leg.dialog.clone(),
        adoptions: 1,
        trunk: None,
        anchored: true,
        peer: leg.peer,
        sdp: sdp.clone(),
        other: sdp,
    };
    bench.stack.legs.remove(&phone);
    bench.order_with(phone, Action::Resume, Some(image));
    let said = scribe.take();
    assert_eq!(said.last().map(String::as_str), Some("1 hears []"), "{said:?}");
    assert!(said.contains(&"0 is played waltz".to_owned()), "whom it was bridged with is back where it was: {said:?}");
}

fn taped(version: u32, taping: Taping) -> Action {
    let legs = [(0, Hears::Legs(vec![1])), (1, Hears::Legs(vec![0]))].into();
    Action::Media(Arc::new(Plan { version, legs, taping, taped: vec![0], hearing: None }))
}

#[test]
fn a_leg_is_recorded_in_the_part_of_the_plan_masked_as_it_says_and_to_its_end() {
    let (mut bench, scribe, phone) = talking();
    let said = |scribe: &Scribe| scribe.take().into_iter().filter(|text| text.contains("recorded")).collect::<Vec<_>>();
    bench.order(LegId::caller(call()), taped(1, Taping::On { part: 1, masked: false }));
    let stem = crate::core::tape::stem(&"demo".into(), LegId::caller(call()));
    assert_eq!(said(&scribe), [format!("0 recorded: Start {{ stem: {stem:?}, part: 1 }}")]);
    bench.order(LegId::caller(call()), taped(2, Taping::On { part: 1, masked: true }));
    assert_eq!(said(&scribe), ["0 recorded: Pause"]);
    bench.order(LegId::caller(call()), taped(3, Taping::On { part: 2, masked: true }));
    assert_eq!(said(&scribe), [format!("0 recorded: Start {{ stem: {stem:?}, part: 2 }}"), "0 recorded: Pause".to_owned()]);
    bench.order(LegId::caller(call()), Action::Release);
    assert_eq!(said(&scribe), ["0 recorded: Stop"], "whoever takes the leg over records on");
    assert_eq!(bench.stack.taped(LegId::caller(call()), 2), Some("demo".into()));
    assert_eq!(bench.stack.taped(phone, 1), None);
}

#[test]
fn the_legs_of_a_callback_are_offered_what_is_ours_and_joined_by_its_plan() {
    let scribe = Arc::new(Scribe { said: Mutex::default(), events: broadcast::channel(1).0 });
    let mut bench = Bench::new();
    bench.stack.options.media = scribe.clone();
    let ring = |uri: &str| {
        Action::ring(Ring {
            target: Target::Contact { uri: uri.to_owned() },
            caller: Party::default(),
            queue: None,
            trunk: None,
            sdp: None,
            headers: Vec::new(),
            max_forwards: 69,
            anchored: true,
            aside: true,
        })
    };
    let (agent, customer) = (LegId { call: call(), n: 1 }, LegId { call: call(), n: 2 });
    bench.order(agent, ring(&format!("sip:alice@{PHONE}")));
    assert_eq!((scribe.take(), &bench.last("INVITE").body[..]), (vec!["1 is offered beside 1".to_owned()], &b"v=0 beside"[..]));
    bench.phone_answers("INVITE", 200, "v=0 phone");
    bench.order(customer, ring(&format!("sip:+4930@{PHONE}")));
    bench.order(customer, plan(1, &[(1, Hears::Music(Some("waltz".into())))]));
    assert_eq!(scribe.take(), ["1 described itself", "2 is offered beside 2", "1 is played waltz"], "no leg of a caller is needed");
    bench.phone_answers("INVITE", 200, "v=0 customer");
    bench.order(customer, Action::Answer { peer: agent, sdp: Sdp::from(b"v=0 phone".to_vec()) });
    scribe.take();
    bench.order(customer, plan(2, &[(1, Hears::Legs(vec![2])), (2, Hears::Legs(vec![1]))]));
    assert_eq!(scribe.take(), ["1 hears [2]", "2 hears [1]"]);
    bench.order(customer, Action::HangUp { cause: "ended".into() });
    assert_eq!(bench.last("BYE").uri(), bench.stack.legs[&customer].dialog.remote_target);
}

#[test]
fn a_caller_who_is_sent_to_a_number_hears_music_until_it_answers_and_then_that_one() {
    let (mut bench, scribe, phone) = talking();
    bench.stack.legs.get_mut(&LegId::caller(call())).expect("it talks").anchored = true;
    bench.order(phone, Action::HangUp { cause: "transferred".into() });
    let treat = crate::core::effect::Treat { greeting: None, position: None, music: Some("waltz".into()) };
    bench.order(LegId::caller(call()), Action::Treat(Arc::new(treat)));
    assert_eq!(scribe.take().last().map(String::as_str), Some("0 is played waltz"));
    let number = LegId { call: call(), n: 2 };
    let ring = Ring {
        target: Target::Contact { uri: format!("sip:+4930123456@{PHONE}") },
        caller: Party { user: "a".into(), ..Party::default() },
        queue: None,
        trunk: None,
        sdp: Some(Sdp::from(b"v=0 caller".to_vec())),
        headers: Vec::new(),
        max_forwards: 69,
        anchored: true,
        aside: false,
    };
    bench.order(number, Action::ring(ring));
    bench.phone_answers("INVITE", 183, "v=0 early");
    assert_eq!(scribe.take(), ["0 tells 2"], "what the network says while it rings is not played");
    bench.phone_answers("INVITE", 200, "v=0 number");
    bench.order(LegId::caller(call()), Action::Answer { peer: number, sdp: Sdp::from(b"v=0 number".to_vec()) });
    let said = scribe.take();
    assert!(["2 tells 0", "0 hears [2]", "2 hears [0]"].iter().all(|text| said.contains(&(*text).to_owned())), "{said:?}");
    bench.order(number, Action::HangUp { cause: "ended".into() });
    assert_eq!(bench.count("BYE"), 2, "the agent's phone before, and the number now");
}
