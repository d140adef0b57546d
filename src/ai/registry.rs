//! Loaded versions and which of them answers whom: a canary takes a percent of contacts.
//!
//! It owns the switch; which version is to answer is the cluster's choice (`core::models`). Whoever asked keeps the version it was given until
//! its answer is there, so that nothing is swapped under a text, and no text waits for a swap.

use std::sync::Arc;

use parking_lot::RwLock;

use super::{features::fnv, triage::Models};

/// What answers in the place of a version.
#[derive(Clone, Default)]
pub struct Answers {
    /// Without any, rules do.
    pub models: Option<Arc<Models>>,
    /// They stand in for a version that is chosen and not here; what they say cites them, and is marked.
    pub stand_in: bool,
}

/// Versions at work. Cheap to clone: what a reader takes is one state, never half of two.
#[derive(Clone, Default)]
pub struct Shelf {
    pub current: Answers,
    /// With its percent of contacts.
    pub canary: Option<(Answers, u8)>,
}

/// Which models answer whom.
#[derive(Default)]
pub struct Registry {
    shelf: RwLock<Shelf>,
}

impl Registry {
    /// One version for everybody.
    #[must_use]
    pub fn of(models: Models) -> Self {
        let current = Answers { models: Some(Arc::new(models)), stand_in: false };
        Self { shelf: RwLock::new(Shelf { current, canary: None }) }
    }

    /// What answers a contact: the same for all that is said in it, and on every node, as long as no other choice is made.
    #[must_use]
    pub fn pick(&self, contact: &[u8]) -> Answers {
        let shelf = self.shelf.read();
        match &shelf.canary {
            // A remainder of 100 fits any integer.
            Some((answers, percent)) if ((fnv(contact.iter().copied()) >> 7) % 100) < u64::from(*percent) => answers.clone(),
            _ => shelf.current.clone(),
        }
    }

    /// Puts other versions to work.
    pub fn put(&self, shelf: Shelf) {
        *self.shelf.write() = shelf;
    }
}
