//! The end of a recording that is in the media thread: places what a party says in the time of its recording.

use std::{path::PathBuf, time::Instant};

use super::{g711::Law, limits, recorder::Recorder};
use crate::core::id::LegId;

/// A part that is to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub stem: PathBuf,
    pub part: u32,
}

#[derive(Debug)]
pub struct Tap {
    /// Names the recording to its writer.
    id: u64,
    started: Instant,
    /// SSRC and RTP time of a packet, and its place in the recording.
    anchor: Option<(u32, u32, u64)>,
    masked: bool,
}

impl Tap {
    /// `None` if too many recordings are open.
    pub fn begin(recorder: &Recorder, leg: LegId, wanted: Wanted, now: Instant) -> Option<Self> {
        let id = recorder.begin(leg, wanted)?;
        Some(Self { id, started: now, anchor: None, masked: false })
    }

    /// A packet of the party, with its SSRC and RTP time.
    pub fn audio(&mut self, recorder: &Recorder, from: (u32, u32), law: Law, codes: &[u8], now: Instant) {
        let place = self.place(from, now);
        if !self.masked {
            recorder.audio(self.id, place, law, codes);
        }
    }

    pub fn mask(&mut self, recorder: &Recorder, masked: bool, now: Instant) {
        if self.masked != masked {
            self.masked = masked;
            recorder.mask(self.id, self.clock(now), masked);
        }
    }

    pub fn end(self, recorder: &Recorder, now: Instant) {
        recorder.end(self.id, self.clock(now));
    }

    /// Samples since the start.
    fn clock(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_millis() as u64 * 8
    }

    /// RTP time says where a packet belongs; the clock says it anew when the two have parted.
    fn place(&mut self, (ssrc, timestamp): (u32, u32), now: Instant) -> u64 {
        let clock = self.clock(now);
        let by_rtp = self.anchor.filter(|(known, ..)| *known == ssrc).and_then(|(_, begun, place)| {
            let ticks = timestamp.wrapping_sub(begun) as i32;
            place.checked_add_signed(i64::from(ticks)).filter(|place| place.abs_diff(clock) <= limits::RECORD_DRIFT_SAMPLES)
        });
        by_rtp.unwrap_or_else(|| {
            self.anchor = Some((ssrc, timestamp, clock));
            clock
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn packets_lie_where_their_own_time_says_until_it_parts_from_the_clock() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut tap = Tap { id: 1, started: start, anchor: None, masked: false };
        assert_eq!(tap.place((1, 5_000), after(100)), 800);
        assert_eq!(tap.place((1, 5_320), after(149)), 1_120, "late by jitter");
        assert_eq!(tap.place((1, 5_160), after(150)), 960, "out of order");
        assert_eq!(tap.place((2, 9), after(200)), 1_600, "another source");
        assert_eq!(tap.place((2, 9 + 160), after(9_000)), 72_000, "a long silence without RTP time");
    }
}
