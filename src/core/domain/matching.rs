//! Matching: a waiting call to a ready agent, inside `apply`, when a command made either appear.
//!
//! Order among a free agent's queues: a call older than its queue's `promote_after_ms` first, by age; then priority, then
//! age, then call id; a call that waits for this very agent stands in the same order. Order among a call's ready agents:
//! the strategy's figure, then who is idle longest, then agent id. Both sides are heads of ordered sets: the cost grows
//! with the number of profiles and of different requirements, and not with that of agents or calls.

use std::collections::BTreeMap;

use crate::core::{
    call::{Call, CallState},
    explain::{Candidate, Decision, Filter, RankKey, Trigger},
    id::{AgentId, CallId, QueueId},
    limits::{DECISION_LISTED_MAX, RING_ALL_MAX},
    policy::{AgentKind, Channel, Strategy},
    pool::{Order, Profile, Rank},
    queue::{Place, oldest},
    state::Ctx,
};

use super::Domain;

/// Order of service over all queues of an agent: promoted or not, then priority (none if promoted), age, id.
type Service = (bool, u8, crate::core::time::LogTime, CallId);

impl Domain {
    /// Lets everything a command made matchable find its match. Agents first: each takes the call that is first in order
    /// among all that wait; what then still waits may find somebody who was ready before.
    pub(in crate::core) fn settle(&mut self, ctx: &mut Ctx<'_>) {
        let changed = ctx.changed;
        while let Some((_, agent)) = ctx.freed.pop_first() {
            let trigger = if changed { Trigger::Changed } else { Trigger::AgentFree(agent.clone()) };
            self.match_agent(ctx, &agent, &trigger);
        }
        while let Some(((.., call), trigger)) = ctx.unmatched.pop_first() {
            self.match_call(ctx, call, &trigger);
            self.tell_queued(ctx, call);
        }
        assert!(ctx.freed.is_empty(), "making offers frees nobody");
    }

    /// Offers a waiting call to the best ready agent, or to several under ring-all.
    fn match_call(&mut self, ctx: &mut Ctx<'_>, id: CallId, trigger: &Trigger) {
        let Some(call) = self.calls.get(&id).filter(|call| call.state == CallState::Queued) else { return };
        let chosen = match &call.waits_for {
            Some(agent) if self.is_ready(agent, call.channel()) => vec![agent.clone()],
            Some(_) => return,
            None => {
                let at_once = if self.policy.queues[&call.queue].strategy == Strategy::RingAll { RING_ALL_MAX } else { 1 };
                self.best(call, at_once).into_iter().map(|(_, (.., agent))| agent).collect()
            }
        };
        let chosen = self.one_of_ai(chosen);
        self.offer_to(ctx, id, &chosen, trigger);
    }

    /// Offers a waiting call to whoever was ready before this command, but for one agent. None of them had a call to wait for,
    /// so this passes nobody over. Who was freed by the command (a supervisor of the call) may have one, and chooses later.
    pub(super) fn match_call_without(&mut self, ctx: &mut Ctx<'_>, id: CallId, without: &AgentId, trigger: &Trigger) {
        let call = &self.calls[&id];
        assert!(call.state == CallState::Queued && call.waits_for.is_none(), "it waits for anybody");
        let at_once = if self.policy.queues[&call.queue].strategy == Strategy::RingAll { RING_ALL_MAX } else { 1 };
        let was_ready = |agent: &AgentId| agent != without && !ctx.freed.iter().any(|(_, freed)| freed == agent);
        let most = at_once + 1 + ctx.freed.len();
        let of = |kind| self.best_of(call, most, kind).into_iter().map(|(_, (.., agent))| agent).filter(was_ready).take(at_once);
        let chosen = self.kinds(call).iter().map(|kind| of(*kind).collect::<Vec<_>>()).find(|chosen| !chosen.is_empty());
        let chosen = self.one_of_ai(chosen.unwrap_or_default());
        self.offer_to(ctx, id, &chosen, trigger);
    }

