//! A media thread: waits for packets and for the clock, and carries or makes audio for its legs.
//!
//! Nothing is allocated per packet, but of legs that somebody listens to, and nothing waits for a lock. Who is connected to whom was decided elsewhere and comes in
//! through the [`Shard`].

mod changes;
mod table;

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
};

use self::table::Table;
use super::{
    Event,
    codec::Carry,
    counts::Count,
    ear::Heard,
    inbox::{Inbox, Packet},
    latch::Verdict,
    leg::{Leg, Listener},
    limits::{self, FRAME, FRAME_SAMPLES, PHASES},
    music,
    outbox::Outbox,
    player::Frame,
    relay::{Gate, Shared},
    rtp::{self, HEADER_BYTES, Header},
    shard::Shard,
    voice,
};
use crate::core::id::LegId;

/// What the kernel says of the bell; legs are numbered from below.
const BELL: u64 = u64::MAX;

pub struct Worker {
    poll: OwnedFd,
    shard: Arc<Shard>,
    shared: Arc<Shared>,
    gate: Gate,
    /// Publishes what all threads counted.
    publishes: bool,
    seed: u64,
    table: Table,
    outbox: Outbox,
    /// Legs that audio is made for, by the moment of a frame at which each is served.
    phases: [Vec<u32>; PHASES],
    phase: usize,
    tick_at: Instant,
    housekeeping_at: Instant,
}

