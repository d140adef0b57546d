//! The media plane: how the audio of this node's legs is carried.
//!
//! A leg faces one party with ports of its own. What a party says of itself (SDP) goes through [`MediaPlane::pass`], which
//! notes it and answers with what the other party is told instead; who hears whom is said apart from that, by
//! [`MediaPlane::hear`] and [`MediaPlane::play`]. [`Relay`] carries packets on threads of this process, [`Direct`] lets the
//! parties send to each other, [`Rtpengine`] has another process carry them. Signalling, and who is connected to whom, belong to the SIP edge and the core.

mod book;
mod codec;
mod counts;
mod direct;
mod dtmf;
mod ear;
mod g711;
mod inbox;
mod latch;
mod leg;
pub mod limits;
mod music;
mod outbox;
mod player;
mod ports;
mod prompts;
mod recorder;
mod relay;
mod rtp;
mod rtpengine;
mod sdp;
mod secure;
mod shard;
mod stream;
mod tap;
mod voice;
mod wav;
mod worker;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use crate::core::id::{CallId, LegId};

pub use self::{
    counts::{Count, describe as describe_metrics},
    direct::Direct,
    relay::{Options, Relay},
    rtpengine::{Options as RtpengineOptions, Rtpengine},
};

/// How media of this node's legs is carried. Calls are cheap and do not block (a `bind()` at most).
///
/// Legs of one call may hear each other; legs of different calls may not. What is done by default is right for a plane whose audio
/// passes elsewhere: it has none to answer with, to hear, to play or to record.
pub trait MediaPlane: Send + Sync + 'static {
    /// The party of `from` describes itself with `sdp`, an offer or an answer as it came (RFC 3264). Returns what the party of
    /// `to` is told instead: our address and the port facing `to`, under an origin of ours whose version rises with every
    /// change. Says nothing about who hears whom.
    ///
    /// A leg that we answered ourselves, or took over, stays on the codec it has: G.711 of either law is then carried over.
    ///
    /// # Errors
    /// When there is no audio that could be carried, or no port.
    fn pass(&self, from: LegId, to: LegId, sdp: &[u8]) -> Result<Bytes, Error>;

    /// True if audio goes through this node.
    fn anchors(&self) -> bool;

    /// Tells what `pass` is going to be asked. False if it can't say yet, as others must be asked: [`Event::Ready`] follows for
    /// the call, whatever came of it, and then this is to be asked again. Safe to repeat.
    fn prepare(&self, _crossing: &Crossing<'_>) -> bool {
        true
    }

    /// Who carries the audio of a new call, if that is another process; none while nobody can.
    fn carrier(&self) -> Option<String> {
        None
    }

    /// Forgets a leg that another node has now: what carries its audio outside this node goes on.
    fn leave(&self, leg: LegId) {
        self.close(leg);
    }

    /// Whether a description could be carried at all.
    ///
    /// # Errors
    /// As `pass`, but for ports.
    fn check(&self, sdp: &[u8]) -> Result<(), Error>;

    /// Our own answer to an offer, for a leg that hears treatment before any agent: G.711 and named events of what is offered.
    ///
    /// # Errors
    /// When neither law of G.711 is offered, or there is no port.
    fn answer(&self, _leg: LegId, _offer: &[u8]) -> Result<Bytes, Error> {
        Err(Error::NoAddress)
    }

    /// What the party of `to` is offered that is to be mixed with others of the call of `from`, whose party described itself with
    /// `sdp`: G.711 and named events, both ways, whatever `from` is held to.
    ///
    /// # Errors
    /// As `pass`.
    fn offer(&self, _from: LegId, _to: LegId, _sdp: &[u8]) -> Result<Bytes, Error> {
        Err(Error::NoAddress)
    }

    /// Media of a leg that another node had. Opens a port and sends comfort noise at once. What our side tells the party then
    /// comes of `pass`, with a version above that of `image`.
    ///
    /// # Errors
    /// As `pass`.
    fn restore(&self, _leg: LegId, _image: &Image) -> Result<(), Error> {
        Ok(())
    }

    /// What another node needs to go on with this leg; `None` for a leg whose party has said nothing.
    fn image(&self, _leg: LegId) -> Option<Image> {
        None
    }

    /// What a leg hears from now on: nothing (comfort noise), one other leg of its call, or several mixed. Each leg counts once.
    fn hear(&self, _leg: LegId, _sources: &[LegId]) {}

    /// Plays to a leg instead of what it hears, until done, stopped or replaced.
    fn play(&self, _leg: LegId, _program: Program) {}

    /// Ends what is played; the leg hears its sources again.
    fn stop(&self, _leg: LegId) {}

    /// Records what a leg's party says, or leaves it.
    fn record(&self, _leg: LegId, _recording: Recording) {}

    /// Tells of what a leg's party says, as [`Event::Speaks`] and [`Event::Utterance`], or no longer.
    fn listen(&self, _leg: LegId, _on: bool) {}

    /// Forgets a leg and frees its ports; its recording ends.
    fn close(&self, leg: LegId);

    /// What happens to legs. A slow reader misses the oldest ones.
    fn events(&self) -> tokio::sync::broadcast::Receiver<Event>;
}

