//! The indexes of a domain: who is ready in the pool, who waits in which group. Every change of an agent or a waiting
//! call goes through here, and what became matchable is noted for `matching` to settle at the end of the command.

use std::{borrow::Cow, collections::BTreeMap};

use crate::core::{
    agent::Agent,
    call::{Call, CallState},
    explain::Trigger,
    id::{AgentId, CallId, QueueId},
    policy::{AgentKind, Channel, Requirement, Step},
    pool::{PERSON, Pool},
    queue::Place,
    state::Ctx,
};

use super::Domain;

impl Domain {
    /// Makes rows and indexes fit the policy; ages, places and states of what stays are kept.
    pub(super) fn rebuild(&mut self, ctx: &mut Ctx<'_>) {
        let gone: Vec<_> = self.agents.keys().filter(|id| !self.policy.agents.contains_key(*id)).cloned().collect();
        for id in gone {
            self.forget_agent_timers(ctx, &id);
            self.agents.remove(&id);
        }
        let steps: BTreeMap<_, _> = self.policy.queues.keys().map(|id| (id.clone(), self.plan(id))).collect();
        let (pool, profiles) = Pool::new(&self.policy, &steps);
        self.chat_pool = pool.clone();
        self.pool = pool;
        self.rebuild_queues(ctx, steps);
        // Every ready agent looks for a call anew, so the waiting calls need not look for an agent.
        for (id, profile) in profiles {
            let initial = &self.policy.agents[&id].initial;
            let agent = self.agents.entry(id.clone()).or_insert_with(|| Agent::new(initial, ctx.at.time));
            (agent.profile, agent.standing, agent.chat_standing) = (profile, None, None);
            self.index_agent(ctx, &id);
        }
    }

    fn rebuild_queues(&mut self, ctx: &mut Ctx<'_>, steps: BTreeMap<QueueId, Vec<Step>>) {
        let gone: Vec<_> = self.queues.keys().filter(|id| !steps.contains_key(*id)).cloned().collect();
        for id in gone {
            self.forget_queue_timer(ctx, &id);
            self.queues.remove(&id);
        }
        for (id, steps) in steps {
            assert!(!steps.is_empty(), "every queue has a plan");
            let serving: Vec<_> =
                self.pool.profiles().filter(|(_, profile)| profile.serves.contains(&id)).map(|(number, _)| number).collect();
            let ai_off = self.is_ai_off(ctx, &id);
            let row = self.queues.entry(id).or_default();
            (row.steps, row.profiles, row.ai_off) = (steps, serving, ai_off);
            row.mixed = row.profiles.iter().any(|number| self.pool.profile(*number).kind == AgentKind::Ai);
            (row.rows, row.chats) = Default::default();
        }
        for call in self.calls.values_mut().filter(|call| call.state == CallState::Queued) {
            let row = self.queues.get_mut(&call.queue).expect("publish refuses to drop a queue in use");
            call.step = call.step.min(row.steps.len() as u16 - 1);
            let waited_for = |agent: &AgentId| {
                let policy = self.policy.agents.get(agent);
                policy.is_some_and(|policy| policy.kind == AgentKind::Human || !row.ai_off)
            };
            call.waits_for = call.waits_for.take().filter(waited_for);
            let only_people = only_people(row.mixed, row.ai_off, call);
            let (steps, rows) = row.steps_and_rows(call.channel());
            rows.enter(call.place(), &require(steps, only_people, call), call.waits_for.as_ref());
        }
    }

    /// The routing plan of a queue: its own, or the skill named like the queue if any agent has it.
    fn plan(&self, queue: &QueueId) -> Vec<Step> {
        let rules = &self.policy.queues[queue];
        if !rules.steps.is_empty() {
            return rules.steps.clone();
        }
        let known = self.policy.agents.values().any(|agent| agent.skills.contains_key(queue.as_str()));
        let require = if known { Requirement::from([(queue.as_str().into(), 1)]) } else { Requirement::new() };
        vec![Step { for_ms: 0, require }]
    }

