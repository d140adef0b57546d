//! Framing however the bytes are cut, and what is refused.

use proptest::prelude::*;

use super::*;

fn message(head: &str, body: &str) -> Bytes {
    Bytes::from(format!("{head}\r\n{body}").into_bytes())
}

const HEAD: &str = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n";

#[test]
fn a_datagram_without_content_length_carries_its_rest_as_body() {
    let bytes = message(HEAD, "v=0\r\n");
    assert_eq!(datagram(bytes.clone()), Datagram::Message(bytes));
}

#[test]
fn a_datagram_is_cut_at_its_content_length() {
    let got = datagram(message(&format!("{HEAD}l : 3\r\n"), "abcdef"));
    let Datagram::Message(bytes) = got else { panic!("{got:?}") };
    assert!(bytes.ends_with(b"\r\n\r\nabc"));
}

#[test]
fn wrong_lengths_are_faults() {
    let bad = |length: &str| datagram(message(&format!("{HEAD}{length}\r\n"), "abc"));
    assert!(matches!(bad("Content-Length: 4"), Datagram::Bad(Fault::Truncated, _)));
    assert!(matches!(bad("Content-Length: -1"), Datagram::Bad(Fault::BadContentLength, _)));
    assert!(matches!(bad("Content-Length: 3\r\nl: 2"), Datagram::Bad(Fault::BadContentLength, _)));
    assert!(matches!(bad("Content-Length: 99999999999999999999"), Datagram::Bad(Fault::BadContentLength, _)));
    assert!(matches!(bad("Content-Length:\r\n 3"), Datagram::Message(_)));
}

#[test]
fn keep_alives_and_garbage_are_told_apart() {
    assert_eq!(datagram(Bytes::new()), Datagram::KeepAlive);
    assert_eq!(datagram(Bytes::from_static(b"\r\n\r\n")), Datagram::KeepAlive);
    assert_eq!(datagram(Bytes::from_static(b"\0\0\0\0")), Datagram::KeepAlive);
    assert_eq!(datagram(Bytes::from_static(b"GET / HTTP/1.1\r\n\r\n")), Datagram::Garbage);
    assert_eq!(datagram(Bytes::from(vec![0xFF; 65_507])), Datagram::Garbage);
}

#[test]
fn a_largest_datagram_is_taken() {
    let body = "x".repeat(65_000 - HEAD.len() - 4);
    assert!(matches!(datagram(message(HEAD, &body)), Datagram::Message(_)));
}

#[test]
fn a_stream_without_content_length_is_refused() {
    let mut framer = StreamFramer::default();
    framer.push(&message(HEAD, "v=0\r\n"));
    let (fault, head) = framer.next().unwrap_err();
    assert_eq!(fault, Fault::NoContentLength);
    assert!(head.starts_with(b"OPTIONS"));
}

#[test]
fn a_ping_is_seen_between_messages_and_a_lone_crlf_is_no_beginning() {
    let mut framer = StreamFramer::default();
    framer.push(b"\r\n");
    assert_eq!(framer.next(), Ok(None));
    assert!(!framer.is_partial());
    framer.push(b"\r\n");
    assert_eq!(framer.next(), Ok(Some(Frame::Ping)));
    framer.push(b"\r\nOPT");
    assert_eq!(framer.next(), Ok(None));
    assert!(framer.is_partial());
}

#[test]
fn an_endless_header_is_cut_at_its_bound() {
    let mut framer = StreamFramer::default();
    let mut pushed = 0;
    let fault = loop {
        framer.push(&[b'a'; 1024]);
        pushed += 1024;
        match framer.next() {
            Ok(None) => assert!(pushed <= HEAD_BYTES_MAX + 1024),
            Ok(frame) => panic!("{frame:?}"),
            Err((fault, _)) => break fault,
        }
    };
    assert_eq!(fault, Fault::HeadTooBig);
    let mut framer = StreamFramer::default();
    framer.push(&message(&format!("{HEAD}Content-Length: 999999999\r\n"), ""));
    assert!(matches!(framer.next(), Err((Fault::BodyTooBig, _))));
}

/// Feeds `chunks` and collects what comes out, up to the first fault.
fn frames(chunks: impl Iterator<Item = Vec<u8>>) -> (Vec<Frame>, Option<Fault>) {
    let (mut framer, mut out) = (StreamFramer::default(), Vec::new());
    for chunk in chunks {
        framer.push(&chunk);
        loop {
            match framer.next() {
                Ok(Some(frame)) => out.push(frame),
                Ok(None) => break,
                Err((fault, _)) => return (out, Some(fault)),
            }
        }
    }
    (out, None)
}

proptest! {
    #[test]
    fn any_split_of_a_stream_gives_the_same_messages(
        bodies in prop::collection::vec(("[a-z\r\n]{0,40}", 0_usize..3), 1..6),
        cuts in prop::collection::vec(1_usize..60, 1..40),
    ) {
        let mut stream = Vec::new();
        for (body, pings) in &bodies {
            stream.extend_from_slice(&message(&format!("{HEAD}Content-Length: {}\r\n", body.len()), body));
            stream.extend_from_slice("\r\n\r\n".repeat(*pings).as_bytes());
        }
        let whole = frames(std::iter::once(stream.clone()));
        let mut rest = stream.as_slice();
        let mut cuts = cuts.iter().cycle();
        let split = frames(std::iter::from_fn(|| {
            let n = (*cuts.next()?).min(rest.len());
            let (chunk, tail) = rest.split_at(n);
            rest = tail;
            (n > 0).then(|| chunk.to_vec())
        }));
        prop_assert_eq!(&whole, &split);
        prop_assert_eq!(whole.0.iter().filter(|f| matches!(f, Frame::Message(_))).count(), bodies.len());
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), n in 1_usize..50) {
        datagram(Bytes::from(bytes.clone()));
        frames(bytes.chunks(n).map(<[u8]>::to_vec));
    }
}
