//! Local ports: RTP on an even one, RTCP on the next (RFC 3550 §11).
//!
//! A freed pair is used again last, so that late packets of an old call find nobody.

use std::{
    collections::{HashSet, VecDeque},
    net::{IpAddr, SocketAddr, UdpSocket},
    ops::RangeInclusive,
};

use rand::seq::SliceRandom;
use socket2::SockRef;

use super::{Error, limits};

/// Expedited forwarding (RFC 3246), as the whole octet of the header.
const EXPEDITED: u32 = 0xB8;

/// A bound pair.
#[derive(Debug)]
pub struct Pair {
    pub address: IpAddr,
    /// Of RTP; RTCP has the next.
    pub port: u16,
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
}

/// Pairs of one address.
#[derive(Debug)]
pub struct Ports {
    address: IpAddr,
    free: VecDeque<u16>,
    /// RTP's ports of pairs that are in use.
    taken: HashSet<u16>,
}

impl Ports {
    /// In random order, so that nobody guesses the next.
    pub fn new(address: IpAddr, range: &RangeInclusive<u16>) -> Self {
        let mut free: Vec<u16> = range.clone().filter(|port| port % 2 == 0 && *port > 0 && *port < *range.end()).collect();
        free.shuffle(&mut rand::rng());
        Self { address, free: free.into(), taken: HashSet::new() }
    }

    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Binds a pair that nobody else on this machine has.
    pub fn take(&mut self) -> Result<Pair, Error> {
        for _ in 0..self.free.len().min(limits::PORT_TRIES_MAX) {
            let port = self.free.pop_front().expect("as many as there are");
            match (bind(self.address, port), bind(self.address, port + 1)) {
                (Some(rtp), Some(rtcp)) => {
                    self.taken.insert(port);
                    return Ok(Pair { address: self.address, port, rtp, rtcp });
                }
                _ => self.free.push_back(port),
            }
        }
        Err(Error::NoPort)
    }

    /// A pair that is used no more.
    pub fn give(&mut self, port: u16) {
        self.taken.remove(&port);
        self.free.push_back(port);
    }

    /// Whether a port is of a pair that is in use, RTP's or RTCP's.
    pub fn holds(&self, port: u16) -> bool {
        self.taken.contains(&(port & !1))
    }
}

fn bind(address: IpAddr, port: u16) -> Option<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::new(address, port)).ok()?;
    socket.set_nonblocking(true).ok()?;
    // Priority is a wish: some containers forbid it, and audio works without.
    let _ = match address {
        IpAddr::V4(_) => SockRef::from(&socket).set_tos_v4(EXPEDITED),
        IpAddr::V6(_) => SockRef::from(&socket).set_tclass_v6(EXPEDITED),
    };
    Some(socket)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn a_pair_is_even_and_odd_and_within_the_range() {
        let mut ports = Ports::new(HERE, &(41_001..=41_099));
        let pair = ports.take().expect("some are free");
        assert_eq!(pair.port % 2, 0);
        assert!((41_002..=41_098).contains(&pair.port));
        assert_eq!(pair.rtcp.local_addr().expect("bound").port(), pair.port + 1);
    }

    #[test]
    fn a_port_in_use_is_passed_over_and_an_empty_range_is_an_error() {
        let mut ports = Ports::new(HERE, &(41_102..=41_103));
        let pair = ports.take().expect("free");
        assert!(matches!(ports.take(), Err(Error::NoPort)));
        assert!(ports.holds(pair.port) && ports.holds(pair.port + 1));
        ports.give(pair.port);
        assert!(!ports.holds(pair.port));
        assert!(matches!(ports.take(), Err(Error::NoPort)), "still bound");
        drop(pair);
        assert!(ports.take().is_ok());
    }
}
