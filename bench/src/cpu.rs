//! CPU seconds of processes as the kernel counts them (`/proc/PID/stat`).

use std::fs;

/// USER_HZ has been 100 on every Linux architecture Tandem runs on since 2.6.
const TICKS_PER_S: f64 = 100.0;

/// User plus system seconds of a process, all threads; `None` once it is gone.
pub fn seconds(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name is in parentheses and may hold anything; the fields count from the last one.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 / TICKS_PER_S)
}

/// Share of all cores that anybody else used, from two readings of `/proc/stat` around a run.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    busy_s: f64,
    total_s: f64,
}

impl Machine {
    pub fn read() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let ticks: Vec<f64> =
            stat.lines().next().unwrap_or_default().split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
        let total: f64 = ticks.iter().take(8).sum();
        let idle = ticks.get(3).copied().unwrap_or(0.0) + ticks.get(4).copied().unwrap_or(0.0);
        Self { busy_s: (total - idle) / TICKS_PER_S, total_s: total / TICKS_PER_S }
    }

    /// Percent of the machine used since `self` was read.
    pub fn busy_percent_since(self) -> f64 {
        let now = Self::read();
        100.0 * (now.busy_s - self.busy_s) / (now.total_s - self.total_s).max(0.001)
    }
}
