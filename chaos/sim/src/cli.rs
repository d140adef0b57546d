//! What may be asked of the simulator on the command line, and what it prints.

use std::path::PathBuf;

use crate::{Options, Print, Run};

#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// The first seed; each further iteration takes the next
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    iterations: u64,
    /// No iteration begins after so many minutes
    #[arg(long)]
    minutes: Option<u64>,
    /// Simulations at once
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Callers of an iteration
    #[arg(long, default_value_t = 220)]
    calls: u64,
    /// Virtual seconds of an iteration
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Write all that happens here; of use with one iteration
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Never cut the power of all nodes at once, and contest no election
    #[arg(long)]
    no_outages: bool,
    /// Begin no iteration after the first that failed
    #[arg(long)]
    first: bool,
    /// Print nothing of iterations that passed
    #[arg(long)]
    quiet: bool,
}

/// Simulates and prints. True if nothing was violated.
pub fn run(arguments: Arguments) -> bool {
    if std::env::var_os("RUST_LOG").is_some() {
        tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).without_time().init();
    }
    let Arguments { seed, iterations, minutes, threads, calls, seconds, trace, no_outages, first, quiet } = arguments;
    let print = if quiet { Print::Failed } else { Print::All };
    let report = crate::run(&Options { seed, iterations, minutes, threads, calls, seconds, trace, outages: !no_outages, first, print });
    for (name, injected, felt) in report.faults() {
        println!("  {name}: {injected} injected, {felt} felt");
    }
    let failed = report.runs.iter().filter(|run| !run.passed()).count();
    let felt: u64 = report.runs.iter().map(Run::felt).sum();
    println!("{} iterations, {failed} failed, {felt} faults felt", report.runs.len());
    report.passed()
}
