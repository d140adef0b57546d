//! Who may start a call here now: the node's load, its lease and drain, and each trunk's own limits.
//!
//! A refusal costs a few microseconds and no state, so that twice the load a node can carry leaves nearly all of its time
//! to the half it serves. Requests within a call never come here.
//!
//! How the load controller works: what saturates first is the replicated commit of an arrival, and its latency says so
//! early. So the number of arrivals awaiting their commit is bounded (Little's law: bound = rate × latency), and the
//! bound follows the latency as TCP's window follows loss: a window of 100 ms whose mean latency lies over the target
//! shrinks it by a fifth, one that ran into the bound while latency was good widens it by a tenth. The second sensor is
//! the age of a request when it is looked at: if the node's own loop is behind, an arrival is refused by its age alone.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::limits::{ARRIVAL_AGE_MAX, ARRIVAL_TARGET, ARRIVALS_MAX, ARRIVALS_MIN};
use crate::core::{
    id::{DomainId, TrunkId},
    policy::Trunk,
};

#[cfg(test)]
mod tests;

/// The controller looks back over this long.
const WINDOW: Duration = Duration::from_millis(100);

/// Why an arrival was refused. All are answered 503 with Retry-After.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The node is leaving and only finishes its calls.
    Draining,
    /// The node may not act: no majority vouches for it.
    NoLease,
    /// Too many arrivals await their commit.
    Busy,
    /// The request was old before it was looked at.
    Behind,
    /// The trunk's calls per second are used up.
    TrunkRate,
    /// The trunk's calls at once are used up.
    TrunkCalls,
    /// The domain's calls at once, counted on this node, are used up.
    DomainCalls,
    /// The node's configured calls per second or calls at once are used up.
    NodeLimit,
}

impl Refusal {
    /// Label of `sip_admission_refused_total`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::NoLease => "no_lease",
            Self::Busy => "busy",
            Self::Behind => "behind",
            Self::TrunkRate => "trunk_rate",
            Self::TrunkCalls => "trunk_calls",
            Self::DomainCalls => "domain_calls",
            Self::NodeLimit => "node_limit",
        }
    }
}

/// Whose call it is: the row its limits are counted in.
pub type Account = (DomainId, Option<TrunkId>);

/// A token bucket in thousandths of a token, so that it needs no floats.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    millitokens: u64,
    filled_at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(now: Instant, per_s: u32) -> Self {
        Self { millitokens: u64::from(per_s) * 1_000, filled_at: now }
    }

    /// Takes a token if there is one. The burst is one second's worth.
    pub fn take(&mut self, now: Instant, per_s: u32) -> bool {
        let elapsed_ms = u64::try_from(now.saturating_duration_since(self.filled_at).as_millis()).unwrap_or(u64::MAX);
        if elapsed_ms > 0 {
            let full = u64::from(per_s) * 1_000;
            self.millitokens = self.millitokens.saturating_add(elapsed_ms.saturating_mul(u64::from(per_s))).min(full);
            self.filled_at += Duration::from_millis(elapsed_ms);
        }
        let taken = self.millitokens >= 1_000;
        self.millitokens -= if taken { 1_000 } else { 0 };
        taken
    }
}

#[derive(Debug, Default)]
struct Use {
    calls: u32,
    bucket: Option<Bucket>,
}

/// The controller of one node.
#[derive(Debug)]
pub struct Admission {
    draining: bool,
    /// Configured bounds of the node, 0 for none: calls at once, and a second.
    calls_max: u32,
    calls_per_s_max: u32,
    calls: u32,
    bucket: Bucket,
    /// Bound on arrivals in flight, and how many there are.
    bound: usize,
    in_flight: usize,
    window_start: Instant,
    window_commits: u32,
    window_latency: Duration,
    window_full: bool,
    uses: BTreeMap<Account, Use>,
    domains: BTreeMap<DomainId, u32>,
}

impl Admission {
    /// `calls_max` at once and `calls_per_s_max` are the operator's bounds; 0 means none.
    pub fn new(now: Instant, calls_max: u32, calls_per_s_max: u32) -> Self {
        Self {
            draining: false,
            calls_max,
            calls_per_s_max,
            calls: 0,
            bucket: Bucket::new(now, calls_per_s_max),
            bound: ARRIVALS_MAX / 8,
            in_flight: 0,
            window_start: now,
            window_commits: 0,
            window_latency: Duration::ZERO,
            window_full: false,
            uses: BTreeMap::new(),
            domains: BTreeMap::new(),
        }
    }

