//! Calls that are sent on: a phone's REFER, and a caller who goes on with another phone.

use super::*;

const SECOND: &str = "127.0.0.1:7003";

impl Bench {
    /// A request of the phone in its dialog.
    fn phone_says(&mut self, method: &str, cseq: u32, fields: &str) {
        let (invite, tag) = (self.last("INVITE"), "pt");
        let text = format!(
            "{method} sip:tandem@127.0.0.1:5060 SIP/2.0\nVia: SIP/2.0/UDP {PHONE};branch=z9hG4bK{method}{cseq}\nFrom: {};tag={tag}\nTo: {}\nCall-ID: {}\nCSeq: {cseq} {method}\nContact: <sip:alice@{PHONE}>\nMax-Forwards: 70\n{fields}\n",
            invite.text(Name::To),
            invite.text(Name::From),
            invite.call_id()
        );
        self.receive(PHONE, &text);
    }

    fn refer(&mut self, fields: &str) {
        self.phone_says("REFER", 1, &format!("{fields}\n"));
    }

    fn notified(&self) -> Vec<String> {
        let notes = self.sent.iter().filter(|(_, message)| message.is_request() && message.method() == Method::Notify);
        notes.map(|(_, message)| String::from_utf8_lossy(&message.body).trim().to_owned()).collect()
    }
}

#[test]
fn a_refer_that_is_followed_is_accepted_and_told_to_the_phone() {
    let (mut bench, phone) = Bench::talking();
    bench.refer("Refer-To: <sip:billing@demo>");
    let (tx, user) = bench.refers.pop().expect("the core is asked");
    assert_eq!((user.as_str(), bench.count("202")), ("billing", 0), "nothing is said before it is decided");
    bench.stack.referred(bench.now, tx, phone, Ok(()));
    bench.drain();
    assert_eq!((bench.count("202"), bench.notified()), (1, vec!["SIP/2.0 100 Trying".to_owned(), "SIP/2.0 200 OK".to_owned()]));
    let last = bench.last("NOTIFY");
    assert_eq!(last.text(Name::Event), "refer;id=1");
    assert!(last.fields.iter().any(|field| &field.value[..] == b"terminated;reason=noresource"));
    assert_eq!((last.to_tag().as_deref(), last.text(Name::ContentType).as_str()), (Some("pt"), "message/sipfrag;version=2.0"));
    bench.order(phone, Action::HangUp { cause: "transferred".into() });
    assert_eq!((bench.count("BYE"), bench.count("202")), (1, 1));
}

#[test]
fn what_follows_from_a_refer_may_come_before_the_word_about_it() {
    let (mut bench, phone) = Bench::talking();
    bench.refer("r: <sip:billing@demo>");
    let (tx, _) = bench.refers.pop().expect("the core is asked");
    bench.order(phone, Action::HangUp { cause: "transferred".into() });
    let tail: Vec<_> = bench.sent.iter().rev().take(4).map(|(_, message)| message.method().name()).collect();
    assert_eq!(tail, ["BYE", "NOTIFY", "NOTIFY", "REFER"], "the answer first, the BYE last");
    bench.stack.referred(bench.now, tx, phone, Ok(()));
    bench.drain();
    assert_eq!((bench.count("202"), bench.count("NOTIFY")), (1, 2));
}

#[test]
fn a_phone_that_wants_no_notify_gets_none() {
    let (mut bench, phone) = Bench::talking();
    bench.refer("Refer-To: sip:billing@demo\nRefer-Sub: false");
    let (tx, _) = bench.refers.pop().expect("the core is asked");
    bench.stack.referred(bench.now, tx, phone, Ok(()));
    bench.drain();
    assert_eq!((bench.count("202"), bench.count("NOTIFY")), (1, 0));
    assert!(bench.last("202").fields.iter().any(|field| &field.spelt[..] == b"Refer-Sub"));
}

#[test]
fn a_refer_that_is_not_followed_leaves_the_call_as_it_is() {
    let (mut bench, phone) = Bench::talking();
    bench.refer("Refer-To: <sip:nobody@demo>");
    let (tx, _) = bench.refers.pop().expect("the core is asked");
    bench.stack.referred(bench.now, tx, phone, Err((404, "Not Found")));
    bench.drain();
    assert_eq!((bench.count("404"), bench.count("NOTIFY"), bench.count("BYE")), (1, 0, 0));
    bench.phone_says("REFER", 2, "Refer-To: <sip:billing@demo>\n");
    assert_eq!(bench.refers.len(), 1, "it may ask again");
    bench.phone_says("REFER", 3, "Refer-To: <sip:billing@demo>\n");
    assert_eq!(bench.count("491"), 1, "but one at a time");
}

#[test]
fn a_refer_names_a_number_as_the_phone_would_dial_it() {
    for (field, user) in [
        ("Refer-To: <sip:+4930123456@demo;user=phone>", "+4930123456"),
        ("Refer-To: <sip:030123456;phone-context=demo@demo;user=phone>", "030123456"),
        ("Refer-To: \"Shop\" <sips:4711@demo>", "4711"),
    ] {
        let (mut bench, _) = Bench::talking();
        bench.refer(field);
        assert_eq!(bench.refers.pop().map(|(_, user)| user).as_deref(), Some(user));
    }
}

#[test]
fn what_no_transfer_can_mean_is_refused_at_once() {
    for (field, status) in [
        ("Refer-To: <sip:a@demo?Replaces=1%3Bto-tag%3D2>", "603"),
        ("Refer-To: <sip:a@demo;method=BYE>", "403"),
        ("Refer-To: <tel:+4930>", "416"),
        ("Refer-To: <sip:demo>", "404"),
        ("Refer-To: <sip:a@demo>, <sip:b@demo>", "400"),
        ("Subject: none", "400"),
    ] {
        let (mut bench, _) = Bench::talking();
        bench.refer(field);
        assert_eq!((bench.count(status), bench.refers.len()), (1, 0), "{field}");
    }
}

#[test]
fn a_caller_cannot_send_itself_elsewhere() {
    let (mut bench, _) = Bench::talking();
    bench.caller_says("REFER", 2, "");
    assert_eq!((bench.count("603"), bench.refers.len()), (1, 0));
}

#[test]
fn a_caller_who_goes_on_with_another_phone_is_told_where_its_audio_is() {
    let (mut bench, phone) = Bench::talking();
    bench.order(phone, Action::HangUp { cause: "transferred".into() });
    let second = LegId { call: call(), n: 2 };
    let ring = Ring {
        target: Target::Contact { uri: format!("sip:bob@{SECOND}") },
        caller: Party::default(),
        queue: None,
        trunk: None,
        sdp: Some(Sdp::from(b"v=0 caller".to_vec())),
        headers: Vec::new(),
        max_forwards: 69,
        anchored: false,
        aside: false,
    };
    bench.order(second, Action::ring(ring));
    bench.phone_answers("INVITE", 200, "v=0 second");
    bench.order(LegId::caller(call()), Action::Answer { peer: second, sdp: Sdp::from(b"v=0 second".to_vec()) });
    let again = bench.last("INVITE");
    assert_eq!((again.to_tag().as_deref(), &again.body[..]), (Some("ct"), &b"v=0 second"[..]));
    assert_eq!(again.call_id(), "c1");
    bench.phone_answers("INVITE", 491, "");
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.last("INVITE").text(Name::CSeq), "2 INVITE", "after a collision it is sent again");
    bench.phone_answers("INVITE", 200, "v=1 caller");
    assert!(matches!(bench.event(), LegEvent::Media { held: false, .. }));
    assert_eq!(bench.last("ACK").call_id(), "c1");
}
