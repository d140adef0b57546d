//! The judgement of calls whose node died: what each party heard, whether the call still can be used and ended, and what the
//! records say of it.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tandem::sip::message::Method;

use super::stage::{Pair, Stage};
use crate::{
    error::Error,
    phone::{By, Entry, Phone, State, Way},
    report::Report,
    settle, tenant,
};

/// Silence at the end of the observation that makes a call lost.
const DEAF: Duration = Duration::from_secs(1);
/// A phone that hangs up has its partner's phone free within this.
pub const END_WITHIN: Duration = Duration::from_secs(5);
/// How many bad examples are printed.
const EXAMPLES_MAX: usize = 5;

/// What became of calls that all talked when something happened at `since`.
#[derive(Debug, Default)]
pub struct Heard {
    /// Longest pause per call, milliseconds.
    pub to_caller_ms: Vec<f64>,
    pub to_agent_ms: Vec<f64>,
    /// Frames that never came, at each phone.
    pub frames_lost: Vec<f64>,
    /// Calls that one side or both no longer have, or in which one hears nothing or somebody else.
    pub lost: BTreeMap<&'static str, usize>,
}

impl Heard {
    /// Looks at every call now.
    pub fn of(pairs: &[Pair], since: Instant) -> Self {
        let now = Instant::now();
        let mut seen = Self::default();
        for pair in pairs {
            let pause = |phone: &Phone| phone.heard(|heard| heard.longest_gap(since, now)).as_secs_f64() * 1000.0;
            seen.to_caller_ms.push(pause(&pair.caller));
            seen.to_agent_ms.push(pause(&pair.agent));
            for phone in [&pair.caller, &pair.agent] {
                seen.frames_lost.push(phone.heard(|heard| heard.frames_lost) as f64);
            }
            if let Some(why) = lost(pair, now) {
                *seen.lost.entry(why).or_default() += 1;
            }
        }
        seen
    }

    pub fn calls_lost(&self) -> usize {
        self.lost.values().sum()
    }

    /// Both directions of all calls, shortest pause first.
    pub fn all_ms(&self) -> Vec<f64> {
        let mut all = [&self.to_caller_ms[..], &self.to_agent_ms].concat();
        all.sort_by(f64::total_cmp);
        all
    }

    /// The pauses by direction, and the calls lost with why.
    pub fn tell(&mut self, report: &mut Report, label: &str) {
        report.quantiles(&format!("{label}pause in what callers hear"), &mut self.to_caller_ms, "ms");
        report.quantiles(&format!("{label}pause in what agents hear"), &mut self.to_agent_ms, "ms");
        let lost = self.calls_lost();
        report.bounded(format!("{label}calls lost"), lost as f64, "calls", "= 0", lost == 0);
        for (why, calls) in &self.lost {
            report.note(format!("{label}{calls} lost: {why}"));
        }
    }
}

/// The SIP of the first call lost, from a second before `since` on, for whoever has to find out why.
pub fn trace(pairs: &[Pair], since: Instant) {
    let Some(pair) = pairs.iter().find(|pair| lost(pair, Instant::now()).is_some()) else { return };
    for (side, phone) in [("caller", &pair.caller), ("agent", &pair.agent)] {
        show(side, phone, since);
    }
}

/// The SIP that a phone remembers, with times from `since` on.
pub fn show(side: &str, phone: &Phone, since: Instant) {
    phone.look(|ua| {
        for entry in ua.journal.entries() {
            let after = if entry.at >= since { (entry.at - since).as_secs_f64() } else { -(since - entry.at).as_secs_f64() };
            let way = if entry.way == Way::In { "←" } else { "→" };
            eprintln!("{side} {after:+.3} s {way} {}\n{}", entry.peer, String::from_utf8_lossy(&entry.bytes));
        }
    });
}

/// When each phone was told where its call is now: the first INVITE within the dialog after `since`, milliseconds after it.
pub fn told_ms(pairs: &[Pair], since: Instant) -> Vec<f64> {
    let told = |phone: &Phone| {
        phone.look(|ua| {
            let is_told = |entry: &&Entry| entry.way == Way::In && entry.at > since && entry.is_request() && entry.method == Method::Invite;
            ua.journal.entries().find(is_told).map(|entry| (entry.at - since).as_secs_f64() * 1000.0)
        })
    };
    pairs.iter().flat_map(|pair| [&pair.caller, &pair.agent]).filter_map(told).collect()
}

/// A quantile of a sorted sample, as [`Report::quantiles`] takes it.
pub fn at(sorted: &[f64], percent: usize) -> f64 {
    sorted.get(sorted.len().saturating_sub(1) * percent / 100).copied().unwrap_or(f64::NAN)
}

