//! The node that carries every call stands still for much longer than its lease and goes on (SIGSTOP, SIGCONT), as a virtual
//! machine that was frozen does. Its calls must have one new owner each, and the old one must not meddle.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{
    Common,
    judge::{self, Heard},
    stage::{self, Pair, Setup, Stage},
};
use crate::{
    error::Error,
    phone::{Phone, Random, Way},
    report::Report,
};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    #[arg(long, default_value_t = 200)]
    pub calls: usize,
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
}

const NODE: u16 = 1;
/// What the sockets of a node that stood still may still give away, and how long after it goes on.
const STALE_PACKETS_MAX: usize = 64;
const STALE_MS: f64 = 5.0;
const PHASE: Duration = Duration::from_secs(1);
const OBSERVED: Duration = Duration::from_secs(5);
const WHOLE_WITHIN: Duration = Duration::from_secs(40);

pub fn run(options: &Options) -> Result<Report, Error> {
    let stage = Stage::open(Setup::pairs(options.calls, &options.common), |lab| lab.restart_after_ms = Some(1_000))?;
    stage.lab.await_whole(&[1, 2, 3], WHOLE_WITHIN)?;
    let pairs = stage.talk(&stage.callers, &stage.agents[0], NODE, "support")?;
    judge::random_phase(&mut Random(options.common.seed), PHASE);
    let before = sources(&pairs);
    let stopped = Instant::now();
    stage.lab.signal(NODE, Signal::STOP)?;
    thread::sleep(Duration::from_secs(options.seconds));
    let mut heard = Heard::of(&pairs, stopped);
    if options.common.trace {
        judge::trace(&pairs, stopped);
    }
    // Before the signal, so that nothing that follows it is taken for earlier.
    let went_on = Instant::now();
    stage.lab.signal(NODE, Signal::CONT)?;
    thread::sleep(OBSERVED);
    let mut report = Report::new(format!(
        "survival pause: the node with {} calls stands still for {} s, media {}",
        options.calls,
        options.seconds,
        options.common.media.name()
    ));
    heard.tell(&mut report, "while it stood still: ");
    let after = Heard::of(&pairs, went_on).calls_lost();
    report.bounded("calls lost after it went on", after as f64, "calls", "= 0", after == 0);
    owners(&mut report, &pairs);
    old_owner(&mut report, &stage, &pairs, went_on);
    stale_audio(&mut report, &pairs, &before, went_on);
    judge::hang_up(&mut report, &pairs, "");
    let numbers: Vec<String> = (0..options.calls).map(stage::number).collect();
    judge::records(&mut report, &stage, &numbers, options.calls, "")?;
    judge::agents(&mut report, &stage, "")?;
    judge::protocol(&mut report, &stage, "");
    Ok(report)
}

fn phones(pairs: &[Pair]) -> impl Iterator<Item = &Phone> {
    pairs.iter().flat_map(|pair| [&pair.caller, &pair.agent])
}

/// Where the audio of all calls came from, phones aside.
fn sources(pairs: &[Pair]) -> BTreeSet<SocketAddr> {
    let own: BTreeSet<SocketAddr> = phones(pairs).map(|phone| phone.look(|ua| ua.options.media)).collect();
    let heard = phones(pairs).flat_map(|phone| phone.heard(|heard| heard.sources.clone()));
    heard.map(|(_, source)| source).filter(|source| !own.contains(source)).collect()
}

/// Every phone saw exactly one new owner.
fn owners(report: &mut Report, pairs: &[Pair]) {
    let counts: Vec<usize> = phones(pairs).map(|phone| phone.look(|ua| ua.call().map_or(0, |call| call.new_owners()))).collect();
    let one = counts.iter().filter(|count| **count == 1).count();
    let more = counts.iter().filter(|count| **count > 1).count();
    report.bounded("phones that saw one new owner", one as f64, "phones", format!("= {}", counts.len()), one == counts.len());
    report.bounded("phones that saw more than one", more as f64, "phones", "= 0", more == 0);
}

/// What the old owner still says in calls that are no longer its own.
fn old_owner(report: &mut Report, stage: &Stage, pairs: &[Pair], went_on: Instant) {
    let old = stage.sip(NODE);
    let mut count = 0;
    for phone in phones(pairs) {
        count += phone.look(|ua| {
            let of_call: Option<&str> = ua.calls.first().map(|call| call.call_id.as_str());
            let said = ua.journal.since(went_on).filter(|e| e.way == Way::In && e.peer == old && of_call == Some(&e.call_id));
            said.count()
        });
    }
    report.bounded("SIP messages of the old owner after it went on", count as f64, "messages", "= 0", count == 0);
}

/// Packets that the old owner still passes on after it goes on.
fn stale_audio(report: &mut Report, pairs: &[Pair], old: &BTreeSet<SocketAddr>, went_on: Instant) {
    let mut late_ms = Vec::new();
    for phone in phones(pairs) {
        phone.heard(|heard| {
            let stale = heard.arrivals.iter().filter(|arrival| arrival.at >= went_on && old.contains(&arrival.source));
            late_ms.extend(stale.map(|arrival| (arrival.at - went_on).as_secs_f64() * 1000.0));
        });
    }
    if old.is_empty() {
        report.note("audio is direct: no packet passes through a node, so none can be stale".to_owned());
    }
    let last = late_ms.iter().copied().fold(0.0, f64::max);
    let few = late_ms.len() <= STALE_PACKETS_MAX;
    report.bounded("stale packets of the old owner", late_ms.len() as f64, "packets", format!("≤ {STALE_PACKETS_MAX}"), few);
    report.bounded("the last of them, after it went on", last, "ms", format!("≤ {STALE_MS}"), last <= STALE_MS);
}
