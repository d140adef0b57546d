//! What survives what, cell by cell: state of the call × side × transport × address family, the node killed. It prints the
//! table of `docs/FAILURE_MODEL.md`, with a reason wherever a call did not survive.

mod callback;
mod consult;
mod forward;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    Common, Media, judge,
    stage::{self, Group, Pair, Setup, Stage},
};
use crate::{
    error::Error,
    phone::{OnRing, Phone, State, Transport},
    report::Report,
    settle, tenant,
};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// Calls per cell.
    #[arg(long, default_value_t = 3)]
    pub calls: usize,
    #[arg(long)]
    pub no_death_notice: bool,
    /// Only these columns, such as `udp-v4`.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
}

const NODE: u16 = 1;
/// The killed node comes back meanwhile, as it would under a service manager.
const AWAY_MS: u64 = 5_000;
const WRAP_UP_S: u32 = 3;
const OBSERVED: Duration = Duration::from_secs(3);
/// A waiting or ringing caller talks within this once there is somebody to answer.
const SERVED_WITHIN: Duration = Duration::from_secs(15);
const RESUMED_WITHIN: Duration = Duration::from_secs(5);
const WHOLE_WITHIN: Duration = Duration::from_secs(60);

/// Queues, one per state.
const QUEUED: usize = 0;
const RINGING: usize = 1;
const CONNECTED: usize = 2;
const HELD_BY_CALLER: usize = 3;
const HELD_BY_AGENT: usize = 4;
const WRAP_UP: usize = 5;
const CONSULTING: usize = 6;
const SENT_ON: usize = 7;
const CALLED_BACK: usize = 8;
/// The group of the agents who are asked; nobody calls its queue.
const ASKED: usize = 9;
/// Among the callers, the phones of the numbers outside; they call nobody.
const NUMBERS: usize = 9;
const STATES: [(&str, &str); 9] = [
    ("queued", "waiting in the queue"),
    ("ringing", "ringing at the agent"),
    ("connected", "connected"),
    ("held-by-caller", "held by the caller"),
    ("held-by-agent", "held by the agent"),
    ("wrap-up", "agent in wrap-up"),
    ("consulting", "attended transfer half-way"),
    ("sent-on", "sent on to a number outside"),
    ("callback", "callback scheduled"),
];

/// Name, transport, address, and whether agents' phones register at the node that is killed.
const COLUMNS: [(&str, Transport, IpAddr, bool); 8] = [
    ("udp-v4", Transport::Udp, IpAddr::V4(Ipv4Addr::LOCALHOST), false),
    ("tcp-v4", Transport::Tcp, IpAddr::V4(Ipv4Addr::LOCALHOST), false),
    ("tls-v4", Transport::Tls, IpAddr::V4(Ipv4Addr::LOCALHOST), false),
    ("udp-v6", Transport::Udp, IpAddr::V6(Ipv6Addr::LOCALHOST), false),
    ("tcp-v6", Transport::Tcp, IpAddr::V6(Ipv6Addr::LOCALHOST), false),
    ("tls-v6", Transport::Tls, IpAddr::V6(Ipv6Addr::LOCALHOST), false),
    ("udp-registered", Transport::Udp, IpAddr::V4(Ipv4Addr::LOCALHOST), true),
    ("tcp-registered", Transport::Tcp, IpAddr::V4(Ipv4Addr::LOCALHOST), true),
];

/// What became of one side of the calls of one state: none is survived.
type Cells = BTreeMap<(usize, &'static str), Vec<Option<&'static str>>>;

pub fn run(options: &Options) -> Result<Report, Error> {
    let mut report = Report::new(format!(
        "survival matrix: {} calls per cell, node killed, {}, media {}",
        options.calls,
        if options.no_death_notice { "no death notice" } else { "with proof of death" },
        options.common.media.name()
    ));
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    let columns: Vec<_> = COLUMNS.into_iter().filter(|(name, ..)| wanted(name)).collect();
    let mut table: Vec<(&str, Result<Cells, Error>)> = Vec::new();
    for (name, transport, ip, registered) in columns {
        let cells = column(options, transport, ip, registered);
        eprintln!("{name}: {}", if cells.is_ok() { "looked at" } else { "not run" });
        table.push((name, cells));
    }
    print(&mut report, &table);
    Ok(report)
}

fn print(report: &mut Report, table: &[(&str, Result<Cells, Error>)]) {
    let rows: std::collections::BTreeSet<(usize, &str)> =
        table.iter().filter_map(|(_, cells)| cells.as_ref().ok()).flat_map(BTreeMap::keys).copied().collect();
    let (mut survived, mut all) = (0, 0);
    let heads: String = table.iter().map(|(name, _)| format!(" {name} |")).collect();
    report.note(format!("| state | side |{heads}"));
    report.note(format!("|---|---|{}", "---|".repeat(table.len())));
    for row in &rows {
        let mut line = format!("| {} | {} |", STATES[row.0].1, row.1);
        for (_, cells) in table {
            all += 1;
            let text = match cells {
                Err(error) => format!("not run: {error}"),
                Ok(cells) => cells.get(row).map_or("not reached".to_owned(), |cell| verdict(cell)),
            };
            survived += usize::from(text == SURVIVED);
            line.push_str(&format!(" {text} |"));
        }
        report.note(line);
    }
    report.bounded("cells that survive", f64::from(survived as u32), "cells", format!("= {all}"), survived == all && all > 0);
}

const SURVIVED: &str = "survives";

fn verdict(cell: &[Option<&'static str>]) -> String {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in cell.iter().flatten() {
        *reasons.entry(reason).or_default() += 1;
    }
    if reasons.is_empty() {
        return SURVIVED.to_owned();
    }
    let told: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count}/{} {reason}", cell.len())).collect();
    told.join(", ")
}

