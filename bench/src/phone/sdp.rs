//! Session descriptions of one G.711 stream: written for a phone, and read for the address, the payload type and the
//! direction of the other side. It negotiates nothing else (RFC 3264 for one stream).

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    const ALL: [Self; 4] = [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive];

    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    const fn of(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// What we may say to an offer of `theirs` when we want `self`.
    pub const fn answering(self, theirs: Self) -> Self {
        Self::of(self.sends() && theirs.receives(), self.receives() && theirs.sends())
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        })
    }
}

/// What the other side described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote {
    pub addr: SocketAddr,
    pub direction: Direction,
    /// The first of its payload types that we speak: 0 (PCMU) or 8 (PCMA).
    pub payload: u8,
}

/// Reads the first audio stream. `None` if there is none that we could take part in.
pub fn read(text: &[u8]) -> Option<Remote> {
    let text = String::from_utf8_lossy(text);
    let (mut session, mut media) = (None, None);
    let (mut port, mut payload, mut direction) = (None, None, Direction::SendRecv);
    for line in text.lines().map(str::trim_end) {
        if let Some(rest) = line.strip_prefix("m=") {
            if port.is_some() {
                break;
            }
            let mut words = rest.split_whitespace();
            if words.next() == Some("audio") {
                port = words.next().and_then(|word| word.split('/').next()?.parse::<u16>().ok());
                payload = words.skip(1).filter_map(|word| word.parse().ok()).find(|payload| matches!(payload, 0 | 8));
            }
        } else if let Some(rest) = line.strip_prefix("c=") {
            let ip = rest.split_whitespace().nth(2).and_then(|word| word.split('/').next()?.parse::<IpAddr>().ok());
            if port.is_some() { media = ip } else { session = ip }
        } else if let Some(rest) = line.strip_prefix("a=") {
            direction = Direction::ALL.into_iter().find(|known| rest == known.to_string()).unwrap_or(direction);
        }
    }
    let addr = SocketAddr::new(media.or(session)?, port.filter(|port| *port != 0)?);
    // An address of nothing is the old way to hold (RFC 3264 §8.4).
    let direction = if addr.ip().is_unspecified() { Direction::of(false, direction.receives()) } else { direction };
    Some(Remote { addr, direction, payload: payload? })
}

/// Describes our one stream.
pub fn write(session: u32, version: u32, addr: SocketAddr, direction: Direction, payloads: &[u8], ptime_ms: u32) -> String {
    let family = if addr.is_ipv4() { "IP4" } else { "IP6" };
    let (ip, port) = (addr.ip(), addr.port());
    let list: String = payloads.iter().map(|payload| format!(" {payload}")).collect();
    let maps: String = payloads.iter().map(|p| format!("a=rtpmap:{p} {}/8000\r\n", if *p == 8 { "PCMA" } else { "PCMU" })).collect();
    format!(
        "v=0\r\no=phone {session} {version} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP{list}\r\n{maps}a=ptime:{ptime_ms}\r\na={direction}\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_in_both_families() {
        for addr in ["127.0.0.1:4000", "[::1]:4002"] {
            let addr = addr.parse().unwrap();
            let text = write(1, 2, addr, Direction::SendOnly, &[8, 0], 20);
            assert_eq!(read(text.as_bytes()), Some(Remote { addr, direction: Direction::SendOnly, payload: 8 }));
        }
    }

    #[test]
    fn a_refused_stream_or_foreign_codecs_are_none() {
        let text = "v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 0 RTP/AVP 0\r\n";
        assert_eq!(read(text.as_bytes()), None);
        assert_eq!(read(text.replace("audio 0 RTP/AVP 0", "audio 9 RTP/AVP 111").as_bytes()), None);
        assert_eq!(read(b"junk"), None);
    }

    #[test]
    fn the_address_of_the_stream_goes_before_that_of_the_session_and_zero_is_hold() {
        let text = "c=IN IP4 10.0.0.1\r\nm=audio 9 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n";
        let remote = read(text.as_bytes()).unwrap();
        assert_eq!((remote.addr.to_string().as_str(), remote.direction), ("0.0.0.0:9", Direction::RecvOnly));
        assert!(!Direction::SendRecv.answering(Direction::RecvOnly).receives());
    }
}
