//! Which daemons live: a ping twice a second, and what a silence or its end means for the calls they carry.

use std::{
    sync::{
        Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use metrics::gauge;

use super::{
    Inner, SESSIONS, UP,
    client::{Error, Request},
    work,
};
use crate::media::limits::{NG_PING_EVERY, NG_PINGS_LOST};

/// How one daemon answers.
#[derive(Debug)]
pub struct Health {
    /// Pings without an answer since the last one with.
    lost: AtomicU32,
}

impl Default for Health {
    /// Nobody is believed to live before its first answer.
    fn default() -> Self {
        Self { lost: AtomicU32::new(NG_PINGS_LOST) }
    }
}

impl Health {
    #[cfg(test)]
    pub fn lost(&self) -> u32 {
        self.lost.load(Ordering::Relaxed)
    }

    pub fn is_up(&self) -> bool {
        self.lost.load(Ordering::Relaxed) < NG_PINGS_LOST
    }
}

/// Pings a daemon until the plane is gone.
pub(super) async fn watch(plane: Weak<Inner>, index: usize) {
    let mut pace = tokio::time::interval(NG_PING_EVERY);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let Some(inner) = plane.upgrade() else { return };
        let daemon = &inner.daemons[index];
        let answer = daemon.client.ask_once(&Request::Ping, NG_PING_EVERY.saturating_sub(Duration::from_millis(10))).await;
        let before = daemon.health.lost.load(Ordering::Relaxed);
        let lost = match answer {
            Ok(_) => 0,
            // The host says that no such process is there, which is more than silence.
            Err(Error::Refused) => before.saturating_add(2),
            Err(_) => before.saturating_add(1),
        };
        daemon.health.lost.store(lost.min(NG_PINGS_LOST), Ordering::Relaxed);
        let (was_up, is_up) = (before < NG_PINGS_LOST, lost < NG_PINGS_LOST);
        if was_up && !is_up {
            tracing::warn!(daemon = %daemon.name, "an rtpengine does not answer any more: its calls go to another one");
            tokio::spawn(work::move_all(inner.clone(), index, false));
        } else if lost == 0 && before > 0 {
            tracing::info!(daemon = %daemon.name, "an rtpengine answers");
            // It may have been started anew and have forgotten what it carried.
            tokio::spawn(work::move_all(inner.clone(), index, true));
        }
        gauge!(UP, "daemon" => daemon.name.to_string()).set(f64::from(u8::from(is_up)));
        if index == 0 {
            gauge!(SESSIONS).set(inner.book.lock().len() as f64);
        }
    }
}
