//! The clocks of a node, and work that would hold its threads up: what a simulation puts its own in the place of.
//!
//! Moments are tokio's throughout this crate, which are the system's monotonic clock except where a simulation pauses it.

use std::{
    sync::atomic::{AtomicI64, Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::time::{ClockId, clock_gettime};
use tokio::{runtime::Handle, task::JoinError};

use crate::NodeId;

/// Time since boot, suspend included: a node that slept must notice.
pub(crate) fn boot() -> Duration {
    #[cfg(feature = "sim")]
    if let Some(time) = crate::sim::boot() {
        return time;
    }
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// How far a drill has put this process's wall clock ahead of the system's, milliseconds.
static AHEAD_MS: AtomicI64 = AtomicI64::new(0);

/// Puts the wall clock of this process so much ahead of the system's, or behind it when negative: what an administrator's
/// mistake or a broken time server does to a machine. Monotonic time is not touched.
pub fn put_wall_ahead(ahead_ms: i64) {
    AHEAD_MS.store(ahead_ms, Relaxed);
}

/// The wall clock of this process, milliseconds since the Unix epoch.
pub fn process_wall_ms() -> i64 {
    let system_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    system_ms.saturating_add(AHEAD_MS.load(Relaxed))
}

/// The wall clock of `node`, which is this one, milliseconds since the Unix epoch.
pub(crate) fn wall_ms(node: NodeId) -> i64 {
    #[cfg(feature = "sim")]
    if let Some(wall_ms) = crate::sim::wall_ms(node) {
        return wall_ms;
    }
    let _ = node;
    process_wall_ms()
}

/// Does work that waits for the disk, on a thread of its own; in a simulation at once, where its end must not depend on
/// threads.
///
/// # Errors
/// When the work panicked.
pub async fn offload<T: Send + 'static>(runtime: Handle, work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    #[cfg(feature = "sim")]
    if crate::sim::on() {
        return Ok(work());
    }
    runtime.spawn_blocking(work).await
}
