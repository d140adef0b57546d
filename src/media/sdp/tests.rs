//! Descriptions of real phones and of nobody.

use proptest::prelude::*;

use super::*;
use crate::media::g711::Law;

const PHONE: &str = "v=0\r\no=alice 2890844526 7 IN IP4 10.1.2.3\r\ns=Alice's phone\r\ne=alice@example.com\r\nc=IN IP4 10.1.2.3\r\n\
    t=0 0\r\na=group:BUNDLE 0 1\r\na=x-vendor:yes\r\nm=audio 49170 RTP/AVP 9 0 8 101\r\na=rtpmap:9 G722/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=rtcp:53020\r\na=candidate:1 1 UDP 2130706431 10.1.2.3 49170 typ host\r\n\
    a=ice-ufrag:8hhY\r\na=x-codec-hint:42\r\na=sendonly\r\nm=video 49180 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";

fn ours() -> Ours {
    Ours { address: IpAddr::from([192, 0, 2, 9]), port: 30_000, session: 77, version: 3, mux: false, key: None }
}

fn told(sdp: &str) -> String {
    String::from_utf8(retold(&parse(sdp.as_bytes()).expect("valid"), &ours())).expect("text")
}

#[test]
fn the_audio_line_is_read() {
    let audio = parse(PHONE.as_bytes()).expect("valid").audio;
    assert_eq!(audio.rtp, Some("10.1.2.3:49170".parse().expect("address")));
    assert_eq!(audio.rtcp, Some("10.1.2.3:53020".parse().expect("address")));
    assert_eq!(audio.direction, Direction::SendOnly);
    assert_eq!(audio.codecs.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [9, 0, 8, 101]);
    assert_eq!(audio.codecs[2].1, Codec::G711(Law::A));
    assert_eq!(audio.codecs[3].1, Codec::Event(8_000));
}

#[test]
fn what_is_unknown_survives_and_what_names_the_party_does_not() {
    let told = told(PHONE);
    for kept in ["a=x-vendor:yes", "a=x-codec-hint:42", "a=sendonly", "m=audio 30000 RTP/AVP 9 0 8 101", "a=rtcp:30001", "a=fmtp:101 0-16"]
    {
        assert!(told.contains(kept), "{kept} in\n{told}");
    }
    for gone in ["10.1.2.3", "alice", "Alice", "candidate", "ice-ufrag", "BUNDLE", "49170", "H264"] {
        assert!(!told.contains(gone), "{gone} in\n{told}");
    }
    assert!(told.contains("o=- 77 3 IN IP4 192.0.2.9\r\n") && told.contains("c=IN IP4 192.0.2.9\r\n"), "{told}");
    assert!(told.contains("m=video 0 RTP/AVP 96\r\n"), "another line is refused in its place:\n{told}");
}

#[test]
fn rtcp_on_the_port_of_rtp_is_said_only_when_we_say_so() {
    let sdp = PHONE.replace("a=rtcp:53020", "a=rtcp-mux");
    assert!(parse(sdp.as_bytes()).expect("valid").audio.mux);
    assert!(!told(&sdp).contains("rtcp-mux"));
    let muxed = retold(&parse(sdp.as_bytes()).expect("valid"), &Ours { mux: true, ..ours() });
    assert!(String::from_utf8(muxed).expect("text").contains("a=rtcp-mux"));
}

#[test]
fn an_address_that_cannot_be_sent_to_is_none() {
    for address in ["0.0.0.0", "224.2.1.1/127", "host.example.com"] {
        let sdp = PHONE.replace("c=IN IP4 10.1.2.3", &format!("c=IN IP4 {address}"));
        let audio = parse(sdp.as_bytes()).expect("valid").audio;
        assert_eq!((audio.rtp, audio.is_ipv6), (None, false), "{address}");
    }
    let sdp = PHONE.replace("c=IN IP4 10.1.2.3", "c=IN IP6 2001:db8::1");
    assert!(parse(sdp.as_bytes()).expect("valid").audio.is_ipv6);
}

