//! Matters that come back: a customer calls again soon about what an answered contact was about.
//!
//! Customers are told apart by the pseudonym that their records carry, matters by what was understood of them, or else by their queue.
//! It remembers the latest contacts and forgets them by log time; whether a matter was settled is not its judgement.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::{
    assist::Resolved,
    call::Call,
    id::{CallId, QueueId},
    limits::{MATTERS_MAX, TOPIC_BYTES_MAX},
    time::LogTime,
};

/// What SIP writes in place of somebody who does not say who it is (RFC 3323 §4.1.1.3, and what gateways make of it).
const NOBODY: [&str; 5] = ["", "anonymous", "unknown", "restricted", "unavailable"];

/// What a contact is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Topic {
    Intent(String),
    Queue(QueueId),
}

impl std::fmt::Display for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Intent(intent) => write!(f, "intent:{intent}"),
            Self::Queue(queue) => write!(f, "queue:{queue}"),
        }
    }
}

/// A contact that was answered, and how its AI agent saw the end of it, if one had it to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Matter {
    pub(super) call: CallId,
    closed: LogTime,
    pub(super) resolved: Option<Resolved>,
}

type Key = (u64, Topic);

/// The latest matter of each customer and topic.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Matters {
    rows: BTreeMap<Key, Matter>,
    /// Oldest first; one whose row was replaced stands here until its time is over.
    ages: VecDeque<(Key, Matter)>,
}

impl Matters {
    pub(super) fn find(&self, subject: u64, topic: &Topic) -> Option<Matter> {
        self.rows.get(&(subject, topic.clone())).copied()
    }

    pub(super) fn insert(&mut self, subject: u64, topic: Topic, call: CallId, closed: LogTime, resolved: Option<Resolved>) {
        let matter = Matter { call, closed, resolved };
        self.rows.insert((subject, topic.clone()), matter);
        self.ages.push_back(((subject, topic), matter));
        if self.ages.len() > MATTERS_MAX {
            self.drop_oldest();
        }
    }

    /// Forgets what is older than `within_ms`, and all when that is 0.
    pub(super) fn forget_old(&mut self, now: LogTime, within_ms: u64) {
        while self.ages.front().is_some_and(|(_, matter)| now.ms_since(matter.closed) >= within_ms) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((key, matter)) = self.ages.pop_front()
            && self.rows.get(&key) == Some(&matter)
        {
            self.rows.remove(&key);
        }
    }

    /// Forgets a customer.
    pub(super) fn erase(&mut self, subject: u64) {
        self.rows.retain(|(of, _), _| *of != subject);
        self.ages.retain(|((of, _), _)| *of != subject);
    }
}

impl Call {
    /// What it is about, as far as that was understood.
    pub(super) fn topic(&self) -> Topic {
        let intent = self.transcript().iter().rev().find_map(|line| line.judged.as_ref()?.intent.as_ref());
        intent
            .map_or_else(|| Topic::Queue(self.queue.clone()), |of| Topic::Intent(of[..of.floor_char_boundary(TOPIC_BYTES_MAX)].to_owned()))
    }

    /// Whether its customer says who it is. A chat whose customer does not is named after itself.
    pub(super) fn is_known(&self) -> bool {
        (self.chat.is_none() || self.from.user != self.id.to_string()) && !NOBODY.contains(&self.from.user.trim().to_lowercase().as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(n: u64) -> Topic {
        Topic::Intent(format!("t{n}"))
    }

    #[test]
    fn the_latest_are_kept_and_forgotten_in_time_and_a_customer_can_be_forgotten() {
        let mut matters = Matters::default();
        for n in 0..MATTERS_MAX as u64 + 10 {
            matters.insert(n % 7, topic(n), CallId(n.into()), LogTime(n * 1_000_000), None);
        }
        assert_eq!((matters.rows.len(), matters.ages.len()), (MATTERS_MAX, MATTERS_MAX));
        assert_eq!(matters.find(9 % 7, &topic(9)), None);
        assert!(matters.find(10 % 7, &topic(10)).is_some());
        matters.forget_old(LogTime(20 * 1_000_000), 5);
        assert!(matters.find(15 % 7, &topic(15)).is_none() && matters.find(16 % 7, &topic(16)).is_some());
        matters.erase(3);
        assert!(matters.rows.keys().chain(matters.ages.iter().map(|(key, _)| key)).all(|(subject, _)| *subject != 3));
        matters.forget_old(LogTime(0), 0);
        assert_eq!(matters, Matters::default());
    }

    #[test]
    fn a_matter_that_came_again_stays_as_long_as_its_latest_contact() {
        let mut matters = Matters::default();
        matters.insert(1, topic(1), CallId(1), LogTime(0), Some(Resolved::Yes));
        matters.insert(1, topic(1), CallId(2), LogTime(9_000_000), None);
        matters.forget_old(LogTime(12_000_000), 10);
        assert_eq!(matters.find(1, &topic(1)).map(|matter| matter.call), Some(CallId(2)));
    }
}