fn column(options: &Options, transport: Transport, ip: IpAddr, registered: bool) -> Result<Cells, Error> {
    let n = options.calls;
    let mut setup = Setup::pairs(n * (STATES.len() + 1), &options.common);
    (setup.transport, setup.ip, setup.registered) = (transport, ip, registered);
    let queues = STATES.iter().map(|(queue, _)| *queue).chain(["asked"]);
    setup.groups = queues.map(|queue| Group::answering(queue, n)).collect();
    setup.groups[QUEUED].available = false;
    setup.groups[CALLED_BACK].available = false;
    setup.reached = n * CALLED_BACK..n * (NUMBERS + 1);
    let numbers: Vec<_> = (n * NUMBERS..n * (NUMBERS + 1)).map(stage::number).collect();
    setup.further = format!("[transfer]\nnumbers = {numbers:?}\n");
    setup.groups[RINGING].on_ring = OnRing::Ring;
    setup.groups[WRAP_UP].wrap_up_s = WRAP_UP_S;
    let stage = Stage::open(setup, |lab| {
        lab.restart_after_ms = Some(AWAY_MS);
        lab.death_notice = !options.no_death_notice;
    })?;
    stage.lab.await_whole(&[1, 2, 3], WHOLE_WITHIN)?;
    if registered {
        stage.register(NODE)?;
    }
    let callers: Vec<&[Phone]> = stage.callers.chunks(n).collect();
    let mut calls = BTreeMap::new();
    for state in [CONNECTED, HELD_BY_CALLER, HELD_BY_AGENT, WRAP_UP] {
        calls.insert(state, stage.talk(callers[state], &stage.agents[state], NODE, STATES[state].0)?);
    }
    // Without audio at the node there is no consultation, no callback and no number outside.
    let (consulted, sent_on) = if options.common.media == Media::Direct { (Vec::new(), Vec::new()) } else { on_command(&stage, &callers)? };
    for state in [QUEUED, RINGING] {
        stage.call(callers[state], NODE, STATES[state].0);
    }
    let until = Instant::now() + stage::SETUP_WITHIN;
    let left = || until.saturating_duration_since(Instant::now());
    let waits = callers[QUEUED].iter().all(|caller| caller.wait_state(State::Proceeding(182), left()));
    let rings = callers[RINGING].iter().all(|caller| caller.wait_state(State::Proceeding(180), left()));
    if !waits || !rings {
        return Err(Error::Setup("a caller that was to wait or hear it ring does not".to_owned()));
    }
    hold(&calls)?;
    calls[&WRAP_UP].iter().for_each(|pair| pair.agent.hang_up());
    await_wrap_up(&stage, n)?;
    stage.lab.signal(NODE, Signal::KILL)?;
    thread::sleep(OBSERVED);
    let mut cells = look(&stage, &callers, &calls);
    consult::look(&mut cells, CONSULTING, &stage, &consulted, &[2, 3]);
    forward::look(&mut cells, SENT_ON, &sent_on);
    if !consulted.is_empty() {
        make_available(&stage, &stage.agents[CALLED_BACK]);
        callback::look(&mut cells, CALLED_BACK, callers[CALLED_BACK], &stage.agents[CALLED_BACK]);
    }
    stage.callers.iter().for_each(Phone::hang_up);
    let until = Instant::now() + judge::END_WITHIN;
    for (state, agents) in stage.agents.iter().enumerate() {
        for (n, agent) in agents.iter().enumerate() {
            let ended = agent.wait_for(until.saturating_duration_since(Instant::now()), |ua| ua.live().next().is_none());
            if let Some(cell) = cells.get_mut(&(state, "agent")).and_then(|cell| cell.get_mut(n)).filter(|_| !ended) {
                *cell = cell.or(Some("is not told of the end"));
            }
        }
    }
    // Callers of a state that was not set up have called nobody.
    let called = callers[..NUMBERS].iter().flat_map(|of_state| of_state.iter()).filter(|caller| caller.state().is_some()).count();
    let records = settle::records_or_so(&stage.lab, called)?;
    Ok(with_records(cells, &callers, &records))
}