/// Why a call that talked is lost, if it is.
pub fn lost(pair: &Pair, now: Instant) -> Option<&'static str> {
    let up = |phone: &Phone| phone.state() == Some(State::Up);
    let heard = |phone: &Phone| phone.heard(|heard| heard.last.is_some_and(|last| now.saturating_duration_since(last.at) < DEAF));
    let hears = |phone: &Phone, other: &Phone| phone.heard(|heard| heard.voices.last().is_some_and(|(_, voice)| *voice == other.voice()));
    match (up(&pair.caller), up(&pair.agent)) {
        (false, false) => Some("ended at both phones"),
        (false, true) => Some("ended at the caller's phone"),
        (true, false) => Some("ended at the agent's phone"),
        (true, true) if !heard(&pair.caller) => Some("the caller hears nothing"),
        (true, true) if !heard(&pair.agent) => Some("the agent hears nothing"),
        (true, true) if !hears(&pair.caller, &pair.agent) || !hears(&pair.agent, &pair.caller) => Some("they hear somebody else"),
        (true, true) => None,
    }
}

/// Every phone that still talks hangs up, callers and agents in turn. A BYE to the last owner must end the other side too.
pub fn hang_up(report: &mut Report, pairs: &[Pair], label: &str) {
    let talking: Vec<_> = pairs.iter().filter(|pair| lost(pair, Instant::now()).is_none()).collect();
    let sides = |n: usize, pair: &'_ Pair| {
        if n.is_multiple_of(2) { (pair.caller.clone(), pair.agent.clone()) } else { (pair.agent.clone(), pair.caller.clone()) }
    };
    for (n, pair) in talking.iter().enumerate() {
        sides(n, pair).0.hang_up();
    }
    let until = Instant::now() + END_WITHIN;
    let ended = |(n, pair): &(usize, &&Pair)| {
        let other = sides(*n, pair).1;
        other.wait_state(State::Over(By::Them), until.saturating_duration_since(Instant::now()))
    };
    let count = talking.iter().enumerate().filter(ended).count();
    let kept = count == pairs.len();
    report.bounded(format!("{label}calls ended by one phone at both"), count as f64, "calls", format!("= {}", pairs.len()), kept);
    // What is left must not hold up the end of the run.
    for phone in pairs.iter().flat_map(|pair| [&pair.caller, &pair.agent]) {
        phone.hang_up();
    }
}

/// One record per caller: `answered` says how many of them are to say so. Why others ended is told.
pub fn records(report: &mut Report, stage: &Stage, numbers: &[String], answered: usize, label: &str) -> Result<(), Error> {
    let cdrs = settle::records_or_so(&stage.lab, numbers.len())?;
    let mut by_number: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for cdr in &cdrs {
        by_number.entry(cdr["from"].as_str().unwrap_or_default()).or_default().push(cdr);
    }
    let of = |number: &String| by_number.get(number.as_str()).map_or(&[][..], Vec::as_slice);
    let missing = numbers.iter().filter(|number| of(number).is_empty()).count();
    let doubled = numbers.iter().filter(|number| of(number).len() > 1).count();
    report.bounded(format!("{label}calls without a record"), missing as f64, "calls", "= 0", missing == 0);
    report.bounded(format!("{label}calls with two records"), doubled as f64, "calls", "= 0", doubled == 0);
    let good = |cdr: &&&Value| cdr["outcome"] == "answered" && cdr["end_reason"] != "node_lost";
    let said = numbers.iter().filter(|number| of(number).iter().filter(good).count() == 1).count();
    report.bounded(
        format!("{label}records of calls answered and hung up"),
        said as f64,
        "records",
        format!("= {answered}"),
        said == answered,
    );
    let mut others: BTreeMap<String, usize> = BTreeMap::new();
    for cdr in numbers.iter().flat_map(of).filter(|cdr| !good(cdr)) {
        *others.entry(format!("{} {}", cdr["outcome"], cdr["end_reason"]).replace('"', "")).or_default() += 1;
    }
    for (what, count) in others {
        report.note(format!("{label}{count} records say {what}"));
    }
    Ok(())
}

/// No agent is blamed for what a node did, and each is there for the next call.
pub fn agents(report: &mut Report, stage: &Stage, label: &str) -> Result<(), Error> {
    let path = format!("/api/v1/agents?tenant={}", tenant::TENANT);
    let free = |rows: &[Value]| rows.iter().filter(|row| row["state"] == "available").count();
    let _ = stage.lab.eventually("every agent free", settle::WITHIN, |lab| lab.all(&path).is_ok_and(|rows| free(&rows) == rows.len()));
    let rows = stage.lab.all(&path)?;
    let blamed = rows.iter().filter(|row| row["misses"] != 0).count();
    report.bounded(format!("{label}agents blamed for a miss"), blamed as f64, "agents", "= 0", blamed == 0);
    report.bounded(
        format!("{label}agents available at the end"),
        free(&rows) as f64,
        "agents",
        format!("= {}", rows.len()),
        free(&rows) == rows.len(),
    );
    Ok(())
}

