//! The queue of seven minutes: a surge simulated through the real core, with people alone and with AI agents in front of them.
//!
//! Four hours of Poisson arrivals, half as many again in the second hour, before 50 people. What is simulated is how long people and
//! callers take; who gets whom, when and why is the core's. Waiting is counted from the moment a caller needs a person to the moment one
//! answers, over those who needed one during the surge.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    fmt::Write as _,
};

use tandem::core::{
    Effects, Outcome, State,
    assist::{Assisted, Cause, Line, Resolution, Resolved, Speaker, Turn},
    command::{Command, Envelope, HangUpCause, LegEvent, LegReport},
    effect::{Action, Order},
    id::{CallId, DomainId, LegId},
    party::{Dialog, Sdp, Target},
    time::{At, LogTime, WallTime},
};

use crate::{
    core::{EDGE, arrival},
    error::Error,
    phone::Random,
    report::Report,
    tenant,
};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[arg(long, default_value_t = 40)]
    pub seeds: u64,
    #[arg(long, default_value_t = 1)]
    pub first_seed: u64,
    /// Percent of contacts that AI agents settle alone.
    #[arg(long, default_value_t = 25)]
    pub contained: u32,
}

const PEOPLE: u32 = 50;
const RUN_S: f64 = 4.0 * 3_600.0;
const RATE: f64 = 0.15;
const SURGE_RATE: f64 = 0.225;
const SURGE_S: std::ops::Range<f64> = 3_600.0..7_200.0;
const TALK_S: f64 = 300.0;
const PATIENCE_S: f64 = 3_600.0;
/// How long an AI agent needs until it has settled the matter, or knows that it cannot.
const AI_TALK_S: f64 = 45.0;
const MEAN_S_MAX: f64 = 90.0;
/// Timers of the core fired by one command.
const TIMERS: usize = 64;

pub fn run(options: &Options) -> Result<Report, Error> {
    let mut report = Report::new(format!("surge: {} seeds, {PEOPLE} people, AI settles {} % alone", options.seeds, options.contained));
    for (name, contained) in [("people alone: ", None), ("AI first: ", Some(options.contained))] {
        let (mut means, mut waits, mut left, mut needed, mut alone) = (Vec::new(), Vec::new(), 0_usize, 0_usize, 0_usize);
        for seed in options.first_seed..options.first_seed + options.seeds {
            let seen = Run::new(seed, contained)?.finish()?;
            if !seen.waits.is_empty() {
                means.push(seen.waits.iter().sum::<f64>() / seen.waits.len() as f64);
            }
            left += seen.left;
            needed += seen.waits.len() + seen.left;
            alone += seen.alone;
            waits.extend(seen.waits);
        }
        means.sort_by(f64::total_cmp);
        let mean = waits.iter().sum::<f64>() / waits.len().max(1) as f64;
        match contained {
            None => report.figure(format!("{name}mean wait in the surge"), mean, "s"),
            Some(_) => report.bounded(format!("{name}mean wait in the surge"), mean, "s", format!("≤ {MEAN_S_MAX}"), mean <= MEAN_S_MAX),
        }
        for (what, at) in [("lowest", 0), ("median", means.len() / 2), ("highest", means.len().saturating_sub(1))] {
            report.figure(format!("{name}mean of a seed, {what}"), means.get(at).copied().unwrap_or(f64::NAN), "s");
        }
        report.quantiles(&format!("{name}wait"), &mut waits, "s");
        report.figure(format!("{name}gave up, of those who needed a person"), 100.0 * left as f64 / needed.max(1) as f64, "%");
        report.figure(
            format!("{name}settled without a person in the surge"),
            alone as f64 / options.seeds.max(1) as f64,
            "contacts a seed",
        );
    }
    Ok(report)
}

/// What happened to calls that arrived in the surge.
#[derive(Debug, Default)]
struct Seen {
    waits: Vec<f64>,
    /// Gave up while they waited for a person.
    left: usize,
    /// Settled by an AI agent.
    alone: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Arrive,
    /// An AI agent is done with a call.
    Settled(LegId),
    /// A person has talked with it for long enough.
    Talked(LegId),
    /// A caller's patience for waiting ends, if it still waits then.
    Impatient(CallId),
}

