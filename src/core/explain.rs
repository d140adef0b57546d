//! Decision records: why a call was offered to this agent and not to another, bounded and kept with the call.
//!
//! It owns the record and its plain-text form. It takes no decision: matching fills the record in while it decides.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{
    id::{AgentId, QueueId, SkillId},
    limits::DECISION_CANDIDATES_MAX,
    policy::Strategy,
    time::Stamp,
};

/// One choice of matching.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Raft log index of the entry that decided: where a replay finds it.
    pub index: u64,
    pub at: Stamp,
    pub policy_version: u64,
    pub trigger: Trigger,
    pub queue: QueueId,
    pub strategy: Strategy,
    /// Routing step the call was in, from 0.
    pub step: u16,
    pub priority: u8,
    /// Age of the call in the queue.
    pub waited_ms: u64,
    /// At most `DECISION_CANDIDATES_MAX`, eligible ones first in rank order.
    pub candidates: Vec<Candidate>,
    /// Agents that were looked at or known not to fit, but are not listed, by what kept them out.
    pub others: BTreeMap<Filter, u32>,
    /// How many eligible agents shared the best key, so that the tie order decided.
    pub ties: u32,
    /// Who got an offer: one, or several under ring-all.
    pub chosen: Vec<AgentId>,
}

/// What made matching look at the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trigger {
    /// The call entered the queue, or came back to it.
    CallWaiting,
    /// The agent became free.
    AgentFree(AgentId),
    /// A routing step relaxed the requirement.
    Relaxed,
    /// The preferred agent's time ran out.
    AffinityOver,
    /// The policy, the queue's hours or an operator changed something.
    Changed,
    /// Somebody sent it on from the agent who had it.
    Transferred { by: String },
}

/// An agent as the decision saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    pub agent: AgentId,
    /// What kept the agent out; `None` for an eligible one.
    pub filter: Option<Filter>,
    pub key: RankKey,
}

/// The order among eligible agents: smaller is better, by the strategy's figure, then who is idle longest, then by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct RankKey {
    /// The strategy's own figure; see [`figure_name`].
    pub figure: u64,
    /// Log time in ms since when the agent is idle.
    pub idle_since_ms: u64,
}

/// Why an agent could not get the call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Filter {
    Offline,
    Break,
    /// Holds an offer already.
    Reserved,
    /// All slots of the channel are in use, or another channel blocks it.
    Busy,
    WrapUp,
    /// Waits out a delay after a missed, rejected or unreachable offer.
    Penalty,
    /// No registered phone and no fixed contact.
    NoPhone,
    /// Does not serve the queue.
    NotInQueue,
    /// The call still waits for its preferred agent.
    Affinity,
    Skill {
        skill: SkillId,
        has: u8,
        needs: u8,
    },
    /// Eligible, but ranked after those listed.
    Ranked,
}

impl Decision {
    /// Adds a candidate, or counts it when the list is full.
    pub fn consider(&mut self, candidate: Candidate) {
        if self.candidates.len() < DECISION_CANDIDATES_MAX {
            self.candidates.push(candidate);
        } else {
            self.count(candidate.filter.unwrap_or(Filter::Ranked), 1);
        }
    }

    /// Counts `n` agents without listing them. Levels of skills are dropped, so that the counts stay few.
    pub fn count(&mut self, filter: Filter, n: u32) {
        let filter = match filter {
            Filter::Skill { skill, needs, .. } => Filter::Skill { skill, has: 0, needs },
            other => other,
        };
        if n > 0 {
            let known = self.others.entry(filter).or_insert(0);
            *known = known.saturating_add(n);
        }
    }
}

