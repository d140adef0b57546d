//! The relay over real sockets of the loopback interface.

mod party;

use std::{
    net::UdpSocket,
    sync::atomic::{AtomicBool, Ordering},
};

use self::party::{Party, options, until};
use super::*;
use crate::{
    core::id::CallId,
    media::{Item, rtp::Header},
};

const CALLER: LegId = LegId { call: CallId(7), n: 0 };
const AGENT: LegId = LegId { call: CallId(7), n: 1 };

/// Two parties who were told of each other and hear each other.
fn connected(relay: &Relay, caller: &mut Party, agent: &mut Party) {
    agent.told(&relay.pass(CALLER, AGENT, &caller.sdp()).expect("offer"));
    caller.told(&relay.pass(AGENT, CALLER, &agent.sdp()).expect("answer"));
    relay.hear(CALLER, &[AGENT]);
    relay.hear(AGENT, &[CALLER]);
}

fn relay() -> Relay {
    Relay::start(options()).expect("starts")
}

#[test]
fn packets_cross_with_the_numbers_they_had() {
    let relay = relay();
    let (mut caller, mut agent) = (Party::new("0 101"), Party::new("0 101"));
    connected(&relay, &mut caller, &mut agent);
    for sequence in 0..10 {
        caller.send(0, 5_000 + sequence, &[0x55; 160]);
        let (header, payload) = agent.receive();
        assert_eq!((header.sequence, header.ssrc, header.payload_type), (5_000 + sequence, caller.ssrc, 0));
        assert_eq!(payload, [0x55; 160]);
        agent.send(0, sequence, &[0x11; 160]);
        assert_eq!(caller.receive().1, [0x11; 160]);
    }
    until("all are counted", || relay.count(Count::Relayed) == 20);
}

#[test]
fn payload_types_are_mapped_and_the_laws_transcoded() {
    let relay = relay();
    let (mut caller, mut agent) = (Party::new("0 101"), Party::new("8 96"));
    // The caller hears treatment first, so it is on PCMU when an agent answers with PCMA.
    caller.told(&relay.answer(CALLER, &caller.sdp()).expect("answered"));
    let offer = relay.pass(CALLER, AGENT, &caller.sdp()).expect("offer");
    assert!(String::from_utf8_lossy(&offer).contains("RTP/AVP 0 8 101"), "both laws are offered");
    agent.told(&offer);
    let again = relay.pass(AGENT, CALLER, &agent.sdp()).expect("answer");
    assert_eq!(again, caller.heard_of, "the caller stays on what it has: nothing to tell it");
    relay.hear(CALLER, &[AGENT]);
    relay.hear(AGENT, &[CALLER]);
    caller.send(0, 1, &[0xFF; 160]);
    let (header, payload) = agent.receive();
    assert_eq!((header.payload_type, payload.as_slice()), (8, [0xD5; 160].as_slice()));
    caller.send(101, 2, &[5, 0, 0, 160]);
    assert_eq!(agent.receive().0.payload_type, 96);
    agent.send(8, 1, &[0xD5; 160]);
    assert_eq!(caller.receive().0.payload_type, 0);
}

#[test]
fn a_second_source_is_refused_and_counted() {
    let relay = relay();
    let (mut caller, mut agent) = (Party::new("0"), Party::new("0"));
    connected(&relay, &mut caller, &mut agent);
    let mut events = relay.events();
    for sequence in 0..limits::LATCH_LOCK_PACKETS as u16 {
        caller.send(0, sequence, &[1; 160]);
        agent.receive();
    }
    let source = caller.rtp.local_addr().expect("bound");
    assert_eq!(events.blocking_recv(), Ok(Event::Latched { leg: CALLER, source }));
    assert_eq!(relay.image(CALLER).and_then(|image| image.source), Some(source));
    let mut intruder = Party::new("0");
    intruder.relay = caller.relay;
    intruder.send(0, 77, &[9; 160]);
    until("it is counted", || relay.count(Count::Stranger) == 1);
    caller.send(0, 100, &[1; 160]);
    assert_eq!(agent.receive().0.sequence, 100, "the intruder's packet went nowhere");
}

#[test]
fn a_party_behind_nat_is_found_by_where_its_packets_come_from() {
    let relay = relay();
    let (mut caller, mut agent) = (Party::new("0"), Party::new("0"));
    caller.describes = Some("203.0.113.7:4000".parse().expect("address"));
    connected(&relay, &mut caller, &mut agent);
    until("the described address was silent long enough", || {
        caller.send(0, 1, &[1; 160]);
        agent.try_receive().is_some()
    });
    agent.send(0, 9, &[2; 160]);
    assert_eq!(caller.receive().1, [2; 160]);
}