    pub const fn set_draining(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// Calls that hold a place here, arrivals in flight included.
    pub const fn calls(&self) -> u32 {
        self.calls
    }

    /// How many arrivals may await their commit now.
    pub const fn bound(&self) -> usize {
        self.bound
    }

    /// Whether a new call would find this node able: the answer to OPTIONS.
    pub fn health(&self, lease_valid: bool) -> Result<(), Refusal> {
        match () {
            () if self.draining => Err(Refusal::Draining),
            () if !lease_valid => Err(Refusal::NoLease),
            () if self.in_flight >= self.bound => Err(Refusal::Busy),
            () if self.calls_max > 0 && self.calls >= self.calls_max => Err(Refusal::NodeLimit),
            () => Ok(()),
        }
    }

    /// Admits a call that was received at `received`, or says why not. An admitted call takes a place until
    /// [`Admission::gone`], and one in flight until [`Admission::committed`].
    ///
    /// # Errors
    /// The refusal to answer with.
    pub fn admit(
        &mut self,
        now: Instant,
        received: Instant,
        lease_valid: bool,
        account: &Account,
        trunk: Option<&Trunk>,
        domain_calls_max: u32,
    ) -> Result<(), Refusal> {
        self.turn(now);
        if let Err(refusal) = self.health(lease_valid) {
            self.window_full |= refusal == Refusal::Busy;
            return Err(refusal);
        }
        if now.saturating_duration_since(received) > ARRIVAL_AGE_MAX {
            return Err(Refusal::Behind);
        }
        let domain = self.domains.entry(account.0.clone()).or_default();
        if domain_calls_max > 0 && *domain >= domain_calls_max {
            return Err(Refusal::DomainCalls);
        }
        let used = self.uses.entry(account.clone()).or_default();
        if let Some(trunk) = trunk {
            if trunk.calls_max > 0 && used.calls >= trunk.calls_max {
                return Err(Refusal::TrunkCalls);
            }
            let per_s = trunk.calls_per_s_max;
            if per_s > 0 && !used.bucket.get_or_insert_with(|| Bucket::new(now, per_s)).take(now, per_s) {
                return Err(Refusal::TrunkRate);
            }
        }
        if self.calls_per_s_max > 0 && !self.bucket.take(now, self.calls_per_s_max) {
            return Err(Refusal::NodeLimit);
        }
        self.in_flight += 1;
        self.window_full |= self.in_flight >= self.bound;
        self.take(account);
        Ok(())
    }

    /// Counts a call. One that another edge had is never refused: it was admitted there.
    pub fn take(&mut self, account: &Account) {
        *self.domains.entry(account.0.clone()).or_default() += 1;
        self.uses.entry(account.clone()).or_default().calls += 1;
        self.calls += 1;
    }

    /// The commit of an admitted call came to an end, in whatever way, after `latency`.
    pub fn committed(&mut self, now: Instant, latency: Duration) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.window_commits += 1;
        self.window_latency += latency;
        self.turn(now);
    }

    /// An admitted call is over.
    pub fn gone(&mut self, account: &Account) {
        self.calls = self.calls.saturating_sub(1);
        if let Some(calls) = self.domains.get_mut(&account.0) {
            *calls = calls.saturating_sub(1);
        }
        if let Some(used) = self.uses.get_mut(account) {
            used.calls = used.calls.saturating_sub(1);
        }
    }

    /// Closes a window that is over and moves the bound.
    fn turn(&mut self, now: Instant) {
        if now.saturating_duration_since(self.window_start) < WINDOW {
            return;
        }
        if let Some(mean) = self.window_latency.checked_div(self.window_commits) {
            if mean > ARRIVAL_TARGET {
                self.bound = (self.bound * 4 / 5).max(ARRIVALS_MIN);
            } else if self.window_full {
                self.bound = (self.bound + (self.bound / 10).max(1)).min(ARRIVALS_MAX);
            }
        } else if self.window_full && now.saturating_duration_since(self.window_start) > ARRIVAL_TARGET {
            // Full and nothing committed: the window stays open until something does, and this counts as slow.
            self.bound = (self.bound * 4 / 5).max(ARRIVALS_MIN);
        }
        self.window_start = now;
        self.window_commits = 0;
        self.window_latency = Duration::ZERO;
        self.window_full = false;
    }
}
