//! Matching: a waiting call to an idle agent, inside `apply`, the moment either appears.
//!
//! Order among a free agent's queues: a call older than its queue's `promote_after_ms` first, by age; then priority, then
//! age, then call id. Order among a call's idle agents: the strategy's figure, then who is idle longest, then agent id.

use std::collections::BTreeMap;

use crate::core::{
    call::{Call, CallState, Leg},
    command::TimerKind,
    effect::{Action, EventKind, Ring},
    explain::{Candidate, Decision, Filter, RankKey, Trigger},
    id::{AgentId, CallId},
    limits::{DECISION_CANDIDATES_MAX, LEGS_PER_CALL_MAX, RING_ALL_MAX},
    policy::Strategy,
    state::Ctx,
};

use super::Domain;

/// Waiting calls looked at behind a head that waits for somebody else (affinity or extra skills).
const LOOK_BEHIND_MAX: usize = 64;
/// Max-Forwards of an INVITE we send on: a fresh B2BUA leg that still ends a loop.
const MAX_FORWARDS: u8 = 69;

impl Domain {
    /// Offers a waiting call to the best idle agent, or to several under ring-all.
    pub(super) fn match_call(&mut self, ctx: &mut Ctx<'_>, id: CallId, trigger: &Trigger) {
        let Some(call) = self.calls.get(&id).filter(|call| call.state == CallState::Queued) else { return };
        let rules = &self.policy.queues[&call.queue];
        let at_once = if rules.strategy == Strategy::RingAll { RING_ALL_MAX } else { 1 };
        let class = &self.queues[&call.queue].classes[usize::from(call.step)];
        let best = class.idle.iter().map(|(.., agent)| agent).filter(|agent| self.fits(ctx, call, agent));
        let chosen: Vec<_> = best.take(at_once).cloned().collect();
        self.offer_to(ctx, id, &chosen, trigger);
    }

    /// Gives a free agent the call that is first in order over all its queues; under several slots, as many as it has.
    pub(super) fn match_agent(&mut self, ctx: &mut Ctx<'_>, id: &AgentId, trigger: &Trigger) {
        while self.agents[id].is_free(&self.policy.agents[id]) {
            let Some(call) = self.first_for(ctx, id) else { return };
            let ring_all = self.policy.queues[&self.calls[&call].queue].strategy == Strategy::RingAll;
            if ring_all {
                self.match_call(ctx, call, trigger);
            } else {
                self.offer_to(ctx, call, std::slice::from_ref(id), trigger);
            }
            if self.calls.get(&call).is_some_and(|call| call.state == CallState::Queued) {
                return;
            }
        }
    }

    fn first_for(&self, ctx: &Ctx<'_>, agent: &AgentId) -> Option<CallId> {
        let mut best = None;
        for (queue, class) in &self.agents[agent].serves {
            let class = &self.queues[queue].classes[usize::from(*class)];
            let promote_ms = self.policy.queues[queue].promote_after_ms;
            let fits = |call: &CallId| self.fits(ctx, &self.calls[call], agent);
            let aged = class
                .aged
                .iter()
                .take(LOOK_BEHIND_MAX)
                .take_while(|(entered, _)| promote_ms > 0 && ctx.at.time.ms_since(*entered) >= promote_ms);
            let aged = aged.filter(|(_, call)| fits(call)).map(|(entered, call)| (0, 0, *entered, *call)).next();
            let head = class
                .waiting
                .iter()
                .take(LOOK_BEHIND_MAX)
                .filter(|(.., call)| fits(call))
                .map(|(priority, entered, call)| (1, *priority, *entered, *call))
                .next();
            best = aged.into_iter().chain(head).chain(best).min();
        }
        best.map(|(.., call)| call)
    }

    /// What the class does not say: skills asked for by the call, and a preferred agent it still waits for.
    fn fits(&self, ctx: &Ctx<'_>, call: &Call, agent: &AgentId) -> bool {
        let skills = &self.policy.agents[agent].skills;
        let skilled = call.skills.iter().all(|(skill, level)| skills.get(skill).is_some_and(|has| has >= level));
        let waits_for_other = call.prefer.as_ref().is_some_and(|preferred| {
            let window_ms = self.policy.queues[&call.queue].affinity_ms;
            preferred != agent && ctx.at.time.ms_since(call.entered) < window_ms && self.agents.contains_key(preferred)
        });
        skilled && !waits_for_other && call.next_leg < LEGS_PER_CALL_MAX
    }

