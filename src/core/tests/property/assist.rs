//! Random reports of AI agents, takeovers and switches.

use super::generator::{Generator, main_domain};
use crate::core::{
    Command,
    assist::{Assisted, Cause, Judged, Line, Resolution, Resolved, Speaker, Turn},
    call::Call,
    command::{HangUpCause, LegEvent, Scope},
    domain::Domain,
    time::WallTime,
};

const CAUSES: [Cause; 4] = [Cause::Asked, Cause::LowConfidence, Cause::Anger, Cause::Supervisor];

impl Generator {
    /// Something an AI agent says, or somebody does about it.
    pub(super) fn assisted(&mut self, rows: &Domain) -> Command {
        match self.rng.below(20) {
            0 | 1 => self.switch(rows),
            2 | 3 => self.take_over(rows),
            _ => self.of_assistant(rows),
        }
    }

    fn switch(&mut self, rows: &Domain) -> Command {
        let domain = main_domain();
        // What is off is soon on again, or nothing is left to see.
        let off = rows.switches().all.is_none() && rows.switches().queues.is_empty() && self.rng.one_in(4);
        let scope = match self.rng.below(3) {
            0 => Scope::Queue(domain, ["support", "ring"][self.rng.below(2) as usize].into()),
            1 => Scope::Domain(domain),
            _ => Scope::Everywhere,
        };
        Command::SwitchAi { scope, off, reason: "drill".into(), by: self.actor() }
    }

    fn take_over(&mut self, rows: &Domain) -> Command {
        let with_ai = rows.calls().values().filter(|call| call.legs.values().any(|leg| leg.assistant)).map(|call| call.id);
        let with_ai: Vec<_> = with_ai.collect();
        let call = self.rng.pick(with_ai.into_iter()).filter(|_| !self.rng.one_in(5)).unwrap_or_else(|| self.call(rows));
        let to = self.rng.one_in(4).then(|| ["support", "second", "ring", "none"][self.rng.below(4) as usize].into());
        let cause = CAUSES[self.rng.below(4) as usize];
        Command::TakeOver { domain: main_domain(), call, to, cause, by: self.actor() }
    }

    fn of_assistant(&mut self, rows: &Domain) -> Command {
        let legs =
            |call: &Call| call.legs.iter().filter(|(_, leg)| leg.assistant).map(|(n, _)| (call.leg_id(*n), call.edge)).collect::<Vec<_>>();
        let legs: Vec<_> = rows.calls().values().flat_map(|call| legs(call)).collect();
        let Some((leg, edge)) = self.rng.pick(legs.into_iter()) else { return self.take_over(rows) };
        let call = &rows.calls()[&leg.call];
        let engaged = call.assisted_on() == Some(leg.n);
        let event = match self.rng.below(12) {
            _ if !engaged && !self.rng.one_in(5) => Assisted::Engaged,
            0..4 => Assisted::Disclosed,
            4..9 => self.turn(),
            9 | 10 => Assisted::Resolved(Resolution { resolved: Resolved::Unknown, confidence: 500, reason: "done".into() }),
            _ => return self.numbered(leg, edge, LegEvent::HungUp { cause: HangUpCause::EdgeFault }),
        };
        self.numbered(leg, edge, LegEvent::Assisted(event))
    }

    fn turn(&mut self) -> Assisted {
        let who = if self.rng.one_in(2) { Speaker::Customer } else { Speaker::Assistant };
        let judged = (who == Speaker::Customer).then(Judged::default);
        let line = Line { at: WallTime(0), who, text: "words".into(), judged, sources: Vec::new() };
        let wants = self.rng.one_in(8).then(|| CAUSES[self.rng.below(3) as usize]);
        let helped = [None, Some(true), Some(false)][self.rng.below(3) as usize];
        Assisted::Turn(Box::new(Turn { line, wants, helped }))
    }
}
