//! The agents of a domain by profile, and among them those ready for an offer, in the order of each strategy.
//!
//! Agents with the same skills and queues form a profile: whoever of them is first in the order is the only one a match
//! must look at. The cost of a match grows with the number of profiles, not with that of agents. Whether an agent is
//! ready is decided by `agent`; this file only keeps the order.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    explain::Filter,
    id::{AgentId, QueueId, SkillId},
    policy::{AgentKind, Policy, Requirement, Step, Strategy},
    time::LogTime,
};

/// The skill that every person has, and no AI agent: what a contact requires that only a person may have. No tenant can name it.
pub(super) const PERSON: &str = "@person";

/// A standing order of ready agents. Several strategies share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Order {
    Idle,
    Turn,
    Occupied,
    Calls,
}

impl Order {
    pub(super) const fn of(strategy: Strategy) -> Self {
        match strategy {
            // Within a profile all have the same levels, so the highest skill is a matter between profiles.
            Strategy::LongestIdle | Strategy::RingAll | Strategy::HighestSkill => Self::Idle,
            Strategy::RoundRobin => Self::Turn,
            Strategy::LeastOccupied => Self::Occupied,
            Strategy::FewestCalls => Self::Calls,
        }
    }
}

/// What an agent is ranked by, as it was when it became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Figures {
    pub(super) idle_since: LogTime,
    pub(super) turn: u64,
    pub(super) occupied_permille: u64,
    pub(super) calls: u64,
}

/// An agent's place in an order: the figure, then who is idle longest, then the id.
pub(super) type Rank = (u64, LogTime, AgentId);

impl Figures {
    fn rank(&self, order: Order, agent: &AgentId) -> Rank {
        let figure = match order {
            Order::Idle => 0,
            Order::Turn => self.turn,
            Order::Occupied => self.occupied_permille,
            Order::Calls => self.calls,
        };
        (figure, self.idle_since, agent.clone())
    }
}

/// Agents that are the same to every match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Profile {
    pub(super) kind: AgentKind,
    pub(super) skills: BTreeMap<SkillId, u8>,
    /// Queues whose widest requirement it meets and which it is to serve.
    pub(super) serves: Vec<QueueId>,
    ready: BTreeMap<Order, BTreeSet<Rank>>,
    /// Agents of the profile that are not ready, by what keeps them.
    pub(super) away: BTreeMap<Filter, u32>,
    pub(super) size: u32,
}

impl Profile {
    pub(super) fn meets(&self, require: &Requirement) -> bool {
        meets(&self.skills, require)
    }

    pub(super) fn ready(&self, order: Order) -> impl Iterator<Item = &Rank> {
        self.ready.get(&order).into_iter().flatten()
    }

    pub(super) fn ready_count(&self) -> u32 {
        self.size - self.away.values().sum::<u32>()
    }

    /// True if somebody is at least on break.
    pub(super) fn is_staffed(&self) -> bool {
        self.away.get(&Filter::Offline).copied().unwrap_or(0) < self.size
    }

    /// The first skill that is missing.
    pub(super) fn lacks(&self, require: &Requirement) -> Option<Filter> {
        require.iter().find_map(|(skill, needs)| {
            let has = self.skills.get(skill).copied().unwrap_or(0);
            (has < *needs).then(|| Filter::Skill { skill: skill.clone(), has, needs: *needs })
        })
    }

    /// What the highest-skill strategy ranks by: the sum of how far the levels stay below the best thinkable.
    pub(super) fn below_best(&self, require: &Requirement, queue: &QueueId) -> u64 {
        let below = |skill: &str| u64::from(u8::MAX - self.skills.get(skill).copied().unwrap_or(0));
        if require.is_empty() { below(queue.as_str()) } else { require.keys().map(|skill| below(skill.as_str())).sum() }
    }
}

fn meets(skills: &BTreeMap<SkillId, u8>, require: &Requirement) -> bool {
    require.iter().all(|(skill, level)| skills.get(skill).is_some_and(|has| has >= level))
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pool {
    profiles: Vec<Profile>,
    orders: BTreeSet<Order>,
}

impl Pool {
    /// Sorts the agents of a policy into profiles. Returns the pool, empty of ready agents, and each agent's profile.
    pub(super) fn new(policy: &Policy, steps: &BTreeMap<QueueId, Vec<Step>>) -> (Self, BTreeMap<AgentId, u32>) {
        let mut numbers = BTreeMap::new();
        let mut of_agent = BTreeMap::new();
        let mut pool = Self { profiles: Vec::new(), orders: policy.queues.values().map(|queue| Order::of(queue.strategy)).collect() };
        for (id, agent) in &policy.agents {
            let queues: BTreeSet<_> = agent.queues.iter().collect();
            let number = *numbers.entry((&agent.skills, queues, agent.kind)).or_insert_with_key(|(skills, queues, kind)| {
                let widest = |id: &QueueId| steps[id].last().map(|step| &step.require);
                let serves =
                    |id: &&QueueId| (queues.is_empty() || queues.contains(*id)) && widest(id).is_none_or(|require| meets(skills, require));
                let serves = steps.keys().filter(serves).cloned().collect();
                let person = (*kind == AgentKind::Human).then(|| (PERSON.into(), 1));
                let skills = skills.iter().map(|(skill, level)| (skill.clone(), *level)).chain(person).collect();
                pool.profiles.push(Profile { kind: *kind, skills, serves, ready: BTreeMap::new(), away: BTreeMap::new(), size: 0 });
                pool.profiles.len() as u32 - 1
            });
            of_agent.insert(id.clone(), number);
        }
        assert_eq!(of_agent.len(), policy.agents.len(), "every agent has a profile");
        (pool, of_agent)
    }

    pub(super) fn profile(&self, number: u32) -> &Profile {
        &self.profiles[number as usize]
    }

    pub(super) fn profiles(&self) -> impl Iterator<Item = (u32, &Profile)> {
        (0..).zip(&self.profiles)
    }

    /// Counts an agent in, ready or kept away by something.
    pub(super) fn put(&mut self, number: u32, agent: &AgentId, standing: &Result<Figures, Filter>) {
        let profile = &mut self.profiles[number as usize];
        profile.size += 1;
        match standing {
            Ok(figures) => {
                for order in &self.orders {
                    let fresh = profile.ready.entry(*order).or_default().insert(figures.rank(*order, agent));
                    assert!(fresh, "an agent stands once in an order");
                }
            }
            Err(filter) => *profile.away.entry(filter.clone()).or_insert(0) += 1,
        }
    }

    /// Counts an agent out, as it was put in.
    pub(super) fn take(&mut self, number: u32, agent: &AgentId, standing: &Result<Figures, Filter>) {
        let profile = &mut self.profiles[number as usize];
        profile.size -= 1;
        match standing {
            Ok(figures) => {
                for order in &self.orders {
                    let known = profile.ready.get_mut(order).is_some_and(|set| set.remove(&figures.rank(*order, agent)));
                    assert!(known, "a ready agent stands in every order");
                }
            }
            Err(filter) => {
                let count = profile.away.get_mut(filter).expect("an agent that is away is counted");
                *count -= 1;
                if *count == 0 {
                    profile.away.remove(filter);
                }
            }
        }
    }
}
