//! What must hold after every command, each an id, a sentence and a check: for tests, simulation, chaos and metrics.
//! What must hold of the application itself is in `step`.
//!
//! The cost of a check is linear in the state, so it is not run by `apply`, which asserts what it touches.

pub mod step;

use std::fmt;

use super::{
    State,
    call::{Call, CallState},
    command::TimerKind,
    domain::Domain,
    id::{AgentId, DomainId},
    matrix::Role,
    policy::Channel,
};

/// The catalogue: ids and what they say.
pub const INVARIANTS: [(&str, &str); 13] = [
    ("C1", "every live call is in exactly one of waiting, offered and connected, and the indexes say so"),
    ("C2", "a live call is not among the closed ones"),
    ("C3", "a connected call has exactly one agent that owns it, and none that is still offered it"),
    ("C5", "who is to be called back is known by its number, and is on the phone only while it is called"),
    ("C4", "a consultation is of a connected call and has its one leg, beside that of the owner"),
    ("C6", "who was sent on to a number is with nobody else, and talks with it only on its leg"),
    ("H1", "an AI agent has a call only while it is connected on its leg, and not one that only a person may have"),
    ("H2", "a takeover is open only while its call waits for a person"),
    ("A1", "no agent has more contacts than slots, and each of its contacts is a live leg of its own"),
    ("A3", "every state that must not last has its deadline among the timers"),
    ("Q0", "no ready agent and waiting call that fit are left beside each other"),
    ("P1", "every order for a live leg is addressed to the leg's edge, and calls are found by their edge"),
    ("I1", "the pool counts every agent once, as it is"),
];

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub id: &'static str,
    pub domain: DomainId,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}: {}", self.id, self.domain, self.what)
    }
}

/// Everything that does not hold; empty in a sound state.
pub fn violations(state: &State) -> Vec<Violation> {
    let mut found = Findings { domain: "".into(), list: Vec::new() };
    for (id, domain) in state.domains() {
        found.domain = id.clone();
        for call in domain.calls().values() {
            call_is_whole(&mut found, state, id, domain, call);
        }
        for agent in domain.agents().keys() {
            agent_is_whole(&mut found, domain, agent);
        }
        indexes_agree(&mut found, domain);
        all_is_matched(&mut found, domain);
    }
    found.list
}

struct Findings {
    domain: DomainId,
    list: Vec<Violation>,
}

impl Findings {
    fn expect(&mut self, id: &'static str, holds: bool, what: impl FnOnce() -> String) {
        debug_assert!(INVARIANTS.iter().any(|(known, _)| *known == id), "{id} is in the catalogue");
        if !holds {
            self.list.push(Violation { id, domain: self.domain.clone(), what: what() });
        }
    }
}

fn call_is_whole(found: &mut Findings, state: &State, id: &DomainId, domain: &Domain, call: &Call) {
    let stands = |deadline, what| state.shared.timers.contains(&(deadline, id.clone(), what));
    let own = call.timer.clone().is_some_and(|(deadline, what)| stands(deadline, what));
    let legs = call.legs.iter().filter(|(_, leg)| leg.answered.is_none());
    let ringing: Vec<_> = legs.map(|(n, leg)| (*n, leg.deadline)).collect();
    let lone = match call.state {
        CallState::Queued | CallState::Deferred | CallState::Forwarding | CallState::Forwarded => call.legs.is_empty(),
        CallState::Offering => !call.legs.is_empty() && ringing.len() == call.legs.len(),
        CallState::Connected { leg, .. } | CallState::Dialling { leg } => {
            let owners: Vec<_> = call.legs.iter().filter(|(_, leg)| leg.role == Role::Agent).map(|(n, leg)| (*n, leg.answered)).collect();
            matches!(owners[..], [(n, Some(_))] if n == leg)
        }
    };
    found.expect("C3", lone, || format!("call {} is {} with {} legs", call.id, call.state.name(), call.legs.len()));
    let asked: Vec<_> = call.legs.iter().filter(|(_, leg)| leg.role == Role::Consult).map(|(n, _)| *n).collect();
    let connected = matches!(call.state, CallState::Connected { .. });
    let consults = call.consult.as_ref().map_or(asked.is_empty(), |consult| connected && asked == [consult.leg]);
    found.expect("C4", consults, || format!("call {} is {} with legs {asked:?} to ask", call.id, call.state.name()));
    let known = call.callback.as_ref().map(|callback| domain.callbacks.get(&callback.number) == Some(&call.id));
    let aside = call.state == CallState::Deferred || matches!(call.state, CallState::Dialling { .. });
    let called = !call.is_to_be_called_back() || call.caller_leg().is_some() == matches!(call.state, CallState::Dialling { .. });
    let whole = known.unwrap_or(true) && called && (!aside || call.is_to_be_called_back());
    found.expect("C5", whole, || format!("callback {} is {}", call.id, call.state.name()));
    let out = matches!(call.state, CallState::Forwarding | CallState::Forwarded);
    let on_line = call.state != CallState::Forwarded || call.line().is_some();
    found.expect("C6", call.forward.is_some() == out && on_line, || format!("call {} is {}", call.id, call.state.name()));
    let ai = call.assist.as_deref();
    let leg = ai.and_then(|assist| assist.leg);
    let talks = leg.is_none_or(|n| matches!(call.state, CallState::Connected { leg, .. } if leg == n) && call.legs[&n].assistant);
    let barred = ai.is_some_and(|assist| assist.person_only || assist.asked) && call.legs.values().any(|leg| leg.assistant);
    let known = call.legs.iter().all(|(n, row)| !row.assistant || row.answered.is_none() || leg == Some(*n));
    found.expect("H1", talks && !barred && known, || format!("call {} is {} with AI on {leg:?}", call.id, call.state.name()));
    let open = ai.is_some_and(|assist| assist.takeover.is_some());
    found.expect("H2", !open || matches!(call.state, CallState::Queued | CallState::Offering), || {
        format!("call {} is {} and to be taken over", call.id, call.state.name())
    });
    found.expect("A3", own || call.state == CallState::Offering, || format!("call {} has no deadline", call.id));
    for (n, deadline) in ringing {
        let due = deadline.is_some_and(|at| stands(at, TimerKind::Offer { call: call.id, leg: n }));
        found.expect("A3", due, || format!("leg {n} of {} rings for ever", call.id));
    }
    for (n, leg) in &call.legs {
        let held = domain.agents().get(&leg.agent).is_some_and(|agent| agent.contacts.contains(&(call.id, *n)));
        found.expect("A1", held, || format!("leg {n} of {} does not hold {}", call.id, leg.agent));
    }
    found.expect("C2", domain.closed.outcome_of(call.id).is_none(), || format!("call {} was closed before", call.id));
    let owned =
        call.open_orders().all(|order| order.edge == call.edge) && domain.on_edge.get(&call.edge).is_some_and(|on| on.contains(&call.id));
    found.expect("P1", owned, || format!("call {} is not its edge's", call.id));
}

