//! Packets as they go: collected, and sent in batches after the node's lease was asked.
//!
//! Between asking and the last system call of a batch nothing is computed, so that a process that was stopped and goes on sends
//! no more than one batch of what is stale.

use std::{io::IoSlice, net::SocketAddr, net::UdpSocket};

use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};

use super::{
    counts::{Count, Counts},
    limits::{PACKET_BYTES_MAX, SEND_BATCH_MAX, SEND_RUN_MAX},
};

/// A packet that waits in its buffer.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    /// Whose port it leaves from.
    leg: u32,
    is_rtcp: bool,
    to: SocketAddr,
    bytes: usize,
    as_count: Count,
}

pub struct Outbox {
    buffers: Box<[[u8; PACKET_BYTES_MAX]]>,
    waiting: Vec<Waiting>,
}

impl Outbox {
    pub fn new() -> Self {
        Self { buffers: vec![[0; PACKET_BYTES_MAX]; SEND_BATCH_MAX].into(), waiting: Vec::with_capacity(SEND_BATCH_MAX) }
    }

    pub fn is_full(&self) -> bool {
        self.waiting.len() == SEND_BATCH_MAX
    }

    /// The buffer of the next packet; there must be room.
    pub fn buffer(&mut self) -> &mut [u8; PACKET_BYTES_MAX] {
        &mut self.buffers[self.waiting.len()]
    }

    /// What was written to the buffer goes out of `leg`'s port.
    pub fn push(&mut self, leg: u32, is_rtcp: bool, to: SocketAddr, bytes: usize, as_count: Count) {
        self.waiting.push(Waiting { leg, is_rtcp, to, bytes, as_count });
    }

    /// Sends everything, or nothing without a lease. `socket` finds the socket of a leg.
    pub fn flush<'a>(&mut self, gate: &dyn Fn() -> bool, counts: &Counts, socket: impl Fn(u32, bool) -> Option<&'a UdpSocket>) {
        if self.waiting.is_empty() {
            return;
        }
        if !gate() {
            counts.add(Count::Withheld, self.waiting.len() as u64);
            self.waiting.clear();
            return;
        }
        let mut start = 0;
        while let Some(first) = self.waiting.get(start) {
            let same = |other: &&Waiting| (other.leg, other.is_rtcp) == (first.leg, first.is_rtcp);
            let run = self.waiting[start..].iter().take(SEND_RUN_MAX).take_while(same).count();
            let range = start..start + run;
            let sent = match socket(first.leg, first.is_rtcp) {
                None => 0,
                Some(socket) if run == 1 => usize::from(socket.send_to(&self.buffers[start][..first.bytes], first.to).is_ok()),
                Some(socket) => send_run(socket, &self.waiting[range.clone()], &self.buffers[range]),
            };
            counts.add(first.as_count, sent as u64);
            counts.add(Count::Send, (run - sent) as u64);
            start += run;
        }
        self.waiting.clear();
    }
}

/// Several packets out of one port with one system call; how many went out.
fn send_run(socket: &UdpSocket, waiting: &[Waiting], buffers: &[[u8; PACKET_BYTES_MAX]]) -> usize {
    let place = |n: usize| n.min(waiting.len() - 1);
    let to: [SocketAddrAny; SEND_RUN_MAX] = std::array::from_fn(|n| waiting[place(n)].to.into());
    let slices: [[IoSlice<'_>; 1]; SEND_RUN_MAX] = std::array::from_fn(|n| [IoSlice::new(&buffers[place(n)][..waiting[place(n)].bytes])]);
    let mut nothing: [SendAncillaryBuffer<'_, '_, '_>; SEND_RUN_MAX] = std::array::from_fn(|_| SendAncillaryBuffer::default());
    let mut nothing = nothing.iter_mut();
    let mut headers: [MMsgHdr<'_>; SEND_RUN_MAX] =
        std::array::from_fn(|n| MMsgHdr::new_with_addr(&to[n], &slices[n], nothing.next().expect("as many as headers")));
    sendmmsg(socket, &mut headers[..waiting.len()], SendFlags::DONTWAIT).unwrap_or(0)
}