    /// Puts an agent where it belongs in the pool. One that became ready looks for a call when the command is done.
    pub(super) fn index_agent(&mut self, ctx: &mut Ctx<'_>, id: &AgentId) {
        self.index_in(ctx, id, Channel::Voice);
        if self.policy.agents[id].takes(Channel::Chat) {
            self.index_in(ctx, id, Channel::Chat);
        }
    }

    fn index_in(&mut self, ctx: &mut Ctx<'_>, id: &AgentId, channel: Channel) {
        let agent = self.agents.get_mut(id).expect("only known agents are indexed");
        let pool = if channel == Channel::Chat { &mut self.chat_pool } else { &mut self.pool };
        let before = agent.standing_in(channel).take();
        if let Some(before) = &before {
            pool.take(agent.profile, id, before);
        }
        let standing = match agent.kept_away_by(&self.policy.agents[id], channel) {
            Some(filter) => Err(filter),
            None => Ok(agent.figures()),
        };
        pool.put(agent.profile, id, &standing);
        if standing.is_ok() && !matches!(before, Some(Ok(_))) {
            ctx.freed.insert((agent.idle_since, id.clone()));
        }
        *agent.standing_in(channel) = Some(standing);
    }

    /// The agents as they stand to contacts of a channel.
    pub(in crate::core) const fn pool_of(&self, channel: Channel) -> &Pool {
        if matches!(channel, Channel::Chat) { &self.chat_pool } else { &self.pool }
    }

    /// Puts a call into its queue's index. It looks for an agent when the command is done.
    pub(super) fn enter_index(&mut self, ctx: &mut Ctx<'_>, id: CallId, trigger: Trigger) {
        let call = self.calls.get_mut(&id).expect("the call is live");
        assert!(call.state == CallState::Queued, "only a waiting call is indexed");
        let row = self.queues.get_mut(&call.queue).expect("calls are in known queues");
        call.step = call.step.min(row.steps.len() as u16 - 1);
        let only_people = only_people(row.mixed, row.ai_off, call);
        let (steps, rows) = row.steps_and_rows(call.channel());
        rows.enter(call.place(), &require(steps, only_people, call), call.waits_for.as_ref());
        ctx.unmatched.insert(call.place(), trigger);
    }

    /// Takes a waiting call out of the index; one that is served is counted, and one that stands aside is in neither.
    pub(super) fn leave_index(&mut self, id: CallId) {
        let call = &self.calls[&id];
        let row = self.queues.get_mut(&call.queue).expect("calls are in known queues");
        match call.state {
            CallState::Queued => {
                let only_people = only_people(row.mixed, row.ai_off, call);
                let (steps, rows) = row.steps_and_rows(call.channel());
                rows.leave(call.place(), &require(steps, only_people, call), call.waits_for.as_ref());
            }
            CallState::Deferred | CallState::Forwarding | CallState::Forwarded => {}
            CallState::Offering | CallState::Connected { .. } | CallState::Dialling { .. } => {
                row.served_now = row.served_now.checked_sub(1).expect("a call that does not wait is counted as served");
            }
        }
    }

    /// What a call requires now: its routing step, and the skills it asked for itself.
    pub(super) fn requirement<'a>(&'a self, call: &Call) -> Cow<'a, Requirement> {
        let row = &self.queues[&call.queue];
        require(&row.steps, only_people(row.mixed, row.ai_off, call), call)
    }
}

/// Whether a call of a queue must go to a person. Where there are only people, nothing need be required.
fn only_people(mixed: bool, ai_off: bool, call: &Call) -> bool {
    mixed && (ai_off || Domain::needs_person(call))
}

fn require<'a>(steps: &'a [Step], only_people: bool, call: &Call) -> Cow<'a, Requirement> {
    let step = &steps[usize::from(call.step)].require;
    if call.skills.is_empty() && !only_people {
        return Cow::Borrowed(step);
    }
    let mut require = step.clone();
    if only_people {
        require.insert(PERSON.into(), 1);
    }
    for (skill, level) in &call.skills {
        let needs = require.entry(skill.clone()).or_insert(0);
        *needs = (*needs).max(*level);
    }
    Cow::Owned(require)
}

impl Call {
    /// Its place in the queue, at its own age.
    pub(in crate::core) const fn place(&self) -> Place {
        (self.priority, self.entered, self.id)
    }
}
