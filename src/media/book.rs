//! What parties said of themselves, what they were told, and the terms that follow for the packets of each leg.
//!
//! It lives on the caller's side of the threads, behind a lock: descriptions are rare. It binds ports and gives them away; it
//! sends and receives nothing.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    Error, Image,
    codec::{Codec, Codecs},
    g711::Law,
    limits,
    ports::{Pair, Ports},
    sdp::{self, Audio, Description, Direction, Ours},
    secure::Keys,
};
use crate::core::id::LegId;

/// Ports of one address family.
#[derive(Debug)]
pub struct Family {
    pub ports: Ports,
    /// What parties are told, if it is not the bound address.
    pub advertise: IpAddr,
}

/// What a thread must know of a leg's party.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Rises with every description of the party that differs from the last.
    pub generation: u64,
    /// Where it says that it wants RTP, or is known to have it.
    pub rtp: Option<SocketAddr>,
    pub rtcp: Option<SocketAddr>,
    pub mux: bool,
    /// Payload types it takes.
    pub sends: Codecs,
    /// What payload types of its packets mean.
    pub expects: Codecs,
    /// It wants to hear something.
    pub listens: bool,
    /// It has something to say.
    pub speaks: bool,
    /// SRTP is spoken with it.
    pub keys: Option<Keys>,
    /// Taken over from another node: it gets audio before anybody says what.
    pub restored: bool,
}

#[derive(Debug)]
struct Said {
    bytes: Bytes,
    audio: Audio,
}

#[derive(Debug)]
struct Told {
    bytes: Bytes,
    codecs: Codecs,
    mux: bool,
}

/// One leg.
#[derive(Debug, Default)]
struct Side {
    pair: Option<(IpAddr, u16)>,
    said: Option<Said>,
    told: Option<Told>,
    version: u64,
    generation: u64,
    /// Everything it was told since it has this port, newest first: a phone may be one description behind.
    expects: Codecs,
    /// Where its RTP came from while it described this address.
    source: Option<(Option<SocketAddr>, SocketAddr)>,
    /// Both sides of SRTP, if its party wants that.
    keys: Option<Keys>,
    /// We described ourselves to it and stay on what was agreed.
    own: bool,
    restored: bool,
}

/// What a call changed: a new port of a leg, and legs whose terms are new.
#[derive(Debug, Default)]
pub struct Changed {
    pub opened: Option<Pair>,
    pub terms: Vec<(LegId, Terms)>,
}

#[derive(Debug)]
pub struct Book {
    ipv4: Option<Family>,
    ipv6: Option<Family>,
    sides: HashMap<LegId, Side>,
    /// The last descriptions that were read, newest first: those of a call are needed several times in a row.
    read: VecDeque<(Bytes, Arc<Description>)>,
}

impl Book {
    pub fn new(ipv4: Option<Family>, ipv6: Option<Family>) -> Self {
        Self { ipv4, ipv6, sides: HashMap::new(), read: VecDeque::new() }
    }

    pub fn legs(&self) -> usize {
        self.sides.len()
    }

    /// [`MediaPlane::pass`](super::MediaPlane::pass). What was changed before an error holds too.
    pub fn pass(&mut self, from: LegId, to: LegId, sdp: &[u8], changed: &mut Changed) -> Result<Bytes, Error> {
        let description = self.parse(sdp)?;
        self.note(from, sdp, &description.audio);
        self.open(to, description.audio.is_ipv6, changed)?;
        let bytes = match self.manner(from, to, &description) {
            Manner::Retold => self.tell(to, &description, &description.audio.codecs, |ours| sdp::retold(&description, ours)),
            Manner::Own(shape, codecs) => {
                let direction = description.audio.direction;
                self.tell(to, &description, &codecs, |ours| sdp::own(&shape, &codecs, direction, ours))
            }
        };
        for leg in [from, to] {
            changed.terms.extend(self.terms(leg).map(|terms| (leg, terms)));
        }
        Ok(bytes)
    }

