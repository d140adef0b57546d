//! The node that leads the tenant's partition is killed again and again under load, callers on the other two: no call of
//! theirs may fail. A second, thinner stream of calls on the node that dies shows that those end as `node_lost` at once.

use std::{
    thread,
    time::{Duration, Instant, SystemTime},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    error::Error,
    etcd,
    history::Recorder,
    judge,
    lab::{self, Lab},
    report::Report,
    settle, sipp, tenant,
    traffic::{self, Traffic},
};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub traffic: traffic::Options,
    /// How often the leading node is killed.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
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
}

/// Who is measured beside us.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Peer {
    Etcd,
}

/// Load before and after each kill.
const BEFORE: Duration = Duration::from_secs(3);
const AFTER_S: f64 = 3.0;
/// A killed node stays away this long: the others have to do without it.
const AWAY_MS: u64 = 4_000;
/// Bounds of the longest first response of a kill on a quiet machine.
const MEDIAN_MS: f64 = 500.0;
const WORST_MS: f64 = 700.0;
const WHOLE_WITHIN: Duration = Duration::from_secs(40);
/// A call whose own edge died is recorded as ended within this.
const NODE_LOST_WITHIN_MS: f64 = 2_000.0;

pub fn run(options: &Options) -> Result<Report, Error> {
    let mut lab = lab::Options::new(tenant::with_agents(options.traffic.agents, sipp::PHONE_PORT));
    lab.restart_after_ms = Some(AWAY_MS);
    lab.death_notice = !options.no_death_notice;
    let lab = Lab::start(&lab)?;
    let _phones = sipp::phones(sipp::PHONE_PORT)?;
    let recorder = Recorder::start(&lab);
    let mut seen = sipp::Outcome::default();
    let (mut gaps_ms, mut kills) = (Vec::new(), Vec::new());
    for round in 1..=options.kills {
        lab.await_whole(&[1, 2, 3], WHOLE_WITHIN)?;
        let leader = lab.leader(1).ok_or_else(|| Error::Missed("the tenant's partition has no leader".to_owned()))?;
        let others: Vec<u16> = (1..=3).filter(|k| *k != leader).collect();
        let callers = Traffic::start(&lab, &options.traffic, &others, BEFORE.as_secs_f64() + AFTER_S)?;
        let mut own = options.traffic.clone();
        own.rate = options.own_rate;
        let doomed = Traffic::start(&lab, &own, &[leader], BEFORE.as_secs_f64())?;
        let start = Instant::now();
        thread::sleep(BEFORE.saturating_sub(start.elapsed()));
        kills.push(wall_ms());
        lab.signal(leader, Signal::KILL)?;
        let mut of_round = callers.finish()?;
        let gap = of_round.first_response_ms.iter().copied().fold(0.0, f64::max);
        eprintln!("kill {round}: node {leader}, longest first response {gap} ms, failed {}", of_round.failed);
        gaps_ms.push(gap);
        seen.add(std::mem::take(&mut of_round));
        drop(doomed);
    }
    lab.await_whole(&[1, 2, 3], WHOLE_WITHIN)?;
    let mut report = Report::new(format!(
        "failover: leader of the partition killed {} times, {}, {}/s on the other nodes",
        options.kills,
        if options.no_death_notice { "no death notice" } else { "with proof of death" },
        options.traffic.rate
    ));
    report.quantiles("longest INVITE → first response beyond 100 of a kill", &mut gaps_ms, "ms");
    let (median, worst) = (gaps_ms[gaps_ms.len() / 2], gaps_ms[gaps_ms.len() - 1]);
    report.bounded("of the kills, the median", median, "ms", format!("≤ {MEDIAN_MS}"), median <= MEDIAN_MS);
    report.bounded("of the kills, the worst", worst, "ms", format!("≤ {WORST_MS}"), worst <= WORST_MS);
    verdict(&mut report, &lab, &mut seen, &recorder, &kills)?;
    drop(lab);
    if let Some(Peer::Etcd) = options.vs {
        report.quantiles("etcd (50/300 ms): kill of the leader → next write", &mut etcd::failover_ms(options.kills)?, "ms");
    }
    Ok(report)
}

fn verdict(report: &mut Report, lab: &Lab, seen: &mut sipp::Outcome, recorder: &Recorder, kills: &[f64]) -> Result<(), Error> {
    report.figure("calls on surviving nodes", (seen.succeeded + seen.failed + seen.refused) as f64, "calls");
    report.figure("refused with 503, not committed", seen.refused as f64, "calls");
    report.bounded("failed on surviving nodes", seen.failed as f64, "calls", "= 0", seen.failed == 0);
    let records = judge::records(lab, seen.succeeded as usize)?;
    report.bounded("calls with two CDRs", records.doubled as f64, "calls", "= 0", records.doubled == 0);
    let answered = records.count("end_reason", "caller_hung_up");
    report.figure("CDRs ended by the caller", answered as f64, "records");
    let lost: Vec<&Value> = records.cdrs.iter().filter(|cdr| cdr["end_reason"] == "node_lost").collect();
    report.figure("CDRs of calls whose own edge died", lost.len() as f64, "records");
    let mut late: Vec<f64> = lost.iter().filter_map(|cdr| after_kill_ms(cdr, kills)).collect();
    let kept = late.iter().all(|ms| *ms <= NODE_LOST_WITHIN_MS);
    report.bounded(
        "those that ended later than 2 s after the kill",
        late.iter().filter(|ms| **ms > NODE_LOST_WITHIN_MS).count() as f64,
        "calls",
        "= 0",
        kept,
    );
    report.quantiles("kill → end of a call whose edge died", &mut late, "ms");
    let (all, told) = (records.cdrs.len(), seen.succeeded + lost.len() as u64);
    report.bounded("CDRs of callers and lost edges together", told as f64, "records", format!("≤ {all} CDRs"), told as usize <= all);
    judge::history(report, lab, recorder, all);
    let agree = settle::archives_agree(lab)?;
    report.bounded("archives equal on every node", f64::from(u8::from(agree)), "", "= 1", agree);
    let idle = lab.all(&format!("/api/v1/agents?tenant={}", tenant::TENANT))?.iter().filter(|agent| agent["state"] == "available").count();
    report.figure("agents available at the end", idle as f64, "agents");
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
