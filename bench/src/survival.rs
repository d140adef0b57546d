//! Proofs that calls outlive their node, with the project's own phones: what every party hears and is told while the node
//! that carries, leads or both dies, stands still or drains.

mod drain;
mod gap;
mod judge;
mod leader;
mod matrix;
mod pause;
mod stage;
mod storm;
mod window;

use clap::{Args, Subcommand, ValueEnum};

use crate::{error::Error, report::Report};

#[derive(Debug, Clone, Args)]
pub struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// The node that carries both legs of every call is killed: audio gap of each direction, calls lost.
    Gap(gap::Options),
    /// The node that leads the partition and carries no leg is killed: nobody may notice.
    Leader(leader::Options),
    /// The node that carries every call is told to end.
    Drain(drain::Options),
    /// A node with very many calls is killed: how long until the last is taken over, and in what doses.
    Storm(storm::Options),
    /// Hang-ups and answers in the very window of a death.
    Window(window::Options),
    /// The node stands still for longer than its lease and goes on.
    Pause(pause::Options),
    /// State × transport × address family, node killed.
    Matrix(matrix::Options),
}

/// What all of them can be told.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Fixes tags, phases and choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Whether audio goes through the nodes or from phone to phone.
    #[arg(long, value_enum, default_value_t = Media::Direct)]
    media: Media,
    /// Show the SIP of the first call lost, as its two phones saw it.
    #[arg(long)]
    trace: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Media {
    Anchored,
    Direct,
}

impl Media {
    /// The line of the tenant file. What a node does without one is direct.
    const fn line(self) -> &'static str {
        match self {
            Self::Anchored => "media = \"anchored\"\n",
            Self::Direct => "",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Anchored => "anchored",
            Self::Direct => "direct",
        }
    }
}

pub fn run(options: &Options) -> Result<Report, Error> {
    match &options.what {
        What::Gap(options) => gap::run(options),
        What::Leader(options) => leader::run(options),
        What::Drain(options) => drain::run(options),
        What::Storm(options) => storm::run(options),
        What::Window(options) => window::run(options),
        What::Pause(options) => pause::run(options),
        What::Matrix(options) => matrix::run(options),
    }
}
