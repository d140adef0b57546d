//! An AI agent's leg: it takes a contact, tells the customer what it is, says and hears things, and is done or lost.
//!
//! It answers at the edge that has the caller, so whatever ends its part is an order on the same edge as what comes next.

use crate::core::{
    Outcome, Reason,
    assist::{Assisted, Cause, Resolution, Speaker, Turn},
    call::{Call, CallState},
    cdr::{AttemptResult, CallOutcome},
    effect::{Action, EventKind},
    explain::Trigger,
    id::{AgentId, CallId},
    limits::LOSSES_MAX,
    policy::AgentKind,
    state::Ctx,
};

use super::Domain;

impl Domain {
    /// A report of an AI agent's leg that only such legs make.
    pub(super) fn assisted(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16, event: &Assisted) -> Outcome {
        let call = &self.calls[&id];
        let has_it = call.assisted_on() == Some(n);
        let in_chat = call.chat.is_some();
        match event {
            Assisted::Opened(line) if in_chat && call.state == CallState::Offering && call.legs[&n].assistant => {
                self.opened(ctx, id, n, line)
            }
            Assisted::Opened(_) => Outcome::Rejected(Reason::Stale),
            Assisted::Wrote(turn, resolution) if in_chat && has_it => self.wrote(ctx, id, turn, resolution.as_ref()),
            Assisted::Wrote(..) => Outcome::Rejected(Reason::NotYours),
            _ if in_chat => Outcome::Rejected(Reason::Invalid("not said in a chat".to_owned())),
            Assisted::Engaged if call.state == CallState::Offering && call.legs[&n].assistant => self.engaged(ctx, id, n),
            Assisted::Engaged => Outcome::Rejected(Reason::Stale),
            _ if !has_it => Outcome::Rejected(Reason::NotYours),
            Assisted::Disclosed => self.disclosed(ctx, id, n),
            // Before it has said what it is, it says nothing else.
            Assisted::Turn(turn) if turn.line.who == Speaker::Assistant && !self.is_active(id) => {
                Outcome::Rejected(Reason::WrongState("not disclosed".to_owned()))
            }
            Assisted::Turn(turn) => self.turn(ctx, id, turn),
            Assisted::Resolved(resolution) => self.resolved(ctx, id, resolution),
        }
    }

    pub(super) fn is_ai(&self, agent: &AgentId) -> bool {
        self.policy.agents.get(agent).is_some_and(|policy| policy.kind == AgentKind::Ai)
    }

    fn is_active(&self, id: CallId) -> bool {
        self.calls[&id].assist.as_ref().is_some_and(|assist| assist.is_active())
    }

    /// An AI agent has the call. The customer is answered and hears the disclosure.
    fn engaged(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16) -> Outcome {
        self.take(ctx, id, n);
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let peer = call.leg_id(n);
        let assist = call.assist.get_or_insert_default();
        (assist.leg, assist.disclosed, assist.failures, assist.resolution) = (Some(n), None, 0, None);
        self.order_caller(ctx, id, Action::Converse { peer });
        self.connected(ctx, id, n);
        Outcome::Accepted
    }

    fn disclosed(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16) -> Outcome {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let (edge, leg_id) = (call.edge, call.leg_id(n));
        let assist = call.assist.as_mut().expect("looked up by the caller");
        if assist.disclosed.replace(ctx.at.stamp()).is_some() {
            return Outcome::Duplicate;
        }
        let leg = call.legs.get_mut(&n).expect("an AI agent's leg is a live one");
        leg.order = Some(ctx.order(leg_id, edge, Action::Speak, None));
        let (agent, queue) = (leg.agent.clone(), call.queue.clone());
        ctx.event(EventKind::AiDisclosed, Some(id), Some(&agent), Some(&queue), &[]);
        Outcome::Accepted
    }

