//! The RTP header (RFC 3550 §5.1) and the shape of RTCP compounds (§6.1): read and written in place.
//!
//! Nothing is allocated and nothing is trusted: a packet that is not what it says is `None`.

use std::ops::Range;

/// Bytes of a header without contributing sources and extension.
pub const HEADER_BYTES: usize = 12;

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub marker: bool,
    pub payload_type: u8,
    pub sequence: u16,
    /// In units of the codec's clock.
    pub timestamp: u32,
    pub ssrc: u32,
    /// Where the payload lies in the packet, without padding.
    pub payload: Range<usize>,
}

impl Header {
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let head: &[u8; HEADER_BYTES] = packet.first_chunk()?;
        if head[0] >> 6 != 2 {
            return None;
        }
        let mut start = HEADER_BYTES + 4 * usize::from(head[0] & 0x0F);
        if head[0] & 0x10 != 0 {
            let words = packet.get(start + 2..start + 4)?;
            start += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
        }
        let mut end = packet.len();
        if head[0] & 0x20 != 0 {
            let padding = usize::from(*packet.last()?);
            end = end.checked_sub(padding).filter(|_| padding > 0)?;
        }
        (start <= end).then_some(Self {
            marker: head[1] & 0x80 != 0,
            payload_type: head[1] & 0x7F,
            sequence: u16::from_be_bytes([head[2], head[3]]),
            timestamp: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
            ssrc: u32::from_be_bytes([head[8], head[9], head[10], head[11]]),
            payload: start..end,
        })
    }
}

/// The fields of a header that a stream decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub marker: bool,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
}

/// Writes them over the header of `packet`, which must hold one.
pub fn stamp(packet: &mut [u8], payload_type: u8, stamp: Stamp) {
    packet[1] = (u8::from(stamp.marker) << 7) | (payload_type & 0x7F);
    packet[2..4].copy_from_slice(&stamp.sequence.to_be_bytes());
    packet[4..8].copy_from_slice(&stamp.timestamp.to_be_bytes());
    packet[8..12].copy_from_slice(&stamp.ssrc.to_be_bytes());
}

/// Begins a packet of ours in `packet`: no padding, extension or contributing sources.
pub fn begin(packet: &mut [u8], payload_type: u8, with: Stamp) {
    packet[0] = 0x80;
    stamp(packet, payload_type, with);
}

/// RTCP in place of RTP on the same port (RFC 5761 §4).
pub fn is_rtcp(packet: &[u8]) -> bool {
    packet.get(1).is_some_and(|second| (192..=223).contains(second))
}

/// A well-formed RTCP compound: version, lengths that add up, and a report first (reduced size, RFC 5506, is let through).
pub fn is_valid_rtcp(packet: &[u8]) -> bool {
    let mut rest = packet;
    while !rest.is_empty() {
        let Some(head) = rest.first_chunk::<4>() else { return false };
        let bytes = 4 * (1 + usize::from(u16::from_be_bytes([head[2], head[3]])));
        if head[0] >> 6 != 2 || !(192..=223).contains(&head[1]) || bytes > rest.len() {
            return false;
        }
        rest = &rest[bytes..];
    }
    !packet.is_empty()
}

/// `a` is ahead of `b` in a sequence that wraps (RFC 1982).
pub fn ahead(a: u16, b: u16) -> bool {
    a != b && a.wrapping_sub(b) < 0x8000
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![first, 0x80 | 101, 0, 7, 0, 0, 0, 9, 1, 2, 3, 4];
        packet.extend_from_slice(rest);
        packet
    }

    #[test]
    fn a_plain_header_is_read() {
        let header = Header::parse(&packet(0x80, &[5, 6])).expect("valid");
        assert_eq!((header.marker, header.payload_type, header.sequence), (true, 101, 7));
        assert_eq!((header.timestamp, header.ssrc, header.payload), (9, 0x0102_0304, 12..14));
    }

    #[test]
    fn sources_extension_and_padding_are_not_payload() {
        assert_eq!(Header::parse(&packet(0xB1, &[0; 11])), None, "padding of no bytes is malformed");
        let mut rest = vec![9, 9, 9, 9, 0xBE, 0xDE, 0, 1, 1, 1, 1, 1, 42, 0, 2];
        assert_eq!(Header::parse(&packet(0xB1, &rest)).map(|header| header.payload), Some(24..25));
        rest[7] = 9;
        assert_eq!(Header::parse(&packet(0xB1, &rest)), None, "an extension longer than the packet");
    }

    #[test]
    fn rtcp_is_told_from_rtp_and_checked() {
        let receiver_report = [0x80, 201, 0, 1, 1, 2, 3, 4];
        assert!(is_rtcp(&receiver_report) && is_valid_rtcp(&receiver_report));
        assert!(!is_rtcp(&packet(0x80, &[])));
        assert!(!is_valid_rtcp(&[0x80, 201, 0, 9, 1, 2, 3, 4]), "longer than the datagram");
        assert!(!is_valid_rtcp(&[]));
    }

    #[test]
    fn sequences_wrap() {
        assert!(ahead(0, 65_535) && !ahead(65_535, 0) && !ahead(5, 5));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(header) = Header::parse(&bytes) {
                prop_assert!(header.payload.end <= bytes.len());
            }
            is_valid_rtcp(&bytes);
        }
    }
}