    /// [`MediaPlane::answer`](super::MediaPlane::answer).
    pub fn answer(&mut self, leg: LegId, offer: &[u8], changed: &mut Changed) -> Result<Bytes, Error> {
        let description = self.parse(offer)?;
        let codecs = spoken(&description.audio).ok_or(Error::NoCodec)?;
        self.note(leg, offer, &description.audio);
        self.open(leg, description.audio.is_ipv6, changed)?;
        self.sides.entry(leg).or_default().own = true;
        let direction = description.audio.direction.reversed();
        let bytes = self.tell(leg, &description, &codecs, |ours| sdp::own(&description, &codecs, direction, ours));
        changed.terms.extend(self.terms(leg).map(|terms| (leg, terms)));
        Ok(bytes)
    }

    /// [`MediaPlane::offer`](super::MediaPlane::offer).
    pub fn offer(&mut self, from: LegId, to: LegId, sdp: &[u8], changed: &mut Changed) -> Result<Bytes, Error> {
        let description = self.parse(sdp)?;
        self.note(from, sdp, &description.audio);
        self.open(to, description.audio.is_ipv6, changed)?;
        let law = description.audio.codecs.iter().find_map(|(_, codec)| codec.law()).unwrap_or(Law::Mu);
        let event = description.audio.number(&Codec::Event(8_000)).filter(|number| ![0, 8].contains(number));
        let codecs = sdp::either_law(law, event);
        let bytes = self.tell(to, &description, &codecs, |ours| sdp::own(&description, &codecs, Direction::Both, ours));
        for leg in [from, to] {
            changed.terms.extend(self.terms(leg).map(|terms| (leg, terms)));
        }
        Ok(bytes)
    }

    /// [`MediaPlane::restore`](super::MediaPlane::restore).
    pub fn restore(&mut self, leg: LegId, image: &Image, changed: &mut Changed) -> Result<(), Error> {
        let description = self.parse(&image.sdp)?;
        self.note(leg, &image.sdp, &description.audio);
        let side = self.sides.entry(leg).or_default();
        side.version = side.version.max(image.version);
        side.source = image.source.map(|source| (description.audio.rtp, source));
        side.restored = true;
        side.own = true;
        self.open(leg, description.audio.is_ipv6, changed)?;
        changed.terms.extend(self.terms(leg).map(|terms| (leg, terms)));
        Ok(())
    }

    /// [`MediaPlane::image`](super::MediaPlane::image).
    pub fn image(&self, leg: LegId) -> Option<Image> {
        let side = self.sides.get(&leg)?;
        let said = side.said.as_ref()?;
        Some(Image { sdp: said.bytes.clone(), source: side.known_source(), version: side.version })
    }

    /// A thread is certain where a leg's RTP comes from.
    pub fn latched(&mut self, leg: LegId, source: SocketAddr) {
        if let Some(side) = self.sides.get_mut(&leg) {
            side.source = side.said.as_ref().map(|said| (said.audio.rtp, source));
        }
    }

    /// Forgets a leg. False if it was not known.
    pub fn close(&mut self, leg: LegId) -> bool {
        let Some(side) = self.sides.remove(&leg) else { return false };
        if let Some((address, port)) = side.pair
            && let Some(family) = self.family(address.is_ipv6())
        {
            family.ports.give(port);
        }
        true
    }

    /// As [`sdp::parse`], remembering what was read last.
    fn parse(&mut self, bytes: &[u8]) -> Result<Arc<Description>, Error> {
        if let Some((_, known)) = self.read.iter().find(|(known, _)| known == bytes) {
            return Ok(Arc::clone(known));
        }
        let description = Arc::new(sdp::parse(bytes)?);
        self.read.truncate(limits::READ_MAX - 1);
        self.read.push_front((Bytes::copy_from_slice(bytes), Arc::clone(&description)));
        Ok(description)
    }

