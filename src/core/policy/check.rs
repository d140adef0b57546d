//! What a policy must satisfy before it may be published: names lead somewhere, plans only widen, bounds hold.
//!
//! The file format's own errors, with line numbers, are `config::tenant`'s. This is the last gate, inside `apply`.

use super::{Fallback, Policy, Queue, Requirement};
use crate::core::{id::QueueId, limits::ROUTING_STEPS_MAX};

/// Why a policy is not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{place} leads to queue {queue}, which does not exist")]
    NoQueue { place: String, queue: QueueId },
    #[error("queue {queue} names hours {hours:?}, which do not exist")]
    NoHours { queue: QueueId, hours: String },
    #[error("queue {queue} has more than {ROUTING_STEPS_MAX} routing steps")]
    TooManySteps { queue: QueueId },
    #[error("step {step} of queue {queue} requires more than the step before it")]
    Narrows { queue: QueueId, step: usize },
    #[error("step {step} of queue {queue} lasts for ever, so that the next never comes")]
    Endless { queue: QueueId, step: usize },
    #[error("a span of hours {hours:?} is not within a day")]
    BadSpan { hours: String },
}

impl Policy {
    /// # Errors
    /// The first [`Error`] found, queues first.
    pub fn check(&self) -> Result<(), Error> {
        for (id, queue) in &self.queues {
            self.check_queue(id, queue)?;
        }
        for (user, route) in &self.routes {
            self.leads_to(&route.queue, || format!("route {user:?}"))?;
        }
        for (id, agent) in &self.agents {
            for queue in &agent.queues {
                self.leads_to(queue, || format!("agent {id}"))?;
            }
        }
        for (name, hours) in &self.hours {
            let mut spans = hours.week.iter().chain(hours.exceptions.values()).flatten();
            if spans.any(|(from, to)| from >= to || *to > 1_440) {
                return Err(Error::BadSpan { hours: name.clone() });
            }
        }
        Ok(())
    }

    fn check_queue(&self, id: &QueueId, queue: &Queue) -> Result<(), Error> {
        let fallbacks = [&queue.on_max_wait, &queue.on_full, &queue.on_no_agents, &queue.on_closed];
        for fallback in fallbacks {
            if let Fallback::Queue(next) = fallback {
                self.leads_to(next, || format!("a rule of queue {id}"))?;
            }
        }
        if let Some(hours) = queue.hours.as_ref().filter(|hours| !self.hours.contains_key(*hours)) {
            return Err(Error::NoHours { queue: id.clone(), hours: hours.clone() });
        }
        if queue.steps.len() > ROUTING_STEPS_MAX {
            return Err(Error::TooManySteps { queue: id.clone() });
        }
        for (n, pair) in queue.steps.windows(2).enumerate() {
            if !implies(&pair[0].require, &pair[1].require) {
                return Err(Error::Narrows { queue: id.clone(), step: n + 1 });
            }
            if pair[0].for_ms == 0 {
                return Err(Error::Endless { queue: id.clone(), step: n });
            }
        }
        Ok(())
    }

    fn leads_to(&self, queue: &QueueId, place: impl FnOnce() -> String) -> Result<(), Error> {
        if self.queues.contains_key(queue) { Ok(()) } else { Err(Error::NoQueue { place: place(), queue: queue.clone() }) }
    }
}

/// True if whoever meets `strict` also meets `wide`.
fn implies(strict: &Requirement, wide: &Requirement) -> bool {
    wide.iter().all(|(skill, level)| *level == 0 || strict.get(skill).is_some_and(|has| has >= level))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::policy::{Hours, Route, Step, Strategy};

    fn policy(change: impl FnOnce(&mut Policy, &mut Queue)) -> Policy {
        let mut policy = Policy::default();
        let mut queue = crate::core::tests::queue(Strategy::LongestIdle);
        change(&mut policy, &mut queue);
        policy.queues.insert("support".into(), queue);
        policy
    }

    fn step(for_ms: u64, level: u8) -> Step {
        Step { for_ms, require: [("support".into(), level)].into() }
    }

    #[test]
    fn a_plan_may_widen_and_not_narrow_or_stop_half_way() {
        assert_eq!(policy(|_, queue| queue.steps = vec![step(5, 9), step(5, 3), step(0, 1)]).check(), Ok(()));
        let narrow = policy(|_, queue| queue.steps = vec![step(5, 3), step(0, 9)]);
        assert_eq!(narrow.check(), Err(Error::Narrows { queue: "support".into(), step: 1 }));
        let endless = policy(|_, queue| queue.steps = vec![step(0, 3), step(0, 1)]);
        assert_eq!(endless.check(), Err(Error::Endless { queue: "support".into(), step: 0 }));
    }

    #[test]
    fn names_that_lead_nowhere_are_found() {
        let route = Route { queue: "sales".into(), priority: None, emergency: false };
        let lost = policy(|policy, _| drop(policy.routes.insert("5".into(), route)));
        assert_eq!(lost.check(), Err(Error::NoQueue { place: "route \"5\"".into(), queue: "sales".into() }));
        let lost = policy(|_, queue| queue.on_full = Fallback::Queue("sales".into()));
        assert!(matches!(lost.check(), Err(Error::NoQueue { .. })));
        assert!(matches!(policy(|_, queue| queue.hours = Some("day".into())).check(), Err(Error::NoHours { .. })));
    }

    #[test]
    fn a_span_must_lie_within_a_day() {
        let hours = |span| Hours { exceptions: [(1, vec![span])].into(), ..Hours::default() };
        for (span, good) in [((0, 1_440), true), ((60, 60), false), ((0, 1_441), false)] {
            let policy = policy(|policy, _| drop(policy.hours.insert("day".into(), hours(span))));
            assert_eq!(policy.check().is_ok(), good, "{span:?}");
        }
    }
}
