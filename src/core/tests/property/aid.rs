//! Random notes for agents: mostly of whoever has a call, now and then of somebody else, an old edge, or twice.

use super::generator::{Generator, main_domain};
use crate::core::{
    Command,
    aid::{NewNote, Note, NoteKind},
    domain::Domain,
    time::WallTime,
};

impl Generator {
    pub(super) fn note(&mut self, rows: &Domain) -> Command {
        let owned = rows.calls().values().filter_map(|call| Some((call.id, call.person_on()?, call.edge))).collect::<Vec<_>>();
        let (call, owner, edge) = self.rng.pick(owned.into_iter()).unwrap_or_else(|| (self.call(rows), 1, self.edge()));
        let owner = if self.rng.one_in(8) { owner + 1 } else { owner };
        let edge = if self.rng.one_in(8) { self.edge() } else { edge };
        let kind = [NoteKind::Customer, NoteKind::Agent, NoteKind::Suggestion][self.rng.below(3) as usize];
        let note = Note { n: 0, owner, kind, at: WallTime(0), text: "words".into(), source: String::new() };
        Command::Note(Box::new(NewNote { domain: main_domain(), call, edge, seq: self.rng.below(1_000), note }))
    }
}
