//! Keys pressed, out of the events of RFC 4733: each press once, whatever is lost or repeated of it.
//!
//! Pure: time is an argument.

use std::time::Instant;

use super::limits;

/// A key that is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Press {
    digit: char,
    /// RTP time of its beginning: the same in all its packets, the repeated last ones included.
    timestamp: u32,
    /// Ticks it lasted up to its newest packet, those of earlier segments included.
    ticks: u32,
    /// Of earlier segments, if it is longer than one packet can say (RFC 4733 §2.5.1.3).
    before: u32,
    at: Instant,
}

/// A key that was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digit {
    pub digit: char,
    pub ms: u32,
}

/// Reads the events of one party.
#[derive(Debug, Default)]
pub struct Keys {
    down: Option<Press>,
    /// Beginning of the press that was told last.
    told: Option<u32>,
    /// Ended in the same packet as one whose end was lost, and not told yet.
    behind: Option<Digit>,
}

impl Keys {
    /// An event packet; `rate` is the clock in Hz. Says what it ends: the key it is about, or one whose end was lost.
    pub fn packet(&mut self, timestamp: u32, payload: &[u8], rate: u32, now: Instant) -> Option<Digit> {
        let event: &[u8; 4] = payload.first_chunk()?;
        let digit = digit(event[0])?;
        let is_end = event[1] & 0x80 != 0;
        let ticks = u32::from(u16::from_be_bytes([event[2], event[3]]));
        if self.told == Some(timestamp) {
            return None;
        }
        let mut lost = None;
        let before = match self.down {
            Some(press) if press.timestamp == timestamp => press.before,
            // The next segment of a very long press begins where the last one ended.
            Some(press) if press.digit == digit && press.timestamp.wrapping_add(press.ticks - press.before) == timestamp => press.ticks,
            Some(press) => {
                lost = Some(self.release(press, rate));
                0
            }
            None => 0,
        };
        let newest = self.down.filter(|press| press.timestamp == timestamp).map_or(0, |press| press.ticks);
        let press = Press { digit, timestamp, ticks: newest.max(before + ticks), before, at: now };
        if is_end {
            let ended = self.release(press, rate);
            if lost.is_some() {
                self.behind = Some(ended);
            }
            return lost.or(Some(ended));
        }
        self.down = Some(press);
        lost
    }

    /// A key whose last packets were all lost, or that was not told yet.
    pub fn overdue(&mut self, rate: u32, now: Instant) -> Option<Digit> {
        if let Some(behind) = self.behind.take() {
            return Some(behind);
        }
        let press = self.down.filter(|press| now.saturating_duration_since(press.at) >= limits::DIGIT_LOST_AFTER)?;
        Some(self.release(press, rate))
    }

    fn release(&mut self, press: Press, rate: u32) -> Digit {
        self.down = None;
        self.told = Some(press.timestamp);
        let ms = u64::from(press.ticks) * 1_000 / u64::from(rate.max(1));
        Digit { digit: press.digit, ms: ms as u32 }
    }
}

fn digit(event: u8) -> Option<char> {
    const DIGITS: &[u8; 16] = b"0123456789*#ABCD";
    DIGITS.get(usize::from(event)).map(|digit| char::from(*digit))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn event(digit: u8, is_end: bool, ticks: u16) -> [u8; 4] {
        let ticks = ticks.to_be_bytes();
        [digit, if is_end { 0x8A } else { 0x0A }, ticks[0], ticks[1]]
    }

    #[test]
    fn a_press_is_told_once_though_its_end_comes_three_times() {
        let (mut keys, now) = (Keys::default(), Instant::now());
        for ticks in [160, 320, 480] {
            assert_eq!(keys.packet(1_000, &event(5, false, ticks), 8_000, now), None);
        }
        assert_eq!(keys.packet(1_000, &event(5, true, 640), 8_000, now), Some(Digit { digit: '5', ms: 80 }));
        assert_eq!(keys.packet(1_000, &event(5, true, 640), 8_000, now), None);
        assert_eq!(keys.packet(1_000, &event(5, false, 480), 8_000, now), None, "late");
    }

    #[test]
    fn the_same_key_twice_is_two_presses() {
        let (mut keys, now) = (Keys::default(), Instant::now());
        assert!(keys.packet(1_000, &event(11, true, 800), 8_000, now).is_some_and(|press| press.digit == '#'));
        assert!(keys.packet(3_000, &event(11, true, 800), 8_000, now).is_some());
    }

    #[test]
    fn a_press_without_end_ends_with_the_next_or_after_a_while() {
        let (mut keys, start) = (Keys::default(), Instant::now());
        keys.packet(1_000, &event(1, false, 400), 8_000, start);
        assert_eq!(keys.packet(9_000, &event(2, false, 160), 8_000, start), Some(Digit { digit: '1', ms: 50 }));
        assert_eq!(keys.overdue(8_000, start + Duration::from_millis(100)), None);
        assert_eq!(keys.overdue(8_000, start + Duration::from_millis(200)), Some(Digit { digit: '2', ms: 20 }));
        assert_eq!(keys.overdue(8_000, start + Duration::from_millis(900)), None);
    }

    #[test]
    fn no_press_is_lost_with_the_end_of_the_one_before() {
        let (mut keys, now) = (Keys::default(), Instant::now());
        keys.packet(1_000, &event(1, false, 400), 8_000, now);
        assert_eq!(keys.packet(9_000, &event(2, true, 400), 8_000, now).map(|press| press.digit), Some('1'));
        assert_eq!(keys.overdue(8_000, now).map(|press| press.digit), Some('2'));
    }

    #[test]
    fn a_very_long_press_in_segments_is_one() {
        let (mut keys, now) = (Keys::default(), Instant::now());
        assert_eq!(keys.packet(0, &event(7, false, 0xFFFF), 8_000, now), None);
        assert_eq!(keys.packet(0xFFFF, &event(7, false, 1_000), 8_000, now), None);
        assert_eq!(keys.packet(0xFFFF, &event(7, true, 2_000), 8_000, now).map(|press| press.ms), Some(8_441));
    }

    #[test]
    fn what_is_no_key_is_nothing() {
        let (mut keys, now) = (Keys::default(), Instant::now());
        assert_eq!(keys.packet(0, &event(16, true, 1), 8_000, now), None, "flash");
        assert_eq!(keys.packet(0, &[5, 0x80], 8_000, now), None, "short");
    }
}
