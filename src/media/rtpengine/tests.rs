//! The plane and its client against daemons played in this process.

mod fake;
mod real;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{sync::broadcast::Receiver, time::timeout};

use super::{client::Error as Ng, *};
use crate::{
    core::id::CallId,
    media::{
        Kind,
        limits::{ENGINE_RESCUE, NG_PING_EVERY, NG_PINGS_LOST},
    },
};
use fake::Fake;

const CALLER: LegId = LegId { call: CallId(7), n: 0 };
const AGENT: LegId = LegId { call: CallId(7), n: 1 };
const SECOND: LegId = LegId { call: CallId(7), n: 2 };
const PATIENCE: Duration = Duration::from_secs(15);

fn sdp(port: u16) -> String {
    format!(
        "v=0\r\no=phone 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n"
    )
}

fn port_of(sdp: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(sdp);
    text.split("m=audio ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok()).expect("an audio line")
}

fn version_of(sdp: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(sdp);
    let origin = text.lines().find(|line| line.starts_with("o=")).expect("an origin");
    origin.split(' ').nth(2).and_then(|version| version.parse().ok()).expect("a version")
}

/// A plane whose daemons were all heard once.
async fn plane(daemons: &[&Fake]) -> (Rtpengine, Receiver<Event>) {
    gated(daemons, Arc::new(|| true)).await
}

async fn gated(daemons: &[&Fake], gate: Gate) -> (Rtpengine, Receiver<Event>) {
    let options = Options { daemons: daemons.iter().map(|fake| fake.addr).collect(), gate };
    let plane = Rtpengine::start(&options).unwrap();
    let events = plane.events();
    let up = || plane.0.up().count() == daemons.len();
    timeout(PATIENCE, async {
        while !up() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("they answer");
    (plane, events)
}

fn crossing<'a>(from: LegId, to: LegId, sdp: &'a str, kind: Kind<'a>) -> Crossing<'a> {
    Crossing { from, to, sdp: sdp.as_bytes(), kind, carrier: "" }
}

/// As the stack does: asks, waits until there is an answer, takes it.
async fn cross(plane: &Rtpengine, events: &mut Receiver<Event>, crossing: &Crossing<'_>) -> Result<Bytes, Error> {
    while !plane.prepare(crossing) {
        await_ready(events).await;
    }
    plane.pass(crossing.from, crossing.to, crossing.sdp)
}

async fn await_ready(events: &mut Receiver<Event>) {
    while next(events).await != (Event::Ready { call: CALLER.call }) {}
}

async fn next(events: &mut Receiver<Event>) -> Event {
    timeout(PATIENCE, events.recv()).await.expect("in time").expect("the plane lives")
}

async fn talk(plane: &Rtpengine, events: &mut Receiver<Event>) -> (Bytes, Bytes) {
    let for_agent = cross(plane, events, &crossing(CALLER, AGENT, &sdp(4_000), Kind::Offer)).await.expect("carried");
    let for_caller = cross(plane, events, &crossing(AGENT, CALLER, &sdp(5_000), Kind::Answer)).await.expect("carried");
    (for_agent, for_caller)
}

async fn eventually(what: &str, check: impl Fn() -> bool) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while !check() {
        assert!(tokio::time::Instant::now() < until, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn each_party_is_told_a_port_of_the_daemon_under_an_origin_of_ours() {
    let daemon = Fake::start(30_000).await;
    let (plane, mut events) = plane(&[&daemon]).await;
    let (for_agent, for_caller) = talk(&plane, &mut events).await;
    assert_eq!((port_of(&for_agent), port_of(&for_caller)), (30_000, 30_002));
    assert!(!String::from_utf8_lossy(&for_agent).contains("o=phone"), "who the other party is stays with it");
    assert_eq!(daemon.asked(), ["offer", "answer"]);
    plane.close(AGENT);
    eventually("the daemon forgets the call", || daemon.calls() == 0).await;
}

#[tokio::test]
async fn a_description_that_was_carried_already_asks_nobody() {
    let daemon = Fake::start(30_000).await;
    let (plane, mut events) = plane(&[&daemon]).await;
    let (for_agent, for_caller) = talk(&plane, &mut events).await;
    assert_eq!(talk(&plane, &mut events).await, (for_agent, for_caller), "a refresh of the session");
    assert_eq!(daemon.asked(), ["offer", "answer"]);
}

#[tokio::test]
async fn a_hold_by_the_agent_is_an_offer_of_its_own() {
    let daemon = Fake::start(30_000).await;
    let (plane, mut events) = plane(&[&daemon]).await;
    let (for_agent, for_caller) = talk(&plane, &mut events).await;
    let held = sdp(5_000).replace("sendrecv", "sendonly");
    let told = cross(&plane, &mut events, &crossing(AGENT, CALLER, &held, Kind::Offer)).await.expect("carried");
    assert!(String::from_utf8_lossy(&told).contains("a=sendonly"));
    assert_eq!((port_of(&told), version_of(&told)), (port_of(&for_caller), version_of(&for_caller) + 1));
    let answered = sdp(4_000).replace("sendrecv", "recvonly");
    let told = cross(&plane, &mut events, &crossing(CALLER, AGENT, &answered, Kind::Answer)).await.expect("carried");
    assert_eq!((port_of(&told), version_of(&told)), (port_of(&for_agent), version_of(&for_agent) + 1));
    assert_eq!(daemon.asked(), ["offer", "answer", "offer", "answer"]);
}

#[tokio::test]
async fn each_agent_that_is_rung_has_a_session_of_its_own() {
    let daemon = Fake::start(30_000).await;
    let (plane, mut events) = plane(&[&daemon]).await;
    cross(&plane, &mut events, &crossing(CALLER, AGENT, &sdp(4_000), Kind::Offer)).await.expect("carried");
    cross(&plane, &mut events, &crossing(CALLER, SECOND, &sdp(4_000), Kind::Offer)).await.expect("carried");
    assert_eq!(daemon.calls(), 2);
    plane.close(AGENT);
    eventually("the first is forgotten", || daemon.calls() == 1).await;
    cross(&plane, &mut events, &crossing(SECOND, CALLER, &sdp(5_000), Kind::Answer)).await.expect("carried");
    plane.close(CALLER);
    eventually("so is the second", || daemon.calls() == 0).await;
}

#[tokio::test]
async fn another_node_goes_on_with_the_same_session_and_the_same_ports() {
    let daemon = Fake::start(30_000).await;
    let (first, mut events) = plane(&[&daemon]).await;
    let (for_agent, for_caller) = talk(&first, &mut events).await;
    drop(first);
    let (second, mut events) = plane(&[&daemon]).await;
    let (caller, agent) = (sdp(4_000), sdp(5_000));
    let both = |other| Kind::Both { other, version: 1_000 };
    // Its legs come one by one, and the later one finds everything said.
    let told = cross(&second, &mut events, &crossing(AGENT, CALLER, &agent, both(caller.as_bytes()))).await.expect("carried");
    assert_eq!(port_of(&told), port_of(&for_caller));
    assert!(version_of(&told) > 1_000, "above whatever the first node used");
    let told = cross(&second, &mut events, &crossing(CALLER, AGENT, &caller, both(agent.as_bytes()))).await.expect("carried");
    assert_eq!(port_of(&told), port_of(&for_agent));
    assert_eq!(daemon.asked(), ["offer", "answer", "offer", "answer"]);
    assert_eq!(daemon.calls(), 1);
}

#[tokio::test]
async fn a_node_that_handed_a_call_over_deletes_nothing() {
    let daemon = Fake::start(30_000).await;
    let (plane, mut events) = plane(&[&daemon]).await;
    talk(&plane, &mut events).await;
    plane.leave(CALLER);
    plane.leave(AGENT);
    plane.close(AGENT);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!((daemon.calls(), daemon.asked()), (1, vec!["offer".to_owned(), "answer".to_owned()]));
}

#[tokio::test]
async fn without_the_lease_nothing_is_asked_for_a_call() {
    let daemon = Fake::start(30_000).await;
    let lease = Arc::new(AtomicBool::new(true));
    let gate = lease.clone();
    let (plane, mut events) = gated(&[&daemon], Arc::new(move || gate.load(Ordering::Relaxed))).await;
    talk(&plane, &mut events).await;
    lease.store(false, Ordering::Relaxed);
    let error = cross(&plane, &mut events, &crossing(CALLER, AGENT, &sdp(4_002), Kind::Offer)).await.expect_err("no lease");
    assert!(error.to_string().contains("lease"), "{error}");
    plane.close(CALLER);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!((daemon.calls(), daemon.asked()), (1, vec!["offer".to_owned(), "answer".to_owned()]));
}

#[tokio::test]
async fn a_lost_datagram_is_repeated_and_asks_nothing_twice() {
    let daemon = Fake::start(30_000).await;
    let (plane, mut events) = plane(&[&daemon]).await;
    daemon.state.lock().deaf_for = 2;
    cross(&plane, &mut events, &crossing(CALLER, AGENT, &sdp(4_000), Kind::Offer)).await.expect("carried");
    assert_eq!(daemon.asked(), ["offer"]);
}

#[tokio::test]
async fn a_bad_description_is_refused_with_what_the_daemon_says_and_may_be_mended() {
    let daemon = Fake::start(30_000).await;
    let (plane, mut events) = plane(&[&daemon]).await;
    let error = cross(&plane, &mut events, &crossing(CALLER, AGENT, "v=0", Kind::Offer)).await.expect_err("refused");
    assert!(error.to_string().contains("Error rewriting SDP"), "{error}");
    assert!(cross(&plane, &mut events, &crossing(CALLER, AGENT, &sdp(4_000), Kind::Offer)).await.is_ok());
}

#[tokio::test]
async fn a_full_daemon_leaves_the_call_to_the_next_one() {
    let (full, free) = (Fake::start(30_000).await, Fake::start(40_000).await);
    let (plane, mut events) = plane(&[&full, &free]).await;
    full.state.lock().full = true;
    let named = full.addr.to_string();
    let offer = sdp(4_000);
    let asked = Crossing { carrier: &named, ..crossing(CALLER, AGENT, &offer, Kind::Offer) };
    let told = cross(&plane, &mut events, &asked).await.expect("the other one takes it");
    assert_eq!((port_of(&told), full.calls(), free.calls()), (40_000, 0, 1));
}

#[tokio::test]
async fn a_daemon_that_dies_before_the_answer_is_replaced_and_the_agent_told_so() {
    let (mut dies, lives) = (Fake::start(30_000).await, Fake::start(40_000).await);
    let (plane, mut events) = plane(&[&dies, &lives]).await;
    let (named, offer) = (dies.addr.to_string(), sdp(4_000));
    let asked = Crossing { carrier: &named, ..crossing(CALLER, AGENT, &offer, Kind::Offer) };
    assert_eq!(port_of(&cross(&plane, &mut events, &asked).await.expect("carried")), 30_000);
    dies.kill().await;
    let agent = sdp(5_000);
    assert!(!plane.prepare(&crossing(AGENT, CALLER, &agent, Kind::Answer)));
    let Event::Moved { leg, told, carrier } = next(&mut events).await else { panic!("the agent's side has moved") };
    assert_eq!((leg, port_of(&told), &*carrier), (AGENT, 40_000, &*lives.addr.to_string()));
    let told = cross(&plane, &mut events, &crossing(AGENT, CALLER, &agent, Kind::Answer)).await.expect("carried");
    assert_eq!(port_of(&told), 40_002);
}

#[tokio::test]
async fn calls_of_a_dead_daemon_go_to_the_next_one_and_both_parties_are_told() {
    let (mut dies, lives) = (Fake::start(30_000).await, Fake::start(40_000).await);
    let (plane, mut events) = plane(&[&dies, &lives]).await;
    let (named, offer) = (dies.addr.to_string(), sdp(4_000));
    cross(&plane, &mut events, &Crossing { carrier: &named, ..crossing(CALLER, AGENT, &offer, Kind::Offer) }).await.expect("carried");
    cross(&plane, &mut events, &crossing(AGENT, CALLER, &sdp(5_000), Kind::Answer)).await.expect("carried");
    dies.kill().await;
    let mut moved = [next(&mut events).await, next(&mut events).await].map(|event| match event {
        Event::Moved { leg, told, carrier } => (leg.n, port_of(&told), carrier.to_string()),
        other => panic!("{other:?}"),
    });
    moved.sort();
    let by = lives.addr.to_string();
    assert_eq!(moved, [(0, 40_002, by.clone()), (1, 40_000, by)]);
    await_ready(&mut events).await;
    assert_eq!(plane.carrier(), Some(lives.addr.to_string()), "new calls go there too");
}

#[tokio::test]
async fn a_call_that_no_daemon_takes_is_given_up_at_its_deadline() {
    let mut only = Fake::start(30_000).await;
    let (plane, mut events) = plane(&[&only]).await;
    talk(&plane, &mut events).await;
    only.kill().await;
    assert_eq!(next(&mut events).await, Event::Lost { leg: CALLER });
    assert_eq!(plane.carrier(), None, "and no new call is taken");
}

#[tokio::test]
async fn calls_that_no_daemon_takes_are_given_up_together_however_many_they_are() {
    let mut only = Fake::start(10_000).await;
    let (plane, mut events) = plane(&[&only]).await;
    let calls = u128::try_from(3 * ENGINE_MOVES_MAX).unwrap();
    let legs = |call| [0, 1].map(|n| LegId { call: CallId(call), n });
    for [caller, agent] in (0..calls).map(legs) {
        for (from, to, said, kind) in [(caller, agent, sdp(4_000), Kind::Offer), (agent, caller, sdp(5_000), Kind::Answer)] {
            let crossing = crossing(from, to, &said, kind);
            while !plane.prepare(&crossing) {
                next(&mut events).await;
            }
        }
    }
    only.kill().await;
    // Its silence is noticed, the deadline passes, and a question that is open then has its time.
    let within = NG_PING_EVERY * NG_PINGS_LOST + ENGINE_RESCUE + Duration::from_secs(3);
    let lost = timeout(within, async {
        let mut lost = std::collections::BTreeSet::new();
        while (lost.len() as u128) < calls {
            if let Ok(Event::Lost { leg }) = events.recv().await {
                lost.insert(leg);
            }
        }
    });
    lost.await.expect("the last of them waits for no other");
}

#[tokio::test]
async fn a_daemon_that_was_started_anew_is_told_of_its_calls_again() {
    let mut daemon = Fake::start(30_000).await;
    let (plane, mut events) = plane(&[&daemon]).await;
    talk(&plane, &mut events).await;
    daemon.kill().await;
    eventually("its silence is noticed", || plane.0.daemons[0].health.lost() > 0).await;
    let anew = Fake::start_at(daemon.addr, 40_000).await;
    let Event::Moved { told, .. } = next(&mut events).await else { panic!("its ports are others now") };
    assert!(port_of(&told) >= 40_000);
    eventually("it carries the call", || anew.calls() == 1).await;
}

#[tokio::test]
async fn what_a_daemon_may_answer_has_a_name_each() {
    let daemon = Fake::start(30_000).await;
    let client = Client::connect(daemon.addr, Arc::new(|| true)).unwrap();
    let ask = async |says: &[u8]| {
        daemon.state.lock().says = Some(says.to_vec());
        client.ask_once(&Request::Delete("x"), Duration::from_secs(5)).await.expect_err("not well")
    };
    assert!(matches!(ask(b"d6:result5:error12:error-reason15:Unknown call-ide").await, Ng::UnknownCall));
    assert!(matches!(ask(b"d6:result5:error12:error-reason16:Ran out of portse").await, Ng::Full(_)));
    assert!(matches!(ask(b"d6:result10:load limit7:message20:1000 callse").await, Ng::Unreadable(_)));
    assert!(matches!(ask(b"d6:result10:load limit7:message10:1000 callse").await, Ng::Full(_)));
    assert!(matches!(ask(b"d6:result5:error12:error-reason3:No!e").await, Ng::Said(why) if why == "No!"));
    assert!(matches!(ask(b"\xFF\xFE").await, Ng::Unreadable(_)));
    assert!(matches!(ask(b"de").await, Ng::Lacks("result")));
}

#[tokio::test]
async fn who_does_not_answer_and_who_is_not_there_are_told_apart() {
    let mut daemon = Fake::start(30_000).await;
    let client = Client::connect(daemon.addr, Arc::new(|| true)).unwrap();
    daemon.state.lock().deaf_for = usize::MAX;
    assert!(matches!(client.ask_once(&Request::Ping, Duration::from_millis(50)).await, Err(Ng::Timeout)));
    daemon.kill().await;
    assert!(matches!(client.ask_once(&Request::Ping, Duration::from_millis(200)).await, Err(Ng::Refused)));
}
