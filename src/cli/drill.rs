//! `tandem drill`: actors stopped and crashed on purpose, on a node that allows it.

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

pub(super) fn run(remote: &Remote, command: &Command, node: Option<u64>) -> Result<(), Failure> {
    let body = match command {
        Command::Crash { actor, every } => json!({ "kind": "crash", "actor": actor, "every": every }),
        Command::StopAll => json!({ "kind": "stop-all" }),
        Command::StopCall { call } => json!({ "kind": "stop-call", "call": call }),
        Command::Respawn { state } => json!({ "kind": "respawn", "on": *state == Switch::On }),
    };
    let path = node.map_or_else(|| "/api/v1/drills".to_owned(), |node| format!("/api/v1/drills?node={node}"));
    let answer = Client::new(remote).change("POST", &path, &[("content-type", "application/json")], &body.to_string())?;
    let respawn = if answer["respawn"] == true { "on" } else { "off" };
    println!("node {}: {} actors hit, respawn is {respawn}", answer["node"], answer["hit"]);
    Ok(())
}
