//! What the parser takes, what it refuses and with which status.

use proptest::prelude::*;

use super::*;

const INVITE: &str = "INVITE sip:support@127.0.0.1 SIP/2.0\r\nv: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKx, SIP/2.0/TCP 10.0.0.2\r\nFrom: \"A, B\" <sip:a@x>;tag=1\r\nTo: <sip:b@y>\r\ni: abc\r\nCSeq: 7 INVITE\r\nSubject: one\r\n two\r\nm: <sip:a@10.0.0.1:5060;transport=tcp>\r\n\r\nv=0\r\n";

fn status(text: &str) -> u16 {
    parse(text.as_bytes()).expect_err("refused").status
}

#[test]
fn compact_names_folds_lists_and_a_missing_length_are_read() {
    let message = parse(INVITE.as_bytes()).expect("well-formed");
    assert_eq!((message.method(), message.uri(), message.cseq()), (Method::Invite, "sip:support@127.0.0.1", Some((7, Method::Invite))));
    assert_eq!(message.top_via(), Some(("z9hG4bKx".into(), "10.0.0.1:5060".into())));
    assert_eq!(message.all(Name::Via).len(), 2);
    assert_eq!(message.all(Name::From).len(), 1, "a comma in quotes is no list");
    assert_eq!((message.text(Name::Subject).as_str(), message.from_tag().as_deref(), message.to_tag()), ("one two", Some("1"), None));
    assert_eq!((message.contact().as_deref(), &message.body[..]), (Some("sip:a@10.0.0.1:5060;transport=tcp"), &b"v=0\r\n"[..]));
}

#[test]
fn latin_1_in_a_display_name_keeps_everything_behind_it() {
    let mut bytes = INVITE.replace("A, B", "J?rg").into_bytes();
    let at = bytes.iter().position(|b| *b == b'?').expect("there");
    bytes[at] = 0xF6;
    let message = parse(&bytes).expect("tolerated");
    assert_eq!(message.call_id(), "abc");
    assert!(message.fields.iter().any(|field| field.value.contains(&0xF6)), "the byte is kept");
}

#[test]
fn bad_messages_get_their_status() {
    assert_eq!(status(&INVITE.replace("SIP/2.0\r\nv:", "SIP/7.0\r\nv:")), 505);
    assert_eq!(status(&INVITE.replace("7 INVITE", "7 BYE")), 400);
    assert_eq!(status(&INVITE.replace("i: abc\r\n", "")), 400);
    assert_eq!(status(&INVITE.replace("i: abc", "i: abc\r\nContent-Length: -1")), 400);
    assert_eq!(status(&INVITE.replace("i: abc", "i: abc\r\nContent-Length: 99")), 400);
    assert_eq!(status(&INVITE.replace("INVITE sip:support@127.0.0.1", "INVITE <sip:support@127.0.0.1>")), 400);
    assert!(parse(b"garbage").is_err());
}

#[test]
fn parts_of_values_are_found() {
    assert_eq!(host_port("sip:a:b@[::1]:5070;transport=tcp"), ("::1".into(), Some(5070)));
    assert_eq!((user_of("sip:bob;x@h"), user_of("sip:h")), ("bob", ""));
    assert_eq!(without_tag("<sip:a@b>;tag=1;x=2"), "<sip:a@b>;x=2");
    let contact = "\"a <b>\" <sip:a@b;ob>;+sip.instance=\"<urn:uuid:1>\";reg-id=2";
    assert_eq!((angle_uri(contact), param(contact, "reg-id")), ("sip:a@b;ob", Some("2")));
    assert_eq!(param(contact, "+sip.instance"), Some("<urn:uuid:1>"));
    assert_eq!(angle_uri(r#""J \\\"<x>" <sip:a@b>"#), "sip:a@b");
    assert_eq!([request_uri("sip:a?b@c?Route=x"), request_uri("sip:c;lr")], ["sip:a?b@c", "sip:c;lr"]);
}

#[test]
fn a_via_with_holes_and_quotes_that_never_close_are_refused() {
    let status = |from: &str, to: &str| parse(INVITE.replacen(from, to, 1).as_bytes()).err().map(|error| error.status);
    assert_eq!(status(";branch=", ";;branch="), Some(400));
    assert_eq!(status("v: ", "v: ,"), Some(400));
    assert_eq!(status("From: ", "From: \"A "), Some(400));
    assert_eq!(status("\"A, B\"", "\"A\\\" B\""), None);
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn a_message_written_and_read_again_is_the_same(cut in 0..INVITE.len(), byte in any::<u8>()) {
        let mut bytes = INVITE.as_bytes().to_vec();
        bytes[cut] = byte;
        if let Ok(message) = parse(&bytes) {
            let again = parse(&message.to_bytes()).expect("what we write we read");
            prop_assert_eq!(again.start, message.start);
            prop_assert_eq!(again.body, message.body);
        }
    }
}
