//! RTP of all phones of a process: one socket per phone, a sender that speaks every packet time, a receiver that notes each
//! arrival with the kernel's own stamp, so that a busy receiver makes no pause. It runs on threads of its own, so that
//! signalling cannot hold it up, and measures how late the sender was: a pause that it causes must not be taken for the
//! product's.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use nix::sys::{
    socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt::ReceiveTimestampns},
    time::TimeSpec,
};
use parking_lot::Mutex;
use tokio::{
    io::Interest,
    net::UdpSocket,
    runtime::Runtime,
    time::{MissedTickBehavior, interval},
};

use super::{
    hearing::{self, Hearing},
    limits::RTP_DATAGRAM_BYTES_MAX,
};

/// The sender looks this often who is to speak.
const TICK: Duration = Duration::from_millis(1);
/// One for the sender, one for the receivers, as they come.
const THREADS: usize = 2;
const SAMPLES_PER_MS: u32 = 8;

/// Where a phone speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speak {
    pub to: SocketAddr,
    pub payload: u8,
}

#[derive(Debug, Default)]
struct Mouth {
    to: Option<Speak>,
    seq: u16,
    timestamp: u32,
    ssrc: u32,
    frame: u64,
}

#[derive(Debug)]
struct Inner {
    speaker: u32,
    socket: UdpSocket,
    addr: SocketAddr,
    ptime: Duration,
    mouth: Mutex<Mouth>,
    hearing: Mutex<Hearing>,
}

/// A phone's audio: its socket, what it says and what it hears. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Stream {
    inner: Arc<Inner>,
}

/// The thread that carries the audio of all phones.
pub struct Media {
    runtime: Option<Runtime>,
    slots: Arc<Vec<Mutex<Vec<Weak<Inner>>>>>,
    ptime: Duration,
    speakers: AtomicU32,
    /// The latest the sender ever was, in microseconds, since it was last asked.
    late_us: Arc<AtomicU64>,
}

impl Media {
    /// Every phone sends a packet each `ptime`, a whole number of milliseconds.
    pub fn start(ptime: Duration) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).thread_name("phone-rtp").enable_all().build()?;
        let slots: Arc<Vec<Mutex<Vec<Weak<Inner>>>>> = Arc::new((0..ptime.as_millis().max(1)).map(|_| Mutex::default()).collect());
        let late_us = Arc::new(AtomicU64::new(0));
        runtime.spawn(speak(Arc::clone(&slots), Arc::clone(&late_us)));
        Ok(Self { runtime: Some(runtime), slots, ptime, speakers: AtomicU32::new(1), late_us })
    }

    /// A socket on `ip` for one more phone, silent at first.
    pub fn open(&self, ip: IpAddr) -> io::Result<Stream> {
        let socket = std::net::UdpSocket::bind((ip, 0))?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, ReceiveTimestampns, &true)?;
        let addr = socket.local_addr()?;
        let speaker = self.speakers.fetch_add(1, Ordering::Relaxed);
        let runtime = self.runtime.as_ref().expect("it is only taken on drop");
        let socket = {
            let _entered = runtime.enter();
            UdpSocket::from_std(socket)?
        };
        // Sequence, timestamp and SSRC begin anywhere (RFC 3550 §5.1); from the number of the phone, so that runs repeat.
        let start = speaker.wrapping_mul(0x9E37_79B9);
        let mouth = Mouth { to: None, seq: start as u16, timestamp: start, ssrc: start ^ 0x5A5A_5A5A, frame: 0 };
        let inner = Inner { speaker, socket, addr, ptime: self.ptime, mouth: mouth.into(), hearing: Hearing::begin(self.ptime).into() };
        let inner = Arc::new(inner);
        self.slots[speaker as usize % self.slots.len()].lock().push(Arc::downgrade(&inner));
        runtime.spawn(hear(Arc::downgrade(&inner)));
        Ok(Stream { inner })
    }

    /// How late the sender was at worst since the last call.
    pub fn take_lateness(&self) -> Duration {
        Duration::from_micros(self.late_us.swap(0, Ordering::Relaxed))
    }
}

