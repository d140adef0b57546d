//! The `ng` control protocol of one rtpengine: a cookie and a bencoded dictionary in a datagram, asked again until answered.
//!
//! It owns the socket, the cookies and the time a question may take. A repeat has the cookie of its first, so that the daemon
//! answers it from its memory and does nothing twice. Which questions make up a call is the plane's.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use rand::Rng as _;
use tokio::{net::UdpSocket, sync::oneshot, time::Instant};

use super::bencode::{self, Value};
use crate::media::limits::{NG_ANSWER_BYTES_MAX, NG_ASKED_MAX, NG_RESENDS};

/// Whether this node may act for its legs now.
pub type Gate = Arc<dyn Fn() -> bool + Send + Sync>;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request<'a> {
    Ping,
    /// A party describes itself to another that has not answered.
    Offer(Told<'a>),
    /// The other one's answer; `from` is who had offered.
    Answer(Told<'a>),
    /// Whether the daemon has this call.
    Query(&'a str),
    Delete(&'a str),
}

/// A description on its way. `from` and `to` are tags of the daemon's dialogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told<'a> {
    pub call: &'a str,
    pub from: &'a str,
    pub to: &'a str,
    pub sdp: &'a [u8],
}

/// Why there is no answer, or no good one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no answer in time")]
    Timeout,
    /// Nothing listens there (ICMP port unreachable).
    #[error("nobody is there")]
    Refused,
    #[error("it has not this call")]
    UnknownCall,
    /// It takes no more calls.
    #[error("it is full: {0}")]
    Full(String),
    #[error("it says: {0}")]
    Said(String),
    #[error("its answer is unreadable: {0}")]
    Unreadable(#[from] bencode::Error),
    #[error("its answer lacks {0}")]
    Lacks(&'static str),
    #[error("this node has no lease")]
    NoLease,
    #[error("too many questions are open")]
    TooMany,
    #[error("socket: {0}")]
    Socket(#[source] io::Error),
}

impl Error {
    /// As metrics say it.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::UnknownCall => "unknown_call",
            Self::Full(_) => "full",
            Self::Said(_) => "error",
            Self::Unreadable(_) | Self::Lacks(_) => "unreadable",
            Self::NoLease => "no_lease",
            Self::TooMany => "too_many",
            Self::Socket(_) => "socket",
        }
    }

    /// Another daemon may do what this one does not.
    pub const fn is_of_this_daemon(&self) -> bool {
        matches!(self, Self::Timeout | Self::Refused | Self::Full(_) | Self::Unreadable(_) | Self::TooMany | Self::Socket(_))
    }
}

/// What the daemon answered to a good question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Pong,
    Sdp(Bytes),
    Done,
}

type Waiting = HashMap<u64, oneshot::Sender<Result<Bytes, Error>>>;

/// One daemon's control port. Cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    to: SocketAddr,
    socket: UdpSocket,
    /// Sets this life of this node apart: the daemon remembers cookies.
    prefix: u64,
    asked: AtomicU64,
    /// How often the other host said that nothing listens there.
    refusals: AtomicU64,
    waiting: Mutex<Waiting>,
    gate: Gate,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", self.0.to)
    }
}

impl Client {
    /// Opens a socket towards a daemon, which need not be there. Must be called within a runtime.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub fn connect(to: SocketAddr, gate: Gate) -> io::Result<Self> {
        let any: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
        let socket = std::net::UdpSocket::bind(any)?;
        socket.connect(to)?;
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        let (asked, refusals, waiting) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::default());
        let inner = Arc::new(Inner { to, socket, prefix: rand::rng().random(), asked, refusals, waiting, gate });
        tokio::spawn(listen(Arc::downgrade(&inner)));
        Ok(Self(inner))
    }

    /// Asks until answered, at the times of [`NG_RESENDS`].
    ///
    /// # Errors
    /// [`Error`]. One about the daemon's state holds for now only.
    pub async fn ask(&self, request: &Request<'_>) -> Result<Reply, Error> {
        self.ask_by(request, &NG_RESENDS).await
    }

    /// Asks once.
    ///
    /// # Errors
    /// As `ask`.
    pub async fn ask_once(&self, request: &Request<'_>, within: Duration) -> Result<Reply, Error> {
        self.ask_by(request, &[within]).await
    }

    async fn ask_by(&self, request: &Request<'_>, waits: &[Duration]) -> Result<Reply, Error> {
        let inner = &*self.0;
        let number = inner.asked.fetch_add(1, Ordering::Relaxed);
        let mut datagram = format!("{:016x}{number:x} ", inner.prefix).into_bytes();
        datagram.extend(dictionary(request).encode());
        let (sender, mut answer) = oneshot::channel();
        if inner.waiting.lock().len() >= NG_ASKED_MAX {
            return Err(Error::TooMany);
        }
        inner.waiting.lock().insert(number, sender);
        let _forget = Forget { inner, number };
        let refusals = inner.refusals.load(Ordering::Relaxed);
        for wait in waits {
            // A ping acts for nobody. Whatever else is asked is this node's business only while its calls are its own.
            if !matches!(request, Request::Ping) && !(inner.gate)() {
                return Err(Error::NoLease);
            }
            let until = Instant::now() + *wait;
            inner.send(&datagram).await?;
            match tokio::time::timeout_at(until, &mut answer).await {
                Ok(Ok(answer)) => return read(request, &answer?),
                // The listener is gone with its client: not while this borrows it.
                Ok(Err(_)) => return Err(Error::Timeout),
                Err(_) => {}
            }
        }
        let refused = inner.refusals.load(Ordering::Relaxed) > refusals;
        Err(if refused { Error::Refused } else { Error::Timeout })
    }
}

