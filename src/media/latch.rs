//! Where a party's media really comes from: symmetric RTP with a lock, against injection and for parties behind NAT.
//!
//! The described address is preferred. Another source may take its place only while the described one is silent and before
//! [`LATCH_LOCK_PACKETS`](limits::LATCH_LOCK_PACKETS) packets of one source locked the port. Pure: time is an argument.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::limits;

/// What becomes of a packet by where it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    /// Accepted, and from now on nobody else is.
    Locked,
    Refused,
}

#[derive(Debug)]
pub struct Latch {
    /// Where the description says it should come from; `None` if that is no address to send to.
    preferred: Option<SocketAddr>,
    /// When that was described, or last heard.
    preferred_at: Instant,
    /// Who sends.
    chosen: Option<SocketAddr>,
    chosen_at: Instant,
    packets: u32,
}

impl Latch {
    pub fn new(preferred: Option<SocketAddr>, now: Instant) -> Self {
        Self { preferred, preferred_at: now, chosen: None, chosen_at: now, packets: 0 }
    }

    /// A new description of the party arrived: the lock opens. Who sent so far keeps being sent to if the address is the same.
    pub fn described(&mut self, preferred: Option<SocketAddr>, now: Instant) {
        let chosen = self.chosen.filter(|_| preferred == self.preferred);
        *self = Self { chosen, ..Self::new(preferred, now) };
    }

    /// Where the party's media is sent.
    pub fn target(&self) -> Option<SocketAddr> {
        self.chosen.or(self.preferred)
    }

    pub fn is_locked(&self) -> bool {
        self.packets >= limits::LATCH_LOCK_PACKETS
    }

    /// A packet from `source` is refused whatever it holds.
    pub fn refuses(&self, source: SocketAddr) -> bool {
        self.is_locked() && self.chosen != Some(source)
    }

    /// A valid packet came from `source`.
    pub fn admit(&mut self, source: SocketAddr, now: Instant) -> Verdict {
        if self.is_locked() {
            return if self.chosen == Some(source) { Verdict::Accepted } else { Verdict::Refused };
        }
        if self.preferred == Some(source) {
            self.preferred_at = now;
        } else if !self.may_replace(source, now) {
            return Verdict::Refused;
        }
        if self.chosen != Some(source) {
            self.chosen = Some(source);
            self.packets = 0;
        }
        self.chosen_at = now;
        self.packets += 1;
        if self.is_locked() { Verdict::Locked } else { Verdict::Accepted }
    }

    /// A source that is not the described one may send: nobody with a better claim does.
    fn may_replace(&self, source: SocketAddr, now: Instant) -> bool {
        let silent = |since: Instant| now.saturating_duration_since(since) >= limits::LATCH_PREFER;
        let preferred_is_silent = self.preferred.is_none() || silent(self.preferred_at);
        let chosen_is_silent = self.chosen.is_none_or(|chosen| chosen == source || self.packets == 0 || silent(self.chosen_at));
        preferred_is_silent && chosen_is_silent
    }
}

/// Packets per second of one port: a bucket of [`PACKETS_BURST_MAX`](limits::PACKETS_BURST_MAX).
#[derive(Debug)]
pub struct Bucket {
    /// Packets that may still come, in thousandths.
    left: u64,
    at: Instant,
}

impl Bucket {
    const FULL: u64 = 1_000 * limits::PACKETS_BURST_MAX as u64;

    pub fn new(now: Instant) -> Self {
        Self { left: Self::FULL, at: now }
    }

    /// One packet came; false if it is one too many.
    pub fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).min(Duration::from_secs(1));
        self.at = now;
        // Thousandths of packets per second are packets per millisecond: microseconds times the rate over a thousand.
        let gained = passed.as_micros() as u64 * u64::from(limits::PACKETS_PER_SECOND_MAX) / 1_000;
        self.left = (self.left + gained).min(Self::FULL);
        match self.left.checked_sub(1_000) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn after(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn the_described_address_locks_and_a_second_source_is_refused() {
        let start = Instant::now();
        let mut latch = Latch::new(Some(at(1)), start);
        let verdicts: Vec<_> = (0..limits::LATCH_LOCK_PACKETS).map(|n| latch.admit(at(1), after(start, u64::from(n) * 20))).collect();
        assert_eq!(verdicts.last(), Some(&Verdict::Locked));
        assert_eq!(latch.admit(at(2), after(start, 60_000)), Verdict::Refused);
        assert_eq!(latch.admit(at(1), after(start, 60_001)), Verdict::Accepted);
    }

    #[test]
    fn another_source_waits_for_the_silence_of_the_described_one() {
        let start = Instant::now();
        let mut latch = Latch::new(Some(at(1)), start);
        assert_eq!(latch.admit(at(2), after(start, 20)), Verdict::Refused);
        assert_eq!(latch.target(), Some(at(1)));
        assert_eq!(latch.admit(at(2), after(start, 100)), Verdict::Accepted);
        assert_eq!(latch.target(), Some(at(2)));
        assert_eq!(latch.admit(at(3), after(start, 110)), Verdict::Refused, "a third one while the second sends");
        assert_eq!(latch.admit(at(1), after(start, 120)), Verdict::Accepted, "the described one takes its place back");
        assert_eq!(latch.target(), Some(at(1)));
        assert_eq!(latch.admit(at(2), after(start, 140)), Verdict::Refused);
    }

    #[test]
    fn a_party_without_a_usable_address_is_taken_from_its_first_packet() {
        let start = Instant::now();
        let mut latch = Latch::new(None, start);
        assert_eq!(latch.target(), None);
        assert_eq!(latch.admit(at(9), start), Verdict::Accepted);
        assert_eq!(latch.target(), Some(at(9)));
    }

    #[test]
    fn a_new_description_opens_the_lock() {
        let start = Instant::now();
        let mut latch = Latch::new(Some(at(1)), start);
        for n in 0..10 {
            latch.admit(at(2), after(start, 100 + n));
        }
        assert!(latch.is_locked());
        latch.described(Some(at(1)), after(start, 200));
        assert_eq!(latch.target(), Some(at(2)), "the same address: the mapping of a NAT is kept");
        assert!(!latch.is_locked());
        latch.described(Some(at(5)), after(start, 300));
        assert_eq!(latch.target(), Some(at(5)));
    }

    #[test]
    fn a_flood_is_cut_to_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        let taken = (0..10_000_u64).filter(|n| bucket.take(start + Duration::from_micros(n * 100))).count() as u32;
        let expected = limits::PACKETS_BURST_MAX + limits::PACKETS_PER_SECOND_MAX;
        assert!((expected - 2..=expected + 2).contains(&taken), "{taken}");
    }
}