/// A call, as its caller lives it.
#[derive(Debug, Clone, Copy)]
struct Caller {
    surge: bool,
    /// Since when it needs a person.
    needs: Option<u64>,
    answered: bool,
}

struct Run {
    state: State,
    domain: DomainId,
    rng: Random,
    contained: Option<u32>,
    now_ns: u64,
    index: u64,
    due: BinaryHeap<Reverse<(u64, u64, What)>>,
    count: u64,
    callers: BTreeMap<CallId, Caller>,
    seqs: BTreeMap<LegId, u32>,
    orders: Vec<Order>,
    seen: Seen,
}

impl Run {
    fn new(seed: u64, contained: Option<u32>) -> Result<Self, Error> {
        let mut toml = tenant::waiting_for_ever(PEOPLE).replace("offer_timeout_s = 15", "offer_timeout_s = 15\nai = { within_s = 86400 }");
        if contained.is_some() {
            let skills = format!("skills = {{ {} = 5 }}", tenant::QUEUE);
            writeln!(toml, "[[agent]]\nid = \"ai\"\nkind = \"ai\"\n{skills}\ncapacity = {{ voice = 255 }}")
                .expect("a string takes everything");
        }
        let tenant = tandem::config::tenant::parse_toml("bench", &toml).map_err(|error| Error::Setup(error.to_string()))?;
        let mut run = Self {
            state: State::default(),
            domain: tenant.id.clone(),
            rng: Random(seed),
            contained,
            now_ns: 0,
            index: 0,
            due: BinaryHeap::new(),
            count: 0,
            callers: BTreeMap::new(),
            seqs: BTreeMap::new(),
            orders: Vec::new(),
            seen: Seen::default(),
        };
        run.apply(Command::PublishPolicy { domain: tenant.id, expect: None, policy: Box::new(tenant.policy), entropy: [7; 32] })?;
        Ok(run)
    }

    fn finish(mut self) -> Result<Seen, Error> {
        self.next_arrival();
        while let Some(Reverse((at, _, what))) = self.due.pop() {
            self.fire_until(at)?;
            self.now_ns = at;
            self.happen(what)?;
            self.perform()?;
        }
        Ok(self.seen)
    }

    fn happen(&mut self, what: What) -> Result<(), Error> {
        match what {
            What::Arrive => {
                self.arrive()?;
                self.next_arrival();
            }
            What::Settled(leg) => self.settled(leg)?,
            What::Talked(leg) => {
                let bye = LegEvent::HungUp { cause: HangUpCause::Bye };
                self.report(LegId::caller(leg.call), bye)?;
                self.callers.remove(&leg.call);
            }
            What::Impatient(call) => {
                if self.callers.get(&call).is_some_and(|caller| !caller.answered) {
                    let surge = self.callers.remove(&call).is_some_and(|caller| caller.surge);
                    self.seen.left += usize::from(surge);
                    self.report(LegId::caller(call), LegEvent::HungUp { cause: HangUpCause::Bye })?;
                }
            }
        }
        Ok(())
    }

    /// Lets the core's own deadlines pass.
    fn fire_until(&mut self, until: u64) -> Result<(), Error> {
        while let Some(deadline) = self.state.next_deadline().filter(|deadline| deadline.0 <= until) {
            self.now_ns = self.now_ns.max(deadline.0);
            let timers = self.state.due(LogTime(self.now_ns), TIMERS);
            self.apply(Command::FireTimers { timers })?;
            self.perform()?;
        }
        Ok(())
    }

    /// Does what the core ordered, until it orders nothing more.
    fn perform(&mut self) -> Result<(), Error> {
        while let Some(order) = self.orders.pop() {
            let Action::Ring(ring) = &order.action else { continue };
            if matches!(ring.target, Target::Assistant(_)) {
                self.report(order.leg, LegEvent::Assisted(Assisted::Engaged))?;
                self.report(order.leg, LegEvent::Assisted(Assisted::Disclosed))?;
                self.after(AI_TALK_S, What::Settled(order.leg));
            } else {
                self.answer(order.leg)?;
            }
        }
        Ok(())
    }

