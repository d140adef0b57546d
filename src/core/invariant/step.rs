//! What must hold of every application: between the state before and after, the command, its outcome and its effects.
//!
//! It needs a copy of the state before, so it is for tests, simulation and the replay of a log, not for production.

use std::collections::BTreeMap;

use super::Violation;
use crate::core::{
    Command, Effects, Outcome, State,
    call::{Call, CallState},
    cdr::{Attempt, AttemptResult, CallOutcome, ClosedCall, chain},
    chat::ChatStep,
    domain::Domain,
    effect::{Action, EventKind, Record},
    id::{AgentId, CallId, DomainId},
    party::Target,
    policy::Strategy,
    time::{At, LogTime},
};

/// The catalogue: ids and what they say.
pub const STEP_INVARIANTS: [(&str, &str); 10] = [
    ("C1", "only an arrival or a callback that is asked for makes a call, and a call that leaves the state leaves exactly one record"),
    ("D1", "records follow each other without a gap, chained by hash, and agree with themselves"),
    ("Q1", "no call ever loses its age"),
    ("Q2", "nobody is offered a call while one that comes first, and that they fit, is left waiting"),
    ("P1", "what a life reports of a call that another one has changes nothing"),
    ("N1", "what is noted of a call is for the person who has it when that is committed, and for nobody else"),
    ("F1", "no call is sent to a number that its tenant does not allow"),
    ("T1", "log time never goes back, and timers fire if and only if they stand and are due"),
    ("E1", "effects are named by their entry, once and in order, and none is for a life of a node that is over"),
    ("X1", "a rejected or repeated command has no effect, but a refused arrival leaves its record"),
];

/// One application, complete.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    pub before: &'a State,
    pub at: At,
    pub command: &'a Command,
    pub outcome: &'a Outcome,
    pub effects: &'a Effects,
    pub after: &'a State,
}

