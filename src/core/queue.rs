//! A queue's rows: who waits and who is idle, by class of requirement, and its counters.
//!
//! A class is a routing step. Within it every waiting call may be served by every idle agent, so a match is the head of
//! one set against the head of the other, and a call nobody can serve blocks nobody behind it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    id::{AgentId, CallId},
    policy::Requirement,
    time::LogTime,
};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    pub(super) classes: Vec<Class>,
    pub answered: u64,
    pub answered_within_level: u64,
    pub abandoned: u64,
    /// Calls of this queue that no longer wait: offered, talking or held.
    pub served_now: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Class {
    pub(super) require: Requirement,
    /// By priority, then age, then id.
    pub(super) waiting: BTreeSet<(u8, LogTime, CallId)>,
    /// The same calls by age, for the starvation guard.
    pub(super) aged: BTreeSet<(LogTime, CallId)>,
    /// Idle agents that meet the requirement, best first: figure, idle since, id.
    pub(super) idle: BTreeSet<(u64, u64, AgentId)>,
}

impl Class {
    pub(super) fn enter(&mut self, priority: u8, entered: LogTime, call: CallId) {
        let fresh = self.waiting.insert((priority, entered, call)) && self.aged.insert((entered, call));
        assert!(fresh, "a call waits once");
    }

    pub(super) fn leave(&mut self, priority: u8, entered: LogTime, call: CallId) {
        let known = self.waiting.remove(&(priority, entered, call)) && self.aged.remove(&(entered, call));
        assert!(known, "only a waiting call leaves");
    }
}

impl Queue {
    pub fn depth(&self) -> usize {
        self.classes.iter().map(|class| class.waiting.len()).sum()
    }

    /// When the oldest waiting call entered.
    pub fn oldest(&self) -> Option<LogTime> {
        self.classes.iter().filter_map(|class| class.aged.first()).map(|(entered, _)| *entered).min()
    }

    /// Waiting calls in order of service within each class.
    pub fn waiting(&self) -> impl Iterator<Item = CallId> {
        self.classes.iter().flat_map(|class| class.waiting.iter().map(|(.., call)| *call))
    }
}
