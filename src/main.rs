//! The `tandem` program: node and client in one binary. See `cli`.

fn main() -> std::process::ExitCode {
    tandem::cli::run()
}