#[test]
fn without_the_lease_nothing_is_sent() {
    let open = Arc::new(AtomicBool::new(true));
    let gate = Arc::clone(&open);
    let relay = Relay::start(Options { gate: Arc::new(move || gate.load(Ordering::SeqCst)), ..options() }).expect("starts");
    let (mut caller, mut agent) = (Party::new("0"), Party::new("0"));
    connected(&relay, &mut caller, &mut agent);
    caller.send(0, 1, &[1; 160]);
    agent.receive();
    open.store(false, Ordering::SeqCst);
    caller.send(0, 2, &[1; 160]);
    until("it is withheld", || relay.count(Count::Withheld) == 1);
    open.store(true, Ordering::SeqCst);
    caller.send(0, 3, &[1; 160]);
    assert_eq!(agent.receive().0.sequence, 3, "what was withheld does not come later");
}

#[test]
fn what_is_no_rtp_is_dropped_and_counted() {
    let relay = relay();
    let (mut caller, mut agent) = (Party::new("0"), Party::new("0"));
    connected(&relay, &mut caller, &mut agent);
    caller.send_bytes(b"hello");
    caller.send_bytes(&[0x80, 201, 0, 200, 0, 0, 0, 0]);
    until("both are counted", || relay.count(Count::Malformed) == 2);
    caller.send_bytes(&[0x80; limits::PACKET_BYTES_MAX + 100]);
    until("too large", || relay.count(Count::Oversize) == 1);
    caller.send(77, 1, &[0; 160]);
    until("a payload type nobody agreed on", || relay.count(Count::Payload) == 1);
}

#[test]
fn a_flood_is_cut_to_the_rate_of_a_port() {
    let relay = relay();
    let (mut caller, mut agent) = (Party::new("0"), Party::new("0"));
    connected(&relay, &mut caller, &mut agent);
    for sequence in 0..400 {
        caller.send(0, sequence, &[0; 160]);
    }
    until("the flood is cut", || relay.count(Count::Flood) > 0);
    assert!(relay.count(Count::Received) >= u64::from(limits::PACKETS_BURST_MAX));
}

#[test]
fn rtcp_crosses_on_its_own_port_and_on_that_of_rtp() {
    let relay = relay();
    let (mut caller, mut agent) = (Party::new("0"), Party::new("0"));
    agent.mux = true;
    connected(&relay, &mut caller, &mut agent);
    caller.send(0, 1, &[1; 160]);
    agent.receive();
    agent.send(0, 1, &[1; 160]);
    caller.receive();
    let report = [0x80, 201, 0, 1, 1, 2, 3, 4];
    caller.send_rtcp(&report);
    let mut bytes = [0; 64];
    let count = agent.rtcp().recv(&mut bytes).expect("within the timeout");
    assert_eq!(bytes[..count], report);
    agent.send_rtcp(&report);
    let count = caller.rtcp().recv(&mut bytes).expect("within the timeout");
    assert_eq!(bytes[..count], report);
}

#[test]
fn a_leg_that_was_taken_over_hears_something_at_once() {
    let relay = relay();
    let (mut caller, mut agent) = (Party::new("0 101"), Party::new("8 101"));
    let image = |party: &Party, version| Image { sdp: party.sdp().into(), source: Some(party.rtp.local_addr().expect("bound")), version };
    relay.restore(CALLER, &image(&caller, 41)).expect("restored");
    relay.restore(AGENT, &image(&agent, 9)).expect("restored");
    let (first, noise) = caller.receive();
    assert!(first.marker && first.payload_type == 0 && noise.len() == 160);
    assert_eq!(agent.receive().0.payload_type, 8);
    let told = relay.pass(AGENT, CALLER, &agent.sdp()).expect("told");
    assert!(String::from_utf8_lossy(&told).contains(" 42 IN IP4 "), "the version goes on");
    caller.told(&told);
    agent.told(&relay.pass(CALLER, AGENT, &caller.sdp()).expect("told"));
    relay.hear(CALLER, &[AGENT]);
    relay.hear(AGENT, &[CALLER]);
    agent.send(8, 500, &[0xD5; 160]);
    let heard = (0..50).map(|_| caller.receive().0).find(|header| header.marker).expect("the agent, in the same stream");
    assert_eq!((heard.ssrc, heard.payload_type), (first.ssrc, 0));
}

