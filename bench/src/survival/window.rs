//! Hang-ups and answers in the very window of a death: around the kill, at moments a seed chooses, callers give up, agents
//! pick up, either side hangs up. Whatever the node still did or no longer did, nobody may ring or talk for nobody two
//! seconds later, and every call has one end and one record.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{
    Common, judge,
    stage::{self, Group, Pair, Setup, Stage},
};
use crate::{
    error::Error,
    lab::Lab,
    phone::{OnRing, Phone, Random, State},
    report::Report,
    tenant,
};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// Calls in which somebody acts in the window, over all kills.
    #[arg(long, default_value_t = 500)]
    pub tries: usize,
    /// Calls per kill.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(2..))]
    pub calls: u64,
    #[arg(long)]
    pub no_death_notice: bool,
}

/// Actions begin this long before the kill and end this long after.
const BEFORE: Duration = Duration::from_millis(300);
const WINDOW: Duration = Duration::from_millis(1_300);
/// Time for whoever is to notice.
const SETTLED: Duration = Duration::from_secs(2);
/// A transaction without an answer is over after 32 s (RFC 3261 §17.1).
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(40);
const AWAY_MS: u64 = 4_000;
const WHOLE_WITHIN: Duration = Duration::from_secs(40);

/// What somebody does in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// The caller of a ringing call gives up.
    GiveUp,
    /// The agent of a ringing call picks up.
    PickUp,
    /// The caller, or the agent, of an answered call hangs up.
    CallerEnds,
    AgentEnds,
}

#[derive(Debug, Default)]
struct Seen {
    tries: usize,
    ringing_for_nobody: usize,
    talking_to_nobody: usize,
    waiting_for_nobody: usize,
    never_ended: usize,
    stuck: usize,
    /// Calls that the cluster still has when no phone has one.
    left: usize,
}

pub fn run(options: &Options) -> Result<Report, Error> {
    let per_kill = options.calls as usize;
    let ringing = per_kill / 2;
    let mut setup = Setup::pairs(per_kill, &options.common);
    setup.groups =
        vec![Group { on_ring: OnRing::Ring, ..Group::answering("ringing", ringing) }, Group::answering("answered", per_kill - ringing)];
    let stage = Stage::open(setup, |lab| {
        lab.restart_after_ms = Some(AWAY_MS);
        lab.death_notice = !options.no_death_notice;
    })?;
    let mut random = Random(options.common.seed);
    let (mut seen, mut kills) = (Seen::default(), 0);
    while seen.tries < options.tries {
        let node = 1 + (kills % 3) as u16;
        kills += 1;
        stage.lab.await_whole(&[1, 2, 3], WHOLE_WITHIN)?;
        round(&stage, node, ringing, options.common.trace, &mut random, &mut seen)?;
        eprintln!("kill {kills}: {seen:?}");
        if seen.stuck + seen.left > 0 {
            // A further round would meet what this one left behind.
            break;
        }
    }
    stage.lab.await_whole(&[1, 2, 3], WHOLE_WITHIN)?;
    let mut report = Report::new(format!(
        "survival window: {} hang-ups and answers around {kills} kills, {}, media {}",
        seen.tries,
        if options.no_death_notice { "no death notice" } else { "with proof of death" },
        options.common.media.name()
    ));
    for (what, count) in [
        ("agents' phones that ring for nobody", seen.ringing_for_nobody),
        ("agents' phones that talk to nobody", seen.talking_to_nobody),
        ("callers that talk to nobody", seen.waiting_for_nobody),
        ("phones in a call 5 s after the callers hung up", seen.never_ended),
        ("phones in a call 40 s after that", seen.stuck),
        ("calls that the cluster has and no phone", seen.left),
    ] {
        report.bounded(what, count as f64, "phones", "= 0", count == 0);
    }
    verdict(&mut report, &stage, kills * per_kill)?;
    Ok(report)
}

