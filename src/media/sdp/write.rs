//! What a party is told: the other party's description under our address, or one of our own.

use std::net::IpAddr;

use sdp_types::{Attribute, Connection, Media, Origin, Session};

use super::{Description, Direction};
use crate::media::{
    codec::{Codec, Codecs},
    g711::Law,
};

/// Our side of a leg.
#[derive(Debug, Clone)]
pub struct Ours {
    /// What the party is to send to.
    pub address: IpAddr,
    /// Of RTP; RTCP is on the next, or on the same with `mux`.
    pub port: u16,
    /// Of the origin, fixed for the leg.
    pub session: u64,
    pub version: u64,
    /// Offer or accept RTCP on the port of RTP.
    pub mux: bool,
    /// Our side of SRTP, if the party wants that: the value of `a=crypto`.
    pub key: Option<String>,
}

/// Attributes about a party's own transport, keys, streams and grouping (RFC 8839, 4568, 8842, 5576, 9143): wrong for our side of it.
const TRANSPORT: &[&str] = &[
    "candidate",
    "end-of-candidates",
    "remote-candidates",
    "ice-ufrag",
    "ice-pwd",
    "ice-options",
    "ice-lite",
    "ice-mismatch",
    "ice-pacing",
    "crypto",
    "fingerprint",
    "setup",
    "tls-id",
    "dtls-id",
    "rtcp-mux-only",
    "ssrc",
    "ssrc-group",
    "msid",
    "msid-semantic",
    "group",
    "bundle-only",
];

/// The description of one party as the other is told it: everything that is not about transport survives.
pub fn retold(description: &Description, ours: &Ours) -> Vec<u8> {
    let mut session = description.session.clone();
    session.attributes.retain(|attribute| !is_transport(attribute));
    for (place, media) in session.medias.iter_mut().enumerate() {
        if place == description.audio.line {
            face(media, ours);
        } else {
            refuse(media);
        }
    }
    write(session, ours)
}

/// A description that somebody else wrote for us, under an origin of ours.
pub fn reissued(mut session: Session, id: u64, version: u64) -> Vec<u8> {
    let origin = &session.origin;
    session.origin = Origin { username: None, sess_id: id.to_string(), sess_version: version, ..origin.clone() };
    anonymous(&mut session);
    written(&session)
}

/// A description of our own with the given codecs. It has the media lines of `shape`, all but the audio refused.
pub fn own(shape: &Description, codecs: &[(u8, Codec)], direction: Direction, ours: &Ours) -> Vec<u8> {
    let mut session = Session::new(Origin::with_ip_addr(0, 0, ours.address), "-");
    session.medias = shape.session.medias.clone();
    for (place, media) in session.medias.iter_mut().enumerate() {
        if place != shape.audio.line {
            refuse(media);
            continue;
        }
        media.fmt = codecs.iter().map(|(number, _)| number.to_string()).collect::<Vec<_>>().join(" ");
        media.media_title = None;
        media.bandwidths.clear();
        media.attributes = codecs.iter().flat_map(|(number, codec)| format_lines(*number, codec)).collect();
        media.attributes.push(Attribute::with_value("ptime", "20"));
        media.attributes.push(Attribute::new(direction.name()));
        face(media, ours);
    }
    write(session, ours)
}

/// Both laws and events, for a party that has not spoken yet; the first law is the one the other side has.
pub fn either_law(first: Law, event: Option<u8>) -> Codecs {
    let mut codecs: Codecs = vec![(0, Codec::G711(Law::Mu)), (8, Codec::G711(Law::A))];
    if first == Law::A {
        codecs.reverse();
    }
    codecs.push((event.unwrap_or(101), Codec::Event(8_000)));
    codecs
}

fn format_lines(number: u8, codec: &Codec) -> Vec<Attribute> {
    let name = match codec {
        Codec::G711(Law::Mu) => "PCMU/8000".to_owned(),
        Codec::G711(Law::A) => "PCMA/8000".to_owned(),
        Codec::Event(rate) => format!("telephone-event/{rate}"),
        Codec::Noise => "CN/8000".to_owned(),
        Codec::Other(name, rate, 1) => format!("{name}/{rate}"),
        Codec::Other(name, rate, channels) => format!("{name}/{rate}/{channels}"),
    };
    let mut lines = vec![Attribute::with_value("rtpmap", format!("{number} {name}"))];
    if matches!(codec, Codec::Event(_)) {
        lines.push(Attribute::with_value("fmtp", format!("{number} 0-15")));
    }
    lines
}

fn is_transport(attribute: &Attribute) -> bool {
    TRANSPORT.iter().any(|name| attribute.attribute.eq_ignore_ascii_case(name))
}

/// The audio line under our port.
fn face(media: &mut Media, ours: &Ours) {
    media.port = ours.port;
    media.num_ports = None;
    media.connections.clear();
    media.key = None;
    media.attributes.retain(|attribute| !is_transport(attribute) && attribute.attribute != "rtcp-mux");
    let rtcp_port = if ours.mux { ours.port } else { ours.port.saturating_add(1) };
    for attribute in media.attributes.iter_mut().filter(|attribute| attribute.attribute == "rtcp") {
        attribute.value = Some(rtcp_port.to_string());
    }
    if ours.mux {
        media.attributes.push(Attribute::new("rtcp-mux"));
    }
    let feedback = if media.proto.ends_with('F') { "F" } else { "" };
    media.proto = format!("RTP/{}AVP{feedback}", if ours.key.is_some() { "S" } else { "" });
    media.attributes.extend(ours.key.iter().map(|key| Attribute::with_value("crypto", key)));
}

/// Refuses a media line (RFC 3264 §6): it stays in its place with port 0.
fn refuse(media: &mut Media) {
    media.port = 0;
    media.num_ports = None;
    media.media_title = None;
    media.connections.clear();
    media.bandwidths.clear();
    media.key = None;
    media.attributes.clear();
}

fn write(mut session: Session, ours: &Ours) -> Vec<u8> {
    session.origin = Origin::with_ip_addr(ours.session, ours.version, ours.address);
    session.connection = Some(Connection::from_ip_addr(ours.address));
    session.key = None;
    anonymous(&mut session);
    written(&session)
}

/// People and places of the other side are not this side's business.
fn anonymous(session: &mut Session) {
    session.session_name = "-".into();
    session.session_description = None;
    session.uri = None;
    session.emails.clear();
    session.phones.clear();
}

fn written(session: &Session) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    session.write(&mut bytes).expect("a Vec takes every byte");
    bytes
}
