//! The media of a call as committed state: what people want of it, and the order to its edge whenever who hears whom, or
//! what is recorded, has changed. Who hears whom is `core::matrix`'s.

use std::sync::Arc;

use crate::core::{
    Outcome, Reason,
    call::CallState,
    command::{Actor, Record, Saved, Side, Wish},
    effect::{Action, EventKind},
    id::{CallId, Edge, LegId},
    matrix::{Role, Taping},
    policy::Recording,
    state::Ctx,
    tape::file,
};

use super::Domain;

impl Domain {
    pub(in crate::core) fn control(&mut self, ctx: &mut Ctx<'_>, id: CallId, wish: &Wish, by: &Actor) -> Outcome {
        let leg = match self.owned_by(id, by) {
            Ok(leg) => leg,
            Err(reason) => return Outcome::Rejected(reason),
        };
        let call = &self.calls[&id];
        if !call.anchored {
            return Outcome::Rejected(Reason::NotAnchored);
        }
        // Who hears whom is settled while an AI agent has it: its voice is no leg.
        if call.assisted_on().is_some() && !matches!(wish, Wish::Record(_)) {
            return Outcome::Rejected(Reason::WrongState("with an AI agent".to_owned()));
        }
        if call.consult.is_some() && matches!(wish, Wish::Hold(_)) {
            return Outcome::Rejected(Reason::WrongState("in consultation".to_owned()));
        }
        match wish {
            Wish::Hold(held) => self.put_on_hold(ctx, id, *held, by),
            Wish::Mute { party, muted } => self.mute(ctx, id, leg, (*party, *muted), by),
            Wish::Supervise { agent, mode } => self.supervise(ctx, id, agent, *mode, by),
            Wish::Record(record) => self.tape(ctx, id, *record, by),
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

    fn tape(&mut self, ctx: &mut Ctx<'_>, id: CallId, record: Record, by: &Actor) -> Outcome {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let ruled = self.policy.queues[&call.queue].record == Recording::All;
        let (taping, name) = match (record, call.taping) {
            (Record::Start, Taping::Off) => (Taping::On { part: call.parts + 1, masked: false }, "started"),
            (Record::Pause, Taping::On { part, masked: false }) => (Taping::On { part, masked: true }, "paused"),
            (Record::Resume, Taping::On { part, masked: true }) => (Taping::On { part, masked: false }, "resumed"),
            (Record::Stop, Taping::On { .. }) if ruled && matches!(by, Actor::Agent(_)) => {
                return Outcome::Rejected(Reason::WrongState("recorded by rule of its queue".to_owned()));
            }
            (Record::Stop, Taping::On { .. }) => (Taping::Off, "stopped"),
            (Record::Pause | Record::Resume, Taping::Off) => {
                return Outcome::Rejected(Reason::WrongState("not recorded".to_owned()));
            }
            (Record::Start | Record::Resume | Record::Pause, Taping::On { .. }) | (Record::Stop, Taping::Off) => {
                return Outcome::Duplicate;
            }
        };
        self.set_taping(ctx, id, taping, name, by);
        self.replan(ctx, id);
        Outcome::Accepted
    }

    fn set_taping(&mut self, ctx: &mut Ctx<'_>, id: CallId, taping: Taping, name: &'static str, by: &Actor) {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        call.taping = taping;
        if let Taping::On { part, .. } = taping {
            call.parts = part;
        }
        let queue = call.queue.clone();
        let data = [("state", name.to_owned()), ("part", call.parts.to_string()), ("by", by.to_string())];
        ctx.event(EventKind::ContactRecording, Some(id), None, Some(&queue), &data);
    }

    /// Begins the recording of a call that was just answered, if its queue records all.
    pub(super) fn tape_if_ruled(&mut self, ctx: &mut Ctx<'_>, id: CallId) {
        let call = &self.calls[&id];
        if call.chat.is_some() || self.policy.queues[&call.queue].record != Recording::All {
            return;
        }
        if call.anchored {
            self.set_taping(ctx, id, Taping::On { part: call.parts + 1, masked: false }, "started", &Actor::System);
        } else {
            let (queue, why) = (call.queue.clone(), Reason::NotAnchored.to_string());
            ctx.event(EventKind::ContactRecordFailed, Some(id), None, Some(&queue), &[("reason", why)]);
        }
    }

    /// An edge says what became of a file. Of a call that is over, only subscribers hear it.
    pub(in crate::core) fn recorded(&mut self, ctx: &mut Ctx<'_>, leg: LegId, edge: Edge, part: u32, saved: Option<&Saved>) -> Outcome {
        match self.calls.get_mut(&leg.call) {
            Some(call) => {
                let exact = saved.map(|saved| (saved.ms, &saved.masked[..]));
                if !call.talk().tapes.told((leg.n, part, edge.node), exact) {
                    return Outcome::Rejected(Reason::Stale);
                }
            }
            None if self.closed.outcome_of(leg.call).is_none() => return Outcome::Rejected(Reason::NoCall),
            None => {}
        }
        let file = file(ctx.domain, leg, part);
        let mut data = vec![("leg", leg.n.to_string()), ("part", part.to_string()), ("node", edge.node.to_string()), ("file", file)];
        let kind = if saved.is_some() { EventKind::ContactRecorded } else { EventKind::ContactRecordFailed };
        data.extend(saved.map(|saved| ("ms", saved.ms.to_string())));
        ctx.event(kind, Some(leg.call), None, None, &data);
        Outcome::Accepted
    }

    /// Orders the plan that follows from the call's legs, if it is another one than its edge has. To be called after every
    /// change of who is up, held, muted or recorded. Two parties that just talk need no order.
    pub(super) fn replan(&mut self, ctx: &mut Ctx<'_>, id: CallId) {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let rules = &self.policy.queues[&call.queue];
        if call.chat.is_some() || (call.just_talks() && rules.aid.is_none()) {
            return;
        }
        let mut plan = call.plan(rules.treatment.music.as_ref());
        if let (Some(plan), Some(aid)) = (&mut plan, &rules.aid) {
            plan.hearing = call.hearing(plan, aid);
        }
        let (taping, taped) = plan.as_ref().map_or((Taping::Off, &[][..]), |plan| (plan.taping, &plan.taped));
        let node = call.edge.node;
        call.talk().tapes.keep_up(taping, taped, node, ctx.at.stamp());
        let Some(mut plan) = plan else {
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
        let named = call.leg_id(call.caller_leg().unwrap_or_default());
        call.media = Some(Box::new(ctx.order(named, call.edge, Action::Media(Arc::new(plan)), None)));
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
        let held_ms = call.held_ms(ctx.at.time);
        (call.talk().held_ms, call.talk().held_since) = (held_ms, hold.then_some(ctx.at.time));
        let kind = if hold { EventKind::ContactHeld } else { EventKind::ContactResumed };
        let (agent, queue) = (call.legs[&leg].agent.clone(), call.queue.clone());
        let by: Vec<_> = by.map(|by| ("by", by.to_string())).into_iter().collect();
        ctx.event(kind, Some(id), Some(&agent), Some(&queue), &by);
    }
}
