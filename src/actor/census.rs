//! How many actors live, how much they did, how often they fell: by kind.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use serde::{Deserialize, Serialize};

/// Counts of one kind of actor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    pub live: u64,
    pub messages: u64,
    pub restarts: u64,
}

/// A kind of actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Partition,
    Call,
    Agent,
    Queue,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Partition, Self::Call, Self::Agent, Self::Queue];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Partition => "partition",
            Self::Call => "call",
            Self::Agent => "agent",
            Self::Queue => "queue",
        }
    }
}

#[derive(Debug, Default)]
struct Row {
    live: AtomicU64,
    messages: AtomicU64,
    restarts: AtomicU64,
}

/// The counters of a node. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Counters(Arc<[Row; 4]>);

impl Counters {
    pub(super) fn born(&self, kind: Kind) -> Alive {
        self.0[kind as usize].live.fetch_add(1, Relaxed);
        Alive { counters: self.clone(), kind }
    }

    pub(super) fn restarted(&self, kind: Kind) {
        self.0[kind as usize].restarts.fetch_add(1, Relaxed);
    }

    pub(super) fn read(&self) -> BTreeMap<&'static str, Census> {
        let read =
            |row: &Row| Census { live: row.live.load(Relaxed), messages: row.messages.load(Relaxed), restarts: row.restarts.load(Relaxed) };
        Kind::ALL.into_iter().map(|kind| (kind.name(), read(&self.0[kind as usize]))).collect()
    }
}

/// Held in an actor's state, so that even a killed actor is counted out.
#[derive(Debug)]
pub(super) struct Alive {
    counters: Counters,
    kind: Kind,
}

impl Alive {
    pub(super) fn message(&self) {
        self.counters.0[self.kind as usize].messages.fetch_add(1, Relaxed);
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.counters.0[self.kind as usize].live.fetch_sub(1, Relaxed);
    }
}
