//! When the next deadline passes, and which due timers are already on their way. The timers themselves are the state's.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    actor::{
        limits::{TIMER_RETRY, TIMERS_DUE_MAX, WAKE_BUSY, WAKE_MAX},
        wire::Address,
    },
    core::{
        State,
        command::{Timer, TimerKind},
        id::DomainId,
        time::LogTime,
    },
};

/// The alarm clock of a partition that leads.
#[derive(Debug, Default)]
pub(super) struct Wheel {
    /// Only the latest alarm counts.
    generation: u64,
    rings_at: Option<Instant>,
    /// Timers handed to their actors, and when.
    handed: BTreeMap<Timer, Instant>,
}

impl Wheel {
    /// What is due now and not on its way, by the actor it belongs to; and how long to sleep.
    pub(super) fn turn(&mut self, state: &State, now: LogTime, at: Instant) -> (BTreeMap<Address, Vec<Timer>>, Duration) {
        let due = state.due(now, TIMERS_DUE_MAX);
        self.handed.retain(|timer, handed| {
            at.duration_since(*handed) < TIMER_RETRY && due.binary_search_by(|one| order(one).cmp(&order(timer))).is_ok()
        });
        let mut by_actor: BTreeMap<Address, Vec<Timer>> = BTreeMap::new();
        let sleep = match state.next_deadline() {
            _ if !due.is_empty() => WAKE_BUSY,
            Some(next) => Duration::from_nanos(next.0.saturating_sub(now.0)).min(WAKE_MAX),
            None => WAKE_MAX,
        };
        for timer in due {
            if let Entry::Vacant(row) = self.handed.entry(timer) {
                let timer = row.key().clone();
                by_actor.entry(Address::of_timer(state, &timer.domain, &timer.what)).or_default().push(timer);
                row.insert(at);
            }
        }
        (by_actor, sleep)
    }

    /// Whether an alarm `sleep` from now would be earlier than the one that is set.
    pub(super) fn is_earlier(&self, sleep: Duration, at: Instant) -> bool {
        self.rings_at.is_none_or(|rings| at + sleep < rings)
    }

    /// Notes that an alarm was set, and returns its number.
    pub(super) fn set(&mut self, sleep: Duration, at: Instant) -> u64 {
        self.generation += 1;
        self.rings_at = Some(at + sleep);
        self.generation
    }

    pub(super) const fn is_latest(&self, generation: u64) -> bool {
        self.generation == generation
    }
}

/// The state's order of timers.
fn order(timer: &Timer) -> (LogTime, &DomainId, &TimerKind) {
    (timer.deadline, &timer.domain, &timer.what)
}