    /// A person answers at once, and talks.
    fn answer(&mut self, leg: LegId) -> Result<(), Error> {
        self.report(leg, LegEvent::Answered { dialog: Dialog::default(), sdp: Sdp::default() })?;
        let now_ns = self.now_ns;
        let caller = self.callers.get_mut(&leg.call).ok_or_else(|| Error::Missed("a person is rung for nobody".to_owned()))?;
        caller.answered = true;
        let waited = caller.needs.map_or(0.0, |since| (now_ns - since) as f64 / 1e9);
        if caller.surge {
            self.seen.waits.push(waited);
        }
        self.after(TALK_S, What::Talked(leg));
        Ok(())
    }

    fn arrive(&mut self) -> Result<(), Error> {
        self.count += 1;
        let arrive = arrival(&self.domain, self.count, true);
        let call = arrive.call;
        let at_s = self.now_ns as f64 / 1e9;
        let needs = self.contained.is_none().then_some(self.now_ns);
        self.callers.insert(call, Caller { surge: SURGE_S.contains(&at_s), needs, answered: false });
        if needs.is_some() {
            self.after(PATIENCE_S, What::Impatient(call));
        }
        self.apply(Command::Arrive(Box::new(arrive)))
    }

    /// An AI agent has settled the matter, or a person is needed.
    fn settled(&mut self, leg: LegId) -> Result<(), Error> {
        let percent = u64::from(self.contained.unwrap_or(0));
        if self.rng.draw() % 100 < percent {
            let surge = self.callers.remove(&leg.call).is_some_and(|caller| caller.surge);
            self.seen.alone += usize::from(surge);
            let resolution = Resolution { resolved: Resolved::Yes, confidence: 900, reason: "settled".to_owned() };
            self.report(leg, LegEvent::Assisted(Assisted::Resolved(resolution)))?;
            return self.report(leg, LegEvent::HungUp { cause: HangUpCause::Bye });
        }
        if let Some(caller) = self.callers.get_mut(&leg.call) {
            caller.needs = Some(self.now_ns);
        }
        self.after(PATIENCE_S, What::Impatient(leg.call));
        let line = Line { at: WallTime(0), who: Speaker::Customer, text: String::new(), judged: None, sources: Vec::new() };
        let turn = Turn { line, wants: Some(Cause::RepeatedFailure), helped: Some(false) };
        self.report(leg, LegEvent::Assisted(Assisted::Turn(Box::new(turn))))
    }

    fn next_arrival(&mut self) {
        let at_s = self.now_ns as f64 / 1e9;
        let rate = if SURGE_S.contains(&at_s) { SURGE_RATE } else { RATE };
        let next = self.exponential(1.0 / rate);
        if at_s + next < RUN_S {
            self.at(next, What::Arrive);
        }
    }

    fn after(&mut self, mean_s: f64, what: What) {
        let wait = self.exponential(mean_s);
        self.at(wait, what);
    }

    fn at(&mut self, wait_s: f64, what: What) {
        let at = self.now_ns + (wait_s * 1e9) as u64;
        self.index += 1;
        self.due.push(Reverse((at, self.index, what)));
    }

    fn exponential(&mut self, mean_s: f64) -> f64 {
        let unit = ((self.rng.draw() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        -mean_s * unit.ln()
    }

    fn report(&mut self, leg: LegId, event: LegEvent) -> Result<(), Error> {
        let seq = self.seqs.entry(leg).or_insert(0);
        *seq += 1;
        let seq = *seq;
        self.apply(Command::Leg(Box::new(LegReport { domain: self.domain.clone(), leg, edge: EDGE, seq, event })))
    }

    fn apply(&mut self, command: Command) -> Result<(), Error> {
        self.index += 1;
        let wall = WallTime(1_795_000_000_000 + (self.now_ns / 1_000_000) as i64);
        let at = At { group: 1, index: self.index, time: LogTime(self.now_ns), wall };
        let mut effects = Effects::default();
        match self.state.apply(at, &Envelope { request: None, command: command.clone() }, &mut effects) {
            Outcome::Accepted | Outcome::Published { .. } => {
                self.orders.extend(effects.orders);
                Ok(())
            }
            other => Err(Error::Missed(format!("{command:?} was not accepted: {other:?}"))),
        }
    }
}
