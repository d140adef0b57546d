//! The media of a call as committed state: an edge is told whenever who hears whom, or what is recorded, has changed.

use std::sync::Arc;

use crate::core::{
    call::CallState,
    effect::{Action, EventKind},
    id::CallId,
    matrix::Role,
    state::Ctx,
};

use super::Domain;

impl Domain {
    /// Orders the plan that follows from the call's legs, if it is another one than its edge has. To be called after every
    /// change of who is up, held, muted or recorded. Two parties that just talk need no order.
    pub(super) fn replan(&mut self, ctx: &mut Ctx<'_>, id: CallId) {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let music = self.policy.queues[&call.queue].treatment.music.as_ref();
        let Some(mut plan) = call.plan(music) else {
            call.media = None;
            return;
        };
        let known = match &call.media {
            Some(order) => matches!(&order.action, Action::Media(known) if known.says_as(&plan)),
            None => plan.is_plain(),
        };
        if known {
            return;
        }
        call.plans += 1;
        plan.version = call.plans;
        call.media = Some(ctx.order(call.leg_id(0), call.edge, Action::Media(Arc::new(plan)), None));
    }

    /// The same for an edge that has just got the call and knows no plan of it.
    pub(super) fn plan_anew(&mut self, ctx: &mut Ctx<'_>, id: CallId) {
        self.calls.get_mut(&id).expect("the caller looked it up").media = None;
        self.replan(ctx, id);
    }

    /// Lets state, events and the time on hold follow from who holds and who is held.
    pub(super) fn note_hold(&mut self, ctx: &mut Ctx<'_>, id: CallId) {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let CallState::Connected { leg, held } = call.state else { return };
        let by_phone = call.caller.holds || call.legs.values().any(|leg| leg.role == Role::Agent && leg.holds);
        let hold = by_phone || call.caller.held;
        if held == hold {
            return;
        }
        call.state = CallState::Connected { leg, held: hold };
        call.held_ms = call.held_ms(ctx.at.time);
        call.held_since = hold.then_some(ctx.at.time);
        let kind = if hold { EventKind::ContactHeld } else { EventKind::ContactResumed };
        let (agent, queue) = (call.legs[&leg].agent.clone(), call.queue.clone());
        ctx.event(kind, Some(id), Some(&agent), Some(&queue), &[]);
    }
}
