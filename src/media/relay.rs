//! The embedded relay: a handle on the media threads.
//!
//! Descriptions are dealt with here, under a lock; packets only in the threads. Both legs of a call are on one thread.

use std::{fmt, net::IpAddr, ops::RangeInclusive, path::PathBuf, sync::Arc, thread::JoinHandle, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use rand::RngCore as _;
use tokio::sync::broadcast;

use super::{
    Count, Error, Event, Image, MediaPlane, Program, Recording,
    book::{Book, Changed, Family},
    counts::Counts,
    limits,
    ports::Ports,
    prompts::Prompts,
    recorder::Recorder,
    shard::Shard,
    tap::Wanted,
    worker::Worker,
};
use crate::core::id::LegId;

/// Says whether the node may act for its legs now: its lease.
pub type Gate = Arc<dyn Fn() -> bool + Send + Sync>;

/// How a node carries media.
#[derive(Clone)]
pub struct Options {
    /// Addresses to bind, one per family at most; at least one.
    pub ipv4: Option<IpAddr>,
    pub ipv6: Option<IpAddr>,
    /// What parties are told instead, behind a translator with fixed ports.
    pub advertise_ipv4: Option<IpAddr>,
    pub advertise_ipv6: Option<IpAddr>,
    /// Local ports; a leg takes an even one and the next.
    pub ports: RangeInclusive<u16>,
    pub threads: usize,
    /// Asked before every batch of packets.
    pub gate: Gate,
    /// Folder of recorded prompts, `name.wav`.
    pub prompts: Option<PathBuf>,
    /// Folder of recordings whose stems are relative; they fail without one.
    pub recordings: Option<PathBuf>,
    /// Silence of a party that is told as [`Event::Quiet`].
    pub quiet_after: Duration,
}

impl Options {
    /// Media on one address, always allowed, with the customary ports.
    pub fn new(address: IpAddr) -> Self {
        let (ipv4, ipv6) = if address.is_ipv4() { (Some(address), None) } else { (None, Some(address)) };
        Self {
            ipv4,
            ipv6,
            advertise_ipv4: None,
            advertise_ipv6: None,
            ports: 20_000..=39_999,
            threads: 1,
            gate: Arc::new(|| true),
            prompts: None,
            recordings: None,
            quiet_after: Duration::from_secs(10),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("ipv4", &self.ipv4).field("ipv6", &self.ipv6).field("ports", &self.ports).finish_non_exhaustive()
    }
}

/// What the handle and the threads share.
#[derive(Debug)]
pub struct Shared {
    pub book: Mutex<Book>,
    pub counts: Arc<Counts>,
    pub events: broadcast::Sender<Event>,
    pub quiet_after: Duration,
    pub prompts: Prompts,
    pub recorder: Recorder,
}

impl Shared {
    pub fn tell(&self, event: Event) {
        // Nobody has to listen.
        if self.events.send(event).is_err() {
            self.counts.add(Count::Event, 1);
        }
    }
}

/// The embedded relay. Its threads end with it.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    recordings: Option<PathBuf>,
    shards: Vec<Arc<Shard>>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Starts the threads.
    ///
    /// # Errors
    /// When there is no address, or the kernel gives no thread or descriptor.
    pub fn start(options: Options) -> Result<Self, Error> {
        let family = |address: Option<IpAddr>, advertise: Option<IpAddr>| {
            address.map(|address| Family { ports: Ports::new(address, &options.ports), advertise: advertise.unwrap_or(address) })
        };
        let ipv4 = family(options.ipv4, options.advertise_ipv4);
        let ipv6 = family(options.ipv6, options.advertise_ipv6);
        if ipv4.is_none() && ipv6.is_none() {
            return Err(Error::NoAddress);
        }
        let (counts, events) = (Arc::new(Counts::default()), broadcast::channel(limits::EVENTS_MAX).0);
        let shared = Arc::new(Shared {
            recorder: Recorder::start(Arc::clone(&counts), events.clone()).map_err(Error::Start)?,
            book: Mutex::new(Book::new(ipv4, ipv6)),
            counts,
            events,
            quiet_after: options.quiet_after,
            prompts: Prompts::start(options.prompts.clone()).map_err(Error::Start)?,
        });
        let mut relay = Self { shared, recordings: options.recordings.clone(), shards: Vec::new(), threads: Vec::new() };
        for number in 0..options.threads.clamp(1, limits::THREADS_MAX) {
            relay.start_thread(number, &options).map_err(Error::Start)?;
        }
        Ok(relay)
    }

    fn start_thread(&mut self, number: usize, options: &Options) -> std::io::Result<()> {
        let shard = Arc::new(Shard::new()?);
        let (theirs, shared, gate) = (Arc::clone(&shard), Arc::clone(&self.shared), Arc::clone(&options.gate));
        let seed = rand::rng().next_u64();
        let poll = Worker::poll(&shard)?;
        let thread = std::thread::Builder::new()
            .name(format!("media-{number}"))
            .spawn(move || Worker::new(poll, theirs, shared, gate, number == 0, seed).run())?;
        self.shards.push(shard);
        self.threads.push(thread);
        Ok(())
    }

    /// How often something happened since the start.
    pub fn count(&self, count: Count) -> u64 {
        self.shared.counts.get(count)
    }

    /// Where a recording is to be written; `None` if there is no place for it.
    fn stem_of(&self, recording: &Recording) -> Option<PathBuf> {
        let Recording::Start { stem, .. } = recording else { return None };
        if stem.is_absolute() {
            return Some(stem.clone());
        }
        self.recordings.as_ref().map(|folder| folder.join(stem))
    }

    fn shard(&self, leg: LegId) -> &Shard {
        let folded = (leg.call.0 >> 64) as usize ^ leg.call.0 as usize;
        &self.shards[folded % self.shards.len()]
    }

    /// Hands on what the book says has changed; `opened` belongs to `leg`.
    fn publish(&self, leg: LegId, changed: Changed) {
        if let Some(pair) = changed.opened {
            self.shard(leg).change(leg, |change| change.open = Some(pair));
        }
        for (leg, terms) in changed.terms {
            self.shard(leg).change(leg, |change| change.terms = Some(terms));
        }
    }

    /// Asks the book and hands on what changed while its lock is held, so that threads see changes in their order.
    fn with_book<T>(&self, leg: LegId, ask: impl FnOnce(&mut Book, &mut Changed) -> T) -> T {
        let mut changed = Changed::default();
        let mut book = self.shared.book.lock();
        let answer = ask(&mut book, &mut changed);
        self.publish(leg, changed);
        answer
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for shard in &self.shards {
            shard.stop();
        }
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

impl MediaPlane for Relay {
    fn anchors(&self) -> bool {
        true
    }

    fn check(&self, sdp: &[u8]) -> Result<(), Error> {
        super::sdp::parse(sdp).map(drop)
    }

    fn pass(&self, from: LegId, to: LegId, sdp: &[u8]) -> Result<Bytes, Error> {
        self.with_book(to, |book, changed| book.pass(from, to, sdp, changed))
    }

    fn answer(&self, leg: LegId, offer: &[u8]) -> Result<Bytes, Error> {
        self.with_book(leg, |book, changed| book.answer(leg, offer, changed))
    }

    fn offer(&self, from: LegId, to: LegId, sdp: &[u8]) -> Result<Bytes, Error> {
        self.with_book(to, |book, changed| book.offer(from, to, sdp, changed))
    }

    fn restore(&self, leg: LegId, image: &Image) -> Result<(), Error> {
        self.with_book(leg, |book, changed| book.restore(leg, image, changed))
    }

    fn image(&self, leg: LegId) -> Option<Image> {
        self.shared.book.lock().image(leg)
    }

    fn hear(&self, leg: LegId, sources: &[LegId]) {
        let mut heard: Vec<LegId> = Vec::new();
        for source in sources.iter().filter(|source| source.call == leg.call && **source != leg) {
            if heard.len() < limits::SOURCES_MAX && !heard.contains(source) {
                heard.push(*source);
            }
        }
        self.shard(leg).change(leg, |change| change.hear = Some(heard.into()));
    }

    fn play(&self, leg: LegId, program: Program) {
        self.shard(leg).change(leg, |change| change.play = Some(Some(program)));
    }

    fn stop(&self, leg: LegId) {
        self.shard(leg).change(leg, |change| change.play = Some(None));
    }

    fn listen(&self, leg: LegId, on: bool) {
        self.shard(leg).change(leg, |change| change.listen = Some(on));
    }

    fn record(&self, leg: LegId, recording: Recording) {
        let stem = self.stem_of(&recording);
        if let (Recording::Start { part, .. }, None) = (&recording, &stem) {
            self.shared.counts.add(Count::Recording, 1);
            self.shared.tell(Event::RecordFailed { leg, part: *part });
        }
        self.shard(leg).change(leg, |change| match recording {
            Recording::Start { part, .. } => (change.record, change.masked) = (Some(stem.map(|stem| Wanted { stem, part })), Some(false)),
            Recording::Pause => change.masked = Some(true),
            Recording::Resume => change.masked = Some(false),
            Recording::Stop => change.record = Some(None),
        });
    }

    fn close(&self, leg: LegId) {
        let mut book = self.shared.book.lock();
        if book.close(leg) {
            self.shard(leg).change(leg, |change| *change = super::shard::Change { close: true, ..Default::default() });
        }
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }
}

#[cfg(test)]
mod tests;
