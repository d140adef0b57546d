//! The SIP edge of a node: sockets around a sans-IO stack, and the way of a call from its INVITE to its commit.
//!
//! One task drives the stack (`worker`); sockets, commits and look-ups run beside it and leave what they found in its
//! inbox. The edge performs orders and reports what it sees; where a call goes is decided by the core.

mod arrivals;
mod asked;
mod assistants;
mod backend;
mod chats;
mod freed;
mod fresh;
mod inbox;
mod listeners;
pub mod metrics;
mod outbound;
mod recorded;
mod refers;
mod registers;
mod stateless;
mod targets;
mod verdicts;
mod worker;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::broadcast;

pub use backend::{Backend, NodeAddresses};
use inbox::Inbox;

use super::{
    brain::Brain,
    limits::{CATCH_UP_PAUSE, DRAIN_POLL, TICK_LATE},
    transport::{self, Transport},
    tunnel::Frame,
};
use crate::{
    core::{
        effect::Order,
        id::{LegId, NodeId},
        party,
    },
    media::{self, Planes},
};

/// How a node speaks SIP.
#[derive(Debug, Clone)]
pub struct Options {
    pub transport: transport::Options,
    /// Challenge with SHA-256 beside MD5 (RFC 8760). Off by default: a phone older than that RFC stumbles over a challenge
    /// it does not know. SHA-256 answers are accepted in any case.
    pub challenge_sha256: bool,
    /// `User-Agent` and `Server`.
    pub user_agent: String,
    /// Calls at once whose caller leg is here; 0 means no bound but that of memory.
    pub calls_max: u32,
    /// New calls a second; 0 means that only the load decides.
    pub calls_per_s_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            transport: transport::Options::default(),
            challenge_sha256: false,
            user_agent: concat!("Tandem/", env!("CARGO_PKG_VERSION")).to_owned(),
            calls_max: 0,
            calls_per_s_max: 0,
        }
    }
}

/// Why the edge could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Transport(#[from] transport::Error),
}

/// What the handle and the worker share.
#[derive(Debug, Default)]
struct Shared {
    inbox: Inbox,
    draining: AtomicBool,
    stopping: AtomicBool,
    started: AtomicBool,
    /// The directory holds what was committed when this node started; before, nobody can be told whether he is known.
    caught_up: AtomicBool,
    /// When the worker last looked at what changes seldom.
    ticked: Mutex<Option<Instant>>,
    /// Calls whose caller leg is here.
    calls: AtomicUsize,
}

/// The edge of this node. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    options: Arc<Options>,
    transport: Transport,
    shared: Arc<Shared>,
}

impl Handle {
    /// Binds the sockets. The handle can be given to the actors at once; nothing is read before [`Handle::serve`].
    ///
    /// # Errors
    /// When a socket cannot be bound or a certificate cannot be read.
    pub async fn bind(options: Options) -> Result<Self, Error> {
        let transport = Transport::bind(&options.transport).await?;
        Ok(Self { options: Arc::new(options), transport, shared: Arc::new(Shared::default()) })
    }

    /// Starts to serve. Without a `brain` this node takes no contact for an AI agent. A second call does nothing.
    pub fn serve(&self, backend: Arc<dyn Backend>, media: impl Into<Planes>, brain: Option<Arc<dyn Brain>>) {
        let media = media.into();
        if self.shared.started.swap(true, Ordering::Relaxed) {
            return;
        }
        tokio::spawn(catch_up(self.shared.clone(), backend.clone()));
        for plane in std::iter::once(&media.own).chain(&media.engine) {
            tokio::spawn(listen(self.shared.clone(), plane.events()));
        }
        tokio::spawn(worker::Worker::new(self, backend, media, brain).run());
        self.transport.start(Arc::new(worker::InboxSink(self.shared.clone())));
    }