    /// Gives a free agent the call that is first in order over all its queues; under several slots, as many as it has.
    fn match_agent(&mut self, ctx: &mut Ctx<'_>, id: &AgentId, trigger: &Trigger) {
        while let Some(call) = self.first_for(ctx, id) {
            let alone = self.calls[&call].waits_for.is_some();
            if !alone && self.policy.queues[&self.calls[&call].queue].strategy == Strategy::RingAll {
                self.match_call(ctx, call, trigger);
            } else {
                self.offer_to(ctx, call, std::slice::from_ref(id), trigger);
            }
            assert!(self.calls[&call].state == CallState::Offering, "a call that fits a ready agent is offered");
        }
    }

    /// A caller talks with one AI agent at a time, and so one is offered the call, whatever the strategy.
    fn one_of_ai(&self, mut chosen: Vec<AgentId>) -> Vec<AgentId> {
        if chosen.first().is_some_and(|first| self.is_ai(first)) {
            chosen.truncate(1);
        }
        chosen
    }

    /// True if an agent, were it ready, could be given a waiting call.
    pub(in crate::core) fn may_serve(&self, agent: &AgentId, call: &Call) -> bool {
        let Some(row) = self.agents.get(agent) else { return false };
        let profile = self.pool.profile(row.profile);
        match &call.waits_for {
            Some(preferred) => preferred == agent,
            None => profile.serves.contains(&call.queue) && profile.meets(&self.requirement(call)),
        }
    }

