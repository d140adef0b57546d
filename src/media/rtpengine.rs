//! Audio carried by rtpengine: another process, told of every call over its `ng` protocol, that lives on when this node dies.
//!
//! It owns the list of daemons, which of them carries which call, and the way of a call from a dead daemon to the next one.
//! It hears and says nothing itself: with it nothing can be played, mixed or recorded. A description takes a question to a
//! daemon, so [`MediaPlane::prepare`] comes before [`MediaPlane::pass`].

mod bencode;
mod book;
mod client;
mod health;
mod work;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use metrics::{counter, describe_counter, describe_gauge};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, broadcast};

use self::{
    book::{Book, Pair, Step},
    client::{Client, Gate, Request},
    health::Health,
};
use super::{
    Crossing, Error, Event, MediaPlane,
    limits::{ENGINE_MOVES_MAX, ENGINES_MAX, EVENTS_MAX},
    sdp,
};
use crate::core::id::LegId;

const UP: &str = "tandem_rtpengine_up";
const SESSIONS: &str = "tandem_rtpengine_sessions";
const ASKED_TOTAL: &str = "tandem_rtpengine_requests_total";
const MOVED_TOTAL: &str = "tandem_rtpengine_moved_total";

/// Describes what this counts to the installed recorder.
pub(super) fn describe() {
    describe_gauge!(UP, "Whether an rtpengine answers, by address");
    describe_gauge!(SESSIONS, "Sessions that rtpengines carry for this node");
    describe_counter!(ASKED_TOTAL, "Questions to rtpengines, by command and result");
    describe_counter!(MOVED_TOTAL, "Sessions whose rtpengine was lost, by what became of them");
}

/// How to reach the daemons.
#[derive(Clone)]
pub struct Options {
    /// Their `ng` ports; the first [`ENGINES_MAX`] are used.
    pub daemons: Vec<SocketAddr>,
    /// Whether this node may act for its legs.
    pub gate: Gate,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Options({:?})", self.daemons)
    }
}

/// The plane. Cheap to clone.
#[derive(Clone)]
pub struct Rtpengine(Arc<Inner>);

struct Inner {
    daemons: Vec<Daemon>,
    book: Mutex<Book>,
    next: AtomicUsize,
    moving: Semaphore,
    events: broadcast::Sender<Event>,
}

struct Daemon {
    client: Client,
    name: Arc<str>,
    health: Health,
}

impl Rtpengine {
    /// Opens sockets towards the daemons, which need not be there yet, and begins to ping them. Must be called within a runtime.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub fn start(options: &Options) -> io::Result<Self> {
        let daemon = |addr: &SocketAddr| {
            let client = Client::connect(*addr, options.gate.clone())?;
            Ok(Daemon { client, name: addr.to_string().into(), health: Health::default() })
        };
        let inner = Arc::new(Inner {
            daemons: options.daemons.iter().take(ENGINES_MAX).map(daemon).collect::<io::Result<_>>()?,
            book: Mutex::default(),
            next: AtomicUsize::new(0),
            moving: Semaphore::new(ENGINE_MOVES_MAX),
            events: broadcast::channel(EVENTS_MAX).0,
        });
        for index in 0..inner.daemons.len() {
            tokio::spawn(health::watch(Arc::downgrade(&inner), index));
        }
        Ok(Self(inner))
    }
}

impl Inner {
    fn up(&self) -> impl Iterator<Item = usize> {
        self.daemons.iter().enumerate().filter(|(_, daemon)| daemon.health.is_up()).map(|(index, _)| index)
    }

    /// The daemon of this name if it lives, else the next one in turn that does.
    fn choose(&self, name: &str) -> usize {
        let named = self.up().find(|index| &*self.daemons[*index].name == name);
        named.or_else(|| self.in_turn()).unwrap_or_default()
    }

    fn in_turn(&self) -> Option<usize> {
        let up: Vec<usize> = self.up().collect();
        (!up.is_empty()).then(|| up[self.next.fetch_add(1, Ordering::Relaxed) % up.len()])
    }

    fn tell(&self, event: Event) {
        // Nobody listens while the node ends.
        let _ = self.events.send(event);
    }

    fn delete(self: &Arc<Self>, pair: Pair, daemon: usize) {
        let this = Arc::clone(self);
        tokio::spawn(async move { this.ask(daemon, &Request::Delete(&pair.name())).await.ok() });
    }

    async fn ask(&self, daemon: usize, request: &Request<'_>) -> Result<client::Reply, client::Error> {
        let result = self.daemons[daemon].client.ask(request).await;
        let command = match request {
            Request::Ping => "ping",
            Request::Offer(_) => "offer",
            Request::Answer(_) => "answer",
            Request::Query(_) => "query",
            Request::Delete(_) => "delete",
        };
        let label = result.as_ref().map_or_else(client::Error::label, |_| "ok");
        counter!(ASKED_TOTAL, "command" => command, "result" => label).increment(1);
        result
    }
}

impl MediaPlane for Rtpengine {
    fn pass(&self, from: LegId, to: LegId, sdp: &[u8]) -> Result<Bytes, Error> {
        self.0.book.lock().pass(from, to, sdp)
    }

    /// It goes through another process.
    fn anchors(&self) -> bool {
        false
    }

    fn prepare(&self, crossing: &Crossing<'_>) -> bool {
        let inner = &self.0;
        let step = inner.book.lock().prepare(crossing, || inner.choose(crossing.carrier));
        match step {
            Step::Nothing => true,
            Step::Wait => false,
            Step::Ask(job) => {
                tokio::spawn(work::cross(Arc::clone(inner), *job));
                false
            }
        }
    }

    fn carrier(&self) -> Option<String> {
        self.0.in_turn().map(|index| self.0.daemons[index].name.to_string())
    }

    fn check(&self, sdp: &[u8]) -> Result<(), Error> {
        sdp::parse(sdp).map(drop)
    }

    fn close(&self, leg: LegId) {
        let gone = self.0.book.lock().close(leg, true);
        gone.into_iter().for_each(|(pair, daemon)| self.0.delete(pair, daemon));
    }

    fn leave(&self, leg: LegId) {
        self.0.book.lock().close(leg, false);
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.0.events.subscribe()
    }
}

#[cfg(test)]
mod tests;
