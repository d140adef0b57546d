//! Synthetic phones: thousands of independent SIP user agents with RTP in one process, scripted from Rust. A phone follows a
//! changed Contact and session description, which SIPp does not, and remembers every message and every pause in what it
//! hears. The phones judge nothing; the proofs do.

mod call;
mod digest;
mod hearing;
mod journal;
mod limits;
mod line;
mod media;
mod sdp;
mod stream;
#[cfg(test)]
mod tests;
mod text;
mod tls;
mod ua;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use tokio::{runtime::Runtime, sync::mpsc};

pub use self::{
    call::{By, Call, State},
    digest::Credentials,
    hearing::{Hearing, frame},
    journal::{Entry, Way},
    sdp::Direction,
    text::{Hop, Transport},
    ua::{ELSEWHERE, OnRing, Options, Random, Ua},
};
use self::{
    limits::QUEUE_MAX,
    line::{Door, Line, Shared},
    media::Media,
    tls::Tls,
};
use crate::error::Error;

/// Name in User-Agent.
const PRODUCT: &str = "tandem-bench phone";
/// Threads for the signalling of all phones.
const THREADS: usize = 2;

/// All phones of a process: their threads, their sockets, their certificate.
pub struct Exchange {
    runtime: Option<Runtime>,
    media: Media,
    tls: Arc<Tls>,
    seed: u64,
}

impl Exchange {
    /// `ptime` is the time between two RTP packets of a phone; `seed` fixes tags, branches and back-off.
    pub fn start(ptime: Duration, seed: u64) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).thread_name("phones").enable_all().build()?;
        Ok(Self { runtime: Some(runtime), media: Media::start(ptime)?, tls: Arc::new(Tls::new()?), seed })
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is only taken on drop")
    }

    /// A phone of `user` on `ip`, on a port of its own, its options changed.
    pub fn phone(&self, user: &str, transport: Transport, ip: IpAddr, change: impl FnOnce(&mut Options)) -> Result<Phone, Error> {
        let audio = self.media.open(ip)?;
        let door = self.runtime().block_on(Door::open(transport, SocketAddr::new(ip, 0)))?;
        let mut options = Options::new(user, transport, door.addr()?, audio.addr());
        options.ptime_ms = audio.ptime().as_millis() as u32;
        options.seed = self.seed.wrapping_mul(0x1_0001).wrapping_add(u64::from(audio.speaker()));
        change(&mut options);
        let shared = Arc::new(Shared { ua: Mutex::new(Ua::new(options)), changed: Condvar::new(), audio });
        let (orders, taken) = mpsc::channel(QUEUE_MAX);
        self.runtime().spawn(Line::new(Arc::clone(&shared), door, Arc::clone(&self.tls), taken).run());
        Ok(Phone { shared, orders })
    }

    /// How late the phones' own sender of RTP was at worst since the last call: pauses up to this may be ours.
    pub fn take_lateness(&self) -> Duration {
        self.media.take_lateness()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A phone. Cheap to clone; it is gone with its last clone.
#[derive(Debug, Clone)]
pub struct Phone {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Vec<ua::Send>>,
}

impl Phone {
    fn act(&self, act: impl FnOnce(&mut Ua, Instant)) {
        let mut sends = self.shared.with(act);
        let start = Instant::now();
        // The task takes orders in microseconds; a full queue means that this machine stands still.
        while let Err(mpsc::error::TrySendError::Full(back)) = self.orders.try_send(sends) {
            assert!(start.elapsed() < line::ORDER_WITHIN, "a phone takes no orders");
            std::thread::yield_now();
            sends = back;
        }
    }

    /// Calls `user` at `to`.
    pub fn call(&self, to: SocketAddr, user: &str) {
        self.act(|ua, now| {
            let hop = Hop::to(ua.options.transport, to);
            ua.dial(now, hop, user);
        });
    }

    /// What it does from now on when it is called.
    pub fn on_ring(&self, what: OnRing) {
        self.shared.ua.lock().on_ring = what;
    }

    /// Picks up.
    pub fn answer(&self) {
        self.act(Ua::answer);
    }

    /// Switches it off and on: it knows of no call any more, and nobody is told.
    pub fn restart(&self) {
        self.act(|ua, _| ua.restart());
        self.listen_anew();
    }

    pub fn hang_up(&self) {
        self.act(Ua::hang_up);
    }

    /// Holds the other side: we may speak, it may not.
    pub fn hold(&self) {
        self.act(|ua, now| ua.direct(now, Direction::SendOnly));
    }

    pub fn resume(&self) {
        self.act(|ua, now| ua.direct(now, Direction::SendRecv));
    }

    /// Registers at the first of `registrars` that takes it, and stays registered.
    pub fn register(&self, registrars: &[SocketAddr], expires_s: u32) {
        self.act(|ua, now| {
            let transport = ua.options.transport;
            ua.register(now, registrars.iter().map(|addr| Hop::to(transport, *addr)).collect(), expires_s);
        });
    }

    /// The URI that reaches it.
    pub fn uri(&self) -> String {
        self.look(|ua| text::uri(&ua.options.user, ua.options.addr, ua.options.transport))
    }

    #[cfg(test)]
    pub fn addr(&self) -> SocketAddr {
        self.look(|ua| ua.options.addr)
    }

    /// The number in its voice.
    pub fn voice(&self) -> u32 {
        self.shared.audio.speaker()
    }

    /// Frames it said so far.
    #[cfg(test)]
    fn said(&self) -> u64 {
        self.shared.audio.said()
    }

    pub fn look<R>(&self, look: impl FnOnce(&Ua) -> R) -> R {
        look(&self.shared.ua.lock())
    }

    /// Looks at what it heard.
    pub fn heard<R>(&self, look: impl FnOnce(&Hearing) -> R) -> R {
        self.shared.audio.heard(look)
    }

    /// Takes whatever it hears for a voice: the other end is no phone of ours.
    pub fn hear_anything(&self) {
        self.shared.audio.anything();
    }

    /// Forgets what it heard.
    pub fn listen_anew(&self) {
        self.shared.audio.begin();
    }

    /// Waits until the user agent is as wanted. False if it is not within `within`.
    pub fn wait_for(&self, within: Duration, wanted: impl Fn(&Ua) -> bool) -> bool {
        let until = Instant::now() + within;
        let mut ua = self.shared.ua.lock();
        while !wanted(&ua) {
            if self.shared.changed.wait_until(&mut ua, until).timed_out() {
                return wanted(&ua);
            }
        }
        true
    }

    /// Waits until its newest call is in this state.
    pub fn wait_state(&self, state: State, within: Duration) -> bool {
        self.wait_for(within, |ua| ua.call().is_some_and(|call| call.state == state))
    }

    /// The state of its newest call.
    pub fn state(&self) -> Option<State> {
        self.look(|ua| ua.call().map(|call| call.state))
    }
}
