//! A crowd before few agents: the order of offers, no agent booked twice, and how fast a freed agent gets its next call
//! beside what one commit costs in the same run.

use std::collections::BTreeMap;

use crate::{
    error::Error,
    judge,
    lab::Lab,
    prometheus::{self, Histogram},
    report::Report,
    sipp::{self, Load},
    stage::Stage,
    tenant,
};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[arg(long, default_value_t = 500)]
    pub callers: u32,
    #[arg(long, default_value_t = 20)]
    pub agents: u32,
    #[arg(long, default_value_t = 1000)]
    pub hold_ms: u32,
    /// Share of the callers on the route of the higher priority, percent.
    #[arg(long, default_value_t = 20)]
    pub urgent_percent: u32,
}

/// Callers arrive this fast: far faster than the agents can serve.
const ARRIVALS_PER_S: f64 = 100.0;

pub fn run(options: &Options) -> Result<Report, Error> {
    let stage = Stage::start(options.agents, |_| {})?;
    let lab = &stage.lab;
    let before = histograms(lab)?;
    let urgent = options.callers * options.urgent_percent / 100;
    let mut callers = Vec::new();
    for k in 1..=3 {
        for (service, calls) in [(tenant::QUEUE, options.callers - urgent), (tenant::URGENT, urgent)] {
            let share = calls / 3 + u32::from(u32::from(k) <= calls % 3);
            let calls_per_s = ARRIVALS_PER_S * f64::from(share) / f64::from(options.callers);
            let (to, service) = (lab.sip(k), service.to_owned());
            callers.push(sipp::callers(&Load { to, service, calls_per_s, calls: share, hold_ms: options.hold_ms })?);
        }
    }
    let mut seen = sipp::Outcome::default();
    for caller in callers {
        seen.add(caller.finish()?);
    }
    let mut report = Report::new(format!(
        "offers: {} callers, {urgent} of them urgent, {} agents, hold {} ms",
        options.callers, options.agents, options.hold_ms
    ));
    judge::traffic(&mut report, &stage, &mut seen)?;
    let after = histograms(lab)?;
    latency(&mut report, &before, &after);
    Ok(report)
}

const FREE_TO_OFFER: &str = "tandem_agent_free_to_offer_seconds";
const COMMIT: &str = "raft_commit_seconds";
/// A commit as an edge waits for it, on whichever node it is: the way to the leader and back included.
const ASKED_COMMIT: &str = "tandem_sip_arrival_commit_seconds";
/// Where the time between goes.
const PARTS: [(&str, &str); 4] = [
    ("arrival to its commit, as its edge waits", ASKED_COMMIT),
    ("message at its actor → committed", "tandem_decision_seconds"),
    ("order → taken by its edge", "tandem_outbox_lag_seconds"),
    ("write and sync of the log", "wal_fsync_seconds"),
];

type Histograms = BTreeMap<&'static str, Histogram>;

/// The two histograms, summed over the nodes.
fn histograms(lab: &Lab) -> Result<Histograms, Error> {
    let mut sums = Histograms::new();
    for k in 1..=lab.nodes() {
        let text = lab.metrics(k)?;
        for name in [FREE_TO_OFFER, COMMIT].into_iter().chain(PARTS.map(|(_, name)| name)) {
            sums.entry(name).or_default().add(&prometheus::histogram(&text, name));
        }
    }
    Ok(sums)
}

fn latency(report: &mut Report, before: &Histograms, after: &Histograms) {
    let of = |name: &str| after[name].since(&before[name]);
    let (offer, commit) = (of(FREE_TO_OFFER), of(COMMIT));
    let parts = PARTS.map(|(what, name)| (what, of(name)));
    let whole = [("BYE read → next INVITE written", &offer), ("one commit in the same run", &commit)];
    for (what, histogram) in whole.into_iter().chain(parts.iter().map(|(what, histogram)| (*what, histogram))) {
        report.figure(format!("{what}, count"), histogram.count(), "");
        for (name, q) in [("p50", 0.5), ("p99", 0.99)] {
            report.figure(format!("{what} {name}"), histogram.quantile(q) * 1000.0, "ms");
        }
    }
    for (name, q, bound) in [("p50", 0.5, 1.5), ("p99", 0.99, 2.0)] {
        let ratio = offer.quantile(q) / commit.quantile(q).max(1e-9);
        report.bounded(format!("ratio of the {name}"), ratio, "", format!("≤ {bound}"), ratio <= bound);
        let asked = offer.quantile(q) / of(ASKED_COMMIT).quantile(q).max(1e-9);
        report.figure(format!("ratio of the {name} to a commit as an edge waits for it"), asked, "");
    }
}