#[test]
fn what_cannot_be_carried_is_a_typed_error() {
    let error = |sdp: &str| parse(sdp.as_bytes()).expect_err("not to be carried");
    assert!(matches!(error("hello"), Error::Malformed(_)));
    assert!(matches!(error(""), Error::Malformed(_)));
    assert!(matches!(error(&PHONE.replace("m=audio 49170", "m=audio 0")), Error::NoAudio));
    assert!(matches!(error(&PHONE.replace("m=audio", "m=image")), Error::NoAudio));
    assert!(matches!(error(&PHONE.replace("49170 RTP/AVP 9 0 8 101", "49170 RTP/AVP 101")), Error::NoCodec));
    assert!(matches!(error(&PHONE.replace("49170 RTP/AVP", "49170 UDP/TLS/RTP/SAVPF")), Error::Profile(_)));
    assert!(matches!(error(&PHONE.replace("49170 RTP/AVP", "49170 RTP/SAVP")), Error::Profile(_)), "without keys");
    assert!(matches!(error(&PHONE.replace("c=IN IP4 10.1.2.3\r\n", "")), Error::Malformed(_)));
    assert!(matches!(error(&"m".repeat(limits::SDP_BYTES_MAX + 1)), Error::TooMuch("bytes")));
    let many = format!("{PHONE}{}", "m=video 0 RTP/AVP 96\r\n".repeat(limits::MEDIA_LINES_MAX));
    assert!(matches!(error(&many), Error::TooMuch("media lines")));
}

#[test]
fn a_party_that_wants_srtp_is_told_a_key_of_ours_and_its_own_goes_nowhere() {
    let theirs = "1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20";
    let sdp = PHONE
        .replace("49170 RTP/AVP", "49170 RTP/SAVP")
        .replace("a=rtcp:53020", &format!("a=crypto:9 UNKNOWN inline:x\r\na=crypto:{theirs}"));
    assert!(parse(sdp.as_bytes()).expect("valid").audio.key.is_some());
    let plain = told(&sdp);
    assert!(plain.contains("m=audio 30000 RTP/AVP 9") && !plain.contains("crypto"), "{plain}");
    let ours = Ours { key: Some("1 AES_CM_128_HMAC_SHA1_80 inline:ours".into()), ..ours() };
    let secure = String::from_utf8(retold(&parse(PHONE.as_bytes()).expect("valid"), &ours)).expect("text");
    assert!(
        secure.contains("m=audio 30000 RTP/SAVP 9") && secure.contains("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:ours\r\n"),
        "{secure}"
    );
}

#[test]
fn fifty_codecs_are_read_and_a_hundred_are_cut() {
    let line = |count: u8| {
        let numbers: Vec<_> = (0..count).map(|number| number.to_string()).collect();
        PHONE.replace("9 0 8 101", &numbers.join(" "))
    };
    assert_eq!(parse(line(50).as_bytes()).expect("valid").audio.codecs.len(), 50);
    assert_eq!(parse(line(120).as_bytes()).expect("valid").audio.codecs.len(), limits::CODECS_MAX);
}

#[test]
fn bytes_that_are_no_utf8_do_not_hide_the_audio() {
    let mut bytes = PHONE.replace("Alice's phone", "Bj?rn").into_bytes();
    let place = bytes.windows(5).position(|five| five == b"Bj?rn").expect("replaced");
    bytes[place + 2] = 0xF8;
    assert!(parse(&bytes).is_ok());
}

#[test]
fn our_own_description_refuses_every_other_line_in_its_place() {
    let offer = parse(PHONE.as_bytes()).expect("valid");
    let codecs = either_law(Law::A, Some(96));
    let sdp = String::from_utf8(own(&offer, &codecs, Direction::ReceiveOnly, &ours())).expect("text");
    assert!(sdp.contains("m=audio 30000 RTP/AVP 8 0 96\r\n"), "{sdp}");
    assert!(sdp.contains("a=rtpmap:96 telephone-event/8000\r\na=fmtp:96 0-15\r\n") && sdp.contains("a=recvonly"), "{sdp}");
    assert!(sdp.contains("m=video 0 RTP/AVP 96\r\n") && !sdp.contains("x-codec-hint"), "{sdp}");
    assert!(parse(sdp.as_bytes()).is_ok());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes).map(|description| retold(&description, &ours()));
    }

    /// Lines of real descriptions, in any order and cut anywhere.
    #[test]
    fn no_shuffled_lines_make_it_panic(lines in proptest::collection::vec(0..17_usize, 0..40), cut in 0..2_000_usize) {
        let known: Vec<_> = PHONE.split_inclusive("\r\n").collect();
        let text: String = std::iter::once("v=0\r\n").chain(lines.iter().map(|line| known[line % known.len()])).collect();
        let text = &text[..text.len().min(cut)];
        if let Ok(description) = parse(text.as_bytes()) {
            let again = parse(&retold(&description, &ours()));
            prop_assert!(again.is_ok(), "what is told can be read: {again:?}");
        }
    }
}
