//! What a phone hears: RTP packets with their arrival, judged one by one as they come. Pauses, changes of source and SSRC,
//! lost and doubled packets. It opens no socket and reads no clock, so that a pause can be played to it.
//!
//! The voice of a phone carries its number and a frame counter in the payload. A relay may write its own SSRC and sequence
//! numbers, or a tone while it has nothing to pass on: only frames that carry a voice count as heard.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::limits::{ARRIVALS_MAX, CHANGES_MAX, GAPS_MAX};

/// First bytes of a frame with a voice.
const VOICE: [u8; 4] = *b"TDMv";
const VOICE_BYTES: usize = 16;
const RTP_HEADER_BYTES: usize = 12;
/// Sequence numbers further behind than this are a new start, not a late packet.
const LATE_MAX: u16 = 3_000;

/// A pause in the voice: from its last frame before to the first after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    pub from: Instant,
    pub to: Instant,
    /// Where the frame before and the frame after came from.
    pub sources: (SocketAddr, SocketAddr),
    /// Frames the speaker sent in between.
    pub missing: u64,
}

impl Gap {
    pub fn length(&self) -> Duration {
        self.to - self.from
    }
}

/// A packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    pub at: Instant,
    pub source: SocketAddr,
    pub ssrc: u32,
    pub seq: u16,
    /// Number of the phone whose voice it carries.
    pub voice: Option<u32>,
}

/// Everything heard since the last [`Hearing::begin`].
#[derive(Debug, Clone)]
pub struct Hearing {
    /// A pause longer than this is remembered.
    threshold: Duration,
    /// Every packet counts as a voice, as of a phone that is not ours.
    any: bool,
    pub packets: u64,
    /// Packets that carry a voice.
    pub voiced: u64,
    /// Neither RTP nor anything we know.
    pub malformed: u64,
    pub first: Option<Instant>,
    pub last: Option<Arrival>,
    gaps: Vec<Gap>,
    pub sources: Vec<(Instant, SocketAddr)>,
    pub ssrcs: Vec<(Instant, u32)>,
    /// Whose voices, in the order they began.
    pub voices: Vec<(Instant, u32)>,
    /// Sequence numbers that were left out, and came again, within one SSRC.
    pub lost: u64,
    pub duplicated: u64,
    pub late: u64,
    /// Frames of one speaker that did not come, whatever a relay numbered them.
    pub frames_lost: u64,
    top: Option<(u32, u16)>,
    frame: Option<(u32, u64)>,
    pub arrivals: VecDeque<Arrival>,
}

/// The payload of frame `frame` of the phone `speaker`, padded with silence to `bytes`.
pub fn frame(speaker: u32, frame: u64, bytes: usize) -> Vec<u8> {
    let mut payload = vec![0xFF; bytes.max(VOICE_BYTES)];
    payload[..4].copy_from_slice(&VOICE);
    payload[4..8].copy_from_slice(&speaker.to_be_bytes());
    payload[8..16].copy_from_slice(&frame.to_be_bytes());
    payload
}

