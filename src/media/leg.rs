//! One leg as its media thread has it: ports, where its party is, what it hears and who hears it.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Instant,
};

use bytes::BytesMut;

use super::{
    book::Terms,
    codec::{Codec, Route},
    counts::Count,
    dtmf::{Digit, Keys},
    ear::{Ear, Heard},
    g711::Law,
    latch::{Bucket, Latch, Verdict},
    player::Player,
    ports::Pair,
    recorder::Recorder,
    rtp::Header,
    secure::Secure,
    stream::Stream,
    tap::Tap,
    voice::{Cursor, Voice},
};
use crate::core::id::LegId;

/// Somebody who hears this leg.
#[derive(Debug)]
pub struct Listener {
    /// Its place in the thread's table.
    pub place: u32,
    pub route: Route,
}

#[derive(Debug)]
pub struct Leg {
    pub id: LegId,
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
    pub is_ipv6: bool,
    pub terms: Option<Terms>,
    pub latch: Latch,
    /// Where its RTCP was first seen to come from.
    rtcp_source: Option<SocketAddr>,
    pub bucket: Bucket,
    /// When its party was last heard, and whether its silence was told.
    pub heard_at: Instant,
    pub quiet_told: bool,
    /// Whom it hears; `None` until somebody says.
    pub hears: Option<Arc<[LegId]>>,
    pub listeners: Vec<Listener>,
    pub stream: Stream,
    /// When its party last got a packet of another leg.
    pub relayed_at: Option<Instant>,
    pub player: Option<Player>,
    keys: Keys,
    /// Payload types of events and of either law that its party sends, a bit each.
    event_types: u128,
    law_types: [(Law, u128); 2],
    event_rate: u32,
    /// What its party said lately, while somebody hears it mixed.
    pub voice: Option<Voice>,
    /// Whom it hears mixed: their places, and how far.
    pub mix: Vec<(u32, Cursor)>,
    pub tap: Option<Tap>,
    /// Somebody wants to know what its party says.
    pub ear: Option<Ear>,
    /// SRTP with its party.
    secure: Option<Secure>,
    /// Samples of comfort noise made.
    pub noise_at: usize,
    /// The moment of a frame at which it is served, if audio is made for it.
    pub phase: Option<usize>,
}

impl Leg {
    pub fn new(id: LegId, pair: Pair, seed: u64, now: Instant) -> Self {
        Self {
            id,
            is_ipv6: pair.address.is_ipv6(),
            rtp: pair.rtp,
            rtcp: pair.rtcp,
            terms: None,
            latch: Latch::new(None, now),
            rtcp_source: None,
            bucket: Bucket::new(now),
            heard_at: now,
            quiet_told: false,
            hears: None,
            listeners: Vec::new(),
            stream: Stream::new(seed, 8_000, now),
            relayed_at: None,
            player: None,
            keys: Keys::default(),
            event_types: 0,
            law_types: [(Law::Mu, 0), (Law::A, 0)],
            voice: None,
            mix: Vec::new(),
            tap: None,
            ear: None,
            secure: None,
            event_rate: 8_000,
            noise_at: 0,
            phase: None,
        }
    }

    /// New ports for the same leg: what it hears stays.
    pub fn moved(&mut self, pair: Pair, now: Instant) {
        self.is_ipv6 = pair.address.is_ipv6();
        (self.rtp, self.rtcp) = (pair.rtp, pair.rtcp);
        self.latch = Latch::new(self.terms.as_ref().and_then(|terms| terms.rtp), now);
        self.rtcp_source = None;
    }

    /// Its party described itself, or is told something else.
    pub fn described(&mut self, terms: Terms, now: Instant) {
        if self.terms.as_ref().is_none_or(|old| old.generation != terms.generation) {
            self.latch.described(terms.rtp, now);
            self.rtcp_source = None;
            self.heard_at = now;
            self.quiet_told = false;
        }
        let rate = terms.sends.iter().find(|(_, codec)| codec.is_audio()).map_or(8_000, |(_, codec)| codec.rate());
        self.stream.rate = rate;
        self.learn_types(&terms);
        if self.terms.as_ref().is_none_or(|old| old.keys != terms.keys) {
            self.secure = terms.keys.as_ref().and_then(|keys| Secure::new(keys, self.secure.take()));
        }
        self.terms = Some(terms);
    }

    fn learn_types(&mut self, terms: &Terms) {
        (self.event_types, self.law_types) = (0, [(Law::Mu, 0), (Law::A, 0)]);
        let mut known = 0_u128;
        // The newest meaning of a number stands in front.
        for (number, codec) in &terms.expects {
            let bit = 1_u128 << (number & 0x7F);
            if known & bit == 0 {
                match codec {
                    Codec::Event(rate) => (self.event_types, self.event_rate) = (self.event_types | bit, *rate),
                    Codec::G711(Law::Mu) => self.law_types[0].1 |= bit,
                    Codec::G711(Law::A) => self.law_types[1].1 |= bit,
                    Codec::Noise | Codec::Other(..) => {}
                }
            }
            known |= bit;
        }
    }

