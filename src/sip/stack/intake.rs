//! Requests as they come in: repeats absorbed, bad ones refused, each led to its leg, its node or the edge.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;

use super::{ALLOW, Destination, Flow, Output, Stack, names, server::ServerKey, via};
use crate::sip::{
    limits::ROUTES_MAX,
    message::{Builder, Message, Method, Name, ParseError, angle_uri, is_uri, param, parse, sdp_of},
};

/// A refusal: status, reason phrase, header fields.
pub(super) type Refusal = (u16, &'static str, Vec<(&'static str, String)>);

/// Extensions a request may require of us.
const EXTENSIONS: [&str; 5] = ["100rel", "timer", "path", "outbound", "gruu"];

impl Stack {
    /// Takes in one framed message.
    pub fn receive(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        match parse(&bytes) {
            Ok(message) if self.holds_back(flow, &message, &bytes) => {}
            Ok(message) if message.is_request() => self.request(now, flow, message, bytes),
            Ok(message) => self.response(now, flow, message, bytes),
            Err(error) => self.malformed(flow, error),
        }
    }

    /// Answers what is not a good request, if enough could be read for the answer to find its way.
    fn malformed(&mut self, flow: Flow, error: ParseError) {
        let Some(mut partial) = error.partial.filter(|partial| partial.is_request() && partial.method() != Method::Ack) else { return };
        via::stamp(&mut partial, &flow);
        let answer = Builder::response(&partial, error.status, error.reason, Some("bad")).empty();
        self.transmit(Destination::Flow(via::way_back(&partial, flow)), answer);
    }

    fn request(&mut self, now: Instant, flow: Flow, mut message: Message, bytes: Bytes) {
        let Some(key) = ServerKey::of(&message) else { return };
        via::stamp(&mut message, &flow);
        match message.method() {
            Method::Ack => return self.ack(now, &key, &message, flow, bytes),
            Method::Cancel => return self.cancel(now, flow, &key, &message, bytes),
            _ => {}
        }
        if let Some(server) = self.servers.get(&key) {
            if let Some(last) = server.last.clone() {
                let back = server.back;
                self.transmit(Destination::Flow(back), last);
            }
            return;
        }
        let minted = message.to_tag().as_deref().and_then(names::read_tag);
        if let Some((leg, node)) = minted
            && node != self.options.edge.node
            && !self.legs.contains_key(&leg)
            && flow.via.is_none()
        {
            return self.out.push_back(Output::Foreign { node, flow, bytes });
        }
        let message = Arc::new(message);
        if !self.open_server(now, &key, flow, &message) {
            return;
        }
        if let Some((leg, _)) = minted {
            if self.legs.contains_key(&leg) {
                return self.inside(now, leg, &key, flow, &message);
            }
            let tx = self.pend(now, &key);
            return self.out.push_back(Output::Unknown { tx, leg, flow, request: bytes });
        }
        if let Some((status, reason, extra)) = self.refuses(&message) {
            return self.answer(now, &key, status, reason, &extra, b"");
        }
        if message.method() == Method::Invite {
            self.answer(now, &key, 100, "Trying", &[], b"");
        }
        let tx = self.pend(now, &key);
        self.out.push_back(Output::Request { tx, flow, request: bytes });
    }

    /// What a request outside every dialog is refused for before anybody looks at it.
    fn refuses(&self, message: &Message) -> Option<Refusal> {
        let method = message.method();
        let scheme = message.uri().split(':').next().unwrap_or_default().to_ascii_lowercase();
        let required = message.all(Name::Require).into_iter();
        let unsupported: Vec<_> = required.filter(|option| !EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(option))).collect();
        // A live leg's branch: one of our own INVITEs has come back to us. (Another cluster's look the same.)
        let ours = |(leg, node)| node == self.options.edge.node && self.legs.contains_key(&leg);
        let branch = |via: &String| names::read_branch(param(via, "branch").unwrap_or_default());
        let looped = || message.all(Name::Via).iter().filter_map(branch).any(ours);
        if message.to_tag().is_some() {
            Some((481, "Call/Transaction Does Not Exist", Vec::new()))
        } else if method == Method::Other {
            Some((501, "Not Implemented", vec![("Allow", ALLOW.to_owned())]))
        } else if !matches!(method, Method::Invite | Method::Options | Method::Register) {
            Some((405, "Method Not Allowed", vec![("Allow", ALLOW.to_owned())]))
        } else if scheme != "sip" && scheme != "sips" && scheme != "tel" {
            Some((416, "Unsupported URI Scheme", Vec::new()))
        } else if !unsupported.is_empty() {
            Some((420, "Bad Extension", vec![("Unsupported", unsupported.join(", "))]))
        } else if message.text(Name::MaxForwards).parse() == Ok(0_u8) {
            Some((483, "Too Many Hops", Vec::new()))
        } else if method != Method::Invite {
            None
        } else if message.contact().is_none() && !is_uri(angle_uri(&message.text(Name::From))) {
            Some((400, "No Usable Contact", Vec::new()))
        } else if message.all(Name::RecordRoute).len() > ROUTES_MAX || message.all(Name::Via).len() > ROUTES_MAX {
            Some((400, "Too Many Hops Recorded", Vec::new()))
        } else if looped() {
            Some((482, "Loop Detected", Vec::new()))
        } else if !takes_sdp(message) {
            Some((406, "Not Acceptable", Vec::new()))
        } else if sdp_of(message).is_err() {
            Some((415, "Unsupported Media Type", vec![("Accept", "application/sdp".to_owned())]))
        } else {
            super::session::refuses(message)
        }
    }
}

/// Whether the sender of an INVITE reads what it will be answered with. Without an Accept it does (RFC 3261 §20.1).
fn takes_sdp(message: &Message) -> bool {
    let taken = |range: &String| {
        let range = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        matches!(range.as_str(), "application/sdp" | "application/*" | "*/*")
    };
    message.get(Name::Accept).is_none() || message.all(Name::Accept).iter().any(taken)
}