fn agent_is_whole(found: &mut Findings, domain: &Domain, id: &AgentId) {
    let agent = &domain.agents()[id];
    let policy = &domain.policy().agents[id];
    for channel in Channel::ALL {
        let slots = policy.capacity.get(&channel).copied().unwrap_or(u8::from(channel == Channel::Voice));
        let of = |call| domain.calls().get(call).is_some_and(|call| call.channel() == channel);
        let held = agent.contacts.iter().filter(|(call, _)| of(call)).count();
        found.expect("A1", held <= usize::from(slots), || format!("{id} has {held} contacts by {}", channel.name()));
        found.expect("A1", channel != Channel::Chat || held == usize::from(agent.chats), || format!("{id} counts {} chats", agent.chats));
    }
    for (call, n) in &agent.contacts {
        let leg = domain.calls().get(call).and_then(|call| call.legs.get(n));
        found.expect("A1", leg.is_some_and(|leg| leg.agent == *id), || format!("{id} is held by leg {n} of {call}, which is none"));
    }
    for (channel, known) in [(Channel::Voice, &agent.standing), (Channel::Chat, &agent.chat_standing)] {
        let standing = agent.kept_away_by(policy, channel).map_or_else(|| Ok(agent.figures()), Err);
        let standing = (channel == Channel::Voice || policy.takes(channel)).then_some(standing);
        found.expect("I1", *known == standing, || format!("{id} does not stand in the pool as it is"));
    }
}

fn indexes_agree(found: &mut Findings, domain: &Domain) {
    let chats = domain.calls().values().filter(|call| call.chat.is_some()).count();
    found.expect("C1", chats == domain.chats as usize, || format!("{chats} chats, {} counted", domain.chats));
    let waiting = domain.calls().values().filter(|call| call.state == CallState::Queued).count();
    let indexed: usize = domain.queues().values().map(|row| row.waiting().count()).sum();
    let counted: usize = domain.queues().values().map(|row| row.depth()).sum();
    found.expect("C1", waiting == indexed && waiting == counted, || format!("{waiting} wait, {indexed} are indexed, {counted} counted"));
    let served: u64 = domain.queues().values().map(|row| row.served_now).sum();
    let in_none = |call: &Call| matches!(call.state, CallState::Deferred | CallState::Forwarding | CallState::Forwarded);
    let aside = domain.calls().values().filter(|call| in_none(call)).count();
    let others = domain.calls().len() - waiting - aside;
    found.expect("C1", served == others as u64, || format!("{others} are served, {served} counted"));
    let size: u32 = domain.pool.profiles().map(|(_, profile)| profile.size).sum();
    let ready: u32 = domain.pool.profiles().map(|(_, profile)| profile.ready_count()).sum();
    let free = domain.agents().iter().filter(|(id, agent)| agent.is_free(&domain.policy().agents[*id])).count();
    let sound = size as usize == domain.agents().len() && ready as usize == free;
    found.expect("I1", sound, || format!("{size} in the pool, {ready} ready, {free} free"));
}

fn all_is_matched(found: &mut Findings, domain: &Domain) {
    for (id, row) in domain.queues() {
        for (channel, require) in Channel::ALL.into_iter().flat_map(|of| row.rows_of(of).classes().map(move |(require, _)| (of, require))) {
            let mut profiles = row.profiles.iter().map(|number| domain.pool_of(channel).profile(*number));
            let idle = profiles.any(|profile| profile.meets(require) && profile.ready_count() > 0);
            found.expect("Q0", !idle, || format!("queue {id} waits for {require:?} beside somebody ready"));
        }
        for (channel, agent) in Channel::ALL.into_iter().flat_map(|of| row.rows_of(of).preferred().map(move |agent| (of, agent))) {
            found.expect("Q0", !domain.is_ready(agent, channel), || format!("queue {id} waits for {agent}, who is ready"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{policy::Strategy, tests::World};

    #[test]
    fn a_damaged_row_is_found_by_the_id_of_what_it_breaks() {
        let mut world = World::new(Strategy::LongestIdle, &["a"]);
        world.arrive(1);
        world.arrive(2);
        assert_eq!(violations(&world.state), []);
        let rows = world.state.domains.get_mut(&World::domain()).expect("made by new");
        rows.calls.get_mut(&World::call(2)).expect("it waits").timer = None;
        rows.agents.get_mut("a").expect("made by new").contacts.clear();
        let mut ids: Vec<_> = violations(&world.state).into_iter().map(|violation| violation.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids, ["A1", "A3", "I1"]);
    }
}
