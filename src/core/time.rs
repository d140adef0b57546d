//! The two times of a command: log time, which drives every timer, and wall time, which only dates records.

use serde::{Deserialize, Serialize};

/// Nanoseconds of the group's own clock: strictly monotonic in the log, advanced by the leader's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct LogTime(pub u64);

impl LogTime {
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1_000_000)))
    }

    /// Milliseconds since `earlier`, zero if it is not earlier.
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / 1_000_000
    }
}

/// Milliseconds since the Unix epoch by the proposer's wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct WallTime(pub i64);

/// Where and when a command is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    pub group: u32,
    /// Raft log index of the entry.
    pub index: u64,
    pub time: LogTime,
    pub wall: WallTime,
}

impl At {
    /// Both times of this place, to be kept by a row or a record.
    pub const fn stamp(&self) -> Stamp {
        Stamp { time: self.time, wall: self.wall }
    }
}

/// When something happened: log time for exact durations, wall time for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Stamp {
    pub time: LogTime,
    pub wall: WallTime,
}
