//! A connected call goes on with somebody else: a queue, an agent or a number outside, by a command or by the REFER of a phone.
//!
//! Whoever has the call is released at once, and the caller hears that it waits. What comes then is as for any call that
//! waits: it is at its own age, so nothing is lost when the one it was meant for does not answer.

use crate::core::{
    Outcome, Reason,
    call::{Call, CallState},
    callback::is_number,
    cdr::{AttemptResult, Dialled, Transfer},
    command::{Actor, TransferTo},
    effect::{EventKind, TRANSFERRED},
    explain::Trigger,
    id::{AgentId, CallId, Edge, LegId},
    limits::OFFER_TIMEOUT_MS_MIN,
    policy::{AgentKind, Channel},
    state::Ctx,
};

use super::Domain;

impl Domain {
    pub(in crate::core) fn transfer(&mut self, ctx: &mut Ctx<'_>, id: CallId, to: &TransferTo, by: &Actor) -> Outcome {
        let leg = match self.owned_by(id, by) {
            Ok(leg) => leg,
            Err(reason) => return Outcome::Rejected(reason),
        };
        let call = &self.calls[&id];
        if call.consult.is_some() {
            return Outcome::Rejected(Reason::WrongState("in consultation".to_owned()));
        }
        let owner = &call.legs[&leg].agent;
        let taken = match to {
            TransferTo::Queue(queue) => self.turns_away(ctx, queue, call.emergency).and_then(|no| no.map_or(Ok(()), |(why, _)| Err(why))),
            TransferTo::Agent(agent) => self.takes_transfer(owner, agent, call.channel()).and_then(|()| self.takes_back(ctx, call, agent)),
            TransferTo::Number(number) => self.way_out(call, number).map(drop),
        };
        if let Err(reason) = taken {
            return Outcome::Rejected(reason);
        }
        self.send_on(ctx, id, leg, to, by, true);
        Outcome::Accepted
    }

    /// The phone of an agent asks for a transfer of the call it has.
    pub(in crate::core) fn refer(&mut self, ctx: &mut Ctx<'_>, leg: LegId, edge: Edge, user: &str) -> Outcome {
        let Some(call) = self.calls.get(&leg.call) else { return Outcome::Rejected(Reason::NoCall) };
        if call.edge != edge {
            return Outcome::Rejected(Reason::Stale);
        }
        let Some(agent) = call.legs.get(&leg.n).map(|leg| leg.agent.clone()) else { return Outcome::Rejected(Reason::NoLeg) };
        if !matches!(call.state, CallState::Connected { leg: talking, .. } if talking == leg.n) {
            return Outcome::Rejected(Reason::WrongState(call.state.name().to_owned()));
        }
        let Some(to) = self.dialled(user) else { return Outcome::Rejected(Reason::NoRoute(user.to_owned())) };
        self.transfer(ctx, leg.call, &to, &Actor::Agent(agent))
    }

    /// Whom a user part means within the domain: what callers dial first, then queues and agents by name, then a number outside.
    fn dialled(&self, user: &str) -> Option<TransferTo> {
        if let Some(route) = self.policy.routes.get(user) {
            return Some(TransferTo::Queue(route.queue.clone()));
        }
        let queue = self.queues.get_key_value(user).map(|(id, _)| TransferTo::Queue(id.clone()));
        let agent = || self.agents.get_key_value(user).map(|(id, _)| TransferTo::Agent(id.clone()));
        queue.or_else(agent).or_else(|| is_number(user).then(|| TransferTo::Number(user.to_owned())))
    }

    /// Whether an agent could be rung at once: one who is busy keeps the call where it is, and whoever asked hears why.
    pub(super) fn takes_transfer(&self, owner: &AgentId, agent: &AgentId, channel: Channel) -> Result<(), Reason> {
        let Some(row) = self.agents.get(agent) else { return Err(Reason::NoAgent(agent.to_string())) };
        if agent == owner {
            return Err(Reason::NotReady(format!("agent {agent} has the call")));
        }
        if !self.policy.agents[agent].takes(channel) {
            return Err(Reason::NotReady(format!("agent {agent} takes no {}", channel.name())));
        }
        match row.kept_away_by(&self.policy.agents[agent], channel) {
            Some(filter) => Err(Reason::NotReady(format!("agent {agent}: {filter}"))),
            None => Ok(()),
        }
    }

    /// Whether an agent, if it is an AI agent, may have the call.
    fn takes_back(&self, ctx: &Ctx<'_>, call: &Call, agent: &AgentId) -> Result<(), Reason> {
        let asked = call.assist.as_ref().is_some_and(|assist| assist.asked);
        match self.is_ai(agent) {
            true if asked => Err(Reason::NotReady("the customer asked for a person".to_owned())),
            true if !Self::can_talk(call) => Err(Reason::NotAnchored),
            true if self.is_ai_off(ctx, &call.queue) => Err(Reason::NotReady("AI is off".to_owned())),
            _ => Ok(()),
        }
    }

    /// `hang_up`: the one who has it has not hung up by itself.
    pub(super) fn send_on(&mut self, ctx: &mut Ctx<'_>, id: CallId, leg: u16, to: &TransferTo, by: &Actor, hang_up: bool) {
        let from = self.let_owner_go(ctx, id, leg, AttemptResult::Accepted, hang_up.then_some(TRANSFERRED));
        let offer_timeout_ms = self.policy.queues[&self.calls[&id].queue].offer_timeout_ms.max(OFFER_TIMEOUT_MS_MIN);
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let to_ai = matches!(to, TransferTo::Agent(agent) if self.policy.agents[agent].kind == AgentKind::Ai);
        match to {
            TransferTo::Queue(queue) => call.queue = queue.clone(),
            TransferTo::Agent(agent) => {
                if let Some(assist) = call.assist.as_mut().filter(|_| to_ai) {
                    assist.person_only = false;
                }
                (call.waits_for, call.waits_until) = (Some(agent.clone()), Some(ctx.at.time.plus_ms(offer_timeout_ms)));
            }
            TransferTo::Number(_) => {}
        }
        let (outside, told) = match to {
            TransferTo::Number(number) => {
                let number = self.keys.seal_number(number, id);
                (Some(Box::new(Dialled { number, answered: None, ended: None, result: None })), TransferTo::Number(String::new()))
            }
            TransferTo::Queue(_) | TransferTo::Agent(_) => (None, to.clone()),
        };
        let sent = Transfer { at: ctx.at.stamp(), by: by.clone(), from: from.clone(), leg, to: told, attended: false, outside };
        call.talk().transfers.push(sent);
        let queue = call.queue.clone();
        let data = [("by", by.to_string()), ("to", to.to_string())];
        ctx.event(EventKind::ContactTransferred, Some(id), Some(&from), Some(&queue), &data);
        if let TransferTo::Number(number) = to {
            return self.go_out(ctx, id, number);
        }
        let trigger = Trigger::Transferred { by: by.to_string() };
        self.wait_in_queue(ctx, id, trigger.clone());
        // Somebody may be rung in this very command, and the caller must not hear silence until that ends.
        self.treat(ctx, id, true);
        self.replan(ctx, id);
        if self.calls[&id].waits_for.is_none() {
            // Who sent it away gets it back only when nobody else is there.
            self.match_call_without(ctx, id, &from, &trigger);
        }
    }
}
