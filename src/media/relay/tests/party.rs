//! A party of a call in tests: sockets, a description, and what the relay told it.

use std::{
    cell::RefCell,
    net::{SocketAddr, UdpSocket},
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use crate::media::{
    Options,
    rtp::{self, HEADER_BYTES, Header, Stamp},
    sdp,
    secure::{Key, Keys, Secure},
};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ports that nobody had a moment ago; a pair that somebody takes meanwhile is passed over.
pub fn range(pairs: u16) -> RangeInclusive<u16> {
    let probe = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let start = probe.local_addr().expect("bound").port().min(65_000 - 2 * pairs) & !1;
    start..=start + 2 * pairs - 1
}

pub fn options() -> Options {
    Options { ports: range(100), ..Options::new("127.0.0.1".parse().expect("address")) }
}

pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::yield_now();
    }
}

pub struct Party {
    pub rtp: UdpSocket,
    rtcp: UdpSocket,
    pub mux: bool,
    pub ssrc: u32,
    /// Payload types as the media line has them.
    formats: &'static str,
    /// What it says it is reached at, if not where it is.
    pub describes: Option<SocketAddr>,
    /// Where it was told to send.
    pub relay: SocketAddr,
    pub heard_of: Vec<u8>,
    /// Its own key, and SRTP once it was told ours.
    key: Option<Key>,
    secure: RefCell<Option<Secure>>,
}

impl Party {
    pub fn new(formats: &'static str) -> Self {
        Self::at("127.0.0.1:0", formats)
    }

    pub fn at(address: &str, formats: &'static str) -> Self {
        let socket = || {
            let socket = UdpSocket::bind(address).expect("a port");
            socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            socket
        };
        let rtp = socket();
        let ssrc = 0xFACE_0000 | u32::from(rtp.local_addr().expect("bound").port());
        let relay = rtp.local_addr().expect("bound");
        Self {
            rtp,
            rtcp: socket(),
            mux: false,
            ssrc,
            formats,
            describes: None,
            relay,
            heard_of: Vec::new(),
            key: None,
            secure: RefCell::default(),
        }
    }

    pub fn sdp(&self) -> Vec<u8> {
        let at = self.describes.unwrap_or(self.rtp.local_addr().expect("bound"));
        let (family, ip) = (if at.is_ipv4() { "IP4" } else { "IP6" }, at.ip());
        let rtcp = if self.mux { "rtcp-mux".to_owned() } else { format!("rtcp:{}", self.rtcp.local_addr().expect("bound").port()) };
        let profile = if self.key.is_some() { "SAVP" } else { "AVP" };
        let key = self.key.as_ref().map_or(String::new(), |key| format!("a=crypto:{}\r\n", key.line()));
        let events: String = self
            .formats
            .split(' ')
            .filter(|number| number.len() > 1)
            .map(|number| format!("a=rtpmap:{number} telephone-event/8000\r\n"))
            .collect();
        format!(
            "v=0\r\no=p 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\nm=audio {} RTP/{profile} {}\r\na={rtcp}\r\n{key}{events}",
            at.port(),
            self.formats
        )
        .into_bytes()
    }

    pub fn offer_srtp(&mut self) {
        let line = "1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
        self.key = Key::parse(line);
    }

    pub fn told(&mut self, sdp: &[u8]) {
        let audio = sdp::parse(sdp).expect("told what can be read").audio;
        self.relay = audio.rtp.expect("told where to send");
        if let (Some(ours), Some(theirs)) = (self.key.clone(), audio.key) {
            let before = self.secure.take();
            self.secure = RefCell::new(Secure::new(&Keys { theirs, ours }, before));
        }
        self.heard_of = sdp.to_vec();
    }

    pub fn send(&self, payload_type: u8, sequence: u16, payload: &[u8]) {
        self.send_at(payload_type, sequence, u32::from(sequence) * 160, payload);
    }

    pub fn send_at(&self, payload_type: u8, sequence: u16, timestamp: u32, payload: &[u8]) {
        let mut packet = vec![0; HEADER_BYTES];
        let stamp = Stamp { marker: false, sequence, timestamp, ssrc: self.ssrc };
        rtp::begin(&mut packet, payload_type, stamp);
        packet.extend_from_slice(payload);
        if let Some(secure) = self.secure.borrow_mut().as_mut() {
            let length = packet.len();
            packet.resize(length + 64, 0);
            let length = secure.seal(&mut packet, length, false).expect("sealed");
            packet.truncate(length);
        }
        self.send_bytes(&packet);
    }

    pub fn send_bytes(&self, packet: &[u8]) {
        self.rtp.send_to(packet, self.relay).expect("sent");
    }

    pub fn rtcp(&self) -> &UdpSocket {
        if self.mux { &self.rtp } else { &self.rtcp }
    }

    pub fn send_rtcp(&self, packet: &[u8]) {
        let port = if self.mux { self.relay.port() } else { self.relay.port() + 1 };
        self.rtcp().send_to(packet, (self.relay.ip(), port)).expect("sent");
    }

    pub fn receive(&self) -> (Header, Vec<u8>) {
        self.take().expect("a packet within the timeout")
    }

    /// What is there already or comes very soon.
    pub fn try_receive(&self) -> Option<(Header, Vec<u8>)> {
        self.rtp.set_read_timeout(Some(Duration::from_millis(10))).expect("a timeout");
        let packet = self.take();
        self.rtp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        packet
    }

    fn take(&self) -> Option<(Header, Vec<u8>)> {
        let mut bytes = [0; 2_000];
        let count = self.rtp.recv(&mut bytes).ok()?;
        let mut packet = bytes[..count].to_vec();
        if let Some(secure) = self.secure.borrow_mut().as_mut() {
            packet = secure.open(&packet, false).expect("authentic").to_vec();
        }
        let header = Header::parse(&packet).expect("RTP");
        let payload = packet[header.payload.clone()].to_vec();
        Some((header, payload))
    }
}
