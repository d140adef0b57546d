//! Where descriptions and audio cross from one leg to the other: led through this node, or left as they are.
//!
//! How audio is carried is `media`'s; this file knows when. A description that cannot be carried is refused with 488.

use std::{net::SocketAddr, time::Instant};

use bytes::Bytes;

use super::{
    Carried, Stack,
    leg::{Leg, Phase, holds},
};
use crate::{
    core::{
        command::{HangUpCause, LegEvent},
        effect::Treat,
        id::LegId,
        image::{CSEQ_JUMP, Image},
        party::Sdp,
    },
    media::{self, Item, MediaPlane, Program},
    sip::limits::MUSIC_TURN,
};

/// A description that this node cannot carry.
#[derive(Debug)]
pub(super) struct NotCarried;

impl Stack {
    fn is_anchored(&self, leg: LegId) -> bool {
        self.legs.get(&leg).is_some_and(|leg| leg.anchored)
    }

    /// What carries the audio of a leg, if it does not go from party to party.
    fn plane(&self, leg: LegId) -> Option<&dyn MediaPlane> {
        if self.is_anchored(leg) { Some(&*self.options.media) } else { self.engine_of(leg) }
    }

    /// What the party of `to` is told when that of `from` describes itself.
    pub(super) fn carry(&self, from: LegId, to: LegId, sdp: &Bytes) -> Result<Bytes, NotCarried> {
        let Some(plane) = self.plane(from).filter(|_| !sdp.is_empty()) else { return Ok(sdp.clone()) };
        plane.pass(from, to, sdp).map_err(|error| {
            tracing::info!(%from, %error, "a description cannot be carried");
            NotCarried
        })
    }

    /// Whether media of a caller's offer could be carried at all, before anybody is called.
    pub(super) fn can_carry(&self, carried: &Carried, offer: &Bytes) -> bool {
        let plane = match carried {
            Carried::Here => Some(&self.options.media),
            Carried::Past => return true,
            Carried::By(_) => self.options.engine.as_ref(),
        };
        plane.is_some_and(|plane| offer.is_empty() || plane.check(offer).is_ok())
    }

    /// The two hear each other from now on.
    pub(super) fn bridge(&self, one: LegId, other: LegId) {
        if self.is_anchored(one) {
            self.options.media.stop(one);
            self.options.media.hear(one, &[other]);
            self.options.media.hear(other, &[one]);
        }
    }

    /// The leg is gone, and with it its ports.
    pub(super) fn remove(&mut self, id: LegId) -> Option<Leg> {
        let leg = self.legs.remove(&id)?;
        self.unplan(id);
        if leg.anchored {
            self.options.media.close(id);
        } else if let Some(engine) = self.options.engine.as_ref().filter(|_| !leg.dialog.carrier.is_empty()) {
            engine.close(id);
        }
        Some(leg)
    }

    /// Answers a waiting caller, if nobody has, and plays to it.
    pub(super) fn treat(&mut self, now: Instant, id: LegId, treat: &Treat) {
        let Some(leg) = self.legs.get(&id) else { return };
        if leg.is_waiting() && !self.answer_for_treatment(now, id) {
            // It goes on waiting, and hears so.
            return self.progress(now, id, 182, "Queued");
        }
        self.take_back(now, id);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let (intro, music) = programs(treat);
        let first = intro.unwrap_or_else(|| music.clone());
        leg.music = Some(music);
        self.options.media.play(id, first);
    }

    /// Answers a waiting caller, if nobody has. What it hears is whoever talks with it from here on.
    pub(super) fn converse(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get(&id) else { return };
        if leg.is_waiting() && !self.answer_for_treatment(now, id) {
            self.report(id, LegEvent::HungUp { cause: HangUpCause::NoMedia });
            return self.hang_up(now, id);
        }
        self.take_back(now, id);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.music = None;
        self.options.media.stop(id);
    }

    /// Sends a 200 of our own. False if the caller's offer allows none.
    fn answer_for_treatment(&mut self, now: Instant, id: LegId) -> bool {
        let leg = &self.legs[&id];
        let (Some((key, invite)), offer) = (leg.invite.clone(), leg.media.1.clone()) else { return false };
        let answer = if leg.anchored { self.options.media.answer(id, &offer).ok() } else { None };
        let Some(sdp) = answer else { return false };
        self.answer_with(now, id, &key, &invite, &sdp);
        true
    }

