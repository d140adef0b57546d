//! `tandem call`: what people do to a call that talks, or waits for a callback.

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{
    Failure, Remote,
    client::{Client, escape},
    commands::tenant_query,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Put the caller on hold: it hears the queue's music
    Hold { call: String },
    /// Take the caller back from hold
    Resume { call: String },
    /// Let nobody hear a party
    Mute {
        call: String,
        #[arg(long, value_enum, default_value = "agent")]
        party: Party,
    },
    /// Let everybody hear it again
    Unmute {
        call: String,
        #[arg(long, value_enum, default_value = "agent")]
        party: Party,
    },
    /// Ring a supervisor's phone to hear the call; for one who is in it, another mode
    Supervise {
        call: String,
        /// The supervisor, an agent of the tenant
        agent: String,
        #[arg(long, value_enum, default_value = "monitor")]
        mode: Mode,
    },
    /// Hang a waiting caller up and call it back in its turn; its place is kept
    Callback {
        call: String,
        /// Another number than it calls from
        #[arg(long)]
        number: Option<String>,
    },
    /// Call a number for a queue, now or at a time
    Schedule {
        queue: String,
        number: String,
        /// RFC 3339, such as 2026-12-01T09:00:00+01:00
        #[arg(long)]
        at: Option<String>,
        /// Lower is more urgent; the queue's by default
        #[arg(long)]
        priority: Option<u8>,
    },
    /// Record it, mask what is said for a while, or stop
    Record {
        call: String,
        #[arg(value_enum)]
        action: Action,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Mode {
    /// Heard by nobody
    Monitor,
    /// Heard by the agent
    Whisper,
    /// Heard by all
    Barge,
}

impl Mode {
    const fn name(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::Whisper => "whisper",
            Self::Barge => "barge",
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Action {
    Start,
    Pause,
    Resume,
    Stop,
}

impl Action {
    const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Stop => "stop",
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Party {
    Caller,
    Agent,
}

impl Party {
    fn body(self) -> Value {
        json!({ "party": match self { Self::Caller => "caller", Self::Agent => "agent" } })
    }
}

/// Says the id of the call that was made of it.
fn schedule(remote: &Remote, body: &Value) -> Result<(), Failure> {
    let path = format!("/api/v1/callbacks{}", tenant_query(remote));
    let made = Client::new(remote).change("POST", &path, &[("content-type", "application/json")], &body.to_string())?;
    println!("{}", made["call_id"].as_str().unwrap_or_default());
    Ok(())
}

pub(super) fn run(remote: &Remote, command: &Command) -> Result<(), Failure> {
    let (call, what, body) = match command {
        Command::Hold { call } => (call, "hold", json!({})),
        Command::Resume { call } => (call, "resume", json!({})),
        Command::Mute { call, party } => (call, "mute", party.body()),
        Command::Unmute { call, party } => (call, "unmute", party.body()),
        Command::Supervise { call, agent, mode } => (call, "supervise", json!({ "agent": agent, "mode": mode.name() })),
        Command::Callback { call, number } => (call, "callback", json!({ "number": number })),
        Command::Schedule { queue, number, at, priority } => {
            return schedule(remote, &json!({ "queue": queue, "number": number, "at": at, "priority": priority }));
        }
        Command::Record { call, action } => (call, "recording", json!({ "action": action.name() })),
    };
    let path = format!("/api/v1/calls/{}/{what}{}", escape(call), tenant_query(remote));
    Client::new(remote).change("POST", &path, &[("content-type", "application/json")], &body.to_string()).map(drop)
}