    fn turn(&mut self, ctx: &mut Ctx<'_>, id: CallId, turn: &Turn) -> Outcome {
        let cause = self.count_turn(id, turn);
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let assist = call.assist.as_mut().expect("looked up by the caller");
        assist.transcript.push(turn.line.clone());
        let agent = call.legs[&assist.leg.expect("looked up by the caller")].agent.clone();
        let queue = call.queue.clone();
        let mut data = vec![("who", turn.line.who.name().to_owned()), ("turn", assist.turns.to_string())];
        if let Some(judged) = &turn.line.judged {
            data.extend(judged.intent.iter().map(|intent| ("intent", intent.clone())));
            data.push(("confidence", judged.confidence.to_string()));
            data.push(("fallback", judged.fallback.to_string()));
        }
        ctx.event(EventKind::ContactSaid, Some(id), Some(&agent), Some(&queue), &data);
        match cause {
            Some(cause) => self.take_over(ctx, id, None, cause, &crate::core::command::Actor::Agent(agent)),
            None => Outcome::Accepted,
        }
    }

    /// Counts a turn, and how often in a row it did not help. Returns why a person is to take over, if one is.
    pub(super) fn count_turn(&mut self, id: CallId, turn: &Turn) -> Option<Cause> {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let failures_max = self.policy.queues[&call.queue].sharing.failures_max;
        let assist = call.assist.as_mut().expect("looked up by the caller");
        assist.turns = assist.turns.saturating_add(1);
        assist.failures = match turn.helped {
            Some(true) => 0,
            Some(false) => assist.failures.saturating_add(1),
            None => assist.failures,
        };
        let worn = failures_max > 0 && assist.failures >= failures_max;
        turn.wants.or(worn.then_some(Cause::RepeatedFailure))
    }

    pub(super) fn resolved(&mut self, ctx: &mut Ctx<'_>, id: CallId, resolution: &Resolution) -> Outcome {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let assist = call.assist.as_mut().expect("looked up by the caller");
        let mut resolution = resolution.clone();
        resolution.reason.truncate(resolution.reason.floor_char_boundary(256));
        let data = [
            ("resolved", resolution.resolved.name().to_owned()),
            ("confidence", resolution.confidence.to_string()),
            ("reason", resolution.reason.clone()),
        ];
        assist.resolution = Some(resolution);
        let (agent, queue) = (call.legs[&assist.leg.expect("looked up by the caller")].agent.clone(), call.queue.clone());
        ctx.event(EventKind::AiResolved, Some(id), Some(&agent), Some(&queue), &data);
        Outcome::Accepted
    }

    /// The AI agent that has the call is gone: having settled the matter, or lost. The customer of a lost one waits for another,
    /// and after some for a person.
    pub(super) fn assistant_left(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16) {
        let settled = self.calls[&id].assist.as_ref().is_some_and(|assist| assist.resolution.is_some());
        if settled {
            return self.end_call(ctx, id, CallOutcome::Answered, "ai_hung_up", 480, Some(n));
        }
        self.lose_assistant(ctx, id, n);
        self.lost_often(ctx, id);
        self.treat(ctx, id, true);
    }

    /// After some losses only a person gets the call.
    pub(super) fn lost_often(&mut self, ctx: &mut Ctx<'_>, id: CallId) {
        let often = |call: &Call| call.assist.as_ref().is_some_and(|assist| assist.losses >= LOSSES_MAX && !assist.person_only);
        if self.calls.get(&id).is_some_and(|call| often(call)) {
            self.take_over(ctx, id, None, Cause::AssistantLost, &crate::core::command::Actor::System);
        }
    }

    /// Puts a call back that has lost its AI agent; nothing is said to that leg.
    pub(super) fn lose_assistant(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16) {
        let queue = self.calls[&id].queue.clone();
        let agent = self.let_owner_go(ctx, id, n, AttemptResult::NodeLost, None);
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        if let Some(assist) = &mut call.assist {
            assist.losses = assist.losses.saturating_add(1);
        }
        ctx.event(EventKind::AiLost, Some(id), Some(&agent), Some(&queue), &[]);
        self.wait_in_queue(ctx, id, Trigger::CallWaiting);
        self.replan(ctx, id);
    }

    /// Whether an AI agent could hear the customer: it writes, or its audio comes to where one is.
    pub(super) const fn can_talk(call: &Call) -> bool {
        call.chat.is_some() || call.anchored && call.sdp.is_some() && call.callback.is_none()
    }

    /// Whether only a person may have the call as it is now.
    pub(super) fn needs_person(call: &Call) -> bool {
        !Self::can_talk(call) || call.assist.as_ref().is_some_and(|assist| assist.person_only)
    }
}