    /// The law of a payload type its party sends.
    fn law_of(&self, payload_type: u8) -> Option<Law> {
        self.law_types.iter().find(|(_, types)| types >> payload_type & 1 == 1).map(|(law, _)| *law)
    }

    /// Keeps what its party says for those who mix, record or understand it.
    pub fn listen(&mut self, header: &Header, packet: &[u8], recorder: &Recorder, now: Instant) -> Option<Heard> {
        if self.voice.is_none() && self.tap.is_none() && self.ear.is_none() {
            return None;
        }
        let law = self.law_of(header.payload_type)?;
        let codes = &packet[header.payload.clone()];
        if let Some(voice) = &mut self.voice {
            voice.put(header.ssrc, header.timestamp, law, codes);
        }
        if let Some(tap) = &mut self.tap {
            tap.audio(recorder, (header.ssrc, header.timestamp), law, codes, now);
        }
        self.ear.as_mut().and_then(|ear| ear.audio(law, codes, now))
    }

    /// Where its party's audio goes, if it wants any.
    pub fn listens_at(&self) -> Option<SocketAddr> {
        self.terms.as_ref().filter(|terms| terms.listens)?;
        self.latch.target().filter(|target| target.is_ipv6() == self.is_ipv6)
    }

    /// Payload type and law of audio made for it.
    pub fn law(&self) -> Option<(u8, Law)> {
        let terms = self.terms.as_ref()?;
        terms.sends.iter().find_map(|(number, codec)| match codec {
            Codec::G711(law) => Some((*number, *law)),
            _ => None,
        })
    }

    /// Audio may have to be made for it: something plays, it hears nobody or several, or its stream is ours and must not stop.
    pub fn needs_voice(&self) -> bool {
        let restored = self.terms.as_ref().is_some_and(|terms| terms.restored);
        let alone = self.hears.as_ref().is_some_and(|hears| hears.len() != 1);
        self.player.is_some() || alone || restored || self.stream.is_ours()
    }

    /// The key that a packet of its party ends, if it is about keys.
    pub fn key(&mut self, header: &Header, packet: &[u8], now: Instant) -> Option<Digit> {
        if self.event_types >> header.payload_type & 1 == 0 {
            return None;
        }
        self.keys.packet(header.timestamp, &packet[header.payload.clone()], self.event_rate, now)
    }

    /// A key whose end was lost.
    pub fn overdue_key(&mut self, now: Instant) -> Option<Digit> {
        self.keys.overdue(self.event_rate, now)
    }

    /// RTCP came from `source`: its party's if that is where its RTP comes from.
    pub fn admits_rtcp(&mut self, source: SocketAddr) -> bool {
        if let Some(known) = self.rtcp_source {
            return known == source;
        }
        let admitted = self.latch.target().is_some_and(|target| target.ip() == source.ip());
        if admitted && self.latch.is_locked() {
            self.rtcp_source = Some(source);
        }
        admitted
    }

    /// Where its party's RTCP goes, and whether that is the port of RTP.
    pub fn reports_to(&self) -> Option<(SocketAddr, bool)> {
        let terms = self.terms.as_ref()?;
        let rtp = self.latch.target()?;
        if terms.mux {
            return Some((rtp, true));
        }
        let described = terms.rtcp.filter(|rtcp| rtcp.ip() == rtp.ip());
        let target = self.rtcp_source.or(described)?;
        (target.is_ipv6() == self.is_ipv6).then_some((target, false))
    }

    /// A packet of its party in the clear, if it speaks SRTP; the error is why it is dropped.
    pub fn open(&mut self, packet: &[u8], is_rtcp: bool) -> Result<Option<BytesMut>, Count> {
        match &mut self.secure {
            Some(secure) => secure.open(packet, is_rtcp).map(Some).ok_or(Count::Forged),
            // Nothing in the clear is taken from a party that wants SRTP.
            None if self.terms.as_ref().is_some_and(|terms| terms.keys.is_some()) => Err(Count::Forged),
            None => Ok(None),
        }
    }

    /// Makes the first `length` bytes of `buffer` fit to be sent to its party; the new length.
    pub fn seal(&mut self, buffer: &mut [u8], length: usize, is_rtcp: bool) -> Option<usize> {
        match &mut self.secure {
            Some(secure) => secure.seal(buffer, length, is_rtcp),
            None if self.terms.as_ref().is_some_and(|terms| terms.keys.is_some()) => None,
            None => Some(length),
        }
    }

    /// A valid RTP packet came.
    pub fn admit(&mut self, source: SocketAddr, now: Instant) -> Verdict {
        let verdict = self.latch.admit(source, now);
        if verdict != Verdict::Refused {
            self.heard_at = now;
            self.quiet_told = false;
        }
        verdict
    }
}
