//! Peers that write what no honest one does: whatever stands in their fields, the stack goes on and its own messages can
//! be read.

use proptest::prelude::*;

use super::*;
use crate::sip::message::read_own;

/// Values that end a header value, a URI or a quoted string where they should not, among plain noise.
fn junk() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\"".to_owned()),
        Just("<".to_owned()),
        Just(">".to_owned()),
        Just("<sip:a b@c>".to_owned()),
        Just("<sip:\"a:b\"@c;x>".to_owned()),
        Just("\"<sip:x>\" <sip:a@127.0.0.1>".to_owned()),
        Just("<nothing>;tag=1".to_owned()),
        Just("sip:anonymous@anonymous.invalid\"".to_owned()),
        Just(";tag=;tag=\"".to_owned()),
        Just(", ,;;".to_owned()),
        Just("\\\r\u{0}\t".to_owned()),
        "[ -~]{0,12}",
    ];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

/// What a field says: itself, with noise behind it, or noise alone.
fn spoilt(honest: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![8 => Just(honest.to_owned()), 1 => junk().prop_map(move |junk| format!("{honest}{junk}")), 1 => junk()]
}

/// A stack whose outputs are kept, each message read once.
struct Driven {
    stack: Stack,
    now: Instant,
    pending: Option<TxId>,
    sent: Vec<Message>,
    orders: u64,
}

impl Driven {
    fn poll(&mut self) {
        while let Some(output) = self.stack.poll() {
            match output {
                Output::Transmit { bytes, .. } => self.sent.push(read_own(&bytes).unwrap()),
                Output::Request { tx, .. } => self.pending = Some(tx),
                _ => {}
            }
        }
    }

    fn receive(&mut self, from: &str, message: String) {
        self.stack.receive(self.now, flow(from), Bytes::from(message.into_bytes()));
        self.poll();
    }

    fn order(&mut self, leg: LegId, action: Action) {
        self.orders += 1;
        let id = EffectId { group: 1, index: self.orders, n: 0 };
        self.stack.order(self.now, &Order { id, domain: DomainId::new("demo"), leg, edge: EDGE, action, image: None });
        self.poll();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.stack.timeout(self.now);
        self.poll();
    }
}

