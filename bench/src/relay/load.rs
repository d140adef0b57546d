//! Packets at the pace of phones, through a relay and back, counted.

use std::{
    io::IoSlice,
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg, sockopt};

use crate::error::Error;

/// A header and 20 ms of G.711.
const PACKET_BYTES: usize = 12 + 160;
const FRAME: Duration = Duration::from_millis(20);
/// Calls are spread over so many moments of a frame.
const SLICES: usize = 20;
/// Packets sent with one system call.
const BATCH: usize = 32;
const BUFFER_BYTES: usize = 32 << 20;
/// Packets under way when sending ends have so long to arrive.
const DRAIN: Duration = Duration::from_millis(500);
/// The delay of every so many packets is kept.
const SAMPLE_EVERY: u64 = 16;

/// Where the parties of one call send: the caller to the first, the agent to the second.
pub type Call = (SocketAddr, SocketAddr);

#[derive(Debug)]
pub struct Load {
    callers: UdpSocket,
    agents: UdpSocket,
    begun: Instant,
}

/// What became of the packets of a run.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    pub sent: u64,
    pub received: u64,
    /// Of sending.
    pub took: Duration,
    /// Party to party: p50 and p99.
    pub delay_us: (u32, u32),
}

impl Outcome {
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }
}

impl Load {
    pub fn bind() -> Result<Self, Error> {
        let socket = || -> Result<UdpSocket, Error> {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.set_read_timeout(Some(Duration::from_millis(50)))?;
            // Root may exceed the system's bound; others get what it allows.
            if sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES).is_err() {
                sockopt::set_socket_recv_buffer_size(&socket, BUFFER_BYTES).map_err(std::io::Error::from)?;
            }
            Ok(socket)
        };
        Ok(Self { callers: socket()?, agents: socket()?, begun: Instant::now() })
    }

    pub fn callers(&self) -> SocketAddr {
        self.callers.local_addr().expect("bound")
    }

    pub fn agents(&self) -> SocketAddr {
        self.agents.local_addr().expect("bound")
    }

    /// Both parties of every call send a packet each frame for so long.
    pub fn run(&self, calls: &[Call], duration: Duration) -> Result<Outcome, Error> {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let receivers = [&self.callers, &self.agents].map(|socket| scope.spawn(|| self.receive(socket, &done)));
            let start = Instant::now();
            let sent = self.send(calls, duration);
            let took = start.elapsed();
            thread::sleep(DRAIN);
            done.store(true, Ordering::Relaxed);
            let mut received = 0;
            let mut delays = Vec::new();
            for receiver in receivers {
                let (count, sample) = receiver.join().expect("a receiver does not panic");
                received += count;
                delays.extend(sample);
            }
            delays.sort_unstable();
            let at = |percent: usize| delays.get(delays.len().saturating_sub(1) * percent / 100).copied().unwrap_or(0);
            Ok(Outcome { sent: sent?, received, took, delay_us: (at(50), at(99)) })
        })
    }

    fn send(&self, calls: &[Call], duration: Duration) -> Result<u64, Error> {
        let (frames, mut sent) = ((duration.as_millis() / FRAME.as_millis()) as u32, 0);
        let start = Instant::now();
        for frame in 0..frames {
            for slice in 0..SLICES {
                let due = start + FRAME * frame + FRAME * slice as u32 / SLICES as u32;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let mine: Vec<_> = calls.iter().enumerate().skip(slice).step_by(SLICES).collect();
                for batch in mine.chunks(BATCH) {
                    let call = |n: usize| batch[n.min(batch.len() - 1)];
                    sent += self.batch(&self.callers, batch.len(), frame, |n| (call(n).0, call(n).1.0))?;
                    sent += self.batch(&self.agents, batch.len(), frame, |n| (call(n).0, call(n).1.1))?;
                }
            }
        }
        Ok(sent)
    }

    /// One packet of each of so many parties; `party` names it and where it sends.
    fn batch(&self, socket: &UdpSocket, count: usize, frame: u32, party: impl Fn(usize) -> (usize, SocketAddr)) -> Result<u64, Error> {
        let now = self.begun.elapsed().as_micros() as u64;
        let packets: [[u8; PACKET_BYTES]; BATCH] = std::array::from_fn(|n| packet(party(n).0, frame, now));
        let to: [SocketAddrAny; BATCH] = std::array::from_fn(|n| party(n).1.into());
        let slices: [[IoSlice<'_>; 1]; BATCH] = std::array::from_fn(|n| [IoSlice::new(&packets[n])]);
        let mut nothing: [SendAncillaryBuffer<'_, '_, '_>; BATCH] = std::array::from_fn(|_| SendAncillaryBuffer::default());
        let mut nothing = nothing.iter_mut();
        let mut headers: [MMsgHdr<'_>; BATCH] =
            std::array::from_fn(|n| MMsgHdr::new_with_addr(&to[n], &slices[n], nothing.next().expect("as many as headers")));
        Ok(sendmmsg(socket, &mut headers[..count], SendFlags::empty()).map_err(std::io::Error::from)? as u64)
    }

    fn receive(&self, socket: &UdpSocket, done: &AtomicBool) -> (u64, Vec<u32>) {
        let (mut count, mut delays) = (0_u64, Vec::new());
        let mut bytes = [0; 2_048];
        while !done.load(Ordering::Relaxed) {
            let Ok(PACKET_BYTES) = socket.recv(&mut bytes) else { continue };
            count += 1;
            if count.is_multiple_of(SAMPLE_EVERY) {
                let sent = u64::from_be_bytes(bytes[12..20].try_into().expect("eight bytes"));
                delays.push((self.begun.elapsed().as_micros() as u64).saturating_sub(sent) as u32);
            }
        }
        (count, delays)
    }
}

/// RTP whose payload begins with the time it was sent at, which a relay of one codec does not touch.
fn packet(party: usize, frame: u32, now_us: u64) -> [u8; PACKET_BYTES] {
    let mut packet = [0x55; PACKET_BYTES];
    packet[0] = 0x80;
    packet[1] = 0;
    packet[2..4].copy_from_slice(&(frame as u16).to_be_bytes());
    packet[4..8].copy_from_slice(&(frame * 160).to_be_bytes());
    packet[8..12].copy_from_slice(&(party as u32 + 1).to_be_bytes());
    packet[12..20].copy_from_slice(&now_us.to_be_bytes());
    packet
}
