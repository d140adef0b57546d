//! The last events of this node, so that a stream can be taken up again where it broke.
//!
//! It owns a bounded ring fed by one task. Events come in the order this node applied them: within a tenant that is the
//! order of the log, across tenants it may differ from node to node. A stream is therefore at least once: what may have
//! been missed is sent again, and the receiver drops what it has by the event's id.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::{bells::Bells, limits};
use crate::core::{effect::Event, id::EffectId};

/// Events of other tenants this much older than the last one seen are sent again on resume, milliseconds.
const OVERLAP_MS: i64 = 5_000;
/// Events a slow stream may fall behind before it is told of a gap.
const LIVE_BUFFER: usize = 4_096;

/// The ring and the live channel behind it.
#[derive(Debug)]
pub struct Feed {
    ring: Mutex<VecDeque<Arc<Event>>>,
    live: broadcast::Sender<Arc<Event>>,
    bells: Arc<Bells>,
}

/// What a new stream begins with.
#[derive(Debug)]
pub struct Start {
    /// Events to send again, oldest first.
    pub backlog: Vec<Arc<Event>>,
    /// True when the last event seen is no longer here: something may be missing.
    pub gap: bool,
    pub live: broadcast::Receiver<Arc<Event>>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { ring: Mutex::new(VecDeque::new()), live: broadcast::channel(LIVE_BUFFER).0, bells: Arc::default() }
    }
}

impl Feed {
    /// Who waits for news of one call.
    pub const fn bells(&self) -> &Arc<Bells> {
        &self.bells
    }

    pub fn push(&self, event: Arc<Event>) {
        if let Some(call) = event.call {
            self.bells.ring(call);
        }
        let mut ring = self.ring.lock();
        if ring.len() == limits::EVENTS_KEPT {
            ring.pop_front();
        }
        ring.push_back(Arc::clone(&event));
        // Sent under the lock, so that `start` sees each event exactly once: in its backlog or live.
        self.live.send(event).ok();
    }

    /// Begins a stream after the event `last`, or now.
    pub fn start(&self, last: Option<EffectId>) -> Start {
        let ring = self.ring.lock();
        let live = self.live.subscribe();
        let Some(last) = last else { return Start { backlog: Vec::new(), gap: false, live } };
        let Some(seen) = ring.iter().find(|event| event.id == last) else {
            return Start { backlog: ring.iter().cloned().collect(), gap: true, live };
        };
        let since = seen.wall.0 - OVERLAP_MS;
        let missed = |event: &&Arc<Event>| if event.id.group == last.group { event.id > last } else { event.wall.0 >= since };
        Start { backlog: ring.iter().filter(missed).cloned().collect(), gap: false, live }
    }

    /// Copies every event of this node into the ring until the source ends.
    pub async fn run(self: Arc<Self>, mut source: broadcast::Receiver<Arc<Event>>) {
        loop {
            match source.recv().await {
                Ok(event) => self.push(event),
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "event feed fell behind; subscribers see a gap");
                    self.ring.lock().clear();
                    self.bells.ring_all();
                }
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }
}

/// The CloudEvents `id` and SSE `id` of an event.
pub fn print_id(id: EffectId) -> String {
    format!("{}-{}-{}", id.group, id.index, id.n)
}

/// Reads [`print_id`] back.
pub fn parse_id(text: &str) -> Option<EffectId> {
    let mut parts = text.trim().splitn(3, '-');
    Some(EffectId { group: parts.next()?.parse().ok()?, index: parts.next()?.parse().ok()?, n: parts.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{effect::EventKind, time::WallTime};

    fn event(group: u32, index: u64, wall: i64) -> Arc<Event> {
        Arc::new(Event {
            id: EffectId { group, index, n: 0 },
            wall: WallTime(wall),
            domain: "demo".into(),
            kind: EventKind::ContactQueued,
            call: None,
            agent: None,
            queue: None,
            data: Vec::new(),
        })
    }

    #[test]
    fn a_broken_stream_goes_on_after_the_last_event_seen() {
        let feed = Feed::default();
        for index in 1..=5 {
            feed.push(event(1, index, 1_000_000 + index as i64));
        }
        let start = feed.start(Some(EffectId { group: 1, index: 3, n: 0 }));
        assert_eq!(start.backlog.iter().map(|e| e.id.index).collect::<Vec<_>>(), [4, 5]);
        assert!(!start.gap);
    }

    #[test]
    fn recent_events_of_other_partitions_are_sent_again_rather_than_lost() {
        let feed = Feed::default();
        feed.push(event(2, 7, 1_000));
        feed.push(event(2, 8, 9_000));
        feed.push(event(1, 1, 10_000));
        let start = feed.start(Some(EffectId { group: 1, index: 1, n: 0 }));
        assert_eq!(start.backlog.iter().map(|e| e.id.index).collect::<Vec<_>>(), [8]);
    }

    #[test]
    fn an_event_no_longer_kept_is_told_as_a_gap() {
        let feed = Feed::default();
        for index in 0..=limits::EVENTS_KEPT as u64 {
            feed.push(event(1, index, 0));
        }
        let start = feed.start(Some(EffectId { group: 1, index: 0, n: 0 }));
        assert!(start.gap);
        assert_eq!(start.backlog.len(), limits::EVENTS_KEPT);
    }

    #[test]
    fn an_event_id_reads_back_as_it_prints() {
        let id = EffectId { group: 3, index: 99, n: 2 };
        assert_eq!(parse_id(&print_id(id)), Some(id));
        assert_eq!(parse_id("3-x-1"), None);
    }
}
