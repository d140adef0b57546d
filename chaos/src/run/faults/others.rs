//! What is hurt beside nodes and links: the way to the tagged tenant's agents, and its load.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use serde_json::json;
use tandem_bench::{
    error::Error,
    phone::{ELSEWHERE, OnRing, Phone, Way},
    tenant::TENANT,
};

use super::{Context, Injury};
use crate::{
    experiment::{Answer, Fault},
    history::Op,
};

/// Agents' phones that answer as a bad carrier does.
pub(super) struct Carrier {
    phones: Vec<Phone>,
    all: usize,
    bad: OnRing,
    good: OnRing,
    since: Instant,
}

impl Carrier {
    pub(super) fn new(context: &Context, fault: &Fault) -> Self {
        let all: Vec<&Phone> = context.stage.agents.iter().flatten().collect();
        let count = (all.len() * fault.share_pct as usize).div_ceil(100);
        let bad = match fault.answer {
            Answer::Busy => OnRing::Refuse(503),
            Answer::Late => OnRing::Answer { after_ms: fault.after_ms },
            Answer::Twice => OnRing::AnswerTwice { after_ms: context.experiment.workload.answer_after_ms },
            Answer::Never => OnRing::Ignore,
        };
        let good = OnRing::Answer { after_ms: context.experiment.workload.answer_after_ms };
        Self { phones: all.iter().take(count).map(|phone| (*phone).clone()).collect(), all: all.len(), bad, good, since: Instant::now() }
    }
}

impl Carrier {
    /// Second answers that the cluster took notice of: it sent a BYE to them.
    fn ended_elsewhere(&self, phone: &Phone) -> usize {
        let is_end = |bytes: &[u8]| bytes.starts_with(b"BYE ") && String::from_utf8_lossy(bytes).contains(ELSEWHERE);
        phone.look(|ua| ua.journal.since(self.since).filter(|entry| entry.way == Way::In && is_end(&entry.bytes)).count())
    }
}

impl Injury for Carrier {
    fn targets(&self) -> String {
        format!("{} of {} agents' phones ({:?})", self.phones.len(), self.all, self.bad)
    }

    fn inject(&mut self, _: &Context) -> Result<(), Error> {
        self.since = Instant::now();
        self.phones.iter().for_each(|phone| phone.on_ring(self.bad));
        Ok(())
    }

    fn observe(&mut self, _: &Context) -> Result<Option<String>, Error> {
        let called = |phone: &Phone| {
            phone.look(|ua| {
                ua.journal
                    .since(self.since)
                    .filter(|entry| entry.is_request() && entry.way == Way::In && entry.bytes.starts_with(b"INVITE "))
                    .count()
            })
        };
        let invites: usize = self.phones.iter().map(called).sum();
        if let OnRing::AnswerTwice { .. } = self.bad {
            let ended: usize = self.phones.iter().map(|phone| self.ended_elsewhere(phone)).sum();
            return Ok((ended > 0).then(|| format!("they were called {invites} times; {ended} second answers were ended by the cluster")));
        }
        Ok((invites > 0).then(|| format!("they were called {invites} times")))
    }

    fn heal(&mut self, context: &Context) -> Result<(), Error> {
        self.phones.iter().for_each(|phone| phone.on_ring(self.good));
        // Agents that missed too often were set to a break by the product, as they should be.
        for phone in &self.phones {
            let agent = phone.look(|ua| ua.options.user.clone());
            let node = *context.members().first().expect("a cluster has members");
            context.stage.lab.post(node, &format!("/api/v1/agents/{agent}/state?tenant={TENANT}"), &json!({ "state": "available" }))?;
        }
        Ok(())
    }

    fn is_healed(&mut self, context: &Context) -> Result<bool, Error> {
        Ok(context.are_ready(&context.members()))
    }
}

/// Callers come faster.
pub(super) struct Overload {
    factor: f64,
    expected: f64,
    from_ms: f64,
}

impl Overload {
    pub(super) fn new(context: &Context, fault: &Fault) -> Self {
        let expected = context.experiment.workload.arrival_per_s * fault.factor * fault.duration_s;
        Self { factor: fault.factor, expected, from_ms: 0.0 }
    }
}

/// Of the arrivals that were meant to come, this share must have.
const ARRIVED_MIN: f64 = 0.5;
const USUAL_MILLI: u64 = 1_000;
const CALMS_WITHIN: Duration = Duration::from_secs(2);

impl Injury for Overload {
    fn targets(&self) -> String {
        format!("the callers ({} times the rate)", self.factor)
    }

    fn inject(&mut self, context: &Context) -> Result<(), Error> {
        self.from_ms = context.recorder.now_ms();
        context.rate_milli.store((self.factor * USUAL_MILLI as f64) as u64, Ordering::Relaxed);
        Ok(())
    }

    fn observe(&mut self, context: &Context) -> Result<Option<String>, Error> {
        let came = context.recorder.count(|record| record.at_ms >= self.from_ms && matches!(record.op, Op::Dial { .. }));
        Ok((came as f64 >= self.expected * ARRIVED_MIN).then(|| format!("{came} calls came")))
    }

    fn heal(&mut self, context: &Context) -> Result<(), Error> {
        context.rate_milli.store(USUAL_MILLI, Ordering::Relaxed);
        std::thread::sleep(CALMS_WITHIN);
        Ok(())
    }

    fn is_healed(&mut self, context: &Context) -> Result<bool, Error> {
        Ok(context.are_ready(&context.members()))
    }
}
