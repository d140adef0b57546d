//! Answers without a transaction (RFC 3261 §8.2.7): refusals that must cost nothing, and challenges.
//!
//! An answer to a stranger is never longer than a little more than what it answers, and their number is bounded, so that
//! the node cannot be made to shout at a forged address.

use std::{borrow::Cow, net::SocketAddr};

use bytes::Bytes;

use crate::sip::message::{Builder, Message, Method, Name};

/// A tag for answers that belong to no dialog; the same for a retransmission.
fn tag(request: &Message) -> String {
    let of = format!("{}{:?}", request.call_id(), request.cseq());
    format!("s{:08x}", crc32fast::hash(of.as_bytes()))
}

/// A response without a transaction. `None` for what must not be answered: responses and ACK.
pub(super) fn answer(request: &Message, remote: SocketAddr, status: u16, reason: &str, headers: &[(&str, String)]) -> Option<Bytes> {
    if !request.is_request() || request.method() == Method::Ack {
        return None;
    }
    let mut request = Cow::Borrowed(request);
    if let Some(via) = request.fields.iter().position(|field| field.name == Name::Via) {
        let stamped = stamp(&String::from_utf8_lossy(&request.fields[via].value), remote);
        request.to_mut().fields[via].value = Bytes::from(stamped);
    }
    let mut builder = Builder::response(&request, status, reason, Some(&tag(&request)));
    for (name, value) in headers {
        builder = builder.named(name, value);
    }
    Some(builder.empty())
}

/// The topmost Via with where its request really came from (RFC 3581).
fn stamp(via: &str, remote: SocketAddr) -> String {
    let (first, rest) = via.split_once(',').map_or((via, None), |(first, rest)| (first, Some(rest)));
    let mut out = String::with_capacity(via.len() + 64);
    for (n, part) in first.split(';').enumerate() {
        let name = part.split('=').next().unwrap_or_default().trim();
        if n > 0 && name.eq_ignore_ascii_case("received") {
            continue;
        }
        if n > 0 {
            out.push(';');
        }
        if n > 0 && name.eq_ignore_ascii_case("rport") {
            out.push_str(&format!("rport={}", remote.port()));
        } else {
            out.push_str(part);
        }
    }
    out.push_str(&format!(";received={}", remote.ip()));
    if let Some(rest) = rest {
        out.push(',');
        out.push_str(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::parse;

    #[test]
    fn an_answer_finds_its_way_back_through_a_translator() {
        let request = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;rport;branch=z9hG4bK1, SIP/2.0/UDP h2;branch=z9hG4bK0\r\nFrom: <sip:x@y>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n";
        let remote = ([203, 0, 113, 9], 40_000).into();
        let message = parse(request.as_bytes()).unwrap();
        let bytes = answer(&message, remote, 503, "Service Unavailable", &[("Retry-After", "3".to_owned())]).unwrap();
        let answer = parse(&bytes).unwrap();
        assert_eq!(answer.all(Name::Via)[0], "SIP/2.0/UDP 10.0.0.1:5060;rport=40000;branch=z9hG4bK1;received=203.0.113.9");
        assert_eq!(answer.all(Name::Via)[1], "SIP/2.0/UDP h2;branch=z9hG4bK0");
        assert_eq!((answer.status(), answer.text(Name::RetryAfter)), (503, "3".to_owned()));
        assert!(answer.to_tag().is_some());
    }

    #[test]
    fn an_ack_is_never_answered() {
        let request = "ACK sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:x@y>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 1 ACK\r\n\r\n";
        assert!(answer(&parse(request.as_bytes()).unwrap(), ([1, 1, 1, 1], 1).into(), 400, "Bad Request", &[]).is_none());
    }
}