/// A call with these values of To, From, Contact and Record-Route on the caller's side and of the phone's answer.
fn call_through(
    [to, from, contact, route]: &[String; 4],
    [answer_to, answer_contact, answer_route]: &[String; 3],
    body: usize,
) -> Vec<Message> {
    let Bench { stack, now, .. } = Bench::new();
    let mut driven = Driven { stack, now, pending: None, sent: Vec::new(), orders: 0 };
    let message = |method: &str, cseq: u32, to: &str, extra: &str, body: &str| {
        format!(
            "{method} sip:support@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {CALLER};branch=z9hG4bKh{cseq}{method}\r\nFrom: {from}\r\nTo: {to}\r\n\
             Call-ID: h{contact}\r\nCSeq: {cseq} {method}\r\nContact: {contact}\r\nRecord-Route: {route}\r\n{extra}\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    driven.receive(CALLER, message("INVITE", 1, to, "Require: 100rel\r\n", "v=0\r\n"));
    let Some(tx) = driven.pending else { return driven.sent };
    let Some(taken) = driven.stack.take_call(driven.now, tx, &DomainId::new("demo"), call(), Carried::Past) else { return driven.sent };
    let (caller, phone) = (LegId::caller(call()), LegId { call: call(), n: 1 });
    driven.order(caller, Action::Queue { position: 1 });
    let from_uri = crate::sip::message::angle_uri(from).to_owned();
    let ring = Ring {
        target: Target::Contact { uri: format!("sip:alice@{PHONE}") },
        caller: Party { user: crate::sip::message::user_of(&from_uri).to_owned(), display: from.clone(), uri: from_uri },
        queue: None,
        trunk: None,
        sdp: taken.sdp,
        headers: vec![("X-Own".into(), route.clone())],
        max_forwards: 9,
        anchored: false,
        aside: false,
    };
    driven.order(phone, Action::ring(ring));
    let Some(invite) = driven.sent.iter().find(|m| m.is_request() && m.method() == Method::Invite).cloned() else { return driven.sent };
    let answer = |status: u16| {
        format!(
            "SIP/2.0 {status} X\r\nVia: {}\r\nFrom: {}\r\nTo: {answer_to}\r\nCall-ID: {}\r\nCSeq: 1 INVITE\r\nContact: {answer_contact}\r\n\
             Record-Route: {answer_route}\r\nContent-Length: 0\r\n\r\n",
            invite.text(Name::Via),
            invite.text(Name::From),
            invite.call_id()
        )
    };
    driven.receive(PHONE, answer(180));
    driven.receive(PHONE, answer(200));
    driven.order(caller, Action::Answer { peer: phone, sdp: Sdp::from(b"v=0".to_vec()) });
    let ours = format!("{to};tag={}", taken.dialog.local_tag);
    driven.receive(CALLER, message("ACK", 1, &ours, "", ""));
    driven.receive(CALLER, message("INVITE", 2, &ours, "", &"x".repeat(body)));
    driven.receive(CALLER, message("INFO", 3, &ours, "", &"x".repeat(body)));
    driven.pass(Duration::from_secs(1));
    driven.order(phone, Action::HangUp { cause: String::new() });
    driven.order(caller, Action::HangUp { cause: String::new() });
    driven.pass(Duration::from_secs(40));
    driven.sent
}

const HONEST: ([&str; 4], [&str; 3]) = (
    ["<sip:support@127.0.0.1>", "\"A\" <sip:a@b>;tag=1", "<sip:a@127.0.0.1:7001>", "<sip:p;lr>"],
    ["<sip:alice@127.0.0.1>;tag=p", "<sip:alice@127.0.0.1:7002>", "<sip:q;lr>"],
);

/// The same call without noise: it goes all the way, so noise has every way to disturb it.
#[test]
fn a_request_as_large_as_a_datagram_is_passed_on_with_our_own_fields_added() {
    let sent = call_through(&HONEST.0.map(str::to_owned), &HONEST.1.map(str::to_owned), 65_080);
    let passed =
        sent.iter().find(|m| m.is_request() && m.method() == Method::Invite && !m.body.is_empty() && m.cseq().is_some_and(|(n, _)| n > 1));
    assert_eq!(passed.map(|m| m.body.len()), Some(65_080));
    assert!(sent.iter().filter(|m| m.is_request() && m.method() == Method::Bye).count() > 1);
}

proptest! {
    #[test]
    fn no_field_of_a_peer_stops_the_stack(
        caller in HONEST.0.map(spoilt),
        phone in HONEST.1.map(spoilt),
        body in prop_oneof![Just(9_usize), Just(65_080)],
    ) {
        call_through(&caller, &phone, body);
    }
}

#[test]
fn a_contact_that_cannot_be_sent_to_is_refused_and_one_of_a_phone_is_not_taken() {
    let mut bench = Bench::new();
    let invite = |contact: &str| {
        format!(
            "INVITE sip:support@127.0.0.1 SIP/2.0\nVia: SIP/2.0/UDP {CALLER};branch=z9hG4bKc\nFrom: a;tag=1\nTo: <sip:support@127.0.0.1>\nCall-ID: c\nCSeq: 1 INVITE\nContact: {contact}\nContent-Length: 0\n\n"
        )
    };
    bench.receive(CALLER, &invite("<sip:a b@c>"));
    assert_eq!(bench.last("400").status(), 400);
    let long = vec!["<sip:p;lr>"; crate::sip::limits::ROUTES_MAX + 1].join(", ");
    bench.receive(
        CALLER,
        &invite("<sip:a@c>").replace("z9hG4bKc", "z9hG4bKd").replace("Call-ID: c", &format!("Record-Route: {long}\nCall-ID: c")),
    );
    assert_eq!(bench.count("400"), 2);
}
