//! A node with very many calls is killed. All must be taken over, in doses: how long until the last, and how many re-INVITEs
//! a node has outstanding at once, as the phones see it.
//!
//! The phones answer a re-INVITE a moment late, so that what is outstanding can be counted: from its arrival at a phone to
//! that phone's 200, which is a little less than the node itself would count.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tandem::sip::message::Method;

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
    #[arg(long, default_value_t = 2_000)]
    pub calls: usize,
    /// Time between two packets of a phone: with thousands of phones in one process, packets of 20 ms are more than a small
    /// machine carries.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(10..=200))]
    pub ptime_ms: u64,
    #[arg(long)]
    pub no_death_notice: bool,
}

const NODE: u16 = 1;
const OUTSTANDING_MAX: usize = 128;
/// A phone answers a re-INVITE this late.
const REINVITE_DELAY: Duration = Duration::from_millis(30);
const PHASE: Duration = Duration::from_secs(1);
const OBSERVED: Duration = Duration::from_secs(20);
const WHOLE_WITHIN: Duration = Duration::from_secs(40);

pub fn run(options: &Options) -> Result<Report, Error> {
    let mut setup = Setup::pairs(options.calls, &options.common);
    (setup.ptime, setup.reinvite_delay) = (Duration::from_millis(options.ptime_ms), REINVITE_DELAY);
    let stage = Stage::open(setup, |lab| lab.death_notice = !options.no_death_notice)?;
    stage.lab.await_whole(&[1, 2, 3], WHOLE_WITHIN)?;
    let pairs = stage.talk(&stage.callers, &stage.agents[0], NODE, "support")?;
    judge::random_phase(&mut Random(options.common.seed), PHASE);
    stage.exchange.take_lateness();
    let killed = Instant::now();
    stage.lab.signal(NODE, Signal::KILL)?;
    thread::sleep(OBSERVED);
    let mut heard = Heard::of(&pairs, killed);
    if options.common.trace {
        judge::trace(&pairs, killed);
    }
    let mut report = Report::new(format!(
        "survival storm: the node with {} calls killed, packets of {} ms, media {}",
        options.calls,
        options.ptime_ms,
        options.common.media.name()
    ));
    heard.tell(&mut report, "");
    report.figure("of that, the phones themselves were late", stage.exchange.take_lateness().as_secs_f64() * 1000.0, "ms");
    taken_over(&mut report, &pairs, killed);
    outstanding(&mut report, &pairs, killed);
    judge::hang_up(&mut report, &pairs, "");
    let numbers: Vec<String> = (0..options.calls).map(stage::number).collect();
    judge::records(&mut report, &stage, &numbers, options.calls, "")?;
    judge::agents(&mut report, &stage, "")?;
    judge::protocol(&mut report, &stage, "");
    Ok(report)
}

/// When each phone's other end got its new owner.
fn taken_over(report: &mut Report, pairs: &[Pair], killed: Instant) {
    let at = |phone: &Phone| {
        phone.look(|ua| {
            let owners = &ua.call()?.owners;
            owners.iter().skip(1).map(|owner| owner.at).find(|at| *at > killed)
        })
    };
    let phones = pairs.iter().flat_map(|pair| [&pair.caller, &pair.agent]);
    let mut times: Vec<f64> = phones.filter_map(at).map(|at| (at - killed).as_secs_f64() * 1000.0).collect();
    let all = 2 * pairs.len();
    report.bounded("phones with a new owner", times.len() as f64, "phones", format!("= {all}"), times.len() == all);
    report.quantiles("kill → a phone hears of its new owner", &mut times, "ms");
}

/// How many re-INVITEs each node had outstanding at once, at most.
fn outstanding(report: &mut Report, pairs: &[Pair], killed: Instant) {
    // +1 when one arrives, -1 when its answer leaves; at one moment answers first.
    let mut steps: BTreeMap<SocketAddr, Vec<(Instant, i64)>> = BTreeMap::new();
    for phone in pairs.iter().flat_map(|pair| [&pair.caller, &pair.agent]) {
        phone.look(|ua| {
            let entries: Vec<_> = ua.journal.since(killed).collect();
            for asked in entries.iter().filter(|e| e.way == Way::In && e.is_request() && e.method == Method::Invite) {
                let answer = entries.iter().find(|e| {
                    e.way == Way::Out && e.status >= 200 && e.method == Method::Invite && e.cseq == asked.cseq && e.call_id == asked.call_id
                });
                let of_node = steps.entry(asked.peer).or_default();
                of_node.push((asked.at, 1));
                of_node.extend(answer.map(|answer| (answer.at, -1)));
            }
        });
    }
    let worst = steps.into_values().map(most_at_once).max().unwrap_or_default();
    report.bounded(
        "re-INVITEs outstanding at one node",
        worst as f64,
        "requests",
        format!("≤ {OUTSTANDING_MAX}"),
        worst <= OUTSTANDING_MAX,
    );
}

/// The most that were open at once, of steps up and down.
fn most_at_once(mut steps: Vec<(Instant, i64)>) -> usize {
    steps.sort();
    let mut open = 0;
    let most = steps.iter().map(|(_, step)| {
        open += step;
        open
    });
    usize::try_from(most.max().unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outstanding_is_counted_at_its_height_and_an_answer_makes_room_first() {
        let start = Instant::now();
        let at = |ms: u64, step: i64| (start + Duration::from_millis(ms), step);
        let steps = vec![at(0, 1), at(1, 1), at(5, -1), at(5, 1), at(9, -1), at(9, -1), at(20, 1)];
        assert_eq!(most_at_once(steps), 2);
        assert_eq!(most_at_once(Vec::new()), 0);
    }
}
