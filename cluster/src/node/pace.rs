//! Whether this node's disk keeps pace: a leader on a slow one makes every command of its groups wait.
//!
//! It judges from the log's own batches and tells the peers with each ping. What follows (leaderships go to nodes that
//! keep pace) is the steward's. A disk is called slow late and fast again later still, so that leaderships do not wander
//! with every hiccup.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};

use super::Node;
use crate::{
    NodeId,
    limits::{FAST_BATCH_US, FAST_ROUNDS, PACE_ROUND, SLOW_BATCH_US, SLOW_ROUNDS},
    log::Stats,
};

/// Who is slow, as far as this node knows.
#[derive(Default)]
pub(crate) struct Slow {
    me: AtomicBool,
    peers: Mutex<BTreeSet<NodeId>>,
}

impl Slow {
    pub(crate) fn me(&self) -> bool {
        self.me.load(Ordering::Relaxed)
    }

    pub(crate) fn peer(&self, node: NodeId) -> bool {
        self.peers.lock().contains(&node)
    }

    /// Takes note of what a peer says of itself.
    pub(super) fn hear(&self, node: NodeId, slow: bool) {
        let mut peers = self.peers.lock();
        if slow {
            peers.insert(node);
        } else {
            peers.remove(&node);
        }
    }
}

/// Starts to watch the disk, until the node stops.
pub(super) fn watch(node: &Arc<Node>) {
    tokio::spawn(run(Arc::clone(node)));
}

async fn run(node: Arc<Node>) {
    let mut rounds = interval(PACE_ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pace = Pace::default();
    while !node.stopping() {
        rounds.tick().await;
        let slow = pace.look(&node.log.stats(), Instant::now());
        if node.slow.me.swap(slow, Ordering::Relaxed) != slow {
            tracing::warn!(node = node.options.node, slow, "the disk under the log changed pace");
            metrics::gauge!("cluster_disk_slow").set(f64::from(u8::from(slow)));
        }
    }
}

/// The verdict over time.
#[derive(Default)]
struct Pace {
    batches: u64,
    total_us: u64,
    slow_rounds: u32,
    fast_rounds: u32,
    slow: bool,
}

impl Pace {
    /// Looks at what was written since the last look, and at the batch that is being written.
    fn look(&mut self, stats: &Stats, now: Instant) -> bool {
        let (batches, spent) = (stats.batches - self.batches, stats.total_us - self.total_us);
        (self.batches, self.total_us) = (stats.batches, stats.total_us);
        let hanging =
            stats.writing_since.map_or(0, |since| u64::try_from(now.saturating_duration_since(since).as_micros()).unwrap_or(u64::MAX));
        let mean = spent.checked_div(batches);
        // Nothing written and nothing hanging is no evidence either way.
        match mean.unwrap_or(0).max(hanging) {
            worst if worst >= SLOW_BATCH_US => (self.slow_rounds, self.fast_rounds) = (self.slow_rounds + 1, 0),
            worst if worst <= FAST_BATCH_US && mean.is_some() => (self.slow_rounds, self.fast_rounds) = (0, self.fast_rounds + 1),
            _ => {}
        }
        self.slow = if self.slow { self.fast_rounds < FAST_ROUNDS } else { self.slow_rounds >= SLOW_ROUNDS };
        self.slow
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A log that writes one batch a round.
    struct Disk(Stats);

    impl Disk {
        fn round(&mut self, pace: &mut Pace, batch_us: u64) -> bool {
            self.0.batches += 1;
            self.0.total_us += batch_us;
            pace.look(&self.0, Instant::now())
        }
    }

    #[test]
    fn a_disk_is_slow_after_some_rounds_and_fast_again_after_more() {
        let (mut pace, mut disk) = (Pace::default(), Disk(Stats::default()));
        assert!(!disk.round(&mut pace, 2 * SLOW_BATCH_US), "a hiccup is not enough");
        assert!(!disk.round(&mut pace, 0));
        for round in 1..=SLOW_ROUNDS {
            assert_eq!(disk.round(&mut pace, SLOW_BATCH_US), round == SLOW_ROUNDS);
        }
        for round in 1..=FAST_ROUNDS {
            assert_eq!(disk.round(&mut pace, FAST_BATCH_US), round < FAST_ROUNDS);
        }
    }

    #[test]
    fn an_idle_log_changes_nothing_and_a_hanging_write_counts() {
        let (mut pace, mut disk) = (Pace::default(), Disk(Stats::default()));
        let begun = Instant::now();
        disk.0.writing_since = Some(begun);
        let later = begun + Duration::from_micros(SLOW_BATCH_US);
        assert!((0..SLOW_ROUNDS).any(|_| pace.look(&disk.0, later)), "a write that does not end is slow though uncounted");
        disk.0.writing_since = None;
        assert!((0..2 * FAST_ROUNDS).all(|_| pace.look(&disk.0, later)), "nothing was written that would show that it is fast");
    }
}