/// One kill with actions around it.
fn round(stage: &Stage, node: u16, ringing: usize, trace: bool, random: &mut Random, seen: &mut Seen) -> Result<(), Error> {
    let (to_ring, to_answer) = stage.callers.split_at(ringing);
    stage.call(to_ring, node, "ringing");
    let answered = stage.talk(to_answer, &stage.agents[1], node, "answered")?;
    let until = Instant::now() + stage::SETUP_WITHIN;
    for agent in &stage.agents[0] {
        agent.wait_state(State::Ringing, until.saturating_duration_since(Instant::now()));
    }
    let rung = stage::pairs(to_ring, &stage.agents[0])?;
    let mut acts: Vec<(Duration, Act, &Pair)> = Vec::new();
    for (pairs, choice) in [(&rung, [Act::GiveUp, Act::PickUp]), (&answered, [Act::CallerEnds, Act::AgentEnds])] {
        acts.extend(pairs.iter().map(|pair| (random.below(WINDOW), choice[(random.draw() % 2) as usize], pair)));
    }
    acts.sort_by_key(|(at, ..)| *at);
    let (start, mut killed) = (Instant::now(), false);
    for (at, act, pair) in &acts {
        if !killed && *at >= BEFORE {
            thread::sleep((start + BEFORE).saturating_duration_since(Instant::now()));
            stage.lab.signal(node, Signal::KILL)?;
            killed = true;
        }
        thread::sleep((start + *at).saturating_duration_since(Instant::now()));
        match act {
            Act::PickUp => pair.agent.answer(),
            Act::AgentEnds => pair.agent.hang_up(),
            Act::GiveUp | Act::CallerEnds => pair.caller.hang_up(),
        }
    }
    if !killed {
        stage.lab.signal(node, Signal::KILL)?;
    }
    thread::sleep(SETTLED);
    seen.tries += acts.len();
    look(&stage.callers, &stage.agents, seen);
    end_rest(stage, start + BEFORE, trace, seen);
    Ok(())
}

/// True if the phone's user is in a call: ringing, calling or talking, and has not hung up.
fn wants(phone: &Phone) -> bool {
    phone.look(|ua| ua.live().any(|call| call.hung_up_at.is_none()))
}

/// Who is in a call with nobody.
fn look(callers: &[Phone], agents: &[Vec<Phone>], seen: &mut Seen) {
    let number = |phone: &Phone| phone.look(|ua| ua.options.user.clone());
    let wanting: BTreeSet<String> = callers.iter().filter(|caller| wants(caller)).map(number).collect();
    let talking: BTreeSet<String> =
        callers.iter().filter(|caller| wants(caller) && caller.state() == Some(State::Up)).map(number).collect();
    let (mut served, mut rung) = (BTreeSet::new(), BTreeSet::new());
    for agent in agents.iter().flatten() {
        let Some((state, peer)) = agent.look(|ua| ua.live().last().map(|call| (call.state, call.peer().to_owned()))) else { continue };
        match state {
            State::Ringing if wanting.contains(&peer) => drop(rung.insert(peer)),
            State::Ringing => seen.ringing_for_nobody += 1,
            // A second agent with the same caller has nobody either.
            State::Up => seen.talking_to_nobody += usize::from(!talking.contains(&peer) || !served.insert(peer)),
            _ => {}
        }
    }
    // One that is answered hears treatment until a phone that rings for it is picked up.
    seen.waiting_for_nobody += talking.iter().filter(|caller| !served.contains(*caller) && !rung.contains(*caller)).count();
}

