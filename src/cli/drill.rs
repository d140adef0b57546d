//! `tandem drill`: actors, disk and clock hurt on purpose, on a node that allows it.

use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::{Failure, Remote, client::Client};
use crate::actor::Kind;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Panic in a live actor of a kind
    Crash {
        actor: Kind,
        /// In all of them
        #[arg(long)]
        every: bool,
        /// Only in those of this tenant
        #[arg(long, value_name = "TENANT")]
        only: Option<String>,
    },
    /// Let a live actor of a kind take no message for a while
    Hang {
        actor: Kind,
        #[arg(long)]
        every: bool,
        #[arg(long, value_name = "TENANT")]
        only: Option<String>,
        #[arg(long, value_name = "MS")]
        for_ms: u64,
    },
    /// Let the log's disk fail or be slow; without anything, it is well again
    Disk {
        /// What its next sync or write meets
        #[arg(long)]
        error: Option<DiskError>,
        /// How much longer each sync takes
        #[arg(long, default_value_t = 0, value_name = "MS")]
        slow_ms: u64,
    },
    /// Put the node's wall clock ahead of the machine's; negative is behind, 0 right
    Clock {
        #[arg(allow_negative_numbers = true)]
        ahead_ms: i64,
    },
    /// Stop every actor of the node at once
    StopAll,
    /// Stop the actor of one call, wherever it is
    StopCall { call: String },
    /// Whether actors that stopped are spawned again
    Respawn { state: Switch },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Switch {
    On,
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum DiskError {
    /// A sync that says EIO: the process ends, as it must
    Sync,
    /// A write that finds no room
    Full,
}

pub(super) fn run(remote: &Remote, command: &Command, node: Option<u64>) -> Result<(), Failure> {
    let body = match command {
        Command::Crash { actor, every, only } => json!({ "kind": "crash", "actor": actor, "every": every, "tenant": only }),
        Command::Hang { actor, every, only, for_ms } => {
            json!({ "kind": "hang", "actor": actor, "every": every, "tenant": only, "for_ms": for_ms })
        }
        Command::Disk { error, slow_ms } => {
            let error = error.map(|error| if error == DiskError::Sync { "sync" } else { "full" });
            json!({ "kind": "disk", "error": error, "slow_ms": slow_ms })
        }
        Command::Clock { ahead_ms } => json!({ "kind": "clock", "ahead_ms": ahead_ms }),
        Command::StopAll => json!({ "kind": "stop-all" }),
        Command::StopCall { call } => json!({ "kind": "stop-call", "call": call }),
        Command::Respawn { state } => json!({ "kind": "respawn", "on": *state == Switch::On }),
    };
    let path = node.map_or_else(|| "/api/v1/drills".to_owned(), |node| format!("/api/v1/drills?node={node}"));
    let answer = Client::new(remote).change("POST", &path, &[("content-type", "application/json")], &body.to_string())?;
    let respawn = if answer["respawn"] == true { "on" } else { "off" };
    if let Command::Disk { .. } | Command::Clock { .. } = command {
        println!("node {}: done, until it ends", answer["node"]);
    } else {
        println!("node {}: {} actors hit, respawn is {respawn}", answer["node"], answer["hit"]);
    }
    Ok(())
}
