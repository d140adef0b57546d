//! Random wishes for calls that talk: holds, mutes, recordings, supervisors; and what edges say of files.

use super::generator::{Generator, Rng, main_domain};
use crate::core::{
    Command,
    call::{Call, CallState},
    command::{Actor, Record, Saved, Side, Wish},
    domain::Domain,
    id::LegId,
    matrix::{Mode, Taping},
};

impl Generator {
    /// A wish for a call that talks through its edge, if there is one and mostly by somebody who may.
    pub(super) fn control(&mut self, rows: &Domain) -> Command {
        let connected = |call: &&Call| matches!(call.state, CallState::Connected { .. }) && call.anchored;
        let talking: Vec<_> = rows.calls().values().map(|call| &**call).filter(connected).collect();
        // What is soon over is soon taken back, or it never is.
        let undone: Vec<_> = talking.iter().filter(|call| Self::undo(call).is_some()).copied().collect();
        let among = if undone.is_empty() || self.rng.one_in(3) { talking } else { undone };
        let call = self.rng.pick(among.iter()).filter(|_| !self.rng.one_in(20)).copied();
        let by = if self.rng.one_in(10) { self.actor() } else { Actor::User("ops".into()) };
        Command::Control { domain: main_domain(), call: call.map_or_else(|| self.call(rows), |call| call.id), wish: self.wish(call), by }
    }

    /// What an edge says of a file that there is, or is not.
    pub(super) fn recorded(&mut self, rows: &Domain) -> Command {
        let tapes = rows.calls().values().flat_map(|call| call.tapes().iter().map(|tape| (call.leg_id(tape.leg), tape.part, call.edge)));
        let tapes: Vec<_> = tapes.collect();
        let (leg, part, edge) = self.rng.pick(tapes.into_iter()).unwrap_or_else(|| (LegId::caller(self.call(rows)), 1, self.edge()));
        let saved = self.rng.one_in(2).then(|| Saved { ms: self.rng.below(9_000), masked: vec![(1, 2)] });
        Command::Recorded { domain: main_domain(), leg, edge, part, saved }
    }

    /// What takes back something that was done to a call.
    fn undo(call: &Call) -> Option<Wish> {
        match call.taping {
            Taping::On { masked: true, .. } => return Some(Wish::Record(Record::Resume)),
            Taping::On { .. } | Taping::Off => {}
        }
        let party = if call.caller.muted { Side::Caller } else { Side::Agent };
        let muted = call.caller.muted || call.legs.values().any(|leg| leg.muted);
        if muted { Some(Wish::Mute { party, muted: false }) } else { call.caller.held.then_some(Wish::Hold(false)) }
    }

    /// Mostly what is not so yet.
    fn wish(&mut self, call: Option<&Call>) -> Wish {
        if let Some(undo) = call.and_then(Self::undo).filter(|_| self.rng.one_in(2)) {
            return undo;
        }
        let mut party = if self.rng.one_in(2) { Side::Caller } else { Side::Agent };
        let other = |is: bool, rng: &mut Rng| is == rng.one_in(8);
        let held = call.is_some_and(|call| call.caller.held);
        let caller = call.is_some_and(|call| call.caller.muted);
        let muted = caller || call.is_some_and(|call| call.legs.values().any(|leg| leg.muted));
        if muted {
            party = if caller { Side::Caller } else { Side::Agent };
        }
        let record = match call.map_or(Taping::Off, |call| call.taping) {
            Taping::Off => Record::Start,
            Taping::On { masked: true, .. } => Record::Resume,
            Taping::On { .. } if self.rng.one_in(3) => Record::Stop,
            Taping::On { .. } => Record::Pause,
        };
        match self.rng.below(6) {
            4 | 5 => Wish::Supervise { agent: self.agent(), mode: [Mode::Monitor, Mode::Whisper, Mode::Barge][self.rng.below(3) as usize] },
            0 => Wish::Hold(other(held, &mut self.rng)),
            1 => Wish::Mute { party, muted: other(muted, &mut self.rng) },
            _ => Wish::Record(record),
        }
    }
}
