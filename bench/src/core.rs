//! The pure core alone on one thread: commands a second of its CPU through whole calls, with few and with very many callers
//! waiting. What other processes take of the core meanwhile does not count.

use rustix::time::{ClockId, clock_gettime};
use tandem::core::{
    Effects, Outcome, State,
    command::{Arrive, Command, Envelope, HangUpCause, LegEvent, LegReport},
    effect::Action,
    id::{CallId, DomainId, Edge, LegId, NodeId},
    party::{Dialog, Party, Sdp},
    time::{At, LogTime, WallTime},
};

use crate::{error::Error, report::Report, tenant};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Whole calls to drive at each depth of the queue.
    #[arg(long, default_value_t = 50_000)]
    pub calls: u64,
    #[arg(long, default_value_t = 1_000)]
    pub few: u64,
    /// A domain takes a million calls, those that talk and end included.
    #[arg(long, default_value_t = 999_000)]
    pub many: u64,
}

/// Agents; a call that ends frees one, which takes the first in line.
const AGENTS: u32 = 100;
pub(crate) const EDGE: Edge = Edge { node: NodeId(1), incarnation: 1 };
/// Targets: commands of one core, and what a thousand times as many waiting calls may cost each.
const COMMANDS_PER_S_MIN: f64 = 1e6;
const DEPTH_COST_MAX: f64 = 2.0;
/// Log time between two commands.
const STEP_NS: u64 = 1_000_000;

pub fn run(options: &Options) -> Result<Report, Error> {
    let mut report = Report::new(format!("core: {} whole calls on one thread, {AGENTS} agents", options.calls));
    let few = drive(options.few, options.calls)?;
    let many = drive(options.many, options.calls)?;
    let bound = format!("≥ {COMMANDS_PER_S_MIN:.0}");
    report.bounded(format!("commands with {} waiting", options.few), few, "/s of CPU", bound, few >= COMMANDS_PER_S_MIN);
    report.figure(format!("commands with {} waiting", options.many), many, "/s of CPU");
    report.bounded("cost at the depth, many over few", few / many, "", format!("≤ {DEPTH_COST_MAX}"), few / many <= DEPTH_COST_MAX);
    Ok(report)
}

/// A domain in the middle of its work.
struct World {
    state: State,
    domain: DomainId,
    index: u64,
    next_call: u64,
}

impl World {
    fn new() -> Result<Self, Error> {
        let tenant = tandem::config::tenant::parse_toml("bench", &tenant::waiting_for_ever(AGENTS))
            .map_err(|error| Error::Setup(error.to_string()))?;
        let mut world = Self { state: State::default(), domain: tenant.id.clone(), index: 0, next_call: 0 };
        world.apply(Command::PublishPolicy { domain: tenant.id, expect: None, policy: Box::new(tenant.policy), entropy: [7; 32] })?;
        Ok(world)
    }

    fn apply(&mut self, command: Command) -> Result<Effects, Error> {
        self.index += 1;
        let at =
            At { group: 1, index: self.index, time: LogTime(self.index * STEP_NS), wall: WallTime(1_795_000_000_000 + self.index as i64) };
        let mut effects = Effects::default();
        match self.state.apply(at, &Envelope { request: None, command }, &mut effects) {
            Outcome::Accepted | Outcome::Published { .. } => Ok(effects),
            other => Err(Error::Missed(format!("command {} was not accepted: {other:?}", self.index))),
        }
    }

    fn arrive(&mut self) -> Result<Effects, Error> {
        self.next_call += 1;
        let arrive = arrival(&self.domain, self.next_call, false);
        self.apply(Command::Arrive(Box::new(arrive)))
    }

    fn report(&mut self, leg: LegId, seq: u32, event: LegEvent) -> Result<Effects, Error> {
        self.apply(Command::Leg(Box::new(LegReport { domain: self.domain.clone(), leg, edge: EDGE, seq, event })))
    }
}

/// What the `n`th caller's INVITE becomes.
pub(crate) fn arrival(domain: &DomainId, n: u64, anchored: bool) -> Arrive {
    Arrive {
        domain: domain.clone(),
        call: CallId::compose(1, NodeId(1), n),
        edge: EDGE,
        trunk: None,
        to_user: tenant::QUEUE.to_owned(),
        from: Party { user: "5551000".to_owned(), display: String::new(), uri: "sip:5551000@127.0.0.1".to_owned() },
        dialog: Dialog::default(),
        sdp: Some(Sdp::from(b"v=0".to_vec())),
        headers: Vec::new(),
        priority: None,
        skills: Vec::new(),
        prefer: None,
        anchored,
    }
}

/// Legs that were told to ring.
fn rung(effects: &Effects) -> Vec<LegId> {
    effects.orders.iter().filter(|order| matches!(order.action, Action::Ring(_))).map(|order| order.leg).collect()
}

/// CPU seconds of this thread so far.
fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Commands a second through `calls` whole calls while `waiting` callers wait.
fn drive(waiting: u64, calls: u64) -> Result<f64, Error> {
    let mut world = World::new()?;
    let mut ringing = Vec::new();
    for _ in 0..waiting + u64::from(AGENTS) {
        ringing.extend(rung(&world.arrive()?));
    }
    let (start_s, first) = (cpu_s(), world.index);
    for _ in 0..calls {
        let leg = ringing.pop().ok_or_else(|| Error::Missed("nobody rings though callers wait".to_owned()))?;
        world.report(leg, 1, LegEvent::Ringing { dialog: Dialog::default() })?;
        world.report(leg, 2, LegEvent::Answered { dialog: Dialog::default(), sdp: Sdp::default() })?;
        let ended = world.report(LegId::caller(leg.call), 1, LegEvent::HungUp { cause: HangUpCause::Bye })?;
        ringing.extend(rung(&ended));
        ringing.extend(rung(&world.arrive()?));
        world.report(leg, 3, LegEvent::Ended)?;
    }
    Ok((world.index - first) as f64 / (cpu_s() - start_s))
}
