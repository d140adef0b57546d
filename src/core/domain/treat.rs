//! What a waiting caller is told and hears: 182, or an answer with greeting, place and music. How it sounds is the edge's.

use std::sync::Arc;

use crate::core::{
    call::Call,
    effect::{Action, Treat},
    id::CallId,
    limits::ANNOUNCED_MAX,
    policy::AdoptUnanswered,
    state::Ctx,
    time::LogTime,
};

use super::Domain;

/// Whether a caller could be answered before any agent is: its media must come to us, and it must have offered some.
pub(super) const fn can_be_treated(call: &Call) -> bool {
    call.anchored && call.sdp.is_some()
}

impl Domain {
    /// Lets the edge of a waiting caller say that it waits. `answer` answers it even where its queue would not.
    pub(super) fn treat(&mut self, ctx: &mut Ctx<'_>, id: CallId, answer: bool) {
        let call = &self.calls[&id];
        if call.chat.is_some() {
            // Nobody listens: a chat shows that it waits.
            return;
        }
        let rules = &self.policy.queues[&call.queue].treatment;
        if !can_be_treated(call) || !(answer || rules.answer_waiting || call.caller.up.is_some()) {
            let position = self.queues[&call.queue].rows.position(call.priority);
            return self.order_caller(ctx, id, Action::Queue { position });
        }
        let greeting = rules.greeting.clone().filter(|_| !call.caller.greeted);
        let announces = rules.announce_every_ms > 0;
        let position = announces.then(|| self.queues[&call.queue].rows.ahead(call.place(), ANNOUNCED_MAX)).flatten();
        let action = Action::Treat(Arc::new(Treat { greeting, position: position.map(|ahead| ahead + 1), music: rules.music.clone() }));
        let next = announces.then(|| ctx.at.time.plus_ms(rules.announce_every_ms));
        // The image must still say how the caller stood before this order.
        self.order_caller(ctx, id, action);
        let call = self.calls.get_mut(&id).expect("looked up above");
        call.announce_at = next;
        call.caller.up.get_or_insert(ctx.at.time);
        call.caller.greeted = true;
        self.set_wait_timer(ctx, id);
    }

    /// What a caller hears whose edge has just changed: what it heard before or, by the domain's rule, an answer.
    pub(super) fn treat_anew(&mut self, ctx: &mut Ctx<'_>, id: CallId) {
        let answer = self.policy.adopt_unanswered == AdoptUnanswered::Answer;
        self.treat(ctx, id, answer);
    }

    /// Says a waiting caller's place again if it is time.
    pub(super) fn announce(&mut self, ctx: &mut Ctx<'_>, id: CallId, now: LogTime) {
        if self.calls[&id].announce_at.is_some_and(|at| now >= at) {
            self.treat(ctx, id, false);
        }
    }

    /// Answers a caller that would wait without an answer for longer than its queue allows. False if it cannot be.
    pub(super) fn answer_for_long_wait(&mut self, ctx: &mut Ctx<'_>, id: CallId) -> bool {
        let can = can_be_treated(&self.calls[&id]);
        if can {
            self.treat(ctx, id, true);
        }
        can
    }
}
