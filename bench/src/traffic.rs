//! Steady calls at several nodes, as the proofs under faults need them.

use crate::{
    error::Error,
    lab::Lab,
    sipp::{self, Load, Outcome, Sipp},
    tenant,
};

/// How calls come in.
#[derive(Debug, Clone, clap::Args)]
// It is part of other options, whose group has the same name.
#[group(skip)]
pub struct Options {
    /// Calls a second over all nodes called.
    #[arg(long, default_value_t = 50.0)]
    pub rate: f64,
    #[arg(long, default_value_t = 100)]
    pub agents: u32,
    #[arg(long, default_value_t = 1000)]
    pub hold_ms: u32,
}

/// Callers at work.
pub struct Traffic {
    callers: Vec<Sipp>,
}

impl Traffic {
    /// Calls at `nodes` for `seconds`, the rate shared among them.
    pub fn start(lab: &Lab, options: &Options, nodes: &[u16], seconds: f64) -> Result<Self, Error> {
        Self::start_to(lab, options, tenant::QUEUE, nodes, seconds)
    }

    /// As [`Self::start`], to another route.
    pub fn start_to(lab: &Lab, options: &Options, route: &str, nodes: &[u16], seconds: f64) -> Result<Self, Error> {
        let total = (options.rate * seconds).round() as u32;
        let count = nodes.len() as u32;
        let mut callers = Vec::new();
        for (n, k) in (0..).zip(nodes) {
            callers.push(sipp::callers(&Load {
                to: lab.sip(*k),
                service: route.to_owned(),
                calls_per_s: options.rate / f64::from(count),
                calls: total / count + u32::from(n < total % count),
                hold_ms: options.hold_ms,
            })?);
        }
        Ok(Self { callers })
    }

    /// Waits for the last call.
    pub fn finish(self) -> Result<Outcome, Error> {
        let mut seen = Outcome::default();
        for caller in self.callers {
            seen.add(caller.finish()?);
        }
        Ok(seen)
    }
}