    fn note(&mut self, leg: LegId, sdp: &[u8], audio: &Audio) {
        let side = self.sides.entry(leg).or_default();
        if side.said.as_ref().is_some_and(|said| said.bytes == sdp) {
            return;
        }
        side.generation += 1;
        side.keys = audio.key.clone().map(|theirs| {
            let ours = side.keys.take().map_or_else(|| theirs.answering(), |known| known.ours.kept_for(&theirs));
            Keys { theirs, ours }
        });
        side.said = Some(Said { bytes: Bytes::copy_from_slice(sdp), audio: audio.clone() });
    }

    fn family(&mut self, is_ipv6: bool) -> Option<&mut Family> {
        if is_ipv6 { self.ipv6.as_mut() } else { self.ipv4.as_mut() }
    }

    /// Gives a leg a port of its party's family; as long as the party has said nothing, of the family of the other one.
    fn open(&mut self, leg: LegId, other_is_ipv6: bool, changed: &mut Changed) -> Result<(), Error> {
        let side = self.sides.entry(leg).or_default();
        let said = side.said.as_ref().map(|said| said.audio.is_ipv6);
        let held = side.pair;
        if held.is_some_and(|(address, _)| said.is_none_or(|is_ipv6| address.is_ipv6() == is_ipv6)) {
            return Ok(());
        }
        let wanted = said.unwrap_or(other_is_ipv6);
        let may_differ = said.is_none();
        let is_ipv6 = if self.family(wanted).is_none() && may_differ { !wanted } else { wanted };
        let pair = self.family(is_ipv6).ok_or(Error::NoAddress)?.ports.take()?;
        let side = self.sides.get_mut(&leg).expect("made above");
        side.pair = Some((pair.address, pair.port));
        side.expects.clear();
        changed.opened = Some(pair);
        if let Some((address, port)) = held
            && let Some(family) = self.family(address.is_ipv6())
        {
            family.ports.give(port);
        }
        Ok(())
    }

    /// How the party of `to` is told what the party of `from` said.
    fn manner(&mut self, from: LegId, to: LegId, description: &Arc<Description>) -> Manner {
        let said = self.sides.get(&to).and_then(|listener| listener.said.as_ref()).map(|said| said.bytes.clone());
        let shape = said.and_then(|said| self.parse(&said).ok());
        let (Some(source), Some(listener)) = (self.sides.get(&from), self.sides.get(&to)) else { return Manner::Retold };
        if listener.own
            && let Some(shape) = shape
        {
            let common = if source.restored && listener.restored { common(from, to, &description.audio, &shape.audio) } else { None };
            return match common.or_else(|| spoken(&shape.audio)) {
                Some(codecs) => Manner::Own(shape, codecs),
                None => Manner::Retold,
            };
        }
        if source.own
            && let Some(codecs) = spoken(&description.audio)
        {
            let law = codecs.iter().find_map(|(_, codec)| codec.law()).unwrap_or(Law::Mu);
            let event = description.audio.number(&Codec::Event(8_000)).filter(|number| ![0, 8].contains(number));
            return Manner::Own(shape.unwrap_or_else(|| Arc::clone(description)), sdp::either_law(law, event));
        }
        Manner::Retold
    }

    /// Words a description for a leg and notes it; its version rises if it says something else than the last.
    fn tell(&mut self, leg: LegId, other: &Description, codecs: &[(u8, Codec)], word: impl Fn(&Ours) -> Vec<u8>) -> Bytes {
        let (address, port) = self.sides[&leg].pair.expect("opened before it is told");
        let advertise = self.family(address.is_ipv6()).map_or(address, |family| family.advertise);
        let side = self.sides.get_mut(&leg).expect("looked up above");
        let mux = side.said.as_ref().map_or(other.audio.mux, |said| said.audio.mux);
        let key = side.keys.as_ref().map(|keys| keys.ours.line());
        let mut ours = Ours { address: advertise, port, session: session(leg), version: side.version, mux, key };
        let mut bytes = word(&ours);
        if side.told.as_ref().is_none_or(|told| told.bytes != bytes) {
            ours.version += 1;
            side.version = ours.version;
            bytes = word(&ours);
        }
        let older = side.expects.iter().filter(|(number, _)| !codecs.iter().any(|(newer, _)| newer == number));
        let expects = codecs.iter().chain(older).take(2 * limits::CODECS_MAX).cloned().collect();
        side.expects = expects;
        let bytes = Bytes::from(bytes);
        side.told = Some(Told { bytes: bytes.clone(), codecs: codecs.to_vec(), mux });
        bytes
    }