    /// The addresses peers are told, by transport, in the order they were configured.
    pub fn advertised(&self, transport: party::Transport) -> Vec<SocketAddr> {
        self.transport.advertised(transport)
    }

    /// Calls whose caller leg is here, arrivals in flight included.
    pub fn calls(&self) -> usize {
        self.shared.calls.load(Ordering::Relaxed)
    }

    /// Why the edge should be sent no calls, in a sentence.
    pub fn not_ready(&self) -> Option<&'static str> {
        let ticked = *self.shared.ticked.lock();
        if !self.shared.started.load(Ordering::Relaxed) {
            Some("the SIP edge has not started")
        } else if self.shared.stopping.load(Ordering::Relaxed) {
            Some("the SIP edge is closing")
        } else if !self.shared.caught_up.load(Ordering::Relaxed) {
            Some("the SIP edge has not read its tenants yet")
        } else if self.shared.draining.load(Ordering::Relaxed) {
            Some("the SIP edge refuses new calls")
        } else if ticked.is_none_or(|ticked| ticked.elapsed() > TICK_LATE) {
            Some("the SIP edge does not keep up")
        } else {
            None
        }
    }

    /// Open TCP and TLS connections.
    pub fn connections(&self) -> usize {
        self.transport.connections()
    }

    /// Refuses new calls from now on, or takes them again. Calls that are here go on either way.
    pub fn refuse_new(&self, refuse: bool) {
        self.shared.draining.store(refuse, Ordering::Relaxed);
        self.shared.inbox.ring();
    }

    /// Refuses new calls from now on and waits until those that are here have ended. Returns how many are left at the
    /// deadline. Everything else goes on: the sockets stay open.
    pub async fn drain(&self, deadline: Duration) -> usize {
        self.refuse_new(true);
        let until = Instant::now() + deadline;
        while self.calls() > 0 && Instant::now() < until {
            tokio::time::sleep(DRAIN_POLL).await;
        }
        self.calls()
    }

    /// Closes the sockets and ends the worker.
    pub fn shutdown(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.shared.inbox.ring();
        self.transport.shutdown();
    }
}

/// Brings what happens to audio into the inbox, until the media plane ends.
async fn listen(shared: Arc<Shared>, mut events: broadcast::Receiver<media::Event>) {
    loop {
        match events.recv().await {
            Ok(event) => shared.inbox.found(inbox::Finding::Media(event)),
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "events of media were missed");
                shared.inbox.found(inbox::Finding::MediaMissed);
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Asks until the node knows its tenants.
async fn catch_up(shared: Arc<Shared>, backend: Arc<dyn Backend>) {
    while !shared.stopping.load(Ordering::Relaxed) {
        if backend.caught_up().await {
            return shared.caught_up.store(true, Ordering::Relaxed);
        }
        tokio::time::sleep(CATCH_UP_PAUSE).await;
    }
}

impl crate::actor::Edge for Handle {
    fn perform(&self, orders: Vec<Order>) {
        self.shared.inbox.orders(orders);
    }

    fn answer_decided(&self, leg: LegId, taken: bool) {
        self.shared.inbox.found(inbox::Finding::AnswerDecided { leg, taken });
    }

    fn tunnelled(&self, from: NodeId, frame: Bytes) {
        match Frame::decode(from, &frame) {
            Ok(Frame::To(flow, bytes)) => {
                ::metrics::counter!(metrics::TUNNELLED_TOTAL, "direction" => "to_flow").increment(1);
                // The sender's transaction finds out by its own timer when the flow is gone.
                let _ = self.transport.send(&super::stack::Destination::Flow(flow), &bytes);
            }
            Ok(Frame::From(flow, bytes)) => {
                ::metrics::counter!(metrics::TUNNELLED_TOTAL, "direction" => "from_flow").increment(1);
                let _ = self.shared.inbox.message(flow, bytes, Instant::now());
            }
            Err(error) => tracing::warn!(%from, %error, "dropped"),
        }
    }
}