#[test]
fn descriptions_have_an_origin_that_stays_and_a_version_that_rises() {
    let relay = relay();
    let (caller, agent) = (Party::new("0"), Party::new("0"));
    let origin = |sdp: &[u8]| String::from_utf8_lossy(sdp).lines().nth(1).expect("an origin").to_owned();
    let first = relay.pass(CALLER, AGENT, &caller.sdp()).expect("offer");
    assert_eq!(relay.pass(CALLER, AGENT, &caller.sdp()).expect("offer"), first, "the same said again");
    let hold = String::from_utf8_lossy(&caller.sdp()).into_owned() + "a=sendonly\r\n";
    let held = relay.pass(CALLER, AGENT, hold.as_bytes()).expect("offer");
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let (first, held) = (words(&origin(&first)), words(&origin(&held)));
    assert_eq!((&first[1], first[2].as_str(), held[2].as_str()), (&held[1], "1", "2"));
    drop(agent);
}

#[test]
fn a_closed_leg_gives_its_port_back_and_is_forgotten() {
    let relay = Relay::start(Options { ports: party::range(1), ..options() }).expect("starts");
    let caller = Party::new("0");
    let told = relay.pass(CALLER, AGENT, &caller.sdp()).expect("offer");
    let other = LegId { call: CallId(8), n: 1 };
    assert!(matches!(relay.pass(CALLER, other, &caller.sdp()), Err(Error::NoPort)));
    relay.close(AGENT);
    assert_eq!(relay.image(AGENT), None);
    until("the thread let go of it", || relay.pass(CALLER, other, &caller.sdp()).is_ok());
    drop(told);
}

#[test]
fn a_description_of_our_own_port_does_not_make_a_loop() {
    let relay = relay();
    let (mut caller, mut agent) = (Party::new("0"), Party::new("0"));
    let told = relay.pass(CALLER, AGENT, &caller.sdp()).expect("offer");
    agent.told(&told);
    caller.told(&relay.pass(AGENT, CALLER, &agent.sdp()).expect("answer"));
    // The agent claims to be where our own port for the caller is.
    agent.describes = Some(caller.relay);
    relay.pass(AGENT, CALLER, &agent.sdp()).expect("answer");
    relay.hear(AGENT, &[CALLER]);
    caller.send(0, 1, &[1; 160]);
    until("it is received", || relay.count(Count::Received) == 1);
    assert_eq!(relay.count(Count::Relayed), 0);
}

#[test]
fn ipv6_parties_get_ipv6_ports() {
    if UdpSocket::bind("[::1]:0").is_err() {
        return;
    }
    let relay = Relay::start(Options { ipv6: Some("::1".parse().expect("address")), ..options() }).expect("starts");
    let (mut caller, mut agent) = (Party::at("[::1]:0", "0"), Party::at("[::1]:0", "0"));
    connected(&relay, &mut caller, &mut agent);
    caller.send(0, 3, &[1; 160]);
    assert_eq!(agent.receive().0.sequence, 3);
    assert!(Header::parse(&[0; 12]).is_none());
}

fn program(items: Vec<Item>) -> Program {
    Program { items, repeat: false }
}

/// Waits for an event and passes over others.
fn event(events: &mut broadcast::Receiver<Event>, wanted: impl Fn(&Event) -> bool) -> Event {
    loop {
        let event = events.blocking_recv().expect("the relay is there");
        if wanted(&event) {
            return event;
        }
    }
}

