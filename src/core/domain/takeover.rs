//! Takeover: a person is to have a contact that an AI agent has or may get. The commit fences the agent; the customer waits at its
//! own age and hears so; a person who accepts ends it, as does a deadline.
//!
//! AI switched off for a queue, a domain or a partition is the same for every contact there, most urgent first.

use crate::core::{
    Outcome, Reason,
    assist::{Cause, Off, Taken, Takeover, TakeoverResult},
    call::{Call, CallState},
    cdr::AttemptResult,
    command::Actor,
    effect::{EventKind, TAKEN_OVER},
    explain::Trigger,
    id::{AgentId, CallId, QueueId},
    limits::REASON_CHARS_MAX,
    policy::Unanswered,
    state::Ctx,
    time::LogTime,
};

use super::Domain;

impl Domain {
    pub(in crate::core) fn take_over(&mut self, ctx: &mut Ctx<'_>, id: CallId, to: Option<&QueueId>, cause: Cause, by: &Actor) -> Outcome {
        let Some(call) = self.calls.get(&id) else { return Outcome::Rejected(Reason::NoCall) };
        if let Some(queue) = to.filter(|queue| !self.queues.contains_key(*queue)) {
            return Outcome::Rejected(Reason::NoQueue(queue.to_string()));
        }
        let leg = call.assisted_on();
        let has_person = matches!(call.state, CallState::Connected { .. }) && leg.is_none();
        if has_person || call.callback.is_some() || call.forward.is_some() {
            return Outcome::Rejected(Reason::WrongState(call.state.name().to_owned()));
        }
        if call.assist.as_ref().is_some_and(|assist| assist.takeover.is_some()) {
            // It waits for a person already. That the customer asks for one too is worth knowing.
            self.note_asked(id, cause);
            return Outcome::Duplicate;
        }
        let rules = self.policy.queues[&call.queue].sharing.clone();
        let (queue, from) = (call.queue.clone(), leg.map(|n| (call.legs[&n].agent.clone(), n)));
        match leg {
            Some(n) => drop(self.let_owner_go(ctx, id, n, AttemptResult::TakenOver, Some(TAKEN_OVER))),
            None => {
                let ringing: Vec<_> = self.calls[&id].legs.keys().copied().collect();
                for n in ringing {
                    self.drop_leg(ctx, id, n, AttemptResult::Rescinded, true);
                }
                self.leave_index(id);
            }
        }
        let call = self.calls.get_mut(&id).expect("looked up above");
        let target = to.or(rules.people.as_ref()).filter(|queue| self.queues.contains_key(*queue));
        if let Some(target) = target.filter(|target| **target != queue) {
            (call.queue, call.step) = (target.clone(), 0);
            (call.joined, call.step_from) = (ctx.at.time, ctx.at.time);
        }
        (call.waits_for, call.waits_until) = (None, None);
        // More urgent than it was, never less.
        call.priority = rules.priority.map_or(call.priority, |priority| priority.min(call.priority));
        let until = ctx.at.time.plus_ms(rules.within_ms);
        let assist = call.assist.get_or_insert_default();
        (assist.person_only, assist.resolution) = (true, None);
        assist.takeover = Some(Takeover { cause, by: by.clone(), at: ctx.at.stamp(), from: from.clone(), queue, until });
        self.note_asked(id, cause);
        let to = self.calls[&id].queue.clone();
        let data = [("cause", cause.to_string()), ("by", by.to_string())];
        ctx.event(EventKind::TakeoverRequested, Some(id), from.as_ref().map(|(agent, _)| agent), Some(&to), &data);
        self.wait_in_queue(ctx, id, Trigger::Changed);
        if leg.is_some() {
            // Nobody hears silence while a person is looked for.
            self.treat(ctx, id, true);
            self.replan(ctx, id);
        }
        Outcome::Accepted
    }

    fn note_asked(&mut self, id: CallId, cause: Cause) {
        if cause == Cause::Asked
            && let Some(assist) = self.calls.get_mut(&id).and_then(|call| call.assist.as_mut())
        {
            (assist.asked, assist.person_only) = (true, true);
        }
    }

    /// A takeover ends, if one is open.
    pub(super) fn takeover_ends(&mut self, ctx: &mut Ctx<'_>, id: CallId, result: TakeoverResult) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let queue = call.queue.clone();
        let Some(assist) = call.assist.as_mut() else { return };
        let Some(open) = assist.takeover.take() else { return };
        let mut data = vec![("cause", open.cause.to_string()), ("result", result.name().to_owned())];
        data.push(("took_ms", ctx.at.time.ms_since(open.at.time).to_string()));
        let agent = match &result {
            TakeoverResult::Accepted(agent) => Some(agent.clone()),
            TakeoverResult::RolledBack | TakeoverResult::QueueHead | TakeoverResult::Ended => None,
        };
        let Takeover { cause, by, at, from, .. } = open;
        assist.takeovers.push(Taken { cause, by, at, from, ended: ctx.at.stamp(), result });
        ctx.event(EventKind::TakeoverEnded, Some(id), agent.as_ref(), Some(&queue), &data);
    }

