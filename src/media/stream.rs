//! The one RTP stream a party gets from us, whatever it is made of.
//!
//! While a leg hears one other leg from the start, that leg's numbers go through untouched. From the first change of source on
//! the stream is ours: one SSRC, a sequence without gaps and a clock that runs on, with the marker where a new source begins.
//! Pure: time is an argument.

use std::time::Instant;

use super::{
    limits,
    rtp::{self, Header, Stamp},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Nothing,
    /// A leg's packets with their own numbers.
    Through {
        leg: u32,
    },
    /// A leg's packets, shifted to go on where the stream was.
    Shifted {
        leg: u32,
        ssrc: u32,
        sequence: u16,
        timestamp: u32,
    },
    /// Packets made here.
    Made,
}

#[derive(Debug)]
pub struct Stream {
    source: Source,
    ssrc: u32,
    /// The newest numbers sent.
    sequence: u16,
    timestamp: u32,
    at: Instant,
    /// Clock of the party's audio codec, in Hz.
    pub rate: u32,
}

impl Stream {
    /// `seed` gives the numbers of a stream that begins with audio made here (RFC 3550 §5.1: unpredictable).
    pub fn new(seed: u64, rate: u32, now: Instant) -> Self {
        Self {
            source: Source::Nothing,
            ssrc: seed as u32,
            sequence: (seed >> 32) as u16 & 0x7FFF,
            timestamp: (seed >> 16) as u32,
            at: now,
            rate,
        }
    }

    /// True once the numbers are ours, so that RTCP of the source makes no sense to the party.
    pub fn is_ours(&self) -> bool {
        matches!(self.source, Source::Shifted { .. } | Source::Made)
    }

    /// Numbers of a packet of `leg`.
    pub fn relayed(&mut self, leg: u32, header: &Header, now: Instant) -> Stamp {
        match self.source {
            Source::Nothing => self.source = Source::Through { leg },
            Source::Through { leg: same } if same == leg => {}
            Source::Shifted { leg: same, ssrc, .. } if same == leg && ssrc == header.ssrc => {}
            _ => return self.switched(leg, header, now),
        }
        let (sequence, timestamp, ssrc) = match self.source {
            Source::Shifted { sequence, timestamp, .. } => {
                (header.sequence.wrapping_add(sequence), header.timestamp.wrapping_add(timestamp), self.ssrc)
            }
            _ => (header.sequence, header.timestamp, header.ssrc),
        };
        if !self.is_ours() && ssrc != self.ssrc {
            // The party's own source began anew; so does what we remember of it.
            (self.ssrc, self.sequence, self.timestamp, self.at) = (ssrc, sequence, timestamp, now);
        }
        self.note(sequence, timestamp, now);
        Stamp { marker: header.marker, sequence, timestamp, ssrc }
    }

    /// Another source begins: it goes on where the last one was.
    fn switched(&mut self, leg: u32, header: &Header, now: Instant) -> Stamp {
        let sequence = self.sequence.wrapping_add(1);
        let timestamp = self.timestamp.wrapping_add(self.gap(now));
        self.source = Source::Shifted {
            leg,
            ssrc: header.ssrc,
            sequence: sequence.wrapping_sub(header.sequence),
            timestamp: timestamp.wrapping_sub(header.timestamp),
        };
        self.note(sequence, timestamp, now);
        Stamp { marker: true, sequence, timestamp, ssrc: self.ssrc }
    }

    /// Numbers of a packet of one frame made here.
    pub fn made(&mut self, now: Instant) -> Stamp {
        let begins = self.source != Source::Made;
        let step = if begins { self.gap(now) } else { self.frame() };
        self.source = Source::Made;
        let (sequence, timestamp) = (self.sequence.wrapping_add(1), self.timestamp.wrapping_add(step));
        self.note(sequence, timestamp, now);
        Stamp { marker: begins, sequence, timestamp, ssrc: self.ssrc }
    }

    /// Ticks of the clock since the last packet, a frame at least.
    fn gap(&self, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(self.at);
        let ticks = passed.as_millis() as u64 * u64::from(self.rate) / 1_000;
        (ticks as u32).max(self.frame())
    }

    fn frame(&self) -> u32 {
        (limits::FRAME.as_millis() as u32) * self.rate / 1_000
    }

    fn note(&mut self, sequence: u16, timestamp: u32, now: Instant) {
        if rtp::ahead(sequence, self.sequence) {
            self.sequence = sequence;
            self.timestamp = timestamp;
            self.at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn packet(ssrc: u32, sequence: u16, timestamp: u32) -> Header {
        Header { marker: false, payload_type: 0, sequence, timestamp, ssrc, payload: 12..172 }
    }

    #[test]
    fn a_single_source_goes_through_untouched() {
        let now = Instant::now();
        let mut stream = Stream::new(7, 8_000, now);
        let stamp = stream.relayed(1, &packet(0xAA, 65_535, 5), now);
        assert_eq!((stamp.ssrc, stamp.sequence, stamp.timestamp, stamp.marker), (0xAA, 65_535, 5, false));
        assert_eq!(stream.relayed(1, &packet(0xAA, 0, 165), now).sequence, 0);
        assert!(!stream.is_ours());
    }

    #[test]
    fn from_treatment_to_an_agent_the_stream_goes_on() {
        let start = Instant::now();
        let mut stream = Stream::new(0x0001_0002_0003_0004, 8_000, start);
        let first = stream.made(start);
        let second = stream.made(start + Duration::from_millis(20));
        assert!(first.marker && !second.marker);
        assert_eq!(second.timestamp.wrapping_sub(first.timestamp), 160);
        let agent = stream.relayed(2, &packet(0xBB, 9_000, 77_000), start + Duration::from_millis(60));
        assert_eq!((agent.ssrc, agent.sequence, agent.marker), (first.ssrc, second.sequence.wrapping_add(1), true));
        assert_eq!(agent.timestamp.wrapping_sub(second.timestamp), 320, "40 ms later");
        let next = stream.relayed(2, &packet(0xBB, 9_001, 77_160), start + Duration::from_millis(80));
        assert_eq!((next.sequence, next.marker), (agent.sequence.wrapping_add(1), false));
        assert_eq!(next.timestamp.wrapping_sub(agent.timestamp), 160);
    }

    #[test]
    fn an_agents_new_ssrc_is_no_new_stream_to_the_caller() {
        let now = Instant::now();
        let mut stream = Stream::new(1, 8_000, now);
        let made = stream.made(now);
        stream.relayed(2, &packet(0xBB, 10, 1_000), now);
        let moved = stream.relayed(2, &packet(0xCC, 50_000, 9), now + Duration::from_millis(20));
        assert_eq!((moved.ssrc, moved.sequence, moved.marker), (made.ssrc, made.sequence.wrapping_add(2), true));
    }

    #[test]
    fn packets_out_of_order_stay_out_of_order_and_do_not_set_the_stream_back() {
        let now = Instant::now();
        let mut stream = Stream::new(1, 8_000, now);
        stream.relayed(1, &packet(0xAA, 5, 800), now);
        stream.relayed(1, &packet(0xAA, 4, 640), now);
        assert_eq!(stream.made(now).sequence, 6);
    }
}
