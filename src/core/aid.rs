//! Agent assist: what is said in a call, written down for the person who has it, and what articles answer to it.
//!
//! A note is taken only for the leg that owns the call when it is committed. A leg's number is used once in a call, so it is the fence:
//! whoever had the call before is given nothing more by the commit that ended that, and whoever comes next gets notes of its own. What
//! was understood of a voice is somebody else's judgement, outside of `apply`, and personal data is masked before it is proposed.
//! Nothing is inferred about a speaker.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    call::{Call, CallState},
    cdr::Kept,
    id::{CallId, DomainId, Edge},
    limits::{LINE_BYTES_MAX, NOTES_MAX, SOURCE_BYTES_MAX},
    time::WallTime,
};

/// What the people of a queue are given while they have a contact.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Aid {
    /// Answers from articles to what customers say.
    pub suggest: bool,
    /// What agents say is written down as well, and not customers alone.
    pub agents: bool,
    /// ISO 639-1 code of the language that is spoken.
    pub language: String,
    /// Which articles answers come from, as a folder of them is called; empty for none.
    pub knowledge: String,
}

/// Whose words an edge is to write down, and for whom: a part of a call's plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hearing {
    /// The leg of the agent who has the call.
    pub owner: u16,
    /// Legs that are listened to: the customer's, the owner's, or for now none.
    pub legs: Vec<u16>,
    pub aid: Arc<Aid>,
}

/// What a note is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteKind {
    /// The customer said it.
    Customer,
    /// The agent who has the call said it.
    Agent,
    /// An article answers what the customer said last.
    Suggestion,
}

impl NoteKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Agent => "agent",
            Self::Suggestion => "suggestion",
        }
    }
}

/// A line for the agent who has a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Its number in the call, from 1; given by the core.
    pub n: u32,
    /// The leg it was taken for.
    pub owner: u16,
    pub kind: NoteKind,
    /// When it was said, by the clock of its edge.
    pub at: WallTime,
    /// Masked, and at most `LINE_BYTES_MAX`; longer ones are cut.
    pub text: String,
    /// The article that a suggestion is quoted from, by title and heading; empty for what was said.
    pub source: String,
}

impl Note {
    fn bounded(mut self) -> Self {
        self.text.truncate(self.text.floor_char_boundary(LINE_BYTES_MAX));
        self.source.truncate(self.source.floor_char_boundary(SOURCE_BYTES_MAX));
        self
    }
}

/// A note on its way into a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewNote {
    pub domain: DomainId,
    pub call: CallId,
    pub edge: Edge,
    /// Rises with every note of this life of its edge, so that a repeat is known as one.
    pub seq: u64,
    pub note: Note,
}

/// The notes of a call, those of earlier owners included: whoever reads them asks for one owner's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Notes {
    pub rows: Kept<Note>,
    /// How many there ever were.
    count: u32,
    /// Where the last one came from, and its number there.
    last: Option<(Edge, u64)>,
}

impl Notes {
    /// Whether this one, or a later one of its edge, was taken already.
    pub(super) fn has(&self, edge: Edge, seq: u64) -> bool {
        self.last.is_some_and(|(from, last)| from == edge && seq <= last)
    }

    /// Takes a note and gives it its number.
    pub(super) fn take(&mut self, new: &NewNote) -> u32 {
        self.count = self.count.saturating_add(1);
        self.last = Some((new.edge, new.seq));
        self.rows.push_within(Note { n: self.count, ..new.note.clone().bounded() }, NOTES_MAX);
        self.count
    }

    /// What was noted for this owner after the note of this number, oldest first.
    pub fn of(&self, owner: u16, after: u32) -> impl Iterator<Item = &Note> {
        self.rows.rows.iter().filter(move |note| note.owner == owner && note.n > after)
    }
}

impl Call {
    /// The leg of the person who talks with the customer now. An AI agent is nobody's to assist, and a chat is written down as it is.
    pub fn person_on(&self) -> Option<u16> {
        let CallState::Connected { leg, .. } = self.state else { return None };
        (self.chat.is_none() && self.assisted_on() != Some(leg)).then_some(leg)
    }

    /// What is noted of it.
    pub fn notes(&self) -> Option<&Notes> {
        self.talk.as_ref()?.notes.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::id::NodeId;

    fn new(seq: u64, owner: u16, text: &str) -> NewNote {
        let note = Note {
            n: 0,
            owner,
            kind: NoteKind::Customer,
            at: WallTime(0),
            text: text.to_owned(),
            source: "s".repeat(SOURCE_BYTES_MAX + 1),
        };
        NewNote { domain: "demo".into(), call: CallId(1), edge: Edge { node: NodeId(1), incarnation: 1 }, seq, note }
    }

    #[test]
    fn notes_are_numbered_cut_at_a_character_and_bounded_in_number() {
        let mut notes = Notes::default();
        for seq in 1..=300 {
            assert_eq!(u64::from(notes.take(&new(seq, 1, &"语".repeat(LINE_BYTES_MAX)))), seq);
        }
        assert_eq!((notes.rows.rows.len(), notes.rows.dropped), (NOTES_MAX, 300 - NOTES_MAX as u32));
        assert!(notes.rows.rows.iter().all(|note| note.text.len() == LINE_BYTES_MAX / 3 * 3 && note.source.len() == SOURCE_BYTES_MAX));
        assert_eq!(notes.of(1, 298).map(|note| note.n).collect::<Vec<_>>(), [299, 300]);
    }

    #[test]
    fn a_repeat_is_known_and_an_owner_sees_its_own() {
        let mut notes = Notes::default();
        let (first, second) = (new(7, 1, "one"), new(9, 2, "two"));
        notes.take(&first);
        notes.take(&second);
        assert!(notes.has(first.edge, 7) && notes.has(first.edge, 9) && !notes.has(first.edge, 10));
        assert!(!notes.has(Edge { node: NodeId(2), incarnation: 1 }, 1), "another edge counts for itself");
        assert_eq!(notes.of(2, 0).map(|note| note.text.as_str()).collect::<Vec<_>>(), ["two"]);
    }
}