/// The id of the call of a phone, among rows of calls.
fn id_of(rows: &[Value], caller: &Phone) -> Result<String, Error> {
    let number = caller.look(|ua| ua.options.user.clone());
    let id = rows.iter().find(|row| row["from"] == number.as_str()).and_then(|row| row["id"].as_str());
    id.map(str::to_owned).ok_or_else(|| Error::Setup(format!("the call of {number} is not listed")))
}

/// Brings calls into the states that only a command leads to. Returns those whose agents ask somebody, and callers with the numbers
/// that they were sent on to.
fn on_command(stage: &Stage, callers: &[&[Phone]]) -> Result<(Vec<consult::Consulted>, Vec<Pair>), Error> {
    let pairs = stage.talk(callers[CONSULTING], &stage.agents[CONSULTING], NODE, STATES[CONSULTING].0)?;
    let consulted = consult::begin(stage, pairs, &stage.agents[ASKED])?;
    let pairs = stage.talk(callers[SENT_ON], &stage.agents[SENT_ON], NODE, STATES[SENT_ON].0)?;
    let sent_on = forward::begin(stage, pairs, callers[NUMBERS])?;
    stage.call(callers[CALLED_BACK], NODE, STATES[CALLED_BACK].0);
    if !callers[CALLED_BACK].iter().all(|caller| caller.wait_state(State::Proceeding(182), stage::SETUP_WITHIN)) {
        return Err(Error::Setup("a caller that was to wait does not".to_owned()));
    }
    callback::begin(stage, callers[CALLED_BACK])?;
    Ok((consulted, sent_on))
}

fn hold(calls: &BTreeMap<usize, Vec<Pair>>) -> Result<(), Error> {
    let held = |holder: &Phone, other: &Phone| {
        holder.hold();
        other.wait_for(RESUMED_WITHIN, |ua| ua.speak().is_none())
    };
    let by_caller = calls[&HELD_BY_CALLER].iter().all(|pair| held(&pair.caller, &pair.agent));
    let by_agent = calls[&HELD_BY_AGENT].iter().all(|pair| held(&pair.agent, &pair.caller));
    if by_caller && by_agent { Ok(()) } else { Err(Error::Setup("a hold did not reach the other side".to_owned())) }
}

fn await_wrap_up(stage: &Stage, n: usize) -> Result<(), Error> {
    stage.lab.eventually("agents in wrap-up", RESUMED_WITHIN, |lab| {
        let rows = lab.all(&format!("/api/v1/agents?tenant={}", tenant::TENANT)).unwrap_or_default();
        rows.iter().filter(|row| row["state"] == "wrap_up").count() == n
    })
}

/// Looks at every state in turn. What needs somebody to act comes last.
fn look(stage: &Stage, callers: &[&[Phone]], calls: &BTreeMap<usize, Vec<Pair>>) -> Cells {
    let mut cells = Cells::new();
    let mut tell = |state: usize, side: &'static str, what: Option<&'static str>| cells.entry((state, side)).or_default().push(what);
    for pair in &calls[&CONNECTED] {
        let lost = judge::lost(pair, Instant::now());
        tell(CONNECTED, "caller", side(&pair.caller, lost));
        tell(CONNECTED, "agent", side(&pair.agent, lost));
    }
    for (state, of_caller) in [(HELD_BY_CALLER, true), (HELD_BY_AGENT, false)] {
        for pair in &calls[&state] {
            let holder = if of_caller { &pair.caller } else { &pair.agent };
            let lost = resumed(pair, holder);
            tell(state, "caller", side(&pair.caller, lost));
            tell(state, "agent", side(&pair.agent, lost));
        }
    }
    make_available(stage, &stage.agents[QUEUED]);
    let until = Instant::now() + SERVED_WITHIN;
    for (state, caller) in [QUEUED, RINGING].into_iter().flat_map(|state| callers[state].iter().map(move |caller| (state, caller))) {
        let up = || caller.state() == Some(State::Up) && caller.heard(|heard| heard.voiced > 0);
        let over = || !matches!(caller.state(), Some(State::Calling | State::Proceeding(_) | State::Up));
        let _ = stage::await_that(until, || {
            let ringing = stage.agents[RINGING].iter().filter(|agent| agent.state() == Some(State::Ringing));
            ringing.for_each(Phone::answer);
            up() || over()
        });
        tell(state, "caller", served(caller));
    }
    for agent in &stage.agents[RINGING] {
        tell(RINGING, "agent", if agent.state() == Some(State::Up) { None } else { Some("is not rung again") });
    }
    for agent in &stage.agents[WRAP_UP] {
        tell(WRAP_UP, "agent", wrapped_up(stage, agent));
    }
    cells
}

