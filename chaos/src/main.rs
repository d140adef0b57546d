//! `chaos`: the program. What it does is in `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(tandem_chaos::cli::main())
}