impl Drop for Media {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Lets each phone speak in its turn. A tick that was missed is made up for: a phone sends every packet it owes.
async fn speak(slots: Arc<Vec<Mutex<Vec<Weak<Inner>>>>>, late_us: Arc<AtomicU64>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut turn = 0;
    loop {
        let due = ticks.tick().await;
        late_us.fetch_max(due.elapsed().as_micros() as u64, Ordering::Relaxed);
        slots[turn].lock().retain(|phone| phone.upgrade().is_some_and(|phone| phone.speak()));
        turn = (turn + 1) % slots.len();
    }
}

/// Notes what arrives until the phone is gone.
async fn hear(phone: Weak<Inner>) {
    let (mut buffer, mut stamp) = ([0; RTP_DATAGRAM_BYTES_MAX], nix::cmsg_space!(TimeSpec));
    loop {
        let Some(phone) = phone.upgrade() else { return };
        // Looks now and then whether the phone is still there.
        let readable = tokio::time::timeout(Duration::from_secs(1), phone.socket.readable()).await;
        if !matches!(readable, Ok(Ok(()))) {
            continue;
        }
        while let Ok((at, source, length)) = phone.socket.try_io(Interest::READABLE, || receive(&phone.socket, &mut buffer, &mut stamp)) {
            phone.hearing.lock().arrived(at, source, &buffer[..length]);
        }
    }
}

/// Takes a datagram with the moment it reached this machine's socket.
fn receive(socket: &UdpSocket, buffer: &mut [u8], stamp: &mut [u8]) -> io::Result<(Instant, SocketAddr, usize)> {
    let mut parts = [IoSliceMut::new(buffer)];
    let got = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(stamp), MsgFlags::MSG_DONTWAIT)?;
    let (now, wall) = (Instant::now(), SystemTime::now());
    let stamped = got.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmTimestampns(time) => Some(SystemTime::UNIX_EPOCH + Duration::from(time)),
        _ => None,
    });
    // Without a stamp, or after a step of the clock, it is as if it came just now.
    let age = stamped.and_then(|stamped| wall.duration_since(stamped).ok()).unwrap_or_default();
    let source = got.address.as_ref().and_then(ip_of).ok_or(io::ErrorKind::InvalidData)?;
    Ok((now.checked_sub(age).unwrap_or(now), source, got.bytes))
}

fn ip_of(addr: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = addr.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
    v4.or_else(|| addr.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
}

impl Inner {
    /// Sends the next packet if there is somewhere to send to. Always true: the phone stays in its slot.
    fn speak(&self) -> bool {
        let mut mouth = self.mouth.lock();
        let samples = SAMPLES_PER_MS * self.ptime.as_millis() as u32;
        if let Some(Speak { to, payload }) = mouth.to {
            let voice = hearing::frame(self.speaker, mouth.frame, samples as usize);
            let packet = hearing::packet(payload, mouth.seq, mouth.timestamp, mouth.ssrc, mouth.frame == 0, &voice);
            // A full socket or a refused port is a lost packet, as on any network; the listener sees it.
            self.socket.try_send_to(&packet, to).ok();
            mouth.seq = mouth.seq.wrapping_add(1);
            mouth.frame += 1;
        }
        mouth.timestamp = mouth.timestamp.wrapping_add(samples);
        true
    }
}

impl Stream {
    /// The address that goes into session descriptions.
    pub fn addr(&self) -> SocketAddr {
        self.inner.addr
    }

    /// The number in every frame of this phone's voice.
    pub fn speaker(&self) -> u32 {
        self.inner.speaker
    }

    pub fn ptime(&self) -> Duration {
        self.inner.ptime
    }

    /// Speaks to `to` from now on, or not at all.
    pub fn speak_to(&self, to: Option<Speak>) {
        self.inner.mouth.lock().to = to;
    }

    /// Frames said so far.
    #[cfg(test)]
    pub fn said(&self) -> u64 {
        self.inner.mouth.lock().frame
    }

    /// Forgets what was heard.
    pub fn begin(&self) {
        *self.inner.hearing.lock() = Hearing::begin(self.inner.ptime);
    }

    /// Takes whatever comes for a voice.
    pub fn anything(&self) {
        self.inner.hearing.lock().anything();
    }

    /// Looks at what was heard.
    pub fn heard<R>(&self, look: impl FnOnce(&Hearing) -> R) -> R {
        look(&self.inner.hearing.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_packet_that_waits_for_its_reader_has_the_time_of_its_arrival() {
        for ip in ["127.0.0.1:0", "[::1]:0"] {
            let socket = UdpSocket::bind(ip).await.unwrap();
            setsockopt(&socket, ReceiveTimestampns, &true).unwrap();
            let sender = std::net::UdpSocket::bind(ip).unwrap();
            let to = socket.local_addr().unwrap();
            let (mut buffer, mut stamp) = ([0; 16], nix::cmsg_space!(TimeSpec));
            // The kernel begins to stamp a moment after the first socket asks for it.
            let (begun, waits) = (Instant::now(), Duration::from_millis(50));
            let (source, length) = loop {
                sender.send_to(b"x", to).unwrap();
                let sent = Instant::now();
                std::thread::sleep(waits);
                socket.readable().await.unwrap();
                let (at, source, length) = receive(&socket, &mut buffer, &mut stamp).unwrap();
                if at < sent + waits / 2 {
                    break (source, length);
                }
                assert!(begun.elapsed() < Duration::from_secs(10), "a packet has the time of its reading");
            };
            assert_eq!((source, length), (sender.local_addr().unwrap(), 1));
        }
    }
}