    fn offer_to(&mut self, ctx: &mut Ctx<'_>, id: CallId, chosen: &[AgentId], trigger: &Trigger) {
        if chosen.is_empty() {
            return;
        }
        let decision = self.decision(ctx, id, chosen, trigger);
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        assert!(call.state == CallState::Queued, "only a waiting call is offered");
        let class = &mut self.queues.get_mut(&call.queue).expect("calls are in known queues").classes[usize::from(call.step)];
        class.leave(call.priority, call.entered, id);
        call.state = CallState::Offering;
        call.offered.get_or_insert(ctx.at.stamp());
        call.decisions.push(decision);
        for agent in chosen {
            self.ring(ctx, id, agent);
        }
    }

    fn ring(&mut self, ctx: &mut Ctx<'_>, id: CallId, agent: &AgentId) {
        let target = self.agents[agent].target(&self.policy.agents[agent]).expect("a free agent can be reached");
        let call = self.calls.get_mut(&id).expect("offered calls are live");
        let n = call.next_leg;
        call.next_leg += 1;
        let deadline = ctx.at.time.plus_ms(self.policy.queues[&call.queue].offer_timeout_ms);
        let ring = Ring {
            target,
            caller: call.from.clone(),
            queue: Some(call.queue.clone()),
            trunk: call.trunk.clone(),
            sdp: call.sdp.clone(),
            headers: call.headers.clone(),
            max_forwards: MAX_FORWARDS,
        };
        let order = ctx.order(call.leg_id(n), call.edge, Action::Ring(Box::new(ring)));
        let leg = Leg {
            agent: agent.clone(),
            offered: ctx.at.stamp(),
            rang: None,
            answered: None,
            deadline: Some(deadline),
            dialog: None,
            seq: 0,
            order: Some(order),
        };
        call.legs.insert(n, leg);
        let queue = call.queue.clone();
        ctx.set_timer(deadline, TimerKind::Offer { call: id, leg: n });
        ctx.shared.offers += 1;
        self.turns += 1;
        let row = self.agents.get_mut(agent).expect("chosen agents are known");
        let booked = row.contacts.insert((id, n));
        assert!(
            booked && row.contacts.len() <= crate::core::agent::Agent::voice_slots(&self.policy.agents[agent]),
            "no agent is booked twice"
        );
        row.last_turn = self.turns;
        self.index_agent(agent);
        ctx.event(EventKind::ContactOffered, Some(id), Some(agent), Some(&queue), &[("leg", n.to_string())]);
    }

    fn decision(&self, ctx: &Ctx<'_>, id: CallId, chosen: &[AgentId], trigger: &Trigger) -> Decision {
        let call = &self.calls[&id];
        let class = &self.queues[&call.queue].classes[usize::from(call.step)];
        let mut decision = Decision {
            index: ctx.at.index,
            at: ctx.at.stamp(),
            policy_version: self.version,
            trigger: trigger.clone(),
            queue: call.queue.clone(),
            strategy: self.policy.queues[&call.queue].strategy,
            step: call.step,
            priority: call.priority,
            waited_ms: ctx.at.time.ms_since(call.entered),
            candidates: Vec::new(),
            others: BTreeMap::new(),
            ties: 0,
            chosen: chosen.to_vec(),
        };
        let best = class.idle.first().map(|(figure, ..)| *figure);
        for (figure, since, agent) in class.idle.iter().take(DECISION_CANDIDATES_MAX) {
            let filter = (!self.fits(ctx, call, agent)).then_some(Filter::Affinity);
            decision.ties += u32::from(filter.is_none() && Some(*figure) == best);
            decision.consider(Candidate {
                agent: agent.clone(),
                filter,
                key: RankKey { figure: *figure, idle_since_ms: since / 1_000_000 },
            });
        }
        decision.count(Filter::Ranked, class.idle.len().saturating_sub(DECISION_CANDIDATES_MAX) as u32);
        decision
    }
}
