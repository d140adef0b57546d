//! The simulator as a program of its own, which `make sim` runs; `chaos sim` is the same.

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "tandem-sim", about = "Lives through faults in virtual time: three real nodes on a made-up network, disks and clocks")]
struct Program {
    #[command(flatten)]
    arguments: tandem_sim::cli::Arguments,
}

fn main() -> ExitCode {
    if tandem_sim::cli::run(Program::parse().arguments) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
