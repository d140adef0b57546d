//! SIP text as the phones write it, and URIs and Via values as they read them. The product's writer is not used: what
//! judges must not share the judged one's faults.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

use bytes::Bytes;
use tandem::sip::message::{Message, Name, host_port};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    /// As a Via spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }

    const fn port(self) -> u16 {
        if matches!(self, Self::Tls) { 5061 } else { 5060 }
    }
}

/// Where a message goes, or came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    pub transport: Transport,
    pub addr: SocketAddr,
    /// The connection to use while it lasts; another to `addr` otherwise.
    pub conn: Option<u64>,
}

impl Hop {
    pub const fn to(transport: Transport, addr: SocketAddr) -> Self {
        Self { transport, addr, conn: None }
    }
}

/// Where a URI points to. Names are not looked up: labs have none.
pub fn resolve(uri: &str) -> Option<Hop> {
    let (host, port) = host_port(uri);
    let ip: IpAddr = host.parse().ok()?;
    let asked = uri.split([';', '?']).find_map(|part| part.strip_prefix("transport=")).map(str::to_ascii_lowercase);
    let transport = match asked.as_deref() {
        Some("tls") => Transport::Tls,
        Some("tcp") if uri.starts_with("sips:") => Transport::Tls,
        Some("tcp") => Transport::Tcp,
        _ if uri.starts_with("sips:") => Transport::Tls,
        _ => Transport::Udp,
    };
    Some(Hop::to(transport, SocketAddr::new(ip, port.unwrap_or(transport.port()))))
}

/// A URI of `user` at `addr`.
pub fn uri(user: &str, addr: SocketAddr, transport: Transport) -> String {
    let tail = match transport {
        Transport::Udp => "",
        Transport::Tcp => ";transport=tcp",
        Transport::Tls => ";transport=tls",
    };
    format!("sip:{user}@{addr}{tail}")
}

/// Where the response to a request that came by `source` goes (RFC 3261 §18.2.2, RFC 3581 §4).
pub fn response_hop(request: &Message, source: Hop) -> Hop {
    let via = request.all(Name::Via).into_iter().next().unwrap_or_default();
    let wants_rport = via.split(';').skip(1).any(|part| part.trim().eq_ignore_ascii_case("rport"));
    if wants_rport && source.transport == Transport::Udp {
        return source;
    }
    let port = request.top_via().and_then(|(_, sent_by)| host_port(&sent_by).1).unwrap_or(source.transport.port());
    Hop { addr: SocketAddr::new(source.addr.ip(), port), ..source }
}

/// A message being written.
#[derive(Debug, Clone)]
pub struct Draft {
    text: String,
}

impl Draft {
    pub fn request(method: &str, uri: &str) -> Self {
        Self { text: format!("{method} {uri} SIP/2.0\r\n") }
    }

    /// A response with what it copies from its request; `tag` goes to a To without one.
    pub fn response(request: &Message, source: Hop, status: u16, tag: &str) -> Self {
        let mut draft = Self { text: format!("SIP/2.0 {status} {}\r\n", reason(status)) };
        let mut first_via = true;
        for field in &request.fields {
            let value = String::from_utf8_lossy(&field.value);
            match field.name {
                Name::Via if std::mem::take(&mut first_via) => draft.line("Via", &with_source(&value, source)),
                Name::Via | Name::From | Name::CallId | Name::CSeq => draft.line(field.name.text(), &value),
                Name::RecordRoute if status > 100 && status < 300 => draft.line("Record-Route", &value),
                Name::To if request.to_tag().is_some() || status == 100 => draft.line("To", &value),
                Name::To => draft.line("To", &format!("{value};tag={tag}")),
                _ => {}
            }
        }
        draft
    }

    fn line(&mut self, name: &str, value: &str) {
        write!(self.text, "{name}: {value}\r\n").expect("a string takes everything");
    }

    #[must_use]
    pub fn field(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.line(name, value.as_ref());
        self
    }

    pub fn end(mut self, sdp: Option<&str>) -> Bytes {
        let body = sdp.unwrap_or_default();
        if !body.is_empty() {
            self.line("Content-Type", "application/sdp");
        }
        self.line("Content-Length", &body.len().to_string());
        self.text.push_str("\r\n");
        self.text.push_str(body);
        self.text.into()
    }
}

/// The top Via with what we saw of its sender.
fn with_source(via: &str, source: Hop) -> String {
    let (top, rest) = via.split_once(',').map_or((via, None), |(top, rest)| (top, Some(rest)));
    let mut seen = String::new();
    for (n, part) in top.split(';').enumerate() {
        if n > 0 {
            seen.push(';');
        }
        if n > 0 && part.trim().eq_ignore_ascii_case("rport") {
            write!(seen, "rport={}", source.addr.port()).expect("a string takes everything");
        } else {
            seen.push_str(part.trim_end());
        }
    }
    write!(seen, ";received={}", source.addr.ip()).expect("a string takes everything");
    rest.map_or(seen.clone(), |rest| format!("{seen},{rest}"))
}

const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        200 => "OK",
        405 => "Method Not Allowed",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        491 => "Request Pending",
        500 => "Server Internal Error",
        603 => "Decline",
        _ => "Refused",
    }
}

#[cfg(test)]
mod tests {
    use tandem::sip::message::parse;

    use super::*;

    const INVITE: &str = "INVITE sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bKx;rport\r\nFrom: <sip:b@h>;tag=1\r\nTo: <sip:a@h>\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\n\r\n";

    #[test]
    fn uris_point_to_where_they_say_in_both_families() {
        let hop = |uri| resolve(uri).map(|hop| (hop.transport, hop.addr.to_string()));
        assert_eq!(hop("sip:a@127.0.0.1:5070"), Some((Transport::Udp, "127.0.0.1:5070".into())));
        assert_eq!(hop("sip:a@[::1]:5070;transport=tcp;ob"), Some((Transport::Tcp, "[::1]:5070".into())));
        assert_eq!(hop("sip:a@10.0.0.1;transport=TLS"), Some((Transport::Tls, "10.0.0.1:5061".into())));
        assert_eq!(hop("sip:a@example.org"), None);
        let addr = "[::1]:9".parse().unwrap();
        assert_eq!(resolve(&uri("a", addr, Transport::Tls)), Some(Hop::to(Transport::Tls, addr)));
    }

    #[test]
    fn a_response_goes_to_the_source_when_asked_and_to_the_sent_by_port_when_not() {
        let source = Hop::to(Transport::Udp, "127.0.0.1:4444".parse().unwrap());
        let asked = parse(INVITE.as_bytes()).unwrap();
        assert_eq!(response_hop(&asked, source), source);
        let plain = parse(INVITE.replace(";rport", "").as_bytes()).unwrap();
        assert_eq!(response_hop(&plain, source).addr.to_string(), "127.0.0.1:5070");
        let written = Draft::response(&asked, source, 180, "t").end(None);
        let read = parse(&written).unwrap();
        assert_eq!(read.text(Name::Via), "SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bKx;rport=4444;received=127.0.0.1");
        assert_eq!((read.to_tag().as_deref(), read.status()), (Some("t"), 180));
    }
}