impl Worker {
    /// What a thread waits on.
    pub fn poll(shard: &Shard) -> io::Result<OwnedFd> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&poll, &shard.bell, epoll::EventData::new_u64(BELL), epoll::EventFlags::IN)?;
        Ok(poll)
    }

    pub fn new(poll: OwnedFd, shard: Arc<Shard>, shared: Arc<Shared>, gate: Gate, publishes: bool, seed: u64) -> Self {
        let now = Instant::now();
        Self {
            poll,
            shard,
            shared,
            gate,
            publishes,
            seed,
            table: Table::default(),
            outbox: Outbox::new(),
            phases: Default::default(),
            phase: 0,
            tick_at: now,
            housekeeping_at: now,
        }
    }

    /// Until the shard is stopped.
    pub fn run(mut self) {
        let mut inbox = Inbox::new();
        let mut ready = Vec::with_capacity(limits::READY_MAX);
        loop {
            ready.clear();
            let timeout = self.timeout(Instant::now());
            if let Err(error) = epoll::wait(&self.poll, spare_capacity(&mut ready), Some(&timeout))
                && error != rustix::io::Errno::INTR
            {
                tracing::error!(%error, "a media thread cannot wait for packets and ends");
                return;
            }
            let now = Instant::now();
            // Changes first: a packet that was sent after a call of ours returned finds the call obeyed.
            if ready.iter().any(|event| event.data.u64() == BELL) && !self.apply(now) {
                return;
            }
            for place in ready.iter().map(|event| event.data.u64()).filter(|place| *place != BELL) {
                self.receive(&mut inbox, (place >> 1) as u32, place & 1 == 1, now);
            }
            self.tick(now);
            self.flush();
            if now >= self.housekeeping_at {
                self.keep_house(now);
            }
        }
    }

    fn timeout(&self, now: Instant) -> Timespec {
        let until = if self.phases.iter().all(Vec::is_empty) { self.housekeeping_at } else { self.housekeeping_at.min(self.tick_at) };
        let left = until.saturating_duration_since(now);
        Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) }
    }

    // Packets.

    fn receive(&mut self, inbox: &mut Inbox, place: u32, on_rtcp: bool, now: Instant) {
        let Some(leg) = self.table.get(place) else { return };
        let socket = if on_rtcp { &leg.rtcp } else { &leg.rtp };
        let count = inbox.receive(socket, leg.is_ipv6);
        for n in 0..count {
            let packet = inbox.packet(n);
            if let Err(reason) = self.take(place, on_rtcp, &packet, now) {
                self.shared.counts.add(reason, 1);
            }
        }
    }

    /// One packet of a leg's party; the error is why it was dropped.
    fn take(&mut self, place: u32, on_rtcp: bool, packet: &Packet<'_>, now: Instant) -> Result<(), Count> {
        let Some(leg) = self.table.get_mut(place) else { return Ok(()) };
        if !leg.bucket.take(now) {
            return Err(Count::Flood);
        }
        if packet.truncated {
            return Err(Count::Oversize);
        }
        if !on_rtcp && leg.latch.refuses(packet.source) {
            return Err(Count::Stranger);
        }
        let is_rtcp = on_rtcp || rtp::is_rtcp(packet.bytes);
        let opened = leg.open(packet.bytes, is_rtcp)?;
        let bytes = opened.as_deref().unwrap_or(packet.bytes);
        if is_rtcp {
            return self.take_rtcp(place, packet.source, bytes);
        }
        let header = Header::parse(bytes).ok_or(Count::Malformed)?;
        match leg.admit(packet.source, now) {
            Verdict::Accepted => {}
            Verdict::Refused => return Err(Count::Stranger),
            Verdict::Locked => {
                let (leg, source) = (leg.id, packet.source);
                self.shared.book.lock().latched(leg, source);
                self.shared.tell(Event::Latched { leg, source });
            }
        }
        self.shared.counts.add(Count::Received, 1);
        let leg = self.table.get_mut(place).expect("looked up above");
        if let Some(key) = leg.key(&header, bytes, now) {
            self.shared.tell(Event::Digit { leg: leg.id, digit: key.digit, ms: key.ms });
        }
        if let Some(heard) = leg.listen(&header, bytes, &self.shared.recorder, now) {
            self.shared.tell(of_ear(leg.id, heard));
        }
        let listeners = std::mem::take(&mut self.table.get_mut(place).expect("looked up above").listeners);
        let mut result = Ok(());
        for listener in &listeners {
            if let Err(reason) = self.relay(place, listener, &header, bytes, now) {
                result = Err(reason);
            }
        }
        self.table.get_mut(place).expect("looked up above").listeners = listeners;
        result
    }

    fn take_rtcp(&mut self, place: u32, source: SocketAddr, bytes: &[u8]) -> Result<(), Count> {
        let leg = self.table.get_mut(place).expect("looked up by the caller");
        if !rtp::is_valid_rtcp(bytes) {
            return Err(Count::Malformed);
        }
        if !leg.admits_rtcp(source) {
            return Err(Count::Stranger);
        }
        for n in 0..leg.listeners.len() {
            if self.outbox.is_full() {
                self.flush();
            }
            let Some(listener) = self.table.get(place).and_then(|leg| leg.listeners.get(n)).map(|listener| listener.place) else { break };
            let Some(leg) = self.table.get_mut(listener) else { continue };
            if leg.stream.is_ours() {
                return Err(Count::Foreign);
            }
            let Some((to, on_rtp)) = leg.reports_to() else { continue };
            let buffer = self.outbox.buffer();
            buffer[..bytes.len()].copy_from_slice(bytes);
            let length = leg.seal(buffer, bytes.len(), true).ok_or(Count::Malformed)?;
            self.outbox.push(listener, !on_rtp, to, length, Count::Rtcp);
        }
        Ok(())
    }

    /// A packet of one leg's party to the party of another.
    fn relay(&mut self, from: u32, listener: &Listener, header: &Header, bytes: &[u8], now: Instant) -> Result<(), Count> {
        if self.outbox.is_full() {
            self.flush();
        }
        let Some(leg) = self.table.get_mut(listener.place) else { return Ok(()) };
        let Some(to) = leg.listens_at().filter(|_| leg.player.is_none()) else { return Ok(()) };
        let (payload_type, law) = match listener.route.of(header.payload_type) {
            Carry::Drop => return Err(Count::Payload),
            Carry::As(payload_type) => (payload_type, None),
            Carry::Transcode(payload_type, law) => (payload_type, Some(law)),
        };
        let stamp = leg.stream.relayed(from, header, now);
        leg.relayed_at = Some(now);
        let joins = leg.phase.is_none() && leg.stream.is_ours();
        let buffer = self.outbox.buffer();
        buffer[..bytes.len()].copy_from_slice(bytes);
        rtp::stamp(buffer, payload_type, stamp);
        if let Some(law) = law {
            law.to_other(&mut buffer[header.payload.clone()]);
        }
        let length = leg.seal(buffer, bytes.len(), false).ok_or(Count::Oversize)?;
        self.outbox.push(listener.place, false, to, length, Count::Relayed);
        if joins {
            self.join(listener.place, now);
        }
        Ok(())
    }

    fn flush(&mut self) {
        let table = &self.table;
        self.outbox.flush(&*self.gate, &self.shared.counts, |place, is_rtcp| {
            table.get(place).map(|leg| if is_rtcp { &leg.rtcp } else { &leg.rtp })
        });
    }

    // Changes.

    /// Takes what was changed; false if the thread is to end.
    fn apply(&mut self, now: Instant) -> bool {
        let Some(changes) = self.shard.take() else { return false };
        // What waits in the outbox belongs to legs as they were.
        self.flush();
        let mut calls: Vec<_> = changes.keys().map(|leg| leg.call).collect();
        let mut touched = Vec::with_capacity(changes.len());
        for (id, change) in changes {
            touched.extend(self.change(id, change, now));
        }
        calls.sort_unstable();
        calls.dedup();
        for call in calls {
            self.table.link(call);
        }
        for place in touched {
            if self.table.get(place).is_some_and(|leg| leg.phase.is_none() && leg.needs_voice()) {
                self.join(place, now);
                // The first frame goes at once: a party that was taken over has heard nothing for too long already.
                self.speak(place, now);
            }
        }
        true
    }

    fn register(&mut self, place: u32) {
        let leg = self.table.get(place).expect("just made");
        for (socket, bit) in [(leg.rtp.as_fd(), 0), (leg.rtcp.as_fd(), 1)] {
            let data = epoll::EventData::new_u64(u64::from(place) << 1 | bit);
            if let Err(error) = epoll::add(&self.poll, socket, data, epoll::EventFlags::IN) {
                tracing::warn!(%error, leg = %leg.id, "a media port cannot be waited for");
                self.shared.counts.add(Count::Register, 1);
            }
        }
    }

    // Audio made here.

    fn join(&mut self, place: u32, now: Instant) {
        if self.phases.iter().all(Vec::is_empty) {
            self.tick_at = now;
        }
        let emptiest = (0..PHASES).min_by_key(|phase| self.phases[*phase].len()).expect("there are phases");
        self.phases[emptiest].push(place);
        self.table.get_mut(place).expect("the caller has it").phase = Some(emptiest);
    }

    fn leave(&mut self, place: u32, leg: &Leg) {
        if let Some(phase) = leg.phase {
            self.phases[phase].retain(|other| *other != place);
        }
    }

    /// Serves the legs whose moment has come.
    fn tick(&mut self, now: Instant) {
        const STEP: Duration = Duration::from_millis(FRAME.as_millis() as u64 / PHASES as u64);
        if self.phases.iter().all(Vec::is_empty) {
            return;
        }
        if now.saturating_duration_since(self.tick_at) > limits::LATE_MAX {
            self.tick_at = now;
        }
        while self.tick_at <= now {
            self.tick_at += STEP;
            self.phase = (self.phase + 1) % PHASES;
            let legs = std::mem::take(&mut self.phases[self.phase]);
            for place in &legs {
                self.speak(*place, now);
            }
            self.phases[self.phase] = legs;
        }
    }

    /// One frame for a leg, if it is due one.
    fn speak(&mut self, place: u32, now: Instant) {
        if self.outbox.is_full() {
            self.flush();
        }
        let Some(leg) = self.table.get_mut(place) else { return };
        let mut frame = [0; FRAME_SAMPLES];
        let played = leg.player.as_mut().map(|player| player.frame(&self.shared.prompts, now, &mut frame));
        if played == Some(Frame::Done) {
            leg.player = None;
            self.shared.tell(Event::PlayDone { leg: leg.id });
        }
        if played == Some(Frame::Instead) {
            self.shared.counts.add(Count::Prompt, 1);
        }
        let silent = leg.player.is_none() && !self.mix(place, &mut frame);
        let Some(leg) = self.table.get_mut(place) else { return };
        if silent {
            if !is_due_noise(leg, now) {
                return;
            }
            music::noise(leg.noise_at, &mut frame);
            leg.noise_at = leg.noise_at.wrapping_add(FRAME_SAMPLES);
        }
        let (Some(to), Some((payload_type, law))) = (leg.listens_at(), leg.law()) else { return };
        let buffer = self.outbox.buffer();
        rtp::begin(buffer, payload_type, leg.stream.made(now));
        for (code, sample) in buffer[HEADER_BYTES..].iter_mut().zip(frame) {
            *code = law.encode(sample);
        }
        let Some(length) = leg.seal(buffer, HEADER_BYTES + FRAME_SAMPLES, false) else { return };
        self.outbox.push(place, false, to, length, Count::Made);
    }

    /// What several others say to a leg; false if that is nothing.
    fn mix(&mut self, place: u32, frame: &mut [i16; FRAME_SAMPLES]) -> bool {
        let Some(leg) = self.table.get_mut(place).filter(|leg| !leg.mix.is_empty()) else { return false };
        let mut mix = std::mem::take(&mut leg.mix);
        let mut sum = [0; FRAME_SAMPLES];
        let mut spoke = false;
        for (source, cursor) in &mut mix {
            if let Some(voice) = self.table.get(*source).and_then(|leg| leg.voice.as_ref()) {
                spoke |= cursor.add(voice, &mut sum);
            }
        }
        self.table.get_mut(place).expect("looked up above").mix = mix;
        voice::clip(&sum, frame);
        spoke
    }

    // Once a second.

    fn keep_house(&mut self, now: Instant) {
        self.housekeeping_at = now + limits::HOUSEKEEPING;
        let quiet_after = self.shared.quiet_after;
        for leg in self.table.legs_mut() {
            let quiet = now.saturating_duration_since(leg.heard_at);
            let speaks = leg.terms.as_ref().is_some_and(|terms| terms.speaks);
            if speaks && !leg.quiet_told && quiet >= quiet_after {
                leg.quiet_told = true;
                self.shared.tell(Event::Quiet { leg: leg.id, quiet });
            }
            if let Some(key) = leg.overdue_key(now) {
                self.shared.tell(Event::Digit { leg: leg.id, digit: key.digit, ms: key.ms });
            }
            if let Some(heard) = leg.ear.as_mut().and_then(|ear| ear.overdue(now)) {
                self.shared.tell(of_ear(leg.id, heard));
            }
        }
        if self.publishes {
            let legs = self.shared.book.lock().legs();
            self.shared.counts.publish(legs);
        }
    }
}

fn of_ear(leg: LegId, heard: Heard) -> Event {
    match heard {
        Heard::Begun => Event::Speaks { leg },
        Heard::Said(samples) => Event::Utterance { leg, samples },
    }
}

/// Nobody else makes sound for this leg now, and its party must get something.
fn is_due_noise(leg: &Leg, now: Instant) -> bool {
    match leg.hears.as_deref() {
        Some([]) => true,
        None => leg.needs_voice(),
        Some(_) => leg.needs_voice() && leg.relayed_at.is_none_or(|at| now.saturating_duration_since(at) >= limits::FILL_AFTER),
    }
}