    /// What a program ended with gives way to music.
    pub fn played(&mut self, id: LegId) {
        if let Some(music) = self.legs.get(&id).filter(|leg| leg.peer.is_none()).and_then(|leg| leg.music.clone()) {
            self.options.media.play(id, music);
        }
    }

    /// The party's audio comes from an address that it did not name, which whoever takes the leg over must know.
    pub fn latched(&mut self, id: LegId, source: SocketAddr) {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| matches!(leg.phase, Phase::Answered | Phase::Confirmed)) else { return };
        if names(&leg.media.1, source) || leg.dialog.media_source == source.to_string() {
            return;
        }
        leg.dialog.media_source = source.to_string();
        let event = LegEvent::Media { dialog: leg.dialog.clone(), sdp: Sdp::from(leg.media.1.to_vec()), held: leg.media.0 };
        self.report(id, event);
    }

    /// Takes over the media of a leg: audio goes out at once, and what the party is to be told is made anew.
    pub(super) fn restore_media(&mut self, id: LegId, image: &Image) {
        let Some(leg) = self.legs.get(&id).filter(|leg| !leg.media.1.is_empty()) else { return };
        let Some(media) = self.plane(id).filter(|_| leg.anchored || leg.peer.is_some()) else { return };
        let (own, other, peer) = (leg.media.1.clone(), leg.described.clone(), leg.peer);
        let version = u64::from(image.adoptions) * u64::from(CSEQ_JUMP);
        let was = media::Image { sdp: own.clone(), source: image.dialog.media_source.parse().ok(), version };
        let told = media.restore(id, &was).and_then(|()| match peer {
            Some(peer) => media.pass(peer, id, &other),
            None => media.answer(id, &own),
        });
        match told {
            Ok(told) => {
                if let Some(leg) = self.legs.get_mut(&id) {
                    leg.described = told;
                }
                if let Some(peer) = peer {
                    self.bridge(id, peer);
                    self.bridge(peer, id);
                }
                self.plan_again(id);
            }
            Err(error) => tracing::warn!(leg = %id, %error, "media of a leg that was taken over cannot be carried"),
        }
    }
}

/// Whether a description names this address for its audio.
fn names(sdp: &[u8], source: SocketAddr) -> bool {
    let text = String::from_utf8_lossy(sdp);
    let (family, port) = (if source.is_ipv4() { "IP4" } else { "IP6" }, format!("m=audio {} ", source.port()));
    let address = format!("c=IN {family} {}", source.ip());
    text.lines().any(|line| line.trim_end() == address) && text.lines().any(|line| line.starts_with(&port))
}

/// What is said first, if anything, and what is played after that without end.
fn programs(treat: &Treat) -> (Option<Program>, Program) {
    let prompt = |name: &str| Item::Prompt(name.into());
    let mut said: Vec<Item> = treat.greeting.iter().map(|name| prompt(name)).collect();
    if let Some(position) = treat.position {
        said.extend([prompt("position"), prompt(&format!("number-{position}"))]);
    }
    let intro = (!said.is_empty()).then_some(Program { items: said, repeat: false });
    (intro, music(treat.music.as_deref()))
}

/// Music without end: a prompt, or what is built in.
pub(super) fn music(name: Option<&str>) -> Program {
    let item = name.map_or(Item::Music(MUSIC_TURN), |name| Item::Prompt(name.into()));
    Program { items: vec![item], repeat: true }
}

/// The party keeps us on hold, and goes on doing so.
pub(super) fn held_by(party: &[u8], told: &Bytes) -> Bytes {
    if !holds(party) {
        return told.clone();
    }
    let text = String::from_utf8_lossy(told);
    let lines = text.lines().filter(|line| !matches!(*line, "a=sendrecv" | "a=sendonly" | "a=recvonly" | "a=inactive"));
    let mut kept: String = lines.map(|line| format!("{line}\r\n")).collect();
    kept.push_str("a=recvonly\r\n");
    Bytes::from(kept)
}