    /// Whether an agent may be offered a contact of this channel now.
    pub(in crate::core) fn is_ready(&self, agent: &AgentId, channel: Channel) -> bool {
        let standing = |agent: &'_ crate::core::agent::Agent| match channel {
            Channel::Chat => matches!(agent.chat_standing, Some(Ok(_))),
            Channel::Voice | Channel::Task | Channel::Callback => matches!(agent.standing, Some(Ok(_))),
        };
        self.agents.get(agent).is_some_and(standing)
    }

    /// The call an agent is to get: the first over the heads of all groups it meets, of the channels it has a slot left for.
    fn first_for(&self, ctx: &Ctx<'_>, agent: &AgentId) -> Option<CallId> {
        let profile = self.pool.profile(self.agents[agent].profile);
        let mut best: Option<Service> = None;
        let ready = Channel::ALL.map(|channel| (channel, self.is_ready(agent, channel)));
        let channels = ready.into_iter().filter(|(_, ready)| *ready).map(|(channel, _)| channel);
        for (id, channel) in channels.flat_map(|channel| profile.serves.iter().map(move |id| (id, channel))) {
            let rows = self.queues[id].rows_of(channel);
            if rows.is_empty() {
                continue;
            }
            let promote_ms = self.policy.queues[id].promote_after_ms;
            let is_old = |(_, entered, _): &Place| promote_ms > 0 && ctx.at.time.ms_since(*entered) >= promote_ms;
            let met = rows.classes().filter(|(require, _)| profile.meets(require)).map(|(_, set)| set);
            for set in met.chain(rows.preferring(agent)) {
                let old = (promote_ms > 0).then(|| oldest(set)).flatten().filter(is_old).map(|(_, entered, id)| (false, 0, entered, id));
                let head = set.first().map(|(priority, entered, id)| (true, *priority, *entered, *id));
                best = old.or(head).into_iter().chain(best).min();
            }
        }
        best.map(|(.., call)| call)
    }

    /// The kinds of agents that may get a call, in the order they are looked at: `None` is any.
    fn kinds(&self, call: &Call) -> &'static [Option<AgentKind>] {
        match (self.queues[&call.queue].mixed, self.policy.queues[&call.queue].sharing.ai_first) {
            (false, _) => &[None],
            (true, true) => &[Some(AgentKind::Ai), Some(AgentKind::Human)],
            (true, false) => &[Some(AgentKind::Human), Some(AgentKind::Ai)],
        }
    }

    /// The first `max` ready agents for a call, in the order of its queue's strategy, each with the figure it is ranked by. AI
    /// agents and people are not ranked against each other: whoever comes first by the queue's rule is listed alone.
    pub(super) fn best(&self, call: &Call, max: usize) -> Vec<(u64, Rank)> {
        let mut lists = self.kinds(call).iter().map(|kind| self.best_of(call, max, *kind));
        lists.find(|best| !best.is_empty()).unwrap_or_default()
    }

    pub(super) fn best_of(&self, call: &Call, max: usize, kind: Option<AgentKind>) -> Vec<(u64, Rank)> {
        let require = self.requirement(call);
        let strategy = self.policy.queues[&call.queue].strategy;
        let mut best: Vec<(u64, Rank)> = Vec::new();
        for number in &self.queues[&call.queue].profiles {
            let profile = self.pool_of(call.channel()).profile(*number);
            if kind.is_some_and(|kind| profile.kind != kind) || !profile.meets(&require) {
                continue;
            }
            let below = if strategy == Strategy::HighestSkill { profile.below_best(&require, &call.queue) } else { 0 };
            best.extend(profile.ready(Order::of(strategy)).take(max).map(|rank| (below, rank.clone())));
            if best.len() > 2 * max {
                best.sort_unstable();
                best.truncate(max);
            }
        }
        best.sort_unstable();
        best.truncate(max);
        best
    }

    fn offer_to(&mut self, ctx: &mut Ctx<'_>, id: CallId, chosen: &[AgentId], trigger: &Trigger) {
        if chosen.is_empty() {
            return;
        }
        let decision = self.decision(ctx, id, chosen, trigger);
        self.leave_index(id);
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        self.queues.get_mut(&call.queue).expect("calls are in known queues").served_now += 1;
        call.state = CallState::Offering;
        call.waits_for = None;
        call.offered.get_or_insert(ctx.at.stamp());
        call.decisions.push(decision);
        for agent in chosen {
            self.ring(ctx, id, agent);
        }
    }

    fn decision(&self, ctx: &Ctx<'_>, id: CallId, chosen: &[AgentId], trigger: &Trigger) -> Decision {
        let call = &self.calls[&id];
        let strategy = self.policy.queues[&call.queue].strategy;
        let best = self.best(call, DECISION_LISTED_MAX.max(chosen.len()));
        let mut decision = Decision {
            index: ctx.at.index,
            at: ctx.at.stamp(),
            policy_version: self.version,
            trigger: trigger.clone(),
            queue: call.queue.clone(),
            strategy,
            step: call.step,
            priority: call.priority,
            waited_ms: ctx.at.time.ms_since(call.entered),
            candidates: Vec::new(),
            others: BTreeMap::new(),
            ties: 0,
            chosen: chosen.to_vec(),
        };
        let key = |(below, (figure, idle_since, _)): &(u64, Rank)| match strategy {
            Strategy::HighestSkill => *below,
            Strategy::LongestIdle => idle_since.0 / 1_000_000,
            Strategy::RoundRobin | Strategy::LeastOccupied | Strategy::FewestCalls | Strategy::RingAll => *figure,
        };
        decision.ties = best.iter().filter(|rank| Some(key(rank)) == best.first().map(key)).count() as u32;
        for rank in &best {
            let filter = (call.waits_for.is_some() && !chosen.contains(&rank.1.2)).then_some(Filter::Affinity);
            let key = RankKey { figure: key(rank), idle_since_ms: rank.1.1.0 / 1_000_000 };
            decision.consider(Candidate { agent: rank.1.2.clone(), filter, key });
        }
        for agent in chosen.iter().filter(|agent| !best.iter().any(|(_, (.., listed))| listed == *agent)) {
            // Asked for by name, whatever it serves.
            let key = RankKey { figure: 0, idle_since_ms: self.agents[agent].idle_since.0 / 1_000_000 };
            decision.consider(Candidate { agent: agent.clone(), filter: None, key });
        }
        self.count_others(&mut decision, call, best.len() as u32);
        decision
    }

    /// Counts, by profile, those who were no candidates and why.
    fn count_others(&self, decision: &mut Decision, call: &Call, listed: u32) {
        let require = self.requirement(call);
        let mut eligible = 0;
        for number in &self.queues[&call.queue].profiles {
            let profile: &Profile = self.pool_of(call.channel()).profile(*number);
            if let Some(lacking) = profile.lacks(&require) {
                decision.count(lacking, profile.size);
                continue;
            }
            eligible += profile.ready_count();
            for (filter, count) in &profile.away {
                decision.count(filter.clone(), *count);
            }
        }
        decision.count(Filter::Ranked, eligible.saturating_sub(listed));
    }

    /// True if somebody who serves the queue is at least on break.
    pub(super) fn is_staffed(&self, queue: &QueueId) -> bool {
        self.queues[queue].profiles.iter().any(|number| self.pool.profile(*number).is_staffed())
    }
}
