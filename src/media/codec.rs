//! Codecs as descriptions name them, and how payload types of one party become those of another.

use std::sync::Arc;

use super::{g711::Law, limits};

/// What a payload type stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Codec {
    /// G.711 at 8 kHz, one channel.
    G711(Law),
    /// Named events, such as DTMF (RFC 4733), at the clock rate of the audio they belong to, in Hz.
    Event(u32),
    /// Comfort noise (RFC 3389).
    Noise,
    /// Anything else is carried as it is: encoding name in upper case, clock rate in Hz, channels.
    Other(Arc<str>, u32, u8),
}

impl Codec {
    /// From the value of `a=rtpmap` behind the payload type: `name/rate[/channels]` (RFC 8866 §6.6).
    pub fn from_rtpmap(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('/');
        let name = parts.next().filter(|name| !name.is_empty())?.to_ascii_uppercase();
        let rate: u32 = parts.next()?.trim().parse().ok().filter(|rate| *rate > 0)?;
        let channels = parts.next().map_or(Some(1), |text| text.trim().parse().ok())?;
        Some(match (name.as_str(), rate, channels) {
            ("PCMU", 8_000, 1) => Self::G711(Law::Mu),
            ("PCMA", 8_000, 1) => Self::G711(Law::A),
            ("TELEPHONE-EVENT", rate, _) => Self::Event(rate),
            ("CN", 8_000, _) => Self::Noise,
            _ => Self::Other(Arc::from(name), rate, channels),
        })
    }

    /// What a payload type means without `a=rtpmap` (RFC 3551 §6). Unknown ones keep their number as their name.
    pub fn fixed(payload_type: u8) -> Self {
        let other = |name: &str| Self::Other(Arc::from(name), 8_000, 1);
        match payload_type {
            0 => Self::G711(Law::Mu),
            8 => Self::G711(Law::A),
            3 => other("GSM"),
            4 => other("G723"),
            9 => other("G722"),
            13 => Self::Noise,
            15 => other("G728"),
            18 => other("G729"),
            _ => other(&format!("PT-{payload_type}")),
        }
    }

    pub fn law(&self) -> Option<Law> {
        match self {
            Self::G711(law) => Some(*law),
            _ => None,
        }
    }

    /// Speech or music, in contrast to events and noise.
    pub fn is_audio(&self) -> bool {
        matches!(self, Self::G711(_) | Self::Other(..))
    }

    /// RTP clock rate in Hz.
    pub fn rate(&self) -> u32 {
        match self {
            Self::G711(_) | Self::Noise => 8_000,
            Self::Event(rate) | Self::Other(_, rate, _) => *rate,
        }
    }
}

/// Payload types and what they mean, most wanted first.
pub type Codecs = Vec<(u8, Codec)>;

/// What becomes of a packet with a given payload type on its way from one party to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carry {
    /// The listener has no payload type for it.
    Drop,
    /// Under this payload type, the payload as it is.
    As(u8),
    /// Under this payload type, from this law to the other.
    Transcode(u8, Law),
}

/// The way of every payload type from one party to another.
#[derive(Debug, Clone)]
pub struct Route([Carry; 128]);

impl Route {
    /// `from`: what the payload types of arriving packets mean. `to`: what the listener takes.
    pub fn new(from: &[(u8, Codec)], to: &[(u8, Codec)]) -> Self {
        let mut ways = [Carry::Drop; 128];
        for (payload_type, codec) in from.iter().take(2 * limits::CODECS_MAX) {
            if let Some(way) = ways.get_mut(usize::from(*payload_type)).filter(|way| **way == Carry::Drop) {
                *way = carry(*payload_type, codec, to);
            }
        }
        Self(ways)
    }

    pub fn of(&self, payload_type: u8) -> Carry {
        self.0[usize::from(payload_type & 0x7F)]
    }
}

fn carry(payload_type: u8, codec: &Codec, to: &[(u8, Codec)]) -> Carry {
    // The same number for the same codec first: two variants of a codec may differ in nothing but their number.
    if to.iter().any(|(number, other)| *number == payload_type && other == codec) {
        return Carry::As(payload_type);
    }
    if let Some((number, _)) = to.iter().find(|(_, other)| other == codec) {
        return Carry::As(*number);
    }
    let other_law = codec.law().and_then(|law| {
        let (number, _) = to.iter().find(|(_, other)| other.law().is_some())?;
        Some(Carry::Transcode(*number, law))
    });
    other_law.unwrap_or(Carry::Drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MU: Codec = Codec::G711(Law::Mu);
    const A: Codec = Codec::G711(Law::A);

    #[test]
    fn names_are_read_whatever_their_case() {
        assert_eq!(Codec::from_rtpmap("pcmu/8000"), Some(MU));
        assert_eq!(Codec::from_rtpmap("telephone-event/8000"), Some(Codec::Event(8_000)));
        assert_eq!(Codec::from_rtpmap("opus/48000/2"), Some(Codec::Other("OPUS".into(), 48_000, 2)));
        for broken in ["", "/8000", "PCMU", "PCMU/", "PCMU/x", "PCMU/0", "PCMU/8000/x"] {
            assert_eq!(Codec::from_rtpmap(broken), None, "{broken}");
        }
    }

    #[test]
    fn other_numbers_for_the_same_codec_are_mapped() {
        let route = Route::new(&[(0, MU), (101, Codec::Event(8_000))], &[(96, Codec::Event(8_000)), (0, MU)]);
        assert_eq!([0, 101, 96].map(|number| route.of(number)), [Carry::As(0), Carry::As(96), Carry::Drop]);
    }

    #[test]
    fn only_the_two_laws_are_turned_into_each_other() {
        let route = Route::new(&[(0, MU), (9, Codec::fixed(9))], &[(8, A)]);
        assert_eq!(route.of(0), Carry::Transcode(8, Law::Mu));
        assert_eq!(route.of(9), Carry::Drop);
    }

    #[test]
    fn what_was_told_last_wins_over_what_was_told_before() {
        let route = Route::new(&[(96, Codec::Event(8_000)), (96, A), (0, MU)], &[(8, A), (101, Codec::Event(8_000))]);
        assert_eq!(route.of(96), Carry::As(101));
    }
}