/// An RTP packet (RFC 3550 §5.1) without contributing sources and extensions.
pub fn packet(payload_type: u8, seq: u16, timestamp: u32, ssrc: u32, marker: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(RTP_HEADER_BYTES + payload.len());
    bytes.extend_from_slice(&[0x80, payload_type | if marker { 0x80 } else { 0 }]);
    bytes.extend_from_slice(&seq.to_be_bytes());
    bytes.extend_from_slice(&timestamp.to_be_bytes());
    bytes.extend_from_slice(&ssrc.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Sequence number, SSRC and payload.
fn read(bytes: &[u8]) -> Option<(u16, u32, &[u8])> {
    let head = bytes.get(..RTP_HEADER_BYTES)?;
    // RTCP shares the version bits; its packet types are those no payload type uses (RFC 5761 §4).
    if head[0] >> 6 != 2 || (192..=223).contains(&head[1]) {
        return None;
    }
    let mut at = RTP_HEADER_BYTES + 4 * usize::from(head[0] & 0x0F);
    if head[0] & 0x10 != 0 {
        let words = bytes.get(at + 2..at + 4)?;
        at += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
    }
    let seq = u16::from_be_bytes([head[2], head[3]]);
    Some((seq, u32::from_be_bytes([head[8], head[9], head[10], head[11]]), bytes.get(at..)?))
}

fn voice(payload: &[u8]) -> Option<(u32, u64)> {
    let (mark, rest) = payload.get(..VOICE_BYTES)?.split_first_chunk::<4>()?;
    let (speaker, counter) = rest.split_first_chunk::<4>()?;
    let counter: [u8; 8] = counter.try_into().ok()?;
    (*mark == VOICE).then(|| (u32::from_be_bytes(*speaker), u64::from_be_bytes(counter)))
}

fn change<T: PartialEq>(changes: &mut Vec<(Instant, T)>, at: Instant, now: T) {
    if changes.last().is_none_or(|(_, last)| *last != now) && changes.len() < CHANGES_MAX {
        changes.push((at, now));
    }
}

impl Hearing {
    /// Pauses longer than one and a quarter packet times are remembered.
    pub fn begin(ptime: Duration) -> Self {
        Self {
            threshold: ptime * 5 / 4,
            any: false,
            packets: 0,
            voiced: 0,
            malformed: 0,
            first: None,
            last: None,
            gaps: Vec::new(),
            sources: Vec::new(),
            ssrcs: Vec::new(),
            voices: Vec::new(),
            lost: 0,
            duplicated: 0,
            late: 0,
            frames_lost: 0,
            top: None,
            frame: None,
            arrivals: VecDeque::new(),
        }
    }

    /// From now on whatever is heard counts as a voice, without a number and frames of its own.
    pub fn anything(&mut self) {
        self.any = true;
    }

    /// A datagram came.
    pub fn arrived(&mut self, at: Instant, source: SocketAddr, datagram: &[u8]) {
        let Some((seq, ssrc, payload)) = read(datagram) else {
            self.malformed += 1;
            return;
        };
        self.packets += 1;
        change(&mut self.sources, at, source);
        change(&mut self.ssrcs, at, ssrc);
        self.number(ssrc, seq);
        let heard = voice(payload).or(self.any.then_some((0, self.packets)));
        let arrival = Arrival { at, source, ssrc, seq, voice: heard.map(|(speaker, _)| speaker) };
        if self.arrivals.len() >= ARRIVALS_MAX {
            self.arrivals.pop_front();
        }
        self.arrivals.push_back(arrival);
        if let Some((speaker, frame)) = heard {
            self.hear(arrival, speaker, frame);
        }
    }

    fn number(&mut self, ssrc: u32, seq: u16) {
        let Some((of, top)) = self.top.filter(|(of, _)| *of == ssrc) else {
            self.top = Some((ssrc, seq));
            return;
        };
        let ahead = seq.wrapping_sub(top);
        match ahead {
            0 => self.duplicated += 1,
            1..0x8000 => {
                self.lost += u64::from(ahead) - 1;
                self.top = Some((of, seq));
            }
            _ if top.wrapping_sub(seq) <= LATE_MAX => {
                // It was counted as lost when a later one came before it.
                self.late += 1;
                self.lost = self.lost.saturating_sub(1);
            }
            _ => self.top = Some((of, seq)),
        }
    }

    fn hear(&mut self, arrival: Arrival, speaker: u32, frame: u64) {
        self.voiced += 1;
        self.first.get_or_insert(arrival.at);
        change(&mut self.voices, arrival.at, speaker);
        let missing = match self.frame {
            Some((of, last)) if of == speaker => frame.saturating_sub(last + 1),
            _ => 0,
        };
        self.frames_lost += missing;
        if self.frame.is_none_or(|(of, last)| of != speaker || frame > last) {
            self.frame = Some((speaker, frame));
        }
        if let Some(last) = self.last.filter(|last| arrival.at.saturating_duration_since(last.at) > self.threshold) {
            self.keep(Gap { from: last.at, to: arrival.at, sources: (last.source, arrival.source), missing });
        }
        self.last = Some(arrival);
    }

    fn keep(&mut self, gap: Gap) {
        if self.gaps.len() >= GAPS_MAX {
            let shortest = self.gaps.iter().enumerate().min_by_key(|(_, gap)| gap.length()).map(|(at, _)| at);
            self.gaps.swap_remove(shortest.expect("a full list has a shortest"));
        }
        self.gaps.push(gap);
    }

    /// The longest pause that was not over before `since`. One that still lasts at `now` counts as far as it got.
    pub fn longest_gap(&self, since: Instant, now: Instant) -> Duration {
        let open = self.last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last.at));
        self.gap(since).map_or(Duration::ZERO, |gap| gap.length()).max(open)
    }

    /// The longest of the pauses that ended after `since`.
    pub fn gap(&self, since: Instant) -> Option<Gap> {
        self.gaps.iter().filter(|gap| gap.to > since).max_by_key(|gap| gap.length()).copied()
    }

    /// True if a voice was heard after `since`.
    pub fn heard_since(&self, since: Instant) -> bool {
        self.last.is_some_and(|last| last.at > since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PTIME: Duration = Duration::from_millis(20);
    const SSRC: u32 = 7;

    struct Play {
        hearing: Hearing,
        start: Instant,
        ssrc: u32,
        source: SocketAddr,
    }

    impl Play {
        fn new() -> Self {
            let source = "127.0.0.1:4000".parse().unwrap();
            Self { hearing: Hearing::begin(PTIME), start: Instant::now(), ssrc: SSRC, source }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        /// Frames `range`, each at its time.
        fn frames(&mut self, range: std::ops::Range<u64>) {
            for n in range {
                self.frame_at(n, n * 20);
            }
        }

        fn frame_at(&mut self, n: u64, ms: u64) {
            let bytes = packet(0, n as u16, n as u32 * 160, self.ssrc, false, &frame(3, n, 160));
            self.hearing.arrived(self.at(ms), self.source, &bytes);
        }
    }

    #[test]
    fn a_steady_voice_has_no_gap() {
        let mut play = Play::new();
        play.frames(0..100);
        assert_eq!(play.hearing.gap(play.start), None);
        assert_eq!((play.hearing.voiced, play.hearing.lost, play.hearing.frames_lost), (100, 0, 0));
        assert_eq!(play.hearing.longest_gap(play.start, play.at(99 * 20)), Duration::ZERO);
    }

    #[test]
    fn a_pause_is_measured_to_the_millisecond_with_both_sources_and_what_was_missed() {
        let mut play = Play::new();
        play.frames(0..50);
        let before = play.source;
        play.source = "127.0.0.1:5000".parse().unwrap();
        play.ssrc = 8;
        play.frames(70..90);
        let gap = play.hearing.gap(play.start).unwrap();
        assert_eq!((gap.length(), gap.missing), (Duration::from_millis(21 * 20), 20));
        assert_eq!(gap.sources, (before, play.source));
        assert_eq!((gap.from, gap.to), (play.at(49 * 20), play.at(70 * 20)));
        assert_eq!((play.hearing.sources.len(), play.hearing.ssrcs.len(), play.hearing.lost), (2, 2, 0));
    }

    #[test]
    fn a_pause_that_was_over_before_the_mark_does_not_count_and_one_that_lasts_does() {
        let mut play = Play::new();
        play.frames(0..10);
        play.frames(60..100);
        let mark = play.at(61 * 20);
        assert_eq!(play.hearing.gap(mark), None);
        assert_eq!(play.hearing.longest_gap(mark, play.at(99 * 20 + 700)), Duration::from_millis(700));
        assert!(play.hearing.heard_since(mark) && !play.hearing.heard_since(play.at(99 * 20)));
    }

    #[test]
    fn lost_doubled_and_late_packets_are_counted_once_each() {
        let mut play = Play::new();
        for n in [0, 1, 1, 2, 4, 3, 6] {
            play.frame_at(n, n * 20);
        }
        assert_eq!((play.hearing.lost, play.hearing.duplicated, play.hearing.late), (1, 1, 1));
    }

    #[test]
    fn a_tone_without_a_voice_does_not_end_a_pause() {
        let mut play = Play::new();
        play.frames(0..10);
        let tone = packet(0, 900, 0, 99, false, &[0xD5; 160]);
        for ms in (200..1000).step_by(20) {
            play.hearing.arrived(play.at(ms), play.source, &tone);
        }
        play.frame_at(50, 1000);
        assert_eq!(play.hearing.gap(play.start).map(|gap| gap.length()), Some(Duration::from_millis(820)));
        assert_eq!((play.hearing.packets, play.hearing.voiced), (51, 11));
    }

    #[test]
    fn extensions_and_sources_in_the_header_are_passed_over_and_rtcp_is_none() {
        let plain = packet(0, 1, 1, SSRC, false, &frame(3, 1, 160));
        let mut long = plain[..12].to_vec();
        long[0] |= 0x11;
        long.extend_from_slice(&[0; 4]);
        long.extend_from_slice(&[0xBE, 0xDE, 0, 1, 1, 2, 3, 4]);
        long.extend_from_slice(&plain[12..]);
        assert_eq!(read(&long).and_then(|(.., payload)| voice(payload)), Some((3, 1)));
        assert_eq!(read(&[0x80, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
