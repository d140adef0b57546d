//! The command line: what can be typed, and what the process exits with.
//!
//! It owns arguments, exit codes and the one line an error is told on. Client commands speak HTTP to a node; `serve`
//! and `dev` run nodes.

mod call;
mod client;
mod columns;
mod commands;
mod dev;
mod drill;
mod failure;
mod knowledge;
mod model;
mod output;
mod pki;
mod rescue;
mod scorecard;
mod serve;
mod takeover;
mod watch;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

pub use failure::Failure;

const EXIT_CODES: &str = "Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 the node or its quorum is unavailable: \
     nothing was done, try again; 4 the outcome is unknown: repeat the command; 5 a scorecard has too few rows for a verdict. A node that dies of a signal makes `serve` exit \
     with 128 + its number.";

#[derive(Debug, Parser)]
#[command(name = "tandem", version, about = "A call-routing cluster in which AI agents and people answer in tandem", after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a whole cluster on this machine, for trying and testing
    Dev(dev::Args),
    /// Run one node under a watcher
    Serve(serve::Args),
    /// Publish tenant files
    Apply {
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Refuse when the tenant has another version than this
        #[arg(long)]
        expect: Option<u64>,
        #[command(flatten)]
        remote: Remote,
    },
    /// List what the cluster knows
    Get(commands::Get),
    /// Say why a call went where it went
    Explain {
        call: String,
        #[arg(short, long, default_value = "table")]
        output: output::Format,
        #[command(flatten)]
        remote: Remote,
    },
    /// Set an agent's state: available, break REASON, offline
    Agent {
        id: String,
        state: commands::AgentState,
        /// Why on break
        #[arg(required_if_eq("state", "break"))]
        reason: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Send a connected call on to another queue or agent
    Transfer {
        call: String,
        #[command(flatten)]
        to: commands::TransferTo,
        #[command(flatten)]
        remote: Remote,
    },
    /// Ask another agent about a connected call while the caller waits; then hand it over, take it back or join all three
    Consult {
        call: String,
        #[command(flatten)]
        what: commands::ConsultWhat,
        #[command(flatten)]
        remote: Remote,
    },
    /// End a call
    Hangup {
        call: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Do something to a call that talks, or have somebody called back
    Call {
        #[command(subcommand)]
        command: call::Command,
        #[command(flatten)]
        remote: Remote,
    },
    /// Let people take contacts over from AI agents: one, or all of a queue, a tenant or the cluster
    Takeover {
        #[command(subcommand)]
        command: takeover::Command,
        #[command(flatten)]
        remote: Remote,
    },
    /// Let a node take no new calls and give its leaderships away
    Drain {
        node: u64,
        /// Take it back
        #[arg(long)]
        undo: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// Admit a node to the cluster
    Join {
        /// Id of the new node
        #[arg(long)]
        id: u64,
        /// Its cluster address
        #[arg(long)]
        addr: std::net::SocketAddr,
        /// It votes but takes no calls
        #[arg(long)]
        witness: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// Move every replica off a node and forget it
    Leave {
        node: u64,
        #[command(flatten)]
        remote: Remote,
    },
    /// Say which feature level the cluster uses, or raise it for good at the end of an upgrade
    FeatureLevel {
        /// The level wanted; every node's binary must know it
        raise: Option<u32>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Make a caller's personal data unreadable in every record, for good
    Erase {
        /// The caller's number or user
        subject: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Hurt live actors, the log's disk or the clock on purpose, where the node allows drills
    Drill {
        #[command(subcommand)]
        command: drill::Command,
        /// The node whose actors are meant; the one asked otherwise
        #[arg(long, global = true)]
        node: Option<u64>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Write the whole state of a running cluster into a file
    Backup {
        file: PathBuf,
        #[command(flatten)]
        remote: Remote,
    },
    /// Make the data directory of a new cluster's first node out of a backup
    Restore(rescue::Restore),
    /// Pass over an entry of a partition's log that ends every node that applies it; its commands are void
    Skip {
        partition: u32,
        index: u64,
        /// For partition 0, which nobody can ask: the data directory of a node that is not running, on each node in turn
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Make the survivor of a lost majority a cluster of its own
    Recover(rescue::Recover),
    /// Make certificates for node-to-node traffic
    #[command(subcommand)]
    Pki(pki::Command),
    /// Make, list and revoke tokens
    Token {
        #[command(subcommand)]
        command: commands::Token,
        #[command(flatten)]
        remote: Remote,
    },
    /// Choose which version of the triage models judges contacts: stage, canary, promote, rollback
    Model {
        #[command(subcommand)]
        command: model::Command,
        #[command(flatten)]
        remote: Remote,
    },
    /// Follow events as they happen
    Events(commands::Events),
    /// Measure triage models on labelled texts
    #[command(subcommand)]
    Scorecard(scorecard::Command),
    /// Say what triage makes of a text
    Triage(scorecard::One),
    /// Ask a folder of articles
    #[command(subcommand)]
    Knowledge(knowledge::Command),
    /// Talk to an assistant, line by line
    Talk(knowledge::Talk),
}

/// Where a client command goes, and as whom.
#[derive(Debug, Clone, Args)]
pub struct Remote {
    /// Any node's HTTP address
    #[arg(long, env = "TANDEM_SERVER", default_value = "http://127.0.0.1:8080", global = true)]
    server: String,
    /// A token of `tandem token create`, or the one in `admin.token`
    #[arg(long, env = "TANDEM_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
    /// The tenant meant, where there are several
    #[arg(long, env = "TANDEM_TENANT", global = true)]
    tenant: Option<String>,
}

/// Runs the program.
pub fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Dev(args) => return finish(dev::run(&args)),
        Command::Serve(args) => return finish(serve::run(&args)),
        Command::Scorecard(command) => return finish(scorecard::run(&command)),
        Command::Triage(one) => return finish(scorecard::one(&one)),
        Command::Knowledge(command) => return finish(knowledge::run(&command)),
        Command::Talk(talk) => return finish(knowledge::talk(&talk)),
        Command::Apply { files, expect, remote } => commands::apply(&remote, &files, expect),
        Command::Get(get) => commands::get(&get),
        Command::Explain { call, output, remote } => commands::explain(&remote, &call, output),
        Command::Agent { id, state, reason, remote } => commands::agent(&remote, &id, state, reason.as_deref()),
        Command::Transfer { call, to, remote } => commands::transfer(&remote, &call, &to),
        Command::Consult { call, what, remote } => commands::consult(&remote, &call, &what),
        Command::Hangup { call, remote } => commands::hangup(&remote, &call),
        Command::Call { command, remote } => call::run(&remote, &command),
        Command::Takeover { command, remote } => takeover::run(&remote, &command),
        Command::Drain { node, undo, remote } => commands::drain(&remote, node, undo),
        Command::Join { id, addr, witness, remote } => commands::join(&remote, id, addr, witness),
        Command::Leave { node, remote } => commands::leave(&remote, node),
        Command::FeatureLevel { raise, remote } => commands::feature_level(&remote, raise),
        Command::Erase { subject, remote } => commands::erase(&remote, &subject),
        Command::Drill { command, node, remote } => drill::run(&remote, &command, node),
        Command::Backup { file, remote } => rescue::back_up(&remote, &file),
        Command::Restore(args) => rescue::restore(&args),
        Command::Skip { partition, index, data, remote } => rescue::skip(&remote, partition, index, data.as_deref()),
        Command::Recover(args) => rescue::recover(&args),
        Command::Pki(command) => pki::run(&command),
        Command::Token { command, remote } => commands::token(&remote, &command),
        Command::Model { command, remote } => model::run(&remote, &command),
        Command::Events(events) => commands::events(&events),
    };
    finish(result.map(|()| ExitCode::SUCCESS))
}

fn finish(result: Result<ExitCode, Failure>) -> ExitCode {
    result.unwrap_or_else(|failure| {
        eprintln!("tandem: {failure}");
        failure.exit_code()
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_break_needs_a_reason_and_other_states_do_not() {
        assert!(Cli::try_parse_from(["tandem", "agent", "alice", "break"]).is_err());
        assert!(Cli::try_parse_from(["tandem", "agent", "alice", "break", "lunch"]).is_ok());
        assert!(Cli::try_parse_from(["tandem", "agent", "alice", "available"]).is_ok());
    }

    #[test]
    fn a_token_needs_one_of_the_four_roles() {
        assert!(Cli::try_parse_from(["tandem", "token", "create", "--role", "king"]).is_err());
        assert!(Cli::try_parse_from(["tandem", "token", "create", "--role", "auditor", "--tenant", "demo"]).is_ok());
    }
}
