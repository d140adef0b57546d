//! Packets as they come: several of one port per system call, into buffers that are there already.

use std::{
    io::IoSliceMut,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
};

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, recvmmsg};

use super::limits::{PACKET_BYTES_MAX, RECEIVE_BATCH};

/// What came with a packet.
#[derive(Debug, Clone, Copy)]
struct Got {
    source: SocketAddr,
    bytes: usize,
    truncated: bool,
}

const NOTHING: Got = Got { source: SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0), bytes: 0, truncated: false };

pub struct Inbox {
    buffers: Box<[[u8; PACKET_BYTES_MAX]; RECEIVE_BATCH]>,
    // One per family: the kernel shortens the room for an address to what it last wrote there.
    ipv4: MultiHeaders<SockaddrIn>,
    ipv6: MultiHeaders<SockaddrIn6>,
    got: [Got; RECEIVE_BATCH],
}

/// A packet in its buffer.
pub struct Packet<'a> {
    pub source: SocketAddr,
    pub bytes: &'a [u8],
    /// It was larger than a packet may be.
    pub truncated: bool,
}

impl Inbox {
    pub fn new() -> Self {
        Self {
            buffers: Box::new([[0; PACKET_BYTES_MAX]; RECEIVE_BATCH]),
            ipv4: MultiHeaders::preallocate(RECEIVE_BATCH, None),
            ipv6: MultiHeaders::preallocate(RECEIVE_BATCH, None),
            got: [NOTHING; RECEIVE_BATCH],
        }
    }

    /// Reads what is there, at most a batch; how many packets. A port's error (such as an ICMP answer) is no packet.
    pub fn receive(&mut self, socket: &UdpSocket, is_ipv6: bool) -> usize {
        let Self { buffers, ipv4, ipv6, got } = self;
        if is_ipv6 { fill(socket, ipv6, buffers, got) } else { fill(socket, ipv4, buffers, got) }
    }

    pub fn packet(&self, place: usize) -> Packet<'_> {
        let Got { source, bytes, truncated } = self.got[place];
        Packet { source, bytes: &self.buffers[place][..bytes], truncated }
    }
}

fn fill<S: SockaddrLike + Copy + Into<SocketAddr>>(
    socket: &UdpSocket,
    headers: &mut MultiHeaders<S>,
    buffers: &mut [[u8; PACKET_BYTES_MAX]; RECEIVE_BATCH],
    got: &mut [Got; RECEIVE_BATCH],
) -> usize {
    let mut slices = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
    let Ok(messages) = recvmmsg(socket.as_raw_fd(), headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None) else { return 0 };
    let mut count = 0;
    for (slot, message) in got.iter_mut().zip(messages) {
        let Some(address) = message.address else { continue };
        *slot = Got { source: address.into(), bytes: message.bytes, truncated: message.flags.contains(MsgFlags::MSG_TRUNC) };
        count += 1;
    }
    count
}
