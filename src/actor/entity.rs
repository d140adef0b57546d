//! What call, agent and queue actors have in common: their messages, their vital signs, and how they commit.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use ractor::ActorRef;
use tokio::time::Instant;

use super::{
    farewell::Farewells,
    limits::STUCK_AFTER,
    machine::Replica,
    partition,
    shared::{Job, Shared},
    wire::{Address, Answer},
};
use crate::core::{Command, command::Timer, effect::Order, id::EffectId, limits::TIMERS_PER_COMMAND_MAX};

/// What an entity actor is told.
#[derive(Clone)]
pub(super) enum Message {
    /// Commit this and answer who waits.
    Commit(Job),
    /// Orders of an application, oldest first.
    Perform(Vec<Order>),
    /// These deadlines have passed.
    Due(Vec<Timer>),
    /// An edge has these orders.
    Taken(Vec<EffectId>),
    /// An edge could not be given these orders; the pause has passed.
    Retry(Vec<EffectId>, Duration),
    /// Nothing: something to fall over in a drill.
    Nudge,
}

impl Message {
    /// What of it is worth handing to the next actor: the rest follows from the state.
    pub(super) fn again(self) -> Option<Self> {
        match self {
            Self::Commit(job) => job.again().map(Self::Commit),
            Self::Perform(_) | Self::Due(_) | Self::Taken(_) | Self::Retry(..) | Self::Nudge => None,
        }
    }
}

/// Signs of life that outlive the actor.
#[derive(Default)]
pub(super) struct Vitals {
    /// Messages of the partition actor that were handled.
    pub(super) handled: AtomicU64,
    /// Something is still to be done that no message will remind it of.
    pub(super) busy: AtomicBool,
    /// What is being handled: left behind by an actor that falls.
    current: Mutex<Option<Message>>,
    /// Since when something is being handled.
    since: Mutex<Option<Instant>>,
    /// Drill: fall over the next message.
    pub(super) crash: AtomicBool,
    /// Drill: hang over the next message for so many milliseconds.
    pub(super) hang_ms: AtomicU64,
}

impl Vitals {
    /// Keeps a copy of what is about to be handled, and the time. In a drill, falls or hangs here.
    pub(super) async fn begin(&self, message: &Message) {
        if let Message::Commit(_) = message {
            *self.current.lock() = Some(message.clone());
        }
        *self.since.lock() = Some(Instant::now());
        assert!(!self.crash.swap(false, Relaxed), "a drill asked this actor to fall");
        let hang = Duration::from_millis(self.hang_ms.swap(0, Relaxed));
        if !hang.is_zero() {
            tokio::time::sleep(hang).await;
        }
    }

    /// True while it has handled one message for longer than any may take.
    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        self.since.lock().is_some_and(|since| now.saturating_duration_since(since) >= STUCK_AFTER)
    }

    pub(super) fn end(&self, from_partition: bool) {
        *self.current.lock() = None;
        *self.since.lock() = None;
        if from_partition {
            self.handled.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn left_behind(&self) -> Option<Message> {
        self.current.lock().take()
    }
}

/// What an entity actor is started with.
pub(super) struct Seat {
    pub(super) shared: Arc<Shared>,
    pub(super) replica: Arc<Replica>,
    pub(super) address: Address,
    pub(super) partition: ActorRef<partition::Message>,
    pub(super) vitals: Arc<Vitals>,
    /// What this leadership knows of farewells.
    pub(super) farewells: Arc<Farewells>,
}

impl Seat {
    /// Commits a command in the order of the mailbox.
    pub(super) async fn commit(&self, job: Job) {
        let answer = self.shared.commit(self.replica.group, job.command.clone()).await;
        if matches!(answer, Answer::Committed(_)) {
            metrics::histogram!("tandem_decision_seconds").record(job.since.elapsed().as_secs_f64());
        }
        job.answer(answer);
    }

    /// Proposes what is due. The partition hands it over again if it still stands afterwards.
    pub(super) async fn fire(&self, timers: Vec<Timer>) {
        for timers in timers.chunks(TIMERS_PER_COMMAND_MAX) {
            self.shared.propose(self.replica.group, Command::FireTimers { timers: timers.to_vec() }).await;
        }
    }
}
