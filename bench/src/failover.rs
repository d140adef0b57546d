//! The node that leads the tenant's partition is killed again and again under load, callers on the other two: no call of
//! theirs may fail. A second, thinner stream of calls on the node that dies shows what becomes of parties that do not follow to
//! another node: those calls end as `node_lost`. A client of the API writes all the while, as one of etcd does with `--vs etcd`.

mod writes;

use std::{
    thread,
    time::{Duration, SystemTime},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    error::Error,
    etcd, judge,
    phone::Random,
    report::Report,
    settle, sipp,
    stage::Stage,
    tenant,
    traffic::{self, Traffic},
};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub traffic: traffic::Options,
    /// How often the leading node is killed.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub kills: u32,
    /// Nobody tells the peers of a death, as if the whole machine had died.
    #[arg(long)]
    pub no_death_notice: bool,
    /// Calls a second on the node that dies.
    #[arg(long, default_value_t = 2.0)]
    pub own_rate: f64,
    /// Kill the leader of an etcd on the same machine as often, in the same run.
    #[arg(long)]
    pub vs: Option<Peer>,
    /// Fixes at which moment after the load began each kill comes.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Who is measured beside us.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Peer {
    Etcd,
}

/// Load before and after each kill. A kill comes within a second after `BEFORE`, so that it meets heartbeats, leases and batches
/// at any phase.
const BEFORE: Duration = Duration::from_secs(3);
const PHASE: Duration = Duration::from_secs(1);
const AFTER_S: f64 = 3.0;
/// A killed node stays away this long: the others have to do without it.
const AWAY_MS: u64 = 4_000;
/// Bounds of the longest first response of a kill on a quiet machine.
const MEDIAN_MS: f64 = 500.0;
const WORST_MS: f64 = 700.0;
/// Bounds of kill → next write there, median and worst: with proof of death, and when silence must tell.
const TOLD_MS: (f64, f64) = (50.0, 150.0);
const SILENT_MS: (f64, f64) = (350.0, 700.0);
const WHOLE_WITHIN: Duration = Duration::from_secs(40);
/// SIPp's phones do not follow a call to another node (`survival` has phones that do). Such a call is recorded as ended once
/// its party has not answered the new edge for 8 s.
const NODE_LOST_WITHIN_MS: f64 = 10_000.0;

/// What the rounds showed, one value a kill.
#[derive(Default)]
struct Rounds {
    gaps_ms: Vec<f64>,
    writes_ms: Vec<f64>,
    /// When, on the wall clock.
    kills: Vec<f64>,
    seen: sipp::Outcome,
}

pub fn run(options: &Options) -> Result<Report, Error> {
    let stage = Stage::start(options.traffic.agents, |lab| {
        lab.restart_after_ms = Some(AWAY_MS);
        lab.death_notice = !options.no_death_notice;
        lab.tenant.push_str(&writes::row());
    })?;
    let (mut rounds, mut random) = (Rounds::default(), Random(options.seed));
    for round in 1..=options.kills {
        kill(&stage, options, round, random.below(PHASE), &mut rounds)?;
    }
    stage.lab.await_whole(&[1, 2, 3], WHOLE_WITHIN)?;
    let mut report = Report::new(format!(
        "failover: leader of the partition killed {} times, {}, {}/s on the other nodes",
        options.kills,
        if options.no_death_notice { "no death notice" } else { "with proof of death" },
        options.traffic.rate
    ));
    report.quantiles("kill of the leader → next write at a survivor", &mut rounds.writes_ms, "ms");
    let (writes_ms, bounds) = (&rounds.writes_ms, if options.no_death_notice { SILENT_MS } else { TOLD_MS });
    let (median, worst) = (writes_ms[(writes_ms.len() - 1) / 2], writes_ms[writes_ms.len() - 1]);
    report.bounded("of the writes, the median", median, "ms", format!("≤ {}", bounds.0), median <= bounds.0);
    report.bounded("of the writes, the worst", worst, "ms", format!("≤ {}", bounds.1), worst <= bounds.1);
    report.quantiles("longest INVITE → first response beyond 100 of a kill", &mut rounds.gaps_ms, "ms");
    let (median, worst) = (rounds.gaps_ms[rounds.gaps_ms.len() / 2], rounds.gaps_ms[rounds.gaps_ms.len() - 1]);
    report.bounded("of the kills, the median", median, "ms", format!("≤ {MEDIAN_MS}"), median <= MEDIAN_MS);
    report.bounded("of the kills, the worst", worst, "ms", format!("≤ {WORST_MS}"), worst <= WORST_MS);
    verdict(&mut report, &stage, &mut rounds.seen, &rounds.kills)?;
    drop(stage);
    if let Some(Peer::Etcd) = options.vs {
        let mut etcd_ms = etcd::failover_ms(options.kills)?;
        report.quantiles("etcd (50/300 ms): kill of the leader → next write at a survivor", &mut etcd_ms, "ms");
    }
    Ok(report)
}

