//! Legs that are over, kept for a while: orders repeated by a new leader must not call a phone a second time.

use std::collections::{HashMap, VecDeque};

use crate::{
    core::{
        command::LegReport,
        effect::Order,
        id::{EffectId, LegId},
    },
    sip::limits::ENDED_LEGS_MAX,
};

/// The last order and the last report of each, oldest forgotten first.
#[derive(Debug, Default)]
pub(super) struct Ended {
    legs: HashMap<LegId, (Option<EffectId>, LegReport)>,
    oldest: VecDeque<LegId>,
}

impl Ended {
    pub(super) fn remember(&mut self, leg: LegId, order: Option<EffectId>, last: LegReport) {
        if self.legs.insert(leg, (order, last)).is_none() {
            self.oldest.push_back(leg);
        }
        if self.oldest.len() > ENDED_LEGS_MAX
            && let Some(leg) = self.oldest.pop_front()
        {
            self.legs.remove(&leg);
        }
    }

    pub(super) fn knows(&self, leg: LegId) -> bool {
        self.legs.contains_key(&leg)
    }

    /// The last report of the leg, if the order is one that it already performed.
    pub(super) fn repeated(&self, order: &Order) -> Option<LegReport> {
        let (last, report) = self.legs.get(&order.leg)?;
        last.is_some_and(|last| order.id <= last).then(|| report.clone())
    }
}