    /// A takeover waits for a person for longer than it may.
    pub(super) fn takeover_is_late(&self, id: CallId, now: LogTime) -> bool {
        self.calls[&id].assist.as_ref().and_then(|assist| assist.takeover.as_ref()).is_some_and(|open| now >= open.until)
    }

    /// No person accepted in time. The call waits, and is in no index.
    pub(super) fn takeover_unanswered(&mut self, ctx: &mut Ctx<'_>, id: CallId) {
        let call = &self.calls[&id];
        let assist = call.assist.as_ref().expect("the caller looked it up");
        let open = assist.takeover.as_ref().expect("the caller looked it up");
        // The queue it came from may be gone.
        let unanswered = self.policy.queues.get(&open.queue).map_or(Unanswered::Head, |queue| queue.sharing.unanswered);
        let back = unanswered == Unanswered::Rollback && !assist.asked && !self.is_ai_off(ctx, &open.queue);
        let from = open.queue.clone();
        if back {
            self.takeover_ends(ctx, id, TakeoverResult::RolledBack);
            let call = self.calls.get_mut(&id).expect("looked up above");
            call.assist.as_mut().expect("looked up above").person_only = false;
            if call.queue != from {
                (call.queue, call.step, call.joined, call.step_from) = (from, 0, ctx.at.time, ctx.at.time);
            }
        } else {
            self.takeover_ends(ctx, id, TakeoverResult::QueueHead);
            self.calls.get_mut(&id).expect("looked up above").priority = 0;
        }
    }

    /// Whether AI agents are offered nothing in a queue.
    pub(super) fn is_ai_off(&self, ctx: &Ctx<'_>, queue: &QueueId) -> bool {
        ctx.shared.ai_off.is_some() || self.switches.all.is_some() || self.switches.queues.contains_key(queue)
    }

    /// Switches AI for a queue, or for the whole domain. Every contact that an AI agent has there is taken over.
    pub(in crate::core) fn switch_ai(
        &mut self,
        ctx: &mut Ctx<'_>,
        queue: Option<&QueueId>,
        off: bool,
        reason: &str,
        by: &Actor,
    ) -> Outcome {
        if let Some(queue) = queue.filter(|queue| !self.queues.contains_key(*queue)) {
            return Outcome::Rejected(Reason::NoQueue(queue.to_string()));
        }
        let row = off.then(|| Off { by: by.clone(), at: ctx.at.stamp(), reason: reason.chars().take(REASON_CHARS_MAX).collect() });
        let before = match (queue, row) {
            (None, row) => std::mem::replace(&mut self.switches.all, row).is_some(),
            (Some(queue), Some(row)) => self.switches.queues.insert(queue.clone(), row).is_some(),
            (Some(queue), None) => self.switches.queues.remove(queue).is_some(),
        };
        if before == off {
            return Outcome::Duplicate;
        }
        self.ai_switched(ctx, queue, off, by);
        Outcome::Accepted
    }

    /// Lets rows and contacts follow from a switch that was just set.
    pub(in crate::core) fn ai_switched(&mut self, ctx: &mut Ctx<'_>, queue: Option<&QueueId>, off: bool, by: &Actor) {
        self.rebuild(ctx);
        ctx.changed = true;
        let data = [("state", if off { "off" } else { "on" }.to_owned()), ("by", by.to_string())];
        ctx.event(EventKind::AiSwitched, None, None, queue, &data);
        if !off {
            return;
        }
        let switched = |call: &Call| queue.is_none_or(|queue| call.queue == *queue) && Self::is_with_ai(call);
        let mut taken: Vec<_> = self.calls.values().filter(|call| switched(call)).map(|call| call.place()).collect();
        taken.sort_unstable();
        for (.., id) in taken {
            self.take_over(ctx, id, None, Cause::AiOff, by);
        }
    }

    /// An AI agent has the call or is offered it.
    fn is_with_ai(call: &Call) -> bool {
        call.assisted_on().is_some() || call.state == CallState::Offering && call.legs.values().any(|leg| leg.assistant)
    }

    /// Takes a call from its owner and the index, as one that waits anew at its own age. Returns who had it.
    pub(super) fn let_owner_go(&mut self, ctx: &mut Ctx<'_>, id: CallId, leg: u16, result: AttemptResult, cause: Option<&str>) -> AgentId {
        // Nobody stays with a call that waits: who only listens to it goes as well.
        for n in self.calls[&id].legs.keys().copied().filter(|n| *n != leg).collect::<Vec<_>>() {
            self.drop_leg(ctx, id, n, AttemptResult::Rescinded, true);
        }
        self.leave_index(id);
        let from = self.part_with(ctx, id, leg, result, cause);
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let held_ms = call.held_ms(ctx.at.time);
        if let Some(talk) = &mut call.talk {
            (talk.held_ms, talk.held_since) = (held_ms, None);
        }
        if let Some(assist) = call.assist.as_mut().filter(|assist| assist.leg == Some(leg)) {
            (assist.leg, assist.disclosed) = (None, None);
        }
        if let Some(chat) = &mut call.chat {
            (chat.turn, chat.told) = (None, false);
        }
        (call.caller.held, call.caller.muted) = (false, false);
        (call.step, call.joined, call.step_from) = (0, ctx.at.time, ctx.at.time);
        (call.waits_for, call.waits_until) = (None, None);
        from
    }
}
