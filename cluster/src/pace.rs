//! Whether work that comes one piece after the other keeps pace: a verdict over time, slow to fall and slower to be taken back.
//!
//! What the work is (log batches, entries applied) and what follows from the verdict are others'.

use tokio::time::Instant;

use crate::limits::{FAST_ROUNDS, FAST_US, SLOW_ROUNDS, SLOW_US};

/// What was done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) pieces: u64,
    pub(crate) total_us: u64,
    /// When the piece began that is being done now.
    pub(crate) since: Option<Instant>,
}

fn micros(begun: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(begun).as_micros()).unwrap_or(u64::MAX)
}

impl Work {
    pub(crate) fn begin(&mut self) {
        self.since = Some(Instant::now());
    }

    pub(crate) fn end(&mut self) {
        if let Some(begun) = self.since.take() {
            self.pieces += 1;
            self.total_us += micros(begun, Instant::now());
        }
    }
}

/// The verdict over time.
#[derive(Default)]
pub(crate) struct Pace {
    seen: Work,
    slow_rounds: u32,
    fast_rounds: u32,
    slow: bool,
}

impl Pace {
    /// Looks at what was done since the last look, and at the piece that is being done; true while it is too slow.
    pub(crate) fn look(&mut self, work: Work, now: Instant) -> bool {
        let (pieces, spent) = (work.pieces - self.seen.pieces, work.total_us - self.seen.total_us);
        self.seen = work;
        let hanging = work.since.map_or(0, |begun| micros(begun, now));
        let mean = spent.checked_div(pieces);
        // Nothing done and nothing hanging is no evidence either way.
        match mean.unwrap_or(0).max(hanging) {
            worst if worst >= SLOW_US => (self.slow_rounds, self.fast_rounds) = (self.slow_rounds + 1, 0),
            worst if worst <= FAST_US && mean.is_some() => (self.slow_rounds, self.fast_rounds) = (0, self.fast_rounds + 1),
            _ => {}
        }
        self.slow = if self.slow { self.fast_rounds < FAST_ROUNDS } else { self.slow_rounds >= SLOW_ROUNDS };
        self.slow
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A log that writes one batch a round.
    #[derive(Default)]
    struct Disk(Work);

    impl Disk {
        fn round(&mut self, pace: &mut Pace, batch_us: u64) -> bool {
            self.0.pieces += 1;
            self.0.total_us += batch_us;
            pace.look(self.0, Instant::now())
        }
    }

    #[test]
    fn a_disk_is_slow_after_some_rounds_and_fast_again_after_more() {
        let (mut pace, mut disk) = (Pace::default(), Disk::default());
        assert!(!disk.round(&mut pace, 2 * SLOW_US), "a hiccup is not enough");
        assert!(!disk.round(&mut pace, 0));
        for round in 1..=SLOW_ROUNDS {
            assert_eq!(disk.round(&mut pace, SLOW_US), round == SLOW_ROUNDS);
        }
        for round in 1..=FAST_ROUNDS {
            assert_eq!(disk.round(&mut pace, FAST_US), round < FAST_ROUNDS);
        }
    }

    #[test]
    fn an_idle_log_changes_nothing_and_a_hanging_write_counts() {
        let (mut pace, mut disk) = (Pace::default(), Disk::default());
        let begun = Instant::now();
        disk.0.since = Some(begun);
        let later = begun + Duration::from_micros(SLOW_US);
        assert!((0..SLOW_ROUNDS).any(|_| pace.look(disk.0, later)), "a write that does not end is slow though uncounted");
        disk.0.since = None;
        assert!((0..2 * FAST_ROUNDS).all(|_| pace.look(disk.0, later)), "nothing was written that would show that it is fast");
    }
}