/// Agents come to work. One that cannot is seen as a caller that is not served.
fn make_available(stage: &Stage, agents: &[Phone]) {
    for agent in agents {
        let id = agent.look(|ua| ua.options.user.clone());
        let path = format!("/api/v1/agents/{id}/state?tenant={}", tenant::TENANT);
        let _ = (2..=3).find_map(|k| stage.lab.post(k, &path, &json!({ "state": "available" })).ok());
    }
}

/// The wrap-up ends at its time, whoever leads.
fn wrapped_up(stage: &Stage, agent: &Phone) -> Option<&'static str> {
    let id = agent.look(|ua| ua.options.user.clone());
    let path = format!("/api/v1/agents?tenant={}", tenant::TENANT);
    let free =
        |lab: &crate::lab::Lab| lab.all(&path).is_ok_and(|rows| rows.iter().any(|row| row["id"] == *id && row["state"] == "available"));
    stage.lab.eventually("the end of the wrap-up", SERVED_WITHIN, free).err().map(|_| "the wrap-up does not end")
}

/// Why this side of a call is lost: its own end, or what the call lacks as a whole.
fn side(phone: &Phone, lost: Option<&'static str>) -> Option<&'static str> {
    let moved = phone.look(|ua| ua.call().is_some_and(|call| call.new_owners() > 0));
    // Direct audio may outlast its node, and the call is nobody's all the same.
    let lost = lost.or((!moved).then_some("is not taken over"));
    lost.map(|why| if phone.state() == Some(State::Up) { why } else { "the call is ended" })
}

fn resumed(pair: &Pair, holder: &Phone) -> Option<&'static str> {
    if holder.state() != Some(State::Up) {
        return judge::lost(pair, Instant::now());
    }
    holder.resume();
    let (asked, until) = (Instant::now(), Instant::now() + RESUMED_WITHIN);
    let back = || [&pair.caller, &pair.agent].into_iter().all(|phone| phone.heard(|heard| heard.heard_since(asked)));
    match stage::await_that(until, back) {
        Some(()) => judge::lost(pair, Instant::now()),
        None => judge::lost(pair, Instant::now()).or(Some("does not resume")),
    }
}

fn served(caller: &Phone) -> Option<&'static str> {
    match caller.state() {
        Some(State::Up) if caller.heard(|heard| heard.voiced > 0) => None,
        Some(State::Up) => Some("answered and hears nothing"),
        Some(State::Calling | State::Proceeding(_)) => Some("waits for ever"),
        _ => Some("the call is ended"),
    }
}

/// The records have the last word: a call that says node_lost, or has no record, did not survive.
fn with_records(mut cells: Cells, callers: &[&[Phone]], records: &[Value]) -> Cells {
    for (state, of_state) in callers.iter().enumerate() {
        for (n, caller) in of_state.iter().enumerate() {
            let number = caller.look(|ua| ua.options.user.clone());
            let of_caller: Vec<_> = records.iter().filter(|cdr| cdr["from"] == number.as_str()).collect();
            let wrong = match of_caller[..] {
                [] => Some("no record"),
                [cdr] if cdr["outcome"] == "answered" && cdr["end_reason"] != "node_lost" => None,
                [cdr] if cdr["end_reason"] == "node_lost" => Some("recorded as node_lost"),
                [_] => Some("recorded as not answered"),
                _ => Some("two records"),
            };
            for side in ["caller", "agent", "second agent", "number"] {
                if let Some(cell) = cells.get_mut(&(state, side)).and_then(|cell| cell.get_mut(n)) {
                    *cell = cell.or(wrong);
                }
            }
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_survives_only_with_all_of_its_calls() {
        assert_eq!(verdict(&[None, None]), SURVIVED);
        assert_eq!(verdict(&[None, Some("no record"), Some("no record")]), "2/3 no record");
    }
}
