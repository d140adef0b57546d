//! `tandem serve`: one node, and the watcher it runs under.
//!
//! The watcher forwards SIGTERM and SIGINT, waits, announces an unclean death and passes the exit code through. It does
//! not start the node again: that is the service manager's (systemd, Kubernetes).

use std::{path::PathBuf, process::ExitCode};

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    Failure,
    watch::{self, NodeProcess},
};
use crate::{config, node, telemetry};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The node's configuration
    #[arg(long)]
    config: PathBuf,
    /// Be the node itself, without a watcher
    #[arg(long, hide = true)]
    as_node: bool,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let config = config::node::Node::load(&args.config)?;
    if args.as_node {
        return serve(config);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::new)?;
    runtime.block_on(watch(config.node, args))
}

/// The node itself.
fn serve(config: config::node::Node) -> Result<ExitCode, Failure> {
    watch::die_with_parent();
    let format = match config.log.format {
        config::node::LogFormat::Json => telemetry::logs::Format::Json,
        config::node::LogFormat::Pretty => telemetry::logs::Format::Pretty,
    };
    telemetry::logs::install(format, &config.log.level).map_err(Failure::new)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("tandem").build().map_err(Failure::new)?;
    let result = runtime.block_on(node::run(config));
    // Blocking work that hangs must not keep a drained process alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result.map(|()| ExitCode::SUCCESS).map_err(|e| {
        tracing::error!(error = %e, "the node failed");
        Failure::new(e)
    })
}

async fn watch(node: u64, args: &Args) -> Result<ExitCode, Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::new)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::new)?;
    let mut process = NodeProcess::spawn(&args.config, None).map_err(Failure::new)?;
    let end = loop {
        tokio::select! {
            end = process.wait() => break end.map_err(Failure::new)?,
            _ = terminate.recv() => process.signal(Signal::TERM),
            _ = interrupt.recv() => process.signal(Signal::TERM),
        }
    };
    if !end.is_clean() {
        match process.announce().await {
            Ok(told) => eprintln!("tandem: node {node} died: {end}; told {told} peers"),
            Err(error) => eprintln!("tandem: node {node} died: {end}; the peers could not be told: {error}"),
        }
    }
    Ok(ExitCode::from(end.code()))
}
