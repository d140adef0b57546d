//! A queue's rows: who waits, in the order of service, and its counters.
//!
//! Waiting calls are grouped by what they require. Within a group every call may be served by the same agents, so only
//! its head matters to a match, and a call nobody can serve blocks nobody behind it. Who is ready is in `pool`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    id::{AgentId, CallId},
    policy::{Channel, Requirement, Step},
    time::LogTime,
};

/// A call's place: priority (lower is more urgent), then age, then id.
pub(super) type Place = (u8, LogTime, CallId);

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// The routing plan in force, never empty; made from the policy.
    pub(super) steps: Vec<Step>,
    pub(super) rows: Waiting,
    /// Chats that wait, apart: another slot of an agent is free for them.
    pub(super) chats: Waiting,
    /// AI agents serve it, too.
    pub(super) mixed: bool,
    /// AI is switched off for it.
    pub(super) ai_off: bool,
    /// Profiles of agents that serve it, by their number in the pool.
    pub(super) profiles: Vec<u32>,
    /// Open by its hours, as last looked at.
    pub(super) open: bool,
    /// When its hours are looked at again.
    pub(super) timer: Option<LogTime>,
    pub answered: u64,
    pub answered_within_level: u64,
    pub abandoned: u64,
    /// Callers it sent to another queue or away: closed, full, unstaffed or after the longest wait.
    pub overflowed: u64,
    /// Calls of this queue that no longer wait: offered, talking or held.
    pub served_now: u64,
}

/// Waiting calls by requirement, and apart from them those that wait for one agent only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Waiting {
    classes: BTreeMap<Requirement, BTreeSet<Place>>,
    preferring: BTreeMap<AgentId, BTreeSet<Place>>,
    by_priority: BTreeMap<u8, u32>,
}

impl Waiting {
    pub(super) fn enter(&mut self, place: Place, require: &Requirement, prefers: Option<&AgentId>) {
        let set = match prefers {
            Some(agent) => self.preferring.entry(agent.clone()).or_default(),
            None if self.classes.contains_key(require) => self.classes.get_mut(require).expect("looked up just now"),
            None => self.classes.entry(require.clone()).or_default(),
        };
        assert!(set.insert(place), "a call waits once");
        *self.by_priority.entry(place.0).or_insert(0) += 1;
    }

    pub(super) fn leave(&mut self, place: Place, require: &Requirement, prefers: Option<&AgentId>) {
        let known = match prefers {
            Some(agent) => take(&mut self.preferring, agent, place),
            None => take(&mut self.classes, require, place),
        };
        assert!(known, "only a waiting call leaves");
        let count = self.by_priority.get_mut(&place.0).expect("every waiting call is counted");
        *count -= 1;
        if *count == 0 {
            self.by_priority.remove(&place.0);
        }
    }

    /// Groups of calls by requirement.
    pub(super) fn classes(&self) -> impl Iterator<Item = (&Requirement, &BTreeSet<Place>)> {
        self.classes.iter()
    }

    /// Calls that wait for this agent only.
    pub(super) fn preferring(&self, agent: &AgentId) -> Option<&BTreeSet<Place>> {
        self.preferring.get(agent)
    }

    /// Agents that some calls wait for alone.
    pub(super) fn preferred(&self) -> impl Iterator<Item = &AgentId> {
        self.preferring.keys()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_priority.is_empty()
    }

    /// Place of a newcomer of this priority, from 1: everybody as urgent as it is before it.
    pub(super) fn position(&self, priority: u8) -> u32 {
        self.by_priority.range(..=priority).map(|(_, count)| count).sum()
    }

    /// How many calls stand before a waiting one; `None` if they are more than `max`.
    pub(super) fn ahead(&self, place: Place, max: u32) -> Option<u32> {
        let mut ahead = 0;
        for set in self.sets() {
            ahead += set.range(..place).take(max as usize + 1).count() as u32;
            if ahead > max {
                return None;
            }
        }
        Some(ahead)
    }

    fn sets(&self) -> impl Iterator<Item = &BTreeSet<Place>> {
        self.classes.values().chain(self.preferring.values())
    }
}

/// Takes a place out of a group and drops the group when it was the last.
fn take<K: Ord>(groups: &mut BTreeMap<K, BTreeSet<Place>>, key: &K, place: Place) -> bool {
    let Some(set) = groups.get_mut(key) else { return false };
    let known = set.remove(&place);
    if set.is_empty() {
        groups.remove(key);
    }
    known
}

/// The oldest call of a group. It is the first of some priority, and there are few priorities.
pub(super) fn oldest(set: &BTreeSet<Place>) -> Option<Place> {
    let mut best: Option<Place> = None;
    let mut next = set.first().copied();
    while let Some(head) = next {
        if best.is_none_or(|(_, entered, id)| (head.1, head.2) < (entered, id)) {
            best = Some(head);
        }
        next = head.0.checked_add(1).and_then(|priority| set.range((priority, LogTime(0), CallId(0))..).next().copied());
    }
    best
}

impl Queue {
    pub fn depth(&self) -> usize {
        self.both().flat_map(|rows| rows.by_priority.values()).map(|count| *count as usize).sum()
    }

    fn both(&self) -> impl Iterator<Item = &Waiting> {
        [&self.rows, &self.chats].into_iter()
    }

    /// Those that wait by a channel.
    pub(super) const fn rows_of(&self, channel: Channel) -> &Waiting {
        if matches!(channel, Channel::Chat) { &self.chats } else { &self.rows }
    }

    /// The routing steps, and those that wait by a channel.
    pub(super) const fn steps_and_rows(&mut self, channel: Channel) -> (&Vec<Step>, &mut Waiting) {
        (&self.steps, if matches!(channel, Channel::Chat) { &mut self.chats } else { &mut self.rows })
    }

    /// When the oldest waiting call entered.
    pub fn oldest(&self) -> Option<LogTime> {
        self.both().flat_map(Waiting::sets).filter_map(oldest).map(|(_, entered, _)| entered).min()
    }

    /// Waiting calls, in order of service within each group.
    pub fn waiting(&self) -> impl Iterator<Item = CallId> {
        self.both().flat_map(Waiting::sets).flatten().map(|(.., call)| *call)
    }

    pub const fn is_open(&self) -> bool {
        self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_call_is_found_over_all_priorities() {
        let place = |priority, entered, call| (priority, LogTime(entered), CallId(call));
        let set = BTreeSet::from([place(0, 9, 1), place(3, 4, 2), place(3, 8, 3), place(255, 5, 4)]);
        assert_eq!(oldest(&set), Some(place(3, 4, 2)));
        assert_eq!(oldest(&BTreeSet::new()), None);
    }

    #[test]
    fn a_newcomer_stands_behind_all_that_are_as_urgent() {
        let mut waiting = Waiting::default();
        for (n, priority) in [(1, 1), (2, 5), (3, 5), (4, 9)] {
            waiting.enter((priority, LogTime(n), CallId(n.into())), &Requirement::new(), None);
        }
        assert_eq!((waiting.position(5), waiting.position(0), waiting.position(9)), (3, 0, 4));
        let place = (5, LogTime(3), CallId(3));
        assert_eq!((waiting.ahead(place, 9), waiting.ahead(place, 1)), (Some(2), None));
    }
}
