//! How long archived records are kept: which day each began on, and from where on they still are.
//!
//! A partition's records are one chain of all its tenants, so they go together: what counts is the longest time any
//! tenant of the partition asks for, and one that asks for none keeps them all. Whole days go (UTC, by the wall clock of the
//! leader that closed the call). Files belong to `actor`; it drops what is no longer kept and answers so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{cdr::Archive, limits::RETENTION_DAYS_MARKED_MAX, time::WallTime};

const DAY_MS: i64 = 24 * 3_600 * 1_000;

/// What is kept of a group's archive: part of the replicated state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// The chain before the first record of a day, for the latest days that had one. A clock set back begins no day.
    days: BTreeMap<i64, Archive>,
    /// The chain before the first record that is kept.
    kept: Archive,
    /// Calls that closed before this are not kept.
    since: WallTime,
}

impl Retention {
    /// Notes that a record is about to follow `chain`. True if it is the first of a day.
    pub(super) fn closing(&mut self, wall: WallTime, chain: &Archive) -> bool {
        let day = wall.0.div_euclid(DAY_MS);
        let begins = self.days.last_key_value().is_none_or(|(last, _)| *last < day);
        if begins {
            self.days.insert(day, chain.clone());
            if self.days.len() > RETENTION_DAYS_MARKED_MAX {
                // Its records go with those of the day after it: later than they might.
                self.days.pop_first();
            }
        }
        begins
    }

    /// The first day that is kept when `days` are, if records of an earlier one still are.
    fn horizon(&self, days: u32, wall: WallTime) -> Option<i64> {
        let horizon = wall.0.div_euclid(DAY_MS) - i64::from(days);
        self.days.first_key_value().filter(|(first, _)| **first < horizon).map(|_| horizon)
    }

    /// True if there are records to drop.
    pub(super) fn is_due(&self, days: u32, wall: WallTime) -> bool {
        self.horizon(days, wall).is_some()
    }

    /// Gives up the records of days more than `days` ago; false if there are none. `end` is the chain after the last record.
    pub(super) fn drop_old(&mut self, days: u32, wall: WallTime, end: &Archive) -> bool {
        let Some(horizon) = self.horizon(days, wall) else { return false };
        self.days = self.days.split_off(&horizon);
        self.kept = self.days.first_key_value().map_or(end, |(_, chain)| chain).clone();
        self.since = WallTime(horizon * DAY_MS);
        true
    }

    /// The chain before the first record that is kept; its `next_seq` is that record's sequence.
    pub const fn kept(&self) -> &Archive {
        &self.kept
    }

    /// Calls that closed before this moment are no longer kept; the epoch while nothing was ever dropped.
    pub const fn since(&self) -> WallTime {
        self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(next_seq: u64) -> Archive {
        Archive { next_seq, ..Archive::default() }
    }

    fn noon(day: i64) -> WallTime {
        WallTime(day * DAY_MS + DAY_MS / 2)
    }

    /// Ten records on each of these days.
    fn closed(days: std::ops::Range<i64>) -> Retention {
        let mut retention = Retention::default();
        for (n, day) in days.enumerate() {
            for record in 0..10 {
                assert_eq!(retention.closing(noon(day), &chain(n as u64 * 10 + record)), record == 0);
            }
        }
        retention
    }

    #[test]
    fn a_day_is_kept_for_so_many_days_and_then_goes_whole() {
        let mut retention = closed(100..105);
        assert!(!retention.drop_old(7, noon(107), &chain(50)), "day 100 is seven days ago");
        assert!(retention.drop_old(7, noon(108), &chain(50)));
        assert_eq!((retention.kept().next_seq, retention.since()), (10, WallTime(101 * DAY_MS)));
        assert!(!retention.drop_old(7, noon(108), &chain(50)), "once a day is enough");
        assert!(retention.drop_old(7, noon(500), &chain(50)));
        assert_eq!(retention.kept().next_seq, 50, "all of them are old");
    }

    #[test]
    fn a_clock_set_back_drops_nothing_and_begins_no_day() {
        let mut retention = closed(100..103);
        assert!(!retention.closing(noon(90), &chain(30)));
        assert!(!retention.drop_old(1, noon(50), &chain(31)));
        assert_eq!(retention.kept().next_seq, 0);
    }

    #[test]
    fn more_days_than_are_marked_are_kept_longer_and_never_shorter() {
        let marked = RETENTION_DAYS_MARKED_MAX as i64;
        let mut retention = closed(0..marked + 1);
        assert_eq!(retention.days.len(), RETENTION_DAYS_MARKED_MAX);
        assert!(!retention.is_due(0, noon(1)), "day 0 lost its mark and goes with day 1");
        assert!(retention.drop_old(0, noon(2), &chain(0)));
        assert_eq!(retention.kept().next_seq, 20);
    }
}