/// Breaches of the protocol that the phones saw.
pub fn protocol(report: &mut Report, stage: &Stage, label: &str) {
    let stale: u64 = stage.phones().map(|phone| phone.look(|ua| ua.faults.stale_cseq)).sum();
    report.bounded(format!("{label}requests with a stale CSeq"), stale as f64, "requests", "= 0", stale == 0);
    let strangers: u64 = stage.phones().map(|phone| phone.look(|ua| ua.faults.unknown_dialog)).sum();
    report.figure(format!("{label}requests of no call any more"), strangers as f64, "requests");
    let unreadable: u64 = stage.phones().map(|phone| phone.look(|ua| ua.faults.unreadable)).sum();
    report.bounded(format!("{label}messages that no phone can read"), unreadable as f64, "messages", "= 0", unreadable == 0);
}

/// SIP messages that parties were sent from `since` on, and examples.
pub fn told(report: &mut Report, pairs: &[Pair], since: Instant) -> usize {
    let mut count = 0;
    for phone in pairs.iter().flat_map(|pair| [&pair.caller, &pair.agent]) {
        phone.look(|ua| {
            for entry in ua.journal.since(since).filter(|entry| entry.way == Way::In) {
                count += 1;
                if count <= EXAMPLES_MAX {
                    let what = if entry.is_request() {
                        entry.method.name().to_owned()
                    } else {
                        format!("{} {}", entry.status, entry.method.name())
                    };
                    report.note(format!("{what} from {} {} ms after", entry.peer, (entry.at - since).as_millis()));
                }
            }
        });
    }
    count
}

/// Sleeps for a part of `limit` that `random` chooses: a death meets every phase of heartbeats and packets.
pub fn random_phase(random: &mut crate::phone::Random, limit: Duration) {
    thread::sleep(random.below(limit));
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{
        phone::{Exchange, Transport},
        survival::stage::await_that,
    };

    const SOON: Duration = Duration::from_secs(10);

    fn talking(exchange: &Exchange) -> Pair {
        let phone = |user: &str| exchange.phone(user, Transport::Udp, Ipv4Addr::LOCALHOST.into(), |_| {}).unwrap();
        let (caller, agent) = (phone("1"), phone("a"));
        caller.call(agent.addr(), "a");
        let until = Instant::now() + SOON;
        let heard = |phone: &Phone| phone.heard(|heard| heard.voiced > 2);
        await_that(until, || heard(&caller) && heard(&agent)).unwrap();
        Pair { caller, agent }
    }

    #[test]
    fn a_call_that_talks_is_not_lost_and_every_loss_has_its_name() {
        let exchange = Exchange::start(Duration::from_millis(20), 1).unwrap();
        let pair = talking(&exchange);
        assert_eq!(lost(&pair, Instant::now()), None);
        // The agent's phone says nothing while it is held.
        pair.caller.hold();
        await_that(Instant::now() + SOON, || lost(&pair, Instant::now()).is_some()).unwrap();
        assert_eq!(lost(&pair, Instant::now()), Some("the caller hears nothing"));
        pair.agent.restart();
        assert_eq!(lost(&pair, Instant::now()), Some("ended at the agent's phone"));
        pair.caller.restart();
        assert_eq!(Heard::of(&[pair], Instant::now()).lost, BTreeMap::from([("ended at both phones", 1)]));
    }

    #[test]
    fn a_call_between_others_than_it_was_is_lost() {
        let exchange = Exchange::start(Duration::from_millis(20), 1).unwrap();
        let (one, other) = (talking(&exchange), talking(&exchange));
        let crossed = Pair { caller: one.caller, agent: other.agent };
        assert_eq!(lost(&crossed, Instant::now()), Some("they hear somebody else"));
    }

    #[test]
    fn messages_to_a_party_are_counted_from_the_given_moment_on() {
        let exchange = Exchange::start(Duration::from_millis(20), 1).unwrap();
        let pair = talking(&exchange);
        assert!(pair.agent.wait_for(SOON, |ua| ua.journal.entries().any(|entry| entry.method == tandem::sip::message::Method::Ack)));
        let since = Instant::now();
        let told = |pair: &Pair| told(&mut Report::new(""), std::slice::from_ref(pair), since);
        assert_eq!(told(&pair), 0);
        pair.caller.hang_up();
        assert!(pair.caller.wait_for(SOON, |ua| ua.journal.since(since).any(|entry| entry.status == 200)));
        assert_eq!(told(&pair), 2, "a BYE and its 200");
    }
}
