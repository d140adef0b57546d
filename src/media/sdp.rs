//! Session descriptions (RFC 8866) as they are read, and as they are told to the other party.
//!
//! The library reads and writes; this file knows which lines are about a party's own transport and must not reach the other
//! side: addresses, ports, ICE, names. What it does not know survives. It takes no decision about who is told what.

mod write;

use std::net::{IpAddr, SocketAddr};

use sdp_types::{Attribute, Connection, Media, Session};

pub use self::write::{Ours, either_law, own, reissued, retold};
use super::{
    Error,
    codec::{Codec, Codecs},
    limits,
    secure::Key,
};

/// Which way audio goes, from the one who says it (RFC 8866 §6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Both,
    SendOnly,
    ReceiveOnly,
    Inactive,
}

impl Direction {
    pub fn name(self) -> &'static str {
        match self {
            Self::Both => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::ReceiveOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// What answers it, from the other side.
    pub fn reversed(self) -> Self {
        match self {
            Self::SendOnly => Self::ReceiveOnly,
            Self::ReceiveOnly => Self::SendOnly,
            same => same,
        }
    }

    /// The one who said it wants to hear something.
    pub fn listens(self) -> bool {
        matches!(self, Self::Both | Self::ReceiveOnly)
    }

    /// The one who said it has something to say.
    pub fn speaks(self) -> bool {
        matches!(self, Self::Both | Self::SendOnly)
    }
}

/// The audio line that is carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audio {
    /// Place among the media lines.
    pub line: usize,
    /// Where the party wants RTP; `None` if that is no address to send to, such as 0.0.0.0 or a name.
    pub rtp: Option<SocketAddr>,
    pub rtcp: Option<SocketAddr>,
    /// RTCP on the port of RTP (RFC 5761).
    pub mux: bool,
    pub is_ipv6: bool,
    pub direction: Direction,
    pub codecs: Codecs,
    /// The first key it offers under a suite we know; then it wants SRTP (RFC 4568).
    pub key: Option<Key>,
}

impl Audio {
    /// The payload type of a codec.
    pub fn number(&self, wanted: &Codec) -> Option<u8> {
        self.codecs.iter().find(|(_, codec)| codec == wanted).map(|(number, _)| *number)
    }
}

/// A description that was read.
#[derive(Debug, Clone)]
pub struct Description {
    pub session: Session,
    pub audio: Audio,
}

/// Reads a description and finds the first audio line that is not refused.
///
/// # Errors
/// When it is no description, is out of bounds, or has no audio that could be carried.
pub fn parse(bytes: &[u8]) -> Result<Description, Error> {
    if bytes.len() > limits::SDP_BYTES_MAX {
        return Err(Error::TooMuch("bytes"));
    }
    // Names in other encodings than UTF-8 are legal in old systems and of no interest here.
    let text = String::from_utf8_lossy(bytes);
    let session = Session::parse(text.as_bytes()).map_err(|error| Error::Malformed(error.to_string()))?;
    if session.medias.len() > limits::MEDIA_LINES_MAX {
        return Err(Error::TooMuch("media lines"));
    }
    let attributes = session.attributes.len() + session.medias.iter().map(|media| media.attributes.len()).sum::<usize>();
    if attributes > limits::ATTRIBUTES_MAX {
        return Err(Error::TooMuch("attributes"));
    }
    let line = session.medias.iter().position(|media| media.media == "audio" && media.port != 0).ok_or(Error::NoAudio)?;
    let audio = audio(&session, line)?;
    Ok(Description { session, audio })
}

