//! What the log still needs: the newest marks of every group, and how far each segment's entries reach.
//!
//! It decides which segment can be recycled. It holds no entries; those are in memory with their group.

use std::collections::{BTreeMap, VecDeque};

use super::record::Kind;
use crate::{GroupId, limits};

/// The newest of each kind of mark of a group. They are repeated at the start of every segment, so that no old segment is
/// needed for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) vote: Option<Vec<u8>>,
    pub(super) committed: Option<Vec<u8>>,
    pub(super) purged: Option<(u64, Vec<u8>)>,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    /// Highest index per group of an entry in it that was not truncated since.
    newest: BTreeMap<GroupId, u64>,
}

#[derive(Debug, Default)]
pub(super) struct Tracker {
    segments: VecDeque<Segment>,
    marks: BTreeMap<GroupId, Marks>,
}

impl Tracker {
    pub(super) fn begin_segment(&mut self, number: u64) {
        self.segments.push_back(Segment { number, newest: BTreeMap::new() });
    }

    /// Takes note of a record in the newest segment.
    pub(super) fn observe(&mut self, kind: Kind, group: GroupId, index: u64, payload: &[u8]) {
        match kind {
            Kind::Open | Kind::Seal => return,
            Kind::Forget => {
                self.marks.remove(&group);
                self.truncate(group, 0);
                return;
            }
            _ => {}
        }
        let marks = self.marks.entry(group).or_default();
        match kind {
            Kind::Vote => marks.vote = Some(payload.to_vec()),
            Kind::Committed => marks.committed = Some(payload.to_vec()),
            Kind::Purge => marks.purged = Some((index, payload.to_vec())),
            Kind::Truncate => self.truncate(group, index),
            Kind::Entry => {
                if let Some(segment) = self.segments.back_mut() {
                    let newest = segment.newest.entry(group).or_insert(index);
                    *newest = index.max(*newest);
                }
            }
            Kind::Open | Kind::Seal | Kind::Forget => {}
        }
    }

    /// Truncated entries must not hold a segment: their group may never again purge as far as they once reached.
    fn truncate(&mut self, group: GroupId, from: u64) {
        for segment in &mut self.segments {
            match from.checked_sub(1) {
                Some(last) => {
                    if let Some(newest) = segment.newest.get_mut(&group) {
                        *newest = last.min(*newest);
                    }
                }
                None => {
                    segment.newest.remove(&group);
                }
            }
        }
    }

    pub(super) fn marks(&self) -> &BTreeMap<GroupId, Marks> {
        &self.marks
    }

    pub(super) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Takes the oldest segment out when nothing in it is needed. Only from the old end: a truncation in a later segment
    /// may be what keeps an entry of an earlier one from coming back.
    pub(super) fn retire_oldest(&mut self) -> Option<u64> {
        if self.segments.len() < 2 || self.holders().next().is_some() {
            return None;
        }
        self.segments.pop_front().map(|s| s.number)
    }

    /// The groups that hold the oldest segment, once more segments are in use than should be.
    pub(super) fn pinned(&self) -> Vec<GroupId> {
        if self.segments.len() <= limits::WAL_PINNED_AFTER_SEGMENTS { Vec::new() } else { self.holders().collect() }
    }

    fn holders(&self) -> impl Iterator<Item = GroupId> + '_ {
        let oldest = self.segments.front().into_iter().flat_map(|s| &s.newest);
        oldest.filter(|&(group, &newest)| self.purged(*group).is_none_or(|purged| purged < newest)).map(|(group, _)| *group)
    }

    fn purged(&self, group: GroupId) -> Option<u64> {
        self.marks.get(&group)?.purged.as_ref().map(|(index, _)| *index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_segments() -> Tracker {
        let mut tracker = Tracker::default();
        tracker.begin_segment(1);
        for index in 1..=10 {
            tracker.observe(Kind::Entry, 7, index, b"");
        }
        tracker.begin_segment(2);
        tracker
    }

    #[test]
    fn a_segment_is_free_once_every_group_purged_past_it() {
        let mut tracker = two_segments();
        tracker.observe(Kind::Purge, 7, 9, b"");
        assert_eq!(tracker.retire_oldest(), None);
        tracker.observe(Kind::Purge, 7, 10, b"");
        assert_eq!(tracker.retire_oldest(), Some(1));
        assert_eq!(tracker.retire_oldest(), None, "the segment being written is never free");
    }

    #[test]
    fn truncated_entries_hold_nothing() {
        let mut tracker = two_segments();
        tracker.observe(Kind::Truncate, 7, 6, b"");
        tracker.observe(Kind::Purge, 7, 5, b"");
        assert_eq!(tracker.retire_oldest(), Some(1));
    }

    #[test]
    fn a_forgotten_group_holds_nothing_and_leaves_no_mark() {
        let mut tracker = two_segments();
        tracker.observe(Kind::Vote, 7, 0, b"v");
        tracker.observe(Kind::Forget, 7, 0, b"");
        assert!(tracker.marks().is_empty());
        assert_eq!(tracker.retire_oldest(), Some(1));
    }

    #[test]
    fn groups_that_pin_an_old_segment_are_named() {
        let mut tracker = two_segments();
        assert_eq!(tracker.pinned(), Vec::<GroupId>::new());
        (3..=5).for_each(|n| tracker.begin_segment(n));
        assert_eq!(tracker.pinned(), vec![7]);
    }
}