/// The planes of a node: which of them a call uses is fixed when it arrives.
#[derive(Clone)]
pub struct Planes {
    /// What carries anchored calls, if this node does that at all.
    pub own: Arc<dyn MediaPlane>,
    /// What has calls carried by another process.
    pub engine: Option<Arc<dyn MediaPlane>>,
}

impl From<Arc<dyn MediaPlane>> for Planes {
    fn from(own: Arc<dyn MediaPlane>) -> Self {
        Self { own, engine: None }
    }
}

/// A description on its way from one party to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crossing<'a> {
    pub from: LegId,
    pub to: LegId,
    pub sdp: &'a [u8],
    pub kind: Kind<'a>,
    /// Who carried the call's audio last, as [`MediaPlane::carrier`] named it.
    pub carrier: &'a str,
}

/// What a description is in the exchange of RFC 3264.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    Offer,
    Answer,
    /// Nothing new: both parties stand as they described themselves, `to` with `other`, and both are told anew. What they are
    /// told has a version above `version`.
    Both {
        other: &'a [u8],
        version: u64,
    },
}

/// A leg as another node may take it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// What its party last said of itself.
    pub sdp: Bytes,
    /// Where its RTP really came from, once that was certain.
    pub source: Option<SocketAddr>,
    /// Version of the last description we gave its party.
    pub version: u64,
}

/// Something that happened to a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Its party's RTP comes from here, and from nowhere else until it describes itself again.
    Latched { leg: LegId, source: SocketAddr },
    /// A key was pressed (RFC 4733): `0`–`9`, `*`, `#`, `A`–`D`, for so many milliseconds. Once per press.
    Digit { leg: LegId, digit: char, ms: u32 },
    /// The party begins to speak. Only while somebody listens.
    Speaks { leg: LegId },
    /// It has spoken: 8 kHz, one channel.
    Utterance { leg: LegId, samples: Arc<[i16]> },
    /// The program ended by itself.
    PlayDone { leg: LegId },
    /// A part of a recording is complete: where it is, how long, and the windows that were masked, in milliseconds from its start.
    Recorded { leg: LegId, part: u32, path: Arc<Path>, ms: u64, masked: Arc<[(u64, u64)]> },
    /// A part could not be begun or ended early; what there is of it is kept.
    RecordFailed { leg: LegId, part: u32 },
    /// Nothing came from the party for so long. Said once per silence.
    Quiet { leg: LegId, quiet: Duration },
    /// What had to be asked for this call has been answered, well or not.
    Ready { call: CallId },
    /// The leg's audio is carried elsewhere now, and its party must be told this.
    Moved { leg: LegId, told: Bytes, carrier: Arc<str> },
    /// Whoever carried the leg's audio is gone, and nobody took it.
    Lost { leg: LegId },
}

/// What becomes of a leg's recording. Times of legs that were started together stay together: what is masked, lost or not said
/// is silent in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recording {
    /// Begins a file `stem.NNN.wav` (8 kHz, one channel, 16 bits), which must not exist, below the plane's folder unless the stem
    /// is absolute. Ends the part before.
    Start {
        stem: PathBuf,
        part: u32,
    },
    /// Masks what is said until resumed, such as a card number.
    Pause,
    Resume,
    Stop,
}

/// What is played to a leg, one item after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub items: Vec<Item>,
    /// From the beginning again, until stopped.
    pub repeat: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// What was made for this leg alone: 8 kHz, one channel.
    Samples(Arc<[i16]>),
    /// A recorded prompt by name. One that is missing or broken becomes a tone.
    Prompt(Arc<str>),
    /// A tone, for so long.
    Tone(Tone, Duration),
    Silence(Duration),
    /// Built-in music on hold, for so long.
    Music(Duration),
}

/// Tones of European networks (ETSI TR 101 041): 425 Hz.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// 1 s in 5 s.
    Ringback,
    /// 0.5 s in 1 s.
    Busy,
    /// A soft beep every 10 s: somebody is there, nothing is said.
    Comfort,
}

/// Why a description cannot be carried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("not a session description: {0}")]
    Malformed(String),
    #[error("a session description with too many {0}")]
    TooMuch(&'static str),
    #[error("no audio that is not refused")]
    NoAudio,
    #[error("no audio codec that this node can speak")]
    NoCodec,
    #[error("audio over {0} is not carried")]
    Profile(String),
    #[error("this node has no media address of the party's family")]
    NoAddress,
    #[error("no free media port")]
    NoPort,
    #[error("rtpengine: {0}")]
    Engine(String),
    #[error("media threads: {0}")]
    Start(#[source] io::Error),
}
