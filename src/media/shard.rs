//! The way into a media thread: per leg one pending change, merged until the thread takes it, and a bell.
//!
//! So nothing is ever lost for want of room, and the bound is the number of legs.

use std::{collections::HashMap, io, os::fd::OwnedFd, sync::Arc};

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};

use super::{Program, book::Terms, ports::Pair, tap::Wanted};
use crate::core::id::LegId;

/// What is to become of a leg, relative to what its thread knows.
#[derive(Debug, Default)]
pub struct Change {
    /// Forget what there was first.
    pub close: bool,
    pub open: Option<Pair>,
    pub terms: Option<Terms>,
    pub hear: Option<Arc<[LegId]>>,
    /// `Some(None)`: stop.
    pub play: Option<Option<Program>>,
    /// `Some(None)`: stop.
    pub record: Option<Option<Wanted>>,
    pub masked: Option<bool>,
    /// Somebody listens to what its party says.
    pub listen: Option<bool>,
}

#[derive(Debug, Default)]
struct Pending {
    legs: HashMap<LegId, Change>,
    stop: bool,
    rung: bool,
}

/// One thread's end of the way.
#[derive(Debug)]
pub struct Shard {
    pending: Mutex<Pending>,
    pub bell: OwnedFd,
}

impl Shard {
    pub fn new() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { pending: Mutex::default(), bell })
    }

    /// Merges something into a leg's pending change.
    pub fn change(&self, leg: LegId, merge: impl FnOnce(&mut Change)) {
        let mut pending = self.pending.lock();
        merge(pending.legs.entry(leg).or_default());
        self.ring(&mut pending);
    }

    /// Ends the thread.
    pub fn stop(&self) {
        let mut pending = self.pending.lock();
        pending.stop = true;
        self.ring(&mut pending);
    }

    fn ring(&self, pending: &mut Pending) {
        if !pending.rung {
            // It fails only if the counter is full, and then the bell rings already.
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
            pending.rung = true;
        }
    }

    /// Takes what is pending; `None` if the thread is to end.
    pub fn take(&self) -> Option<HashMap<LegId, Change>> {
        let mut pending = self.pending.lock();
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.bell, &mut count);
        pending.rung = false;
        (!pending.stop).then(|| std::mem::take(&mut pending.legs))
    }
}
