//! How often something may be asked of this node: so many a second, and some at once.

use std::time::{Duration, Instant};

/// Counts by the time at which the next would be due, were all evenly spread.
#[derive(Debug)]
pub struct Pace {
    every: Duration,
    burst: u32,
    due: Instant,
}

impl Pace {
    pub fn new(per_s: u32, burst: u32) -> Self {
        Self { every: Duration::from_secs(1) / per_s.max(1), burst, due: Instant::now() }
    }

    /// True if one more may pass now; it is counted then.
    pub fn take(&mut self) -> bool {
        self.take_at(Instant::now())
    }

    fn take_at(&mut self, now: Instant) -> bool {
        if self.due.saturating_duration_since(now) >= self.every * self.burst {
            return false;
        }
        self.due = self.due.max(now) + self.every;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_at_a_time() {
        let mut pace = Pace::new(10, 3);
        let now = pace.due;
        assert_eq!((0..9).filter(|_| pace.take_at(now)).count(), 3);
        assert!(pace.take_at(now + Duration::from_millis(100)) && !pace.take_at(now + Duration::from_millis(100)));
    }
}
