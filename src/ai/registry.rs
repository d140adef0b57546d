//! Loaded versions and which of them answers: a canary takes a percent of contacts, and is promoted or rolled back at once.
//!
//! It owns the switch. Whoever asked keeps the version it was given until its answer is there, so that nothing is swapped under
//! a text, and no text waits for a swap.

use std::sync::Arc;

use parking_lot::RwLock;

use super::{features::fnv, triage::Models};

/// Versions at work. Cheap to clone: what a reader takes is one state, never half of two.
#[derive(Clone, Default)]
struct Shelf {
    stable: Option<Arc<Models>>,
    canary: Option<(Arc<Models>, u8)>,
    /// What was stable before, for rolling back.
    before: Option<Arc<Models>>,
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swap {
    /// Version, and its percent of contacts.
    Canary(String, u8),
    Stable(String),
    /// Rules alone answer.
    Nothing,
}

/// Which models answer whom.
#[derive(Default)]
pub struct Registry {
    shelf: RwLock<Shelf>,
}

impl Registry {
    /// The models that answer a contact: the same for all that is said in it, as long as no switch is made.
    #[must_use]
    pub fn pick(&self, contact: &[u8]) -> Option<Arc<Models>> {
        let shelf = self.shelf.read();
        match &shelf.canary {
            // A remainder of 100 fits any integer.
            Some((models, percent)) if ((fnv(contact.iter().copied()) >> 7) % 100) < u64::from(*percent) => Some(Arc::clone(models)),
            _ => shelf.stable.clone(),
        }
    }

    /// Lets a version answer `percent` of contacts, up to 100, beside the stable one. Another canary is put away.
    pub fn try_out(&self, models: Arc<Models>, percent: u8) -> Swap {
        let percent = percent.min(100);
        let version = models.version().to_owned();
        self.shelf.write().canary = Some((models, percent));
        Swap::Canary(version, percent)
    }

    /// Makes the canary the stable version; none if there is no canary.
    pub fn promote(&self) -> Option<Swap> {
        let mut shelf = self.shelf.write();
        let (models, _) = shelf.canary.take()?;
        let version = models.version().to_owned();
        shelf.before = shelf.stable.replace(models);
        Some(Swap::Stable(version))
    }

    /// Puts the canary away or, without one, goes back to the version before. A second time without a promotion between changes
    /// nothing but to go on without models, which always works.
    pub fn roll_back(&self) -> Swap {
        let mut shelf = self.shelf.write();
        if shelf.canary.take().is_none() {
            shelf.stable = shelf.before.take();
        }
        shelf.stable.as_ref().map_or(Swap::Nothing, |models| Swap::Stable(models.version().to_owned()))
    }
}