    fn terms(&self, leg: LegId) -> Option<Terms> {
        let side = self.sides.get(&leg)?;
        let audio = &side.said.as_ref()?.audio;
        let agreed = |codec: &Codec| side.told.as_ref().is_none_or(|told| told.codecs.iter().any(|(_, other)| other == codec));
        let mut sends: Codecs = audio.codecs.iter().filter(|(_, codec)| agreed(codec)).cloned().collect();
        if !sends.iter().any(|(_, codec)| codec.is_audio()) {
            sends = audio.codecs.clone();
        }
        // Some phones send under their own numbers in place of ours.
        let theirs = audio.codecs.iter().filter(|(number, _)| !side.expects.iter().any(|(told, _)| told == number));
        Some(Terms {
            generation: side.generation,
            rtp: side.known_source().or(audio.rtp).filter(|address| !self.is_ours(*address)),
            rtcp: audio.rtcp,
            mux: audio.mux && side.told.as_ref().is_some_and(|told| told.mux),
            sends,
            expects: side.expects.iter().chain(theirs).cloned().collect(),
            listens: audio.direction.listens(),
            speaks: audio.direction.speaks(),
            keys: side.keys.clone(),
            restored: side.restored,
        })
    }

    /// An address that would send our packets back to ourselves.
    fn is_ours(&self, address: SocketAddr) -> bool {
        let family = if address.is_ipv6() { &self.ipv6 } else { &self.ipv4 };
        family
            .as_ref()
            .is_some_and(|family| [family.ports.address(), family.advertise].contains(&address.ip()) && family.ports.holds(address.port()))
    }
}

impl Side {
    /// The learned source, as long as the address it was learned for is still described.
    fn known_source(&self) -> Option<SocketAddr> {
        let (described, source) = self.source?;
        (self.said.as_ref()?.audio.rtp == described).then_some(source)
    }
}

enum Manner {
    Retold,
    /// A description of ours in the shape of the listener's session.
    Own(Arc<Description>, Codecs),
}

/// G.711 and events for a leg that we speak to ourselves: the first law it names, under its own numbers.
fn spoken(audio: &Audio) -> Option<Codecs> {
    let speech = audio.codecs.iter().find(|(_, codec)| codec.law().is_some())?;
    Some(with_events(speech, audio))
}

/// The codec two legs go on with after both were taken over: the first of the older leg that the newer has too. Whichever of
/// them is told first, both get the same.
fn common(from: LegId, to: LegId, said: &Audio, listener: &Audio) -> Option<Codecs> {
    let (older, newer) = if from.n < to.n { (said, listener) } else { (listener, said) };
    let (_, codec) = older.codecs.iter().find(|(_, codec)| codec.is_audio() && newer.number(codec).is_some())?;
    let speech = (listener.number(codec)?, codec.clone());
    Some(with_events(&speech, listener))
}

fn with_events(speech: &(u8, Codec), audio: &Audio) -> Codecs {
    let event = audio.codecs.iter().find(|(_, codec)| *codec == Codec::Event(8_000));
    [Some(speech), event].into_iter().flatten().cloned().collect()
}

/// The session id of our origin: the same on whatever node the leg is.
pub(super) fn session(leg: LegId) -> u64 {
    let folded = (leg.call.0 >> 64) as u64 ^ leg.call.0 as u64;
    folded.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(u64::from(leg.n)) >> 16
}