#[test]
fn a_caller_hears_a_prompt_and_then_its_agent_in_one_stream() {
    let folder = tempfile::tempdir().expect("a folder");
    let spec = hound::WavSpec { channels: 1, sample_rate: 8_000, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut file = hound::WavWriter::create(folder.path().join("hello.wav"), spec).expect("a file");
    (0..800).for_each(|_| file.write_sample(10_000_i16).expect("written"));
    file.finalize().expect("written");
    let relay = Relay::start(Options { prompts: Some(folder.path().into()), ..options() }).expect("starts");
    let mut events = relay.events();
    let (mut caller, mut agent) = (Party::new("8 101"), Party::new("8 101"));
    caller.told(&relay.answer(CALLER, &caller.sdp()).expect("answered"));
    relay.play(CALLER, program(vec![Item::Prompt("hello".into())]));
    event(&mut events, |event| *event == Event::PlayDone { leg: CALLER });
    let loud = crate::media::g711::Law::A.encode(10_000);
    let heard: Vec<_> = std::iter::from_fn(|| caller.try_receive()).collect();
    assert!(heard.iter().filter(|(_, payload)| payload.iter().all(|code| *code == loud)).count() == 5, "100 ms of it");
    assert!(heard[0].0.marker && heard[1..].iter().all(|(header, _)| !header.marker));
    assert!(heard.windows(2).all(|two| two[1].0.sequence == two[0].0.sequence.wrapping_add(1)));
    agent.told(&relay.pass(CALLER, AGENT, &caller.sdp()).expect("offer"));
    relay.pass(AGENT, CALLER, &agent.sdp()).expect("answer");
    relay.hear(CALLER, &[AGENT]);
    agent.send(8, 40_000, &[0xD5; 160]);
    let (first, _) = (0..50).map(|_| caller.receive()).find(|(_, payload)| payload == &[0xD5; 160]).expect("the agent");
    assert!(first.marker && first.ssrc == heard[0].0.ssrc);
}

#[test]
fn a_missing_prompt_becomes_a_tone_and_is_counted() {
    let relay = relay();
    let mut caller = Party::new("0");
    caller.told(&relay.answer(CALLER, &caller.sdp()).expect("answered"));
    relay.play(CALLER, program(vec![Item::Prompt("nowhere".into())]));
    let silence = crate::media::g711::Law::Mu.encode(0);
    assert!(caller.receive().1.iter().any(|code| *code != silence));
    until("it is counted", || relay.count(Count::Prompt) == 1);
}

#[test]
fn what_plays_stops_and_gives_way_to_what_is_heard() {
    let relay = relay();
    let (mut caller, mut agent) = (Party::new("0"), Party::new("0"));
    connected(&relay, &mut caller, &mut agent);
    relay.play(CALLER, Program { items: vec![Item::Music(Duration::from_secs(9))], repeat: true });
    caller.receive();
    agent.send(0, 1, &[0x22; 160]);
    relay.stop(CALLER);
    until("the agent is heard again", || {
        agent.send(0, 2, &[0x33; 160]);
        caller.try_receive().is_some_and(|(_, payload)| payload == [0x33; 160])
    });
}

#[test]
fn keys_are_told_once_and_reach_the_other_party() {
    let relay = relay();
    let (mut caller, mut agent) = (Party::new("0 101"), Party::new("0 96"));
    connected(&relay, &mut caller, &mut agent);
    let mut events = relay.events();
    // All packets of a press carry the time of its beginning, and its last packet comes three times.
    for (payload, sequence) in
        [([5, 10, 0, 160], 1), ([5, 10, 3, 32], 2), ([5, 0x8A, 3, 32], 3), ([5, 0x8A, 3, 32], 4), ([5, 0x8A, 3, 32], 5)]
    {
        caller.send_at(101, sequence, 4_000, &payload);
        assert_eq!(agent.receive().0.payload_type, 96);
    }
    caller.send_at(101, 6, 9_000, &[11, 0x8A, 1, 64]);
    let digits: Vec<_> = (0..2).map(|_| event(&mut events, |event| matches!(event, Event::Digit { .. }))).collect();
    assert_eq!(digits, [Event::Digit { leg: CALLER, digit: '5', ms: 100 }, Event::Digit { leg: CALLER, digit: '#', ms: 40 }]);
}

#[test]
fn a_party_that_says_nothing_is_told_once() {
    let relay = Relay::start(Options { quiet_after: Duration::from_millis(50), ..options() }).expect("starts");
    let mut events = relay.events();
    relay.answer(CALLER, &Party::new("0").sdp()).expect("answered");
    let quiet = event(&mut events, |event| matches!(event, Event::Quiet { .. }));
    assert!(matches!(quiet, Event::Quiet { leg: CALLER, quiet } if quiet >= Duration::from_millis(50)));
}

#[test]
fn a_party_on_hold_gets_nothing() {
    let relay = relay();
    let (mut caller, mut agent) = (Party::new("0"), Party::new("0"));
    connected(&relay, &mut caller, &mut agent);
    let hold = String::from_utf8(caller.sdp()).expect("text") + "a=inactive\r\n";
    relay.pass(CALLER, AGENT, hold.as_bytes()).expect("offer");
    agent.send(0, 1, &[1; 160]);
    until("it is received", || relay.count(Count::Received) == 1);
    assert_eq!(relay.count(Count::Relayed), 0);
}

#[test]
fn three_parties_in_a_conference_hear_the_sum_of_the_others() {
    const SECOND: LegId = LegId { call: CallId(7), n: 2 };
    let relay = relay();
    let mut parties = [Party::new("0"), Party::new("0"), Party::new("8")];
    let legs = [CALLER, AGENT, SECOND];
    for (leg, party) in legs.iter().zip(&mut parties) {
        party.told(&relay.answer(*leg, &party.sdp()).expect("answered"));
    }
    for leg in legs {
        let others: Vec<_> = legs.iter().copied().filter(|other| *other != leg).collect();
        relay.hear(leg, &others);
    }
    use crate::media::g711::Law;
    let level = |law: Law, payload: &[u8]| i32::from(law.decode(payload[80]));
    let mut sequence = 0;
    // Everybody speaks at real pace; the caller must hear the two others together.
    until("the sum is heard", || {
        sequence += 1;
        parties[0].send(0, sequence, &[Law::Mu.encode(500); 160]);
        parties[1].send(0, sequence, &[Law::Mu.encode(1_000); 160]);
        parties[2].send(8, sequence, &[Law::A.encode(2_000); 160]);
        let (header, payload) = parties[0].receive();
        assert_eq!(header.payload_type, 0);
        (2_900..3_100).contains(&level(Law::Mu, &payload))
    });
    let heard = (0..50).map(|_| level(Law::A, &parties[2].receive().1)).find(|level| (1_400..1_600).contains(level));
    assert!(heard.is_some(), "the third hears the first two, in its own law");
}

#[test]
fn a_leg_is_recorded_but_not_what_is_masked() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = relay();
    let mut events = relay.events();
    let mut caller = Party::new("0");
    caller.told(&relay.answer(CALLER, &caller.sdp()).expect("answered"));
    let stem = folder.path().join("caller");
    relay.record(CALLER, Recording::Start { stem, part: 1 });
    let received = |count: u64| until("it is received", || relay.count(Count::Received) == count);
    caller.send(0, 1, &[crate::media::g711::Law::Mu.encode(1_000); 160]);
    received(1);
    relay.record(CALLER, Recording::Pause);
    caller.send(0, 2, &[crate::media::g711::Law::Mu.encode(-9_000); 160]);
    received(2);
    relay.record(CALLER, Recording::Resume);
    caller.send(0, 3, &[crate::media::g711::Law::Mu.encode(2_000); 160]);
    received(3);
    relay.close(CALLER);
    let Event::Recorded { path, masked, part: 1, .. } = event(&mut events, |event| matches!(event, Event::Recorded { .. })) else {
        panic!("waited for it")
    };
    assert_eq!((path.file_name().and_then(|name| name.to_str()), masked.len()), (Some("caller.001.wav"), 1));
    let samples: Vec<i16> = hound::WavReader::open(&*path).expect("a file").samples().collect::<Result<_, _>>().expect("complete");
    assert!(samples.iter().any(|sample| *sample > 900) && samples.iter().any(|sample| *sample > 1_900));
    assert!(samples.iter().all(|sample| *sample >= 0), "what was masked is not there");
}

#[test]
fn a_party_with_srtp_talks_to_one_without() {
    let relay = relay();
    let (mut caller, mut agent) = (Party::new("0"), Party::new("0"));
    caller.offer_srtp();
    connected(&relay, &mut caller, &mut agent);
    assert!(!String::from_utf8_lossy(&agent.heard_of).contains("crypto"), "the caller's key stays here");
    caller.send(0, 1, &[7; 160]);
    assert_eq!(agent.receive().1, [7; 160]);
    agent.send(0, 1, &[8; 160]);
    assert_eq!(caller.receive().1, [8; 160]);
    caller.send_bytes(&[0x80, 0, 0, 2, 0, 0, 0, 0, 1, 2, 3, 4, 5, 5, 5, 5]);
    until("what is in the clear is no packet of this party", || relay.count(Count::Forged) == 1);
    // A new description under the same key goes on where it was.
    caller.told(&relay.pass(AGENT, CALLER, &agent.sdp()).expect("answer"));
    agent.send(0, 2, &[9; 160]);
    assert_eq!(caller.receive().1, [9; 160]);
}
