//! The clocks of a node, and work that would hold its threads up: what a simulation puts its own in the place of.
//!
//! Moments are tokio's throughout this crate, which are the system's monotonic clock except where a simulation pauses it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

/// The wall clock of `node`, which is this one, milliseconds since the Unix epoch.
pub(crate) fn wall_ms(node: NodeId) -> i64 {
    #[cfg(feature = "sim")]
    if let Some(wall_ms) = crate::sim::wall_ms(node) {
        return wall_ms;
    }
    let _ = node;
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
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
