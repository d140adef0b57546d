//! The media of a call as committed state: what people want of it, and the order to its edge whenever who hears whom, or
//! what is recorded, has changed. Who hears whom is `core::matrix`'s.

use std::sync::Arc;

use crate::core::{
    Outcome, Reason,
    call::CallState,
    command::{Actor, Side, Wish},
    effect::{Action, EventKind},
    id::CallId,
    matrix::Role,
    state::Ctx,
};

use super::Domain;

impl Domain {
    pub(in crate::core) fn control(&mut self, ctx: &mut Ctx<'_>, id: CallId, wish: &Wish, by: &Actor) -> Outcome {
        let Some(call) = self.calls.get(&id) else { return Outcome::Rejected(Reason::NoCall) };
        let CallState::Connected { leg, .. } = call.state else {
            return Outcome::Rejected(Reason::WrongState(call.state.name().to_owned()));
        };
        if matches!(by, Actor::Agent(agent) if call.legs[&leg].agent != *agent) {
            return Outcome::Rejected(Reason::NotYours);
        }
        if !call.anchored {
            return Outcome::Rejected(Reason::NotAnchored);
        }
        if call.consult.is_some() && matches!(wish, Wish::Hold(_)) {
            return Outcome::Rejected(Reason::WrongState("in consultation".to_owned()));
        }
        match wish {
            Wish::Hold(held) => self.put_on_hold(ctx, id, *held, by),
            Wish::Mute { party, muted } => self.mute(ctx, id, leg, (*party, *muted), by),
        }
    }

    fn put_on_hold(&mut self, ctx: &mut Ctx<'_>, id: CallId, held: bool, by: &Actor) -> Outcome {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        if call.caller.held == held {
            // What a phone holds, only that phone lets go.
            let by_phone = !held && matches!(call.state, CallState::Connected { held: true, .. });
            return if by_phone { Outcome::Rejected(Reason::WrongState("held by a phone".to_owned())) } else { Outcome::Duplicate };
        }
        call.caller.held = held;
        self.note_hold(ctx, id, Some(by));
        self.replan(ctx, id);
        Outcome::Accepted
    }

    fn mute(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16, (party, muted): (Side, bool), by: &Actor) -> Outcome {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let leg = call.legs.get_mut(&n).expect("a connected call has its leg");
        let (agent, queue) = (leg.agent.clone(), call.queue.clone());
        let flag = match party {
            Side::Caller => &mut call.caller.muted,
            Side::Agent => &mut leg.muted,
        };
        if std::mem::replace(flag, muted) == muted {
            return Outcome::Duplicate;
        }
        let kind = if muted { EventKind::ContactMuted } else { EventKind::ContactUnmuted };
        let party = match party {
            Side::Caller => "caller",
            Side::Agent => "agent",
        };
        ctx.event(kind, Some(id), Some(&agent), Some(&queue), &[("party", party.to_owned()), ("by", by.to_string())]);
        self.replan(ctx, id);
        Outcome::Accepted
    }

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
    pub(super) fn note_hold(&mut self, ctx: &mut Ctx<'_>, id: CallId, by: Option<&Actor>) {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let CallState::Connected { leg, held } = call.state else { return };
        let by_phone = call.caller.holds || call.legs.values().any(|leg| leg.role == Role::Agent && leg.holds);
        let hold = by_phone || call.is_parked();
        if held == hold {
            return;
        }
        call.state = CallState::Connected { leg, held: hold };
        call.held_ms = call.held_ms(ctx.at.time);
        call.held_since = hold.then_some(ctx.at.time);
        let kind = if hold { EventKind::ContactHeld } else { EventKind::ContactResumed };
        let (agent, queue) = (call.legs[&leg].agent.clone(), call.queue.clone());
        let by: Vec<_> = by.map(|by| ("by", by.to_string())).into_iter().collect();
        ctx.event(kind, Some(id), Some(&agent), Some(&queue), &by);
    }
}