impl Step<'_> {
    /// Everything that does not hold; empty for a sound application.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        self.records(&mut found);
        self.calls(&mut found);
        self.order_of_service(&mut found);
        self.owners(&mut found);
        self.notes(&mut found);
        self.numbers(&mut found);
        self.times(&mut found);
        self.names(&mut found);
        self.nothing_for_nothing(&mut found);
        debug_assert!(
            found.iter().all(|violation| STEP_INVARIANTS.iter().any(|(id, _)| *id == violation.id)),
            "every id is in the catalogue"
        );
        found
    }

    fn closed(&self) -> impl Iterator<Item = (&Record, Option<ClosedCall>)> {
        self.effects.records.iter().map(|record| (record, ClosedCall::decode(&record.bytes).ok()))
    }

    fn records(&self, found: &mut Vec<Violation>) {
        let (mut seq, mut hash) = (self.before.archive().next_seq, self.before.archive().hash);
        for (record, closed) in self.closed() {
            hash = chain(&hash, &record.bytes);
            expect(found, "D1", None, record.seq == seq && record.hash == hash, || {
                format!("record {} is not number {seq} of the chain", record.seq)
            });
            seq += 1;
            let Some(closed) = closed else {
                expect(found, "D1", None, false, || format!("record {} cannot be read", record.seq));
                continue;
            };
            let at = [Some(closed.arrived), closed.queued, closed.offered, closed.answered, Some(closed.ended)];
            let times: Vec<LogTime> = at.iter().flatten().map(|stamp| stamp.time).collect();
            expect(found, "D1", Some(&closed.tenant), times.is_sorted(), || format!("the times of {} go back", closed.call_id));
            let accepted = closed.attempts.rows.iter().filter(|attempt| attempt.result == AttemptResult::Accepted).count();
            // An AI agent that was taken over, or lost, had it as well.
            let had = |attempt: &&Attempt| {
                attempt.answered.is_some() && matches!(attempt.result, AttemptResult::TakenOver | AttemptResult::NodeLost)
            };
            let before = closed.attempts.rows.iter().filter(had).count();
            let answered = closed.answered.is_some();
            let fits = match closed.outcome {
                CallOutcome::Answered => answered && closed.agent.is_some(),
                CallOutcome::Abandoned | CallOutcome::Rejected | CallOutcome::Overflowed => !answered,
                CallOutcome::Failed | CallOutcome::NodeLost => true,
            };
            // Each transfer but the last leads to one more agent who accepts, if any does; a long list has lost some.
            let transfers = closed.transfers.rows.len() + closed.transfers.dropped as usize;
            let all = closed.attempts.dropped == 0;
            let as_many = if answered { (!all || accepted + before >= 1) && accepted <= transfers + 1 } else { accepted == 0 };
            let counted = as_many && (transfers == 0 || !all || accepted + before >= transfers);
            expect(found, "D1", Some(&closed.tenant), counted && fits, || {
                format!("{} is {} with {accepted} accepted offers", closed.call_id, closed.outcome)
            });
        }
        let head = self.after.archive();
        expect(found, "D1", None, head.next_seq == seq && head.hash == hash, || "the archive's head is not its last record".to_owned());
    }

    fn calls(&self, found: &mut Vec<Violation>) {
        let mut records: BTreeMap<(DomainId, CallId), u32> = BTreeMap::new();
        for (_, closed) in self.closed() {
            if let Some(closed) = closed {
                *records.entry((closed.tenant, closed.call_id)).or_insert(0) += 1;
            }
        }
        for (id, domain) in self.before.domains() {
            for call in domain.calls().values() {
                let left = records.remove(&(id.clone(), call.id)).unwrap_or(0);
                let now = self.after.domains().get(id).and_then(|domain| domain.calls().get(&call.id));
                expect(found, "C1", Some(id), left == u32::from(now.is_none()), || format!("{} left {left} records", call.id));
                let aged = now.is_none_or(|now| now.entered == call.entered && now.arrived == call.arrived);
                expect(found, "Q1", Some(id), aged, || format!("{} lost its age", call.id));
            }
        }
        let arrived = match self.command {
            Command::Arrive(arrive) => Some((arrive.domain.clone(), arrive.call)),
            Command::Schedule(new) => Some((new.domain.clone(), new.call)),
            Command::OpenChat(new) => Some((new.domain.clone(), new.call)),
            Command::Chat { domain, step: ChatStep::Phone { call, .. }, .. } => Some((domain.clone(), *call)),
            _ => None,
        };
        let live = |key: &(DomainId, CallId)| self.after.domains().get(&key.0).is_some_and(|domain| domain.calls().contains_key(&key.1));
        for (key, left) in &records {
            let refused = arrived.as_ref() == Some(key) && *left == 1 && !live(key);
            expect(found, "C1", Some(&key.0), refused, || format!("{} left {left} records and was no live call", key.1));
        }
        for (id, domain) in self.after.domains() {
            let was_live = |call: &CallId| self.before.domains().get(id).is_some_and(|before| before.calls().contains_key(call));
            for call in domain.calls().keys().filter(|call| !was_live(call)) {
                expect(found, "C1", Some(id), arrived == Some((id.clone(), *call)), || format!("{call} came from nowhere"));
            }
        }
    }

    fn order_of_service(&self, found: &mut Vec<Violation>) {
        for event in self.effects.events.iter().filter(|event| event.kind == EventKind::ContactOffered) {
            let (Some(call), Some(agent)) = (event.call, &event.agent) else { continue };
            let (Some(before), Some(after)) = (self.before.domains().get(&event.domain), self.after.domains().get(&event.domain)) else {
                continue;
            };
            let Some(offered) = after.calls().get(&call).filter(|_| before.version() == after.version()) else { continue };
            // Ring-all takes along whoever is ready, also agents for whom another call would come first.
            if after.policy().queues.get(&offered.queue).is_none_or(|queue| queue.strategy == Strategy::RingAll) {
                continue;
            }
            let passed = after.calls().values().find(|waiting| self.was_passed_over((before, after), offered, waiting, agent));
            expect(found, "Q2", Some(&event.domain), passed.is_none(), || {
                format!("{agent} was offered {call} before {}", passed.map_or_else(String::new, |call| call.id.to_string()))
            });
        }
    }

    /// True if `waiting` stood in the queue all the time, fits the agent and comes before what the agent was offered.
    fn was_passed_over(&self, (before, after): (&Domain, &Domain), offered: &Call, waiting: &Call, agent: &AgentId) -> bool {
        let stood = before.calls().get(&waiting.id).is_some_and(|then| {
            let place = |call: &Call| (call.state, call.queue.clone(), call.priority, call.step, call.waits_for.clone());
            waiting.state == CallState::Queued && place(then) == place(waiting)
        });
        offered.channel() == waiting.channel()
            && stood
            && after.may_serve(agent, waiting)
            && self.service(after, waiting) < self.service(after, offered)
    }

    /// Order of service: promoted calls by age, then by priority, age and id.
    fn service(&self, domain: &Domain, call: &Call) -> (bool, u8, LogTime, CallId) {
        let promote_ms = domain.policy().queues.get(&call.queue).map_or(0, |queue| queue.promote_after_ms);
        let promoted = promote_ms > 0 && self.at.time.ms_since(call.entered) >= promote_ms;
        (!promoted, if promoted { 0 } else { call.priority }, call.entered, call.id)
    }

    fn owners(&self, found: &mut Vec<Violation>) {
        let Command::Leg(report) = self.command else { return };
        let Some(domain) = self.before.domains().get(&report.domain) else { return };
        let foreign = domain.calls().get(&report.leg.call).is_some_and(|call| call.edge != report.edge);
        // A farewell to a leg that left the call before it changed hands may be done with.
        let left = domain.parting().any(|order| order.leg == report.leg && order.edge == report.edge);
        let fenced = !foreign || left || matches!(self.outcome, Outcome::Rejected(_) | Outcome::Duplicate);
        expect(found, "P1", Some(&report.domain), fenced, || {
            format!("{:?} said {:?} of {:?}, which it does not have, and was heard", report.edge, report.event, report.leg)
        });
    }

    fn notes(&self, found: &mut Vec<Violation>) {
        let Command::Note(new) = self.command else { return };
        let call = |state: &State| state.domains().get(&new.domain).and_then(|domain| domain.calls().get(&new.call)).cloned();
        let (before, after) = (call(self.before), call(self.after));
        let last = |call: &Option<Box<Call>>| call.as_ref()?.notes()?.rows.rows.last().map(|note| (note.n, note.owner));
        let owner = before.as_ref().and_then(|call| call.person_on());
        let fits = last(&before) == last(&after) || last(&after).is_some_and(|(_, of)| Some(of) == owner);
        expect(found, "N1", Some(&new.domain), fits, || format!("a note of {} is for {}, and {owner:?} has it", new.call, new.note.owner));
    }

    fn numbers(&self, found: &mut Vec<Violation>) {
        for order in &self.effects.orders {
            let Action::Ring(ring) = &order.action else { continue };
            let Target::Trunk { number, .. } = &ring.target else { continue };
            let Some(domain) = self.after.domains().get(&order.domain) else { continue };
            let call = domain.calls().get(&order.leg.call);
            let sent = call.and_then(|call| call.line()).is_some_and(|line| line.n == order.leg.n);
            expect(found, "F1", Some(&order.domain), !sent || domain.policy().outside.allows(number), || {
                format!("{} is sent to a number that is not allowed", order.leg.call)
            });
        }
    }

    fn times(&self, found: &mut Vec<Violation>) {
        let forward = self.after.now() == self.at.time && self.before.now() <= self.at.time;
        expect(found, "T1", None, forward, || format!("log time is {:?} after {:?}", self.after.now(), self.before.now()));
        if let Command::FireTimers { timers } = self.command {
            let stood = |deadline, domain: &DomainId, what| self.before.shared.timers.contains(&(deadline, domain.clone(), what));
            let due = timers.iter().any(|timer| timer.deadline <= self.at.time && stood(timer.deadline, &timer.domain, timer.what.clone()));
            let fired = *self.outcome == Outcome::Accepted;
            expect(found, "T1", None, fired == due, || format!("timers fired: {fired}, were due: {due}"));
        }
    }

    fn names(&self, found: &mut Vec<Violation>) {
        let orders: Vec<_> = self.effects.orders.iter().map(|order| order.id).collect();
        let events: Vec<_> = self.effects.events.iter().map(|event| event.id).collect();
        let mut all: Vec<_> = orders.iter().chain(&events).copied().collect();
        all.sort_unstable();
        all.dedup();
        let once = all.len() == orders.len() + events.len() && orders.is_sorted() && events.is_sorted();
        let own = all.iter().all(|id| id.group == self.at.group && id.index == self.at.index);
        expect(found, "E1", None, once && own, || format!("effects of entry {} are {all:?}", self.at.index));
        for order in &self.effects.orders {
            expect(found, "E1", Some(&order.domain), !self.after.is_lost(order.edge), || {
                format!("{:?} is for the dead {:?}", order.id, order.edge)
            });
        }
    }

    fn nothing_for_nothing(&self, found: &mut Vec<Violation>) {
        let changed = matches!(
            self.outcome,
            Outcome::Accepted | Outcome::Published { .. } | Outcome::Offer { .. } | Outcome::Scheduled { .. } | Outcome::Said { .. }
        );
        let Effects { orders, events, records, timers, day_begins: _, kept } = self.effects;
        let refused = matches!(self.command, Command::Arrive(_)) && records.len() <= 1 && orders.is_empty() && timers.is_empty();
        let silent = orders.is_empty() && events.is_empty() && records.is_empty() && timers.is_empty() && kept.is_none();
        expect(found, "X1", None, changed || silent || refused, || format!("{:?} has effects", self.outcome));
    }
}