/// Takes a question back that nobody waits for any more.
struct Forget<'a> {
    inner: &'a Inner,
    number: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.inner.waiting.lock().remove(&self.number);
    }
}

/// Hands answers to those who asked, until the client is gone.
async fn listen(client: std::sync::Weak<Inner>) {
    let mut buffer = BytesMut::zeroed(NG_ANSWER_BYTES_MAX);
    loop {
        let Some(inner) = client.upgrade() else { return };
        // Looks up now and then whether anybody holds the client still.
        let read = tokio::time::timeout(Duration::from_secs(1), inner.socket.recv(&mut buffer)).await;
        match read {
            Ok(Ok(length)) => inner.take(&buffer[..length]),
            // Nothing listens at the other end. A question that is open may still be answered by a daemon that starts.
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => drop(inner.refusals.fetch_add(1, Ordering::Relaxed)),
            Ok(Err(error)) => {
                tracing::warn!(to = %inner.to, %error, "the socket towards rtpengine");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(_) => {}
        }
    }
}

impl Inner {
    fn take(&self, datagram: &[u8]) {
        let prefix = format!("{:016x}", self.prefix);
        let cookie =
            datagram.iter().position(|byte| *byte == b' ').and_then(|end| Some((end, std::str::from_utf8(&datagram[..end]).ok()?)));
        let number = cookie.and_then(|(end, text)| Some((end, u64::from_str_radix(text.strip_prefix(&prefix)?, 16).ok()?)));
        // Not an answer to us, or one to a question given up.
        let Some((end, number)) = number else { return };
        if let Some(sender) = self.waiting.lock().remove(&number) {
            // Whoever asked may have gone this very moment.
            let _ = sender.send(Ok(Bytes::copy_from_slice(&datagram[end + 1..])));
        }
    }

    /// Sends a datagram. What the socket has to say of an earlier one (RFC 1122 §4.1.3.3) it says first, instead of sending.
    async fn send(&self, datagram: &[u8]) -> Result<(), Error> {
        for _ in 0..2 {
            match self.socket.send(datagram).await {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => drop(self.refusals.fetch_add(1, Ordering::Relaxed)),
                Err(error) => return Err(Error::Socket(error)),
            }
        }
        Ok(())
    }
}

fn dictionary(request: &Request<'_>) -> Value {
    let text = |text: &str| Value::text(text);
    match request {
        Request::Ping => Value::dict([("command", text("ping"))]),
        Request::Query(call) => Value::dict([("command", text("query")), ("call-id", text(call))]),
        // At once, and not after the half minute the daemon would keep a call for late packets.
        Request::Delete(call) => Value::dict([("command", text("delete")), ("call-id", text(call)), ("delete-delay", Value::Int(0))]),
        Request::Offer(told) => crossing("offer", told),
        Request::Answer(told) => crossing("answer", told),
    }
}

fn crossing(command: &'static str, told: &Told<'_>) -> Value {
    let list = |items: &[&str]| Value::List(items.iter().map(|item| Value::text(*item)).collect());
    Value::dict([
        ("command", Value::text(command)),
        ("call-id", Value::text(told.call)),
        ("from-tag", Value::text(told.from)),
        ("to-tag", Value::text(told.to)),
        ("sdp", Value::Bytes(Bytes::copy_from_slice(told.sdp))),
        ("ICE", Value::text("remove")),
        ("replace", list(&["origin", "session-connection"])),
        // A party that moves must not make the daemon move the other one's port, which would have to be told.
        ("flags", list(&["port-latching"])),
    ])
}

fn read(request: &Request<'_>, answer: &Bytes) -> Result<Reply, Error> {
    let value = Value::decode(answer)?;
    let text = |key: &str| value.get(key).and_then(Value::as_bytes).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    match text("result").as_deref() {
        Some("pong") => Ok(Reply::Pong),
        Some("ok") if matches!(request, Request::Offer(_) | Request::Answer(_)) => {
            value.get("sdp").and_then(Value::as_bytes).cloned().map(Reply::Sdp).ok_or(Error::Lacks("sdp"))
        }
        Some("ok") => Ok(Reply::Done),
        Some("load limit") => Err(Error::Full(text("message").unwrap_or_default())),
        Some("error") => {
            let reason = text("error-reason").unwrap_or_default();
            let lower = reason.to_ascii_lowercase();
            if lower.contains("unknown call") {
                return Err(Error::UnknownCall);
            }
            // It has no port left, or was told to take no more.
            let full = ["ran out of ports", "out of ports", "limit", "rejected"].iter().any(|sign| lower.contains(sign));
            Err(if full { Error::Full(reason) } else { Error::Said(reason) })
        }
        // A query answers with the call itself.
        None if matches!(request, Request::Query(_)) && matches!(value, Value::Dict(_)) => Ok(Reply::Done),
        _ => Err(Error::Lacks("result")),
    }
}