/// Callers that are still there give up. Every phone must be out of its call soon, theirs and the agents'.
fn end_rest(stage: &Stage, killed: Instant, trace: bool, seen: &mut Seen) {
    stage.callers.iter().for_each(Phone::hang_up);
    let mut until = Instant::now() + judge::END_WITHIN;
    let quiet =
        |phone: &Phone, until: Instant| phone.wait_for(until.saturating_duration_since(Instant::now()), |ua| ua.live().next().is_none());
    let late: Vec<&Phone> = stage.phones().filter(|phone| !quiet(phone, until)).collect();
    seen.never_ended += late.len();
    if let Some(phone) = late.first().filter(|_| trace) {
        judge::show(&phone.look(|ua| ua.options.user.clone()), phone, killed);
    }
    // Those that failed get the time that RFC 3261 gives them, so that they do not disturb the next round.
    until += GIVEN_UP_WITHIN;
    seen.stuck += stage.phones().filter(|phone| !quiet(phone, until)).count();
    let live = |lab: &Lab| lab.all(&format!("/api/v1/calls?tenant={}", tenant::TENANT)).map_or(usize::MAX, |calls| calls.len());
    let gone = stage.lab.eventually("the end of every call", judge::END_WITHIN, |lab| live(lab) == 0);
    seen.left += if gone.is_ok() { 0 } else { live(&stage.lab) };
    stage.phones().for_each(Phone::restart);
}

fn verdict(report: &mut Report, stage: &Stage, calls: usize) -> Result<(), Error> {
    let cdrs = crate::settle::records_or_so(&stage.lab, calls)?;
    let ids: BTreeSet<&str> = cdrs.iter().filter_map(|cdr| cdr["call_id"].as_str()).collect();
    report.bounded("records", cdrs.len() as f64, "records", format!("= {calls}"), cdrs.len() == calls);
    let doubled = cdrs.len() - ids.len();
    report.bounded("calls with two records", doubled as f64, "calls", "= 0", doubled == 0);
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for cdr in &cdrs {
        *reasons.entry(format!("{} {}", cdr["outcome"], cdr["end_reason"]).replace('"', "")).or_default() += 1;
    }
    let lost = cdrs.iter().filter(|cdr| cdr["outcome"] == "node_lost").count();
    report.bounded("records that say node_lost", lost as f64, "records", "= 0", lost == 0);
    for (what, count) in reasons {
        report.note(format!("{count} records say {what}"));
    }
    judge::agents(report, stage, "")?;
    judge::protocol(report, stage, "");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::phone::{Exchange, Transport};

    const SOON: Duration = Duration::from_secs(10);

    fn phones(exchange: &Exchange, on_ring: OnRing) -> (Phone, Phone) {
        let phone = |user: &str| exchange.phone(user, Transport::Udp, Ipv4Addr::LOCALHOST.into(), |_| {}).unwrap();
        let (caller, agent) = (phone("1"), phone("a"));
        agent.on_ring(on_ring);
        caller.call(agent.addr(), "a");
        (caller, agent)
    }

    fn seen(caller: &Phone, agent: &Phone) -> (usize, usize, usize) {
        let mut seen = Seen::default();
        look(std::slice::from_ref(caller), &[vec![agent.clone()]], &mut seen);
        (seen.ringing_for_nobody, seen.talking_to_nobody, seen.waiting_for_nobody)
    }

    #[test]
    fn a_phone_that_rings_for_a_caller_who_is_gone_is_found() {
        let exchange = Exchange::start(Duration::from_millis(20), 1).unwrap();
        let (caller, agent) = phones(&exchange, OnRing::Ring);
        assert!(agent.wait_state(State::Ringing, SOON));
        assert_eq!(seen(&caller, &agent), (0, 0, 0));
        caller.restart();
        assert_eq!(seen(&caller, &agent), (1, 0, 0));
    }

    #[test]
    fn whoever_talks_alone_is_found_on_either_side() {
        let exchange = Exchange::start(Duration::from_millis(20), 1).unwrap();
        for caller_goes in [true, false] {
            let (caller, agent) = phones(&exchange, OnRing::Answer { after_ms: 0 });
            assert!(caller.wait_state(State::Up, SOON) && agent.wait_state(State::Up, SOON));
            assert_eq!(seen(&caller, &agent), (0, 0, 0));
            let gone = if caller_goes { &caller } else { &agent };
            gone.restart();
            assert_eq!(seen(&caller, &agent), if caller_goes { (0, 1, 0) } else { (0, 0, 1) });
        }
    }
}