fn expect(found: &mut Vec<Violation>, id: &'static str, domain: Option<&DomainId>, holds: bool, what: impl FnOnce() -> String) {
    if !holds {
        found.push(Violation { id, domain: domain.cloned().unwrap_or_else(|| "every domain".into()), what: what() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{command::Envelope, policy::Strategy, tests::World};

    /// Hangs up the only call of a small world and tells what the checker says after `damage`.
    fn ids_after(damage: impl FnOnce(&mut Effects, &mut State)) -> Vec<&'static str> {
        let mut world = World::new(Strategy::LongestIdle, &["a"]);
        world.arrive(1);
        let command = Command::HangUp { domain: World::domain(), call: World::call(1), by: crate::core::command::Actor::System };
        let at = At { group: 1, index: 99, time: LogTime(1_000_000_000), wall: crate::core::time::WallTime(5) };
        let (mut after, mut effects) = (world.state.clone(), Effects::default());
        let outcome = after.apply(at, &Envelope { request: None, command: command.clone() }, &mut effects);
        damage(&mut effects, &mut after);
        let step = Step { before: &world.state, at, command: &command, outcome: &outcome, effects: &effects, after: &after };
        let mut ids: Vec<_> = step.violations().into_iter().map(|violation| violation.id).collect();
        ids.dedup();
        ids
    }

    #[test]
    fn a_damaged_application_is_found_by_the_id_of_what_it_breaks() {
        assert_eq!(ids_after(|_, _| ()), Vec::<&str>::new());
        assert_eq!(ids_after(|effects, _| effects.records.clear()), ["D1", "C1"]);
        assert_eq!(ids_after(|effects, _| effects.records[0].hash[0] ^= 1), ["D1"]);
        assert_eq!(ids_after(|effects, _| effects.orders[0].id.index = 7), ["E1"]);
        assert_eq!(ids_after(|_, after| after.domains.clear()), Vec::<&str>::new());
    }
}