/// What [`RankKey::figure`] counts under a strategy.
pub const fn figure_name(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::LongestIdle => "idle_since_ms",
        Strategy::RoundRobin => "last_turn",
        Strategy::LeastOccupied => "occupied_permille",
        Strategy::FewestCalls => "calls",
        Strategy::HighestSkill => "levels_below_best",
        Strategy::RingAll => "rank",
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CallWaiting => f.write_str("the call began to wait"),
            Self::AgentFree(agent) => write!(f, "{agent} became free"),
            Self::Relaxed => f.write_str("the requirement was relaxed"),
            Self::AffinityOver => f.write_str("the wait for the preferred agent was over"),
            Self::Changed => f.write_str("policy, hours or an operator changed something"),
            Self::Transferred { by } => write!(f, "{by} transferred the call"),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offline => f.write_str("offline"),
            Self::Break => f.write_str("on break"),
            Self::Reserved => f.write_str("being offered another call"),
            Self::Busy => f.write_str("no free slot"),
            Self::WrapUp => f.write_str("in wrap-up"),
            Self::Penalty => f.write_str("resting after a missed offer"),
            Self::NoPhone => f.write_str("no phone registered"),
            Self::NotInQueue => f.write_str("does not serve the queue"),
            Self::Affinity => f.write_str("not the preferred agent"),
            Self::Skill { skill, has: 0, needs } => write!(f, "lacks {skill} at level {needs}"),
            Self::Skill { skill, has, needs } => write!(f, "has {skill} at level {has}, needs {needs}"),
            Self::Ranked => f.write_str("ranked after those listed"),
        }
    }
}

/// The decision as an operator reads it: a headline, a line per candidate, a line per count.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "queue {} step {} priority {} after {} ms, {:?}, policy {}, log index {}: {}",
            self.queue, self.step, self.priority, self.waited_ms, self.strategy, self.policy_version, self.index, self.trigger
        )?;
        for candidate in &self.candidates {
            let mark = if self.chosen.contains(&candidate.agent) { '*' } else { ' ' };
            write!(f, "  {mark} {}", candidate.agent)?;
            match &candidate.filter {
                Some(filter) => writeln!(f, "  not eligible: {filter}")?,
                None => {
                    writeln!(f, "  {} {}, idle since {} ms", figure_name(self.strategy), candidate.key.figure, candidate.key.idle_since_ms)?
                }
            }
        }
        for (filter, n) in &self.others {
            writeln!(f, "    {n} more: {filter}")?;
        }
        if self.ties > 1 {
            writeln!(
                f,
                "    {} shared the best {}: the longest idle, then the least id, was first",
                self.ties,
                figure_name(self.strategy)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision() -> Decision {
        Decision {
            index: 42,
            at: Stamp::default(),
            policy_version: 3,
            trigger: Trigger::AgentFree("alice".into()),
            queue: "support".into(),
            strategy: Strategy::FewestCalls,
            step: 1,
            priority: 5,
            waited_ms: 8_100,
            candidates: Vec::new(),
            others: BTreeMap::new(),
            ties: 1,
            chosen: vec!["alice".into()],
        }
    }

    #[test]
    fn a_decision_lists_at_most_its_bound_and_counts_the_rest() {
        let mut decision = decision();
        for n in 0..100_u8 {
            let filter = (n >= 40).then(|| Filter::Skill { skill: "de".into(), has: n % 3, needs: 4 });
            decision.consider(Candidate { agent: AgentId::new(format!("a{n:02}")), filter, key: RankKey::default() });
        }
        assert_eq!(decision.candidates.len(), DECISION_CANDIDATES_MAX);
        assert_eq!(decision.others[&Filter::Ranked], 8);
        assert_eq!(decision.others[&Filter::Skill { skill: "de".into(), has: 0, needs: 4 }], 60);
    }

    #[test]
    fn a_decision_reads_as_a_table_of_reasons() {
        let mut decision = decision();
        decision.consider(Candidate { agent: "alice".into(), filter: None, key: RankKey { figure: 2, idle_since_ms: 900 } });
        decision.consider(Candidate { agent: "bob".into(), filter: Some(Filter::WrapUp), key: RankKey::default() });
        decision.count(Filter::Offline, 7);
        assert_eq!(
            decision.to_string(),
            "queue support step 1 priority 5 after 8100 ms, FewestCalls, policy 3, log index 42: alice became free\n  \
             * alice  calls 2, idle since 900 ms\n    bob  not eligible: in wrap-up\n    7 more: offline\n"
        );
    }
}
