//! `tandem-bench`: the command line of the figures and proofs.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use tandem_bench::{
    calls, core, disk, drill, error::Error, failover, members, memory, offers, outage, overload, raft, relay, report::Report, rolling,
    surge, survival, takeover, triage, witness,
};

#[derive(Parser)]
#[command(about = "Figures and proofs of a Tandem cluster on this machine")]
struct Arguments {
    /// Also write the figures as JSON.
    #[arg(long, global = true)]
    json: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// INVITE → queue → agent → BYE: answered, failed, CDRs, CPU seconds per 1000 calls.
    Calls(calls::Options),
    /// A crowd before few agents: order of offers, bookings, and a freed agent's next INVITE beside one commit.
    Offers(offers::Options),
    /// The leading node killed again and again under load.
    Failover(failover::Options),
    /// Each node ended politely in turn under load.
    Rolling(rolling::Options),
    /// Three nodes, five and three again under load.
    Members(members::Options),
    /// Two data nodes and a witness, each killed in turn under load.
    Witness(witness::Options),
    /// All nodes killed at once and started again.
    Outage(outage::Options),
    /// A node's disk fills up under load.
    Disk(disk::Options),
    /// Actors of every kind crashed and stopped under load.
    Drill(drill::Options),
    /// Calls outlive their node: what phones hear and are told.
    Survival(survival::Options),
    /// The queue of seven minutes, through the core: people alone, and AI agents before them.
    Surge(surge::Options),
    /// People take contacts over from AI agents.
    Takeover(takeover::Options),
    /// Twice the knee.
    Overload(overload::Options),
    /// Replication alone: commands a second, synced on a majority.
    Raft(raft::Options),
    /// One node of `raft`, started by it.
    #[command(hide = true)]
    RaftNode(raft::NodeArguments),
    /// The media relay alone: calls at no loss on one thread, beside rtpengine in user space.
    Relay(relay::Options),
    /// The process of `relay` that carries packets, started by it.
    #[command(hide = true)]
    RelayNode(relay::NodeArguments),
    /// Memory per waiting call.
    Memory(memory::Options),
    /// The pure core alone: commands a second, few and very many waiting.
    Core(core::Options),
    /// Understanding a text: a decision's latency on one thread.
    Triage(triage::Options),
}

fn run(what: &What) -> Result<Option<Report>, Error> {
    let report = match what {
        What::RaftNode(arguments) => return raft::node(arguments).map(|()| None),
        What::RelayNode(arguments) => return relay::node(arguments).map(|()| None),
        What::Calls(options) => calls::run(options),
        What::Offers(options) => offers::run(options),
        What::Failover(options) => failover::run(options),
        What::Rolling(options) => rolling::run(options),
        What::Members(options) => members::run(options),
        What::Witness(options) => witness::run(options),
        What::Outage(options) => outage::run(options),
        What::Disk(options) => disk::run(options),
        What::Drill(options) => drill::run(options),
        What::Survival(options) => survival::run(options),
        What::Surge(options) => surge::run(options),
        What::Takeover(options) => takeover::run(options),
        What::Overload(options) => overload::run(options),
        What::Raft(options) => raft::run(options),
        What::Relay(options) => relay::run(options),
        What::Memory(options) => memory::run(options),
        What::Core(options) => core::run(options),
        What::Triage(options) => triage::run(options),
    };
    report.map(Some)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let written = run(&arguments.what).and_then(|report| {
        // A node of a run says what it has to say itself.
        let Some(report) = report else { return Ok(true) };
        report.print();
        arguments.json.as_deref().map_or(Ok(()), |path| report.write(path)).map(|()| report.passed())
    });
    match written {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
