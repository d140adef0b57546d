//! What a domain remembers of calls that are over: farewells still to be said, and ids that must not come back to life.
//!
//! Both are bounded in time and dropped as later commands are applied. No timer is needed for that, since nothing
//! follows from forgetting.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::{
    Outcome,
    effect::Order,
    id::{AgentId, CallId, Edge, EffectId, LegId},
    image::Image,
    limits::{CLOSED_CALL_MS, CLOSED_CALLS_MAX, PARTING_MS},
    time::LogTime,
};

/// What is still to be said to a leg, and the leg as it was left, should another edge have to say it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Farewell {
    pub(super) order: Order,
    pub(super) image: Box<Image>,
    /// Whose phone it is said to, unless it is a caller's.
    pub(super) agent: Option<AgentId>,
}

/// Farewells to legs that left their calls: outbox rows until the leg's edge says that it is gone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Parting {
    rows: BTreeMap<LegId, Farewell>,
    legs: BTreeMap<EffectId, LegId>,
    agents: BTreeSet<(AgentId, LegId)>,
    /// In order of age. A row that is done earlier is skipped when its time comes.
    ages: VecDeque<(LogTime, EffectId)>,
}

impl Parting {
    /// Keeps the last order of a leg in place of any earlier one.
    pub(super) fn insert(&mut self, farewell: Farewell, now: LogTime) {
        let (id, leg) = (farewell.order.id, farewell.order.leg);
        self.clear(leg);
        self.ages.push_back((now, id));
        self.legs.insert(id, leg);
        self.agents.extend(farewell.agent.clone().map(|agent| (agent, leg)));
        self.rows.insert(leg, farewell);
        assert_eq!(self.rows.len(), self.legs.len(), "every farewell is known by leg and by id");
    }

    fn clear(&mut self, leg: LegId) -> bool {
        let row = self.rows.remove(&leg);
        if let Some(Farewell { order, agent, .. }) = &row {
            if let Some(agent) = agent {
                self.agents.remove(&(agent.clone(), leg));
            }
            let known = self.legs.remove(&order.id);
            assert_eq!(known, Some(leg), "a farewell's id names its leg");
        }
        row.is_some()
    }

    /// The leg is gone, says `edge`. Returns whether that completed a farewell.
    pub(super) fn gone(&mut self, leg: LegId, edge: Edge) -> bool {
        self.rows.get(&leg).is_some_and(|row| row.order.edge == edge) && self.clear(leg)
    }

    /// Forgets a farewell by the id of its order. Returns whether it was open.
    pub(super) fn done(&mut self, id: EffectId) -> bool {
        self.legs.get(&id).copied().is_some_and(|leg| self.clear(leg))
    }

    /// Takes out every farewell that a dead edge was to say.
    pub(super) fn take_edge(&mut self, edge: Edge) -> Vec<Farewell> {
        let void: Vec<_> = self.rows.values().filter(|row| row.order.edge == edge).cloned().collect();
        for row in &void {
            self.clear(row.order.leg);
        }
        void
    }

    pub(super) fn forget_old(&mut self, now: LogTime) {
        while let Some((kept, id)) = self.ages.front().copied().filter(|(kept, _)| now.ms_since(*kept) >= PARTING_MS) {
            assert!(kept <= now, "farewells are as old as they are");
            self.ages.pop_front();
            self.done(id);
        }
    }

    /// What is still to be said to an agent's phone.
    pub(super) fn to_agent(&self, agent: &AgentId) -> impl Iterator<Item = &Order> {
        let from = (agent.clone(), LegId { call: CallId(0), n: 0 });
        let legs = self.agents.range(from..).take_while(move |(of, _)| of == agent);
        legs.filter_map(|(_, leg)| self.rows.get(leg)).map(|row| &row.order)
    }

    /// True while a farewell is a row of the outbox.
    pub(super) fn is_open(&self, id: EffectId) -> bool {
        self.legs.contains_key(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Order> {
        self.rows.values().map(|row| &row.order)
    }
}

/// What arrivals came to whose calls are over, so that a late repeat gets the same answer and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Closed {
    outcomes: BTreeMap<CallId, Outcome>,
    ages: VecDeque<(LogTime, CallId)>,
}

impl Closed {
    pub(super) fn insert(&mut self, call: CallId, outcome: Outcome, now: LogTime) {
        let before = self.outcomes.insert(call, outcome);
        assert!(before.is_none(), "a call closes once (C2)");
        self.ages.push_back((now, call));
        if self.ages.len() > CLOSED_CALLS_MAX {
            self.drop_oldest();
        }
    }

    pub(super) fn outcome_of(&self, call: CallId) -> Option<&Outcome> {
        self.outcomes.get(&call)
    }

    fn drop_oldest(&mut self) {
        if let Some((_, call)) = self.ages.pop_front() {
            let known = self.outcomes.remove(&call);
            assert!(known.is_some(), "every remembered call has its age");
        }
    }

    pub(super) fn forget_old(&mut self, now: LogTime) {
        while self.ages.front().is_some_and(|(closed, _)| now.ms_since(*closed) >= CLOSED_CALL_MS) {
            self.drop_oldest();
        }
    }
}