fn audio(session: &Session, line: usize) -> Result<Audio, Error> {
    let media = &session.medias[line];
    let profile = || Error::Profile(media.proto.chars().take(32).collect());
    let key = match media.proto.as_str() {
        "RTP/AVP" | "RTP/AVPF" => None,
        "RTP/SAVP" | "RTP/SAVPF" => Some(key(media).ok_or_else(profile)?),
        _ => return Err(profile()),
    };
    let codecs = codecs(media);
    if !codecs.iter().any(|(_, codec)| codec.is_audio()) {
        return Err(Error::NoCodec);
    }
    let connection = media.connections.first().or(session.connection.as_ref());
    let connection = connection.ok_or_else(|| Error::Malformed("no connection line".into()))?;
    let address = address(connection);
    let reachable = address.filter(|ip| !(ip.is_unspecified() || ip.is_multicast() || *ip == IpAddr::from([255, 255, 255, 255])));
    let rtp = reachable.map(|ip| SocketAddr::new(ip, media.port));
    let mux = media.attributes.iter().any(|attribute| attribute.attribute == "rtcp-mux");
    let rtcp = rtp.and_then(|rtp| rtcp(media, rtp, mux));
    let is_ipv6 = address.map_or(connection.addrtype.as_str().eq_ignore_ascii_case("IP6"), |ip| ip.is_ipv6());
    Ok(Audio { line, rtp, rtcp, mux, is_ipv6, direction: direction(session, media), codecs, key })
}

fn key(media: &Media) -> Option<Key> {
    let lines = media.attributes.iter().filter(|attribute| attribute.attribute == "crypto");
    lines.filter_map(|line| Key::parse(line.value.as_deref()?)).next()
}

fn value<'a>(media: &'a Media, name: &str) -> Option<&'a str> {
    media.attributes.iter().find(|attribute| attribute.attribute == name)?.value.as_deref()
}

fn address(connection: &Connection) -> Option<IpAddr> {
    // A time to live or a count may follow (RFC 8866 §5.7).
    connection.connection_address.split('/').next()?.parse().ok()
}

/// `a=rtcp` (RFC 3605) or the next port.
fn rtcp(media: &Media, rtp: SocketAddr, mux: bool) -> Option<SocketAddr> {
    if mux {
        return Some(rtp);
    }
    let Some(text) = value(media, "rtcp") else {
        return rtp.port().checked_add(1).map(|port| SocketAddr::new(rtp.ip(), port));
    };
    let mut parts = text.split_whitespace();
    let port = parts.next()?.parse().ok().filter(|port| *port != 0)?;
    let ip = parts.nth(2).and_then(|ip| ip.parse().ok()).unwrap_or(rtp.ip());
    Some(SocketAddr::new(ip, port))
}

fn direction(session: &Session, media: &Media) -> Direction {
    let said = |attributes: &[Attribute]| {
        attributes.iter().find_map(|attribute| match attribute.attribute.as_str() {
            "sendrecv" => Some(Direction::Both),
            "sendonly" => Some(Direction::SendOnly),
            "recvonly" => Some(Direction::ReceiveOnly),
            "inactive" => Some(Direction::Inactive),
            _ => None,
        })
    };
    said(&media.attributes).or_else(|| said(&session.attributes)).unwrap_or(Direction::Both)
}

fn codecs(media: &Media) -> Codecs {
    let names: Vec<(u8, Codec)> = media
        .attributes
        .iter()
        .filter(|attribute| attribute.attribute == "rtpmap")
        .filter_map(|attribute| {
            let (number, name) = attribute.value.as_deref()?.trim().split_once(' ')?;
            Some((number.parse().ok()?, Codec::from_rtpmap(name)?))
        })
        .collect();
    let mut found: Codecs = Vec::new();
    for number in media.fmt.split_ascii_whitespace().filter_map(|text| text.parse::<u8>().ok()).filter(|number| *number < 128) {
        if found.len() < limits::CODECS_MAX && !found.iter().any(|(seen, _)| *seen == number) {
            let named = names.iter().find(|(other, _)| *other == number).map(|(_, codec)| codec.clone());
            found.push((number, named.unwrap_or_else(|| Codec::fixed(number))));
        }
    }
    found
}

#[cfg(test)]
mod tests;
