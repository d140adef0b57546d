//! What a party said lately, as samples in their place, for those who hear it mixed with others or record it.
//!
//! Packets are placed by their RTP time, so order does not matter and gaps are silent. Every listener reads at its own pace a
//! little behind. Pure.

use super::{
    g711::Law,
    limits::{FRAME_SAMPLES, VOICE_BEHIND_SAMPLES, VOICE_DELAY_SAMPLES, VOICE_SAMPLES},
};

const SPAN: u64 = VOICE_SAMPLES as u64;

#[derive(Debug)]
pub struct Voice {
    ring: Box<[i16; VOICE_SAMPLES]>,
    /// Place behind the newest sample, counted from the first.
    end: u64,
    /// RTP time of that place.
    end_timestamp: u32,
    ssrc: Option<u32>,
}

impl Default for Voice {
    fn default() -> Self {
        Self { ring: Box::new([0; VOICE_SAMPLES]), end: 0, end_timestamp: 0, ssrc: None }
    }
}

impl Voice {
    /// A packet of G.711.
    pub fn put(&mut self, ssrc: u32, timestamp: u32, law: Law, codes: &[u8]) {
        let codes = &codes[..codes.len().min(VOICE_SAMPLES / 4)];
        let ahead = timestamp.wrapping_sub(self.end_timestamp) as i32;
        let jumps = self.ssrc != Some(ssrc) || i64::from(ahead).unsigned_abs() >= SPAN / 2;
        let start = if jumps {
            self.ssrc = Some(ssrc);
            Some(self.end)
        } else {
            self.end.checked_add_signed(i64::from(ahead))
        };
        let Some(start) = start else { return };
        let stop = start + codes.len() as u64;
        for place in self.end..start {
            self.ring[(place % SPAN) as usize] = 0;
        }
        for (place, code) in (start..).zip(codes) {
            self.ring[(place % SPAN) as usize] = law.decode(*code);
        }
        if stop > self.end {
            self.end = stop;
            self.end_timestamp = timestamp.wrapping_add(codes.len() as u32);
        }
    }
}

/// How far one listener has heard one voice.
#[derive(Debug, Default, Clone, Copy)]
pub struct Cursor {
    at: u64,
    /// It waits until there is enough to go on without stumbling.
    waits: bool,
}

impl Cursor {
    /// A listener that hears what comes from now on.
    pub fn new(voice: &Voice) -> Self {
        Self { at: voice.end, waits: true }
    }

    /// Adds the next frame to a sum; false if there is none.
    pub fn add(&mut self, voice: &Voice, sum: &mut [i32; FRAME_SAMPLES]) -> bool {
        if self.at > voice.end || voice.end - self.at > VOICE_BEHIND_SAMPLES {
            self.at = voice.end.saturating_sub(VOICE_DELAY_SAMPLES);
        }
        let there = voice.end - self.at;
        self.waits = if self.waits { there < VOICE_DELAY_SAMPLES } else { there < FRAME_SAMPLES as u64 };
        if self.waits {
            return false;
        }
        for (place, sample) in (self.at..).zip(sum) {
            *sample += i32::from(voice.ring[(place % SPAN) as usize]);
        }
        self.at += FRAME_SAMPLES as u64;
        true
    }
}

/// A sum as loud as it may be.
pub fn clip(sum: &[i32; FRAME_SAMPLES], frame: &mut [i16; FRAME_SAMPLES]) {
    for (sample, sum) in frame.iter_mut().zip(sum) {
        *sample = (*sum).clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(voice: &mut Voice, timestamp: u32, sample: i16) {
        voice.put(1, timestamp, Law::A, &[Law::A.encode(sample); FRAME_SAMPLES]);
    }

    fn next(cursor: &mut Cursor, voice: &Voice) -> Option<i32> {
        let mut sum = [0; FRAME_SAMPLES];
        cursor.add(voice, &mut sum).then_some(sum[0])
    }

    fn heard(sample: i16) -> Option<i32> {
        Some(i32::from(Law::A.decode(Law::A.encode(sample))))
    }

    #[test]
    fn packets_out_of_order_are_heard_in_order_and_gaps_are_silent() {
        let mut voice = Voice::default();
        let mut cursor = Cursor::new(&voice);
        put(&mut voice, 1_000, 100);
        put(&mut voice, 1_320, 300);
        put(&mut voice, 1_160, 200);
        put(&mut voice, 1_640, 500);
        let all: Vec<_> = (0..5).map(|_| next(&mut cursor, &voice)).collect();
        assert_eq!(all, [heard(100), heard(200), heard(300), Some(0), heard(500)]);
        assert_eq!(next(&mut cursor, &voice), None);
    }

    #[test]
    fn a_listener_waits_for_two_frames_and_again_after_it_ran_dry() {
        let mut voice = Voice::default();
        let mut cursor = Cursor::new(&voice);
        put(&mut voice, 0, 100);
        assert_eq!(next(&mut cursor, &voice), None);
        put(&mut voice, 160, 100);
        assert!(next(&mut cursor, &voice).is_some() && next(&mut cursor, &voice).is_some());
        assert_eq!(next(&mut cursor, &voice), None);
        put(&mut voice, 320, 100);
        assert_eq!(next(&mut cursor, &voice), None);
    }

    #[test]
    fn a_new_source_and_a_jump_of_time_go_on_where_the_voice_was() {
        let mut voice = Voice::default();
        put(&mut voice, 5, 100);
        voice.put(2, 4_000_000_000, Law::A, &[Law::A.encode(200); FRAME_SAMPLES]);
        voice.put(2, 17, Law::A, &[Law::A.encode(300); FRAME_SAMPLES]);
        assert_eq!(voice.end, 3 * FRAME_SAMPLES as u64);
    }

    #[test]
    fn a_listener_far_behind_catches_up() {
        let mut voice = Voice::default();
        let mut cursor = Cursor::new(&voice);
        for n in 0..20_u32 {
            put(&mut voice, n * 160, n as i16 * 100);
        }
        assert_eq!(next(&mut cursor, &voice), heard(1_800));
    }
}
