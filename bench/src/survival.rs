//! Proofs that calls outlive their node, with the project's own phones: what every party hears and is told while the node
//! that carries, leads or both dies, stands still or drains.

mod drain;
mod gap;
mod judge;
mod leader;
mod matrix;
mod rtpengine;
mod soft;
mod softphones;
pub mod stage;
mod storm;
mod window;
mod zombie;

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
    /// The node stands still, or is cut off from its peers, for longer than its lease, and comes back. Needs root.
    Zombie(zombie::Options),
    /// baresip and PJSIP, their node killed.
    Softphones(softphones::Options),
    /// State × transport × address family, node killed.
    Matrix(matrix::Options),
    /// One of two rtpengines that carry the calls is killed.
    Rtpengine(rtpengine::Options),
}

/// What all of them can be told.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Fixes tags, phases and choices.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Whether audio goes through the nodes or from phone to phone; the tenant file says nothing of it by default.
    #[arg(long, value_enum, default_value_t = Media::Unsaid)]
    media: Media,
    /// What becomes of callers without an answer; the tenant file says nothing of it by default.
    #[arg(long, value_enum)]
    unanswered: Option<Unanswered>,
    /// Show the SIP of the first call lost, as its two phones saw it.
    #[arg(long)]
    trace: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Media {
    Anchored,
    Direct,
    /// By an rtpengine beside the nodes, which is started for the proof.
    Rtpengine,
    Unsaid,
}

impl Media {
    /// The line of the tenant file.
    const fn line(self) -> &'static str {
        match self {
            Self::Anchored => "media = \"anchored\"\n",
            Self::Direct => "media = \"direct\"\n",
            Self::Rtpengine => "media = \"rtpengine\"\n",
            Self::Unsaid => "",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Anchored => "anchored",
            Self::Direct => "direct",
            Self::Rtpengine => "rtpengine",
            Self::Unsaid => "as the nodes do by themselves",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Unanswered {
    Answer,
    Keep,
}

impl Unanswered {
    const fn line(self) -> &'static str {
        match self {
            Self::Answer => "adopt_unanswered = \"answer\"\n",
            Self::Keep => "adopt_unanswered = \"keep\"\n",
        }
    }
}

impl Common {
    /// What the tenant file says of all this.
    fn lines(&self) -> String {
        format!("{}{}", self.media.line(), self.unanswered.map_or("", Unanswered::line))
    }
}

pub fn run(options: &Options) -> Result<Report, Error> {
    match &options.what {
        What::Gap(options) => gap::run(options),
        What::Leader(options) => leader::run(options),
        What::Drain(options) => drain::run(options),
        What::Storm(options) => storm::run(options),
        What::Window(options) => window::run(options),
        What::Zombie(options) => zombie::run(options),
        What::Softphones(options) => softphones::run(options),
        What::Matrix(options) => matrix::run(options),
        What::Rtpengine(options) => rtpengine::run(options),
    }
}