/// One kill under load, `phase` after the load has come to its rate.
fn kill(stage: &Stage, options: &Options, round: u32, phase: Duration, rounds: &mut Rounds) -> Result<(), Error> {
    let lab = &stage.lab;
    lab.await_whole(&[1, 2, 3], WHOLE_WITHIN)?;
    let leader = lab.leader(1).ok_or_else(|| Error::Missed("the tenant's partition has no leader".to_owned()))?;
    let others: Vec<u16> = (1..=3).filter(|k| *k != leader).collect();
    let callers = Traffic::start(lab, &options.traffic, &others, (BEFORE + PHASE).as_secs_f64() + AFTER_S)?;
    let mut own = options.traffic.clone();
    own.rate = options.own_rate;
    // By the other route, so that their records are told apart.
    let doomed = Traffic::start_to(lab, &own, tenant::URGENT, &[leader], (BEFORE + PHASE).as_secs_f64())?;
    let mut client = writes::Client::new(lab, others[0]);
    // It is connected, and known to be served, before anything happens.
    client.first_ms()?;
    thread::sleep(BEFORE + phase);
    rounds.kills.push(wall_ms());
    lab.signal(leader, Signal::KILL)?;
    let write_ms = client.first_ms()?;
    let of_round = callers.finish()?;
    let gap = of_round.first_response_ms.iter().copied().fold(0.0, f64::max);
    let failed = of_round.failed;
    eprintln!("kill {round}: node {leader}, next write after {write_ms:.0} ms, longest first response {gap} ms, failed {failed}");
    rounds.gaps_ms.push(gap);
    rounds.writes_ms.push(write_ms);
    rounds.seen.add(of_round);
    drop(doomed);
    Ok(())
}

fn verdict(report: &mut Report, stage: &Stage, seen: &mut sipp::Outcome, kills: &[f64]) -> Result<(), Error> {
    let lab = &stage.lab;
    report.figure("calls on surviving nodes", (seen.succeeded + seen.failed + seen.refused) as f64, "calls");
    report.figure("refused with 503, not committed", seen.refused as f64, "calls");
    report.bounded("failed on surviving nodes", seen.failed as f64, "calls", "= 0", seen.failed == 0);
    let records = judge::records(lab, seen.succeeded as usize)?;
    let (own, others): (Vec<&Value>, Vec<&Value>) = records.cdrs.iter().partition(|cdr| cdr["to"] == tenant::URGENT);
    let answered = others.iter().filter(|cdr| cdr["outcome"] == "answered").count();
    let exact = answered as u64 == seen.succeeded && others.len() == answered;
    report.bounded("CDRs of their calls, all answered", answered as f64, "records", format!("= {}", seen.succeeded), exact);
    let lost: Vec<&Value> = own.into_iter().filter(|cdr| cdr["end_reason"] == "node_lost").collect();
    report.bounded("calls whose own edge died, recorded as node_lost", lost.len() as f64, "calls", "> 0", !lost.is_empty());
    let mut after_ms: Vec<f64> = lost.iter().filter_map(|cdr| after_kill_ms(cdr, kills)).collect();
    let in_time = after_ms.iter().filter(|ms| **ms <= NODE_LOST_WITHIN_MS).count();
    report.bounded("of those, ended within 10 s of the kill", in_time as f64, "calls", format!("= {}", lost.len()), in_time == lost.len());
    report.quantiles("kill → end of a call whose edge died", &mut after_ms, "ms");
    judge::rest(report, stage, &records)?;
    let agents = lab.all(&format!("/api/v1/agents?tenant={}", tenant::TENANT))?;
    let callable = agents.iter().filter(|agent| agent["id"] != writes::AGENT).count();
    let free = agents.iter().filter(|agent| agent["state"] == "available").count();
    report.bounded("agents available at the end", free as f64, "agents", format!("= {callable}"), free == callable);
    report.quantiles("INVITE → first response beyond 100, all calls", &mut seen.first_response_ms, "ms");
    Ok(())
}

fn wall_ms() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64() * 1000.0)
}

/// Time from the last kill before the end of a call to that end.
fn after_kill_ms(cdr: &Value, kills: &[f64]) -> Option<f64> {
    let ended = settle::unix_ms(cdr["ended_at"].as_str()?)?;
    kills.iter().rev().map(|kill| ended - kill).find(|ms| *ms >= 0.0)
}
