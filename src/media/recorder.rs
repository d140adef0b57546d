//! Recordings: a thread of its own writes what taps hand over, so that a disk never holds up audio.
//!
//! Audio goes through a bounded queue; what does not fit is missing in its place and counted. What begins and ends goes through
//! a table, so that it is never lost.

mod part;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Instant,
};

use parking_lot::Mutex;
use tokio::sync::broadcast;

use self::part::Part;
use super::{
    Count, Event,
    counts::Counts,
    g711::Law,
    limits::{self, RECORD_CHUNK_SAMPLES},
    tap::Wanted,
};
use crate::core::id::LegId;

/// A piece of audio in its place.
struct Chunk {
    id: u64,
    place: u64,
    law: Law,
    length: usize,
    codes: [u8; RECORD_CHUNK_SAMPLES],
}

/// What the writer must know of a recording, places in samples.
#[derive(Debug)]
struct Entry {
    leg: LegId,
    wanted: Wanted,
    masked: Vec<(u64, u64)>,
    masked_since: Option<u64>,
    ended: Option<u64>,
}

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    open: HashMap<u64, Entry>,
}

/// Hands recordings to the writer, which completes what is open when this is dropped.
#[derive(Debug)]
pub struct Recorder {
    entries: Arc<Mutex<Entries>>,
    /// `None` only while it is dropped.
    chunks: Option<SyncSender<Chunk>>,
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.chunks = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

impl Recorder {
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(counts: Arc<Counts>, events: broadcast::Sender<Event>) -> std::io::Result<Self> {
        let entries: Arc<Mutex<Entries>> = Arc::default();
        let (chunks, queue) = sync_channel(limits::RECORD_QUEUE_MAX);
        let writer = Writer { entries: Arc::clone(&entries), counts: Arc::clone(&counts), events, parts: HashMap::new() };
        let thread = std::thread::Builder::new().name("media-recorder".into()).spawn(move || writer.run(&queue))?;
        Ok(Self { entries, chunks: Some(chunks), counts, thread: Some(thread) })
    }

    /// A name for a new recording; `None` if there are too many.
    pub fn begin(&self, leg: LegId, wanted: Wanted) -> Option<u64> {
        let mut entries = self.entries.lock();
        if entries.open.len() >= limits::RECORDINGS_MAX {
            self.counts.add(Count::Recording, 1);
            return None;
        }
        entries.next += 1;
        let id = entries.next;
        entries.open.insert(id, Entry { leg, wanted, masked: Vec::new(), masked_since: None, ended: None });
        Some(id)
    }

    pub fn audio(&self, id: u64, place: u64, law: Law, codes: &[u8]) {
        for (n, piece) in codes.chunks(RECORD_CHUNK_SAMPLES).enumerate() {
            let mut chunk =
                Chunk { id, place: place + (n * RECORD_CHUNK_SAMPLES) as u64, law, length: piece.len(), codes: [0; RECORD_CHUNK_SAMPLES] };
            chunk.codes[..piece.len()].copy_from_slice(piece);
            if self.chunks.as_ref().is_none_or(|chunks| chunks.try_send(chunk).is_err()) {
                self.counts.add(Count::Unrecorded, 1);
            }
        }
    }

    pub fn mask(&self, id: u64, place: u64, masked: bool) {
        if let Some(entry) = self.entries.lock().open.get_mut(&id) {
            entry.mask(place, masked);
        }
    }

    pub fn end(&self, id: u64, place: u64) {
        if let Some(entry) = self.entries.lock().open.get_mut(&id) {
            entry.mask(place, false);
            entry.ended = Some(place);
        }
    }
}

impl Entry {
    fn mask(&mut self, place: u64, masked: bool) {
        if masked {
            self.masked_since.get_or_insert(place);
        } else if let Some(since) = self.masked_since.take() {
            if self.masked.len() < limits::RECORD_WINDOWS_MAX {
                self.masked.push((since, place));
            } else if let Some(last) = self.masked.last_mut() {
                last.1 = place;
            }
        }
    }

    fn path(&self) -> PathBuf {
        let mut path = self.wanted.stem.clone().into_os_string();
        path.push(format!(".{:03}.wav", self.wanted.part));
        path.into()
    }
}

struct Writer {
    entries: Arc<Mutex<Entries>>,
    counts: Arc<Counts>,
    events: broadcast::Sender<Event>,
    /// `None`: failed, and nothing more is written.
    parts: HashMap<u64, Option<Part>>,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Chunk>) {
        let mut sweep_at = Instant::now();
        loop {
            let left = sweep_at.saturating_duration_since(Instant::now());
            match queue.recv_timeout(left) {
                Ok(chunk) => self.write(&chunk),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if Instant::now() >= sweep_at {
                sweep_at = Instant::now() + limits::RECORD_SWEEP_EVERY;
                self.sweep(queue);
            }
        }
        // The relay is gone: what is open ends where it is.
        let open: Vec<_> = self.entries.lock().open.drain().collect();
        for (id, entry) in open {
            self.end(id, entry);
        }
    }

    fn write(&mut self, chunk: &Chunk) {
        if !self.parts.contains_key(&chunk.id) {
            self.begin(chunk.id);
        }
        let Some(Some(part)) = self.parts.get_mut(&chunk.id) else { return };
        if let Err(error) = part.put(chunk.place, chunk.law, &chunk.codes[..chunk.length]) {
            self.fail(chunk.id, &error);
        }
    }

    fn begin(&mut self, id: u64) {
        let Some(path) = self.entries.lock().open.get(&id).map(Entry::path) else { return };
        match Part::create(&path) {
            Ok(part) => {
                self.parts.insert(id, Some(part));
            }
            Err(error) => self.fail(id, &error),
        }
    }

    fn fail(&mut self, id: u64, error: &hound::Error) {
        self.parts.insert(id, None);
        self.counts.add(Count::Recording, 1);
        if let Some(entry) = self.entries.lock().open.get(&id) {
            tracing::warn!(%error, path = %entry.path().display(), "a recording cannot be written");
            let _ = self.events.send(Event::RecordFailed { leg: entry.leg, part: entry.wanted.part });
        }
    }

    /// Begins what has begun, ends what has ended and keeps headers up to date.
    fn sweep(&mut self, queue: &Receiver<Chunk>) {
        let mut begun = Vec::new();
        let mut ended = Vec::new();
        for (id, entry) in &self.entries.lock().open {
            if !self.parts.contains_key(id) {
                begun.push(*id);
            }
            if entry.ended.is_some() {
                ended.push(*id);
            }
        }
        for id in begun {
            self.begin(id);
        }
        if !ended.is_empty() {
            // Their last audio was queued before their end was told.
            for chunk in queue.try_iter().take(limits::RECORD_QUEUE_MAX) {
                self.write(&chunk);
            }
        }
        for id in ended {
            let entry = self.entries.lock().open.remove(&id);
            if let Some(entry) = entry {
                self.end(id, entry);
            }
        }
        let now = Instant::now();
        let failed: Vec<_> =
            self.parts.iter_mut().filter_map(|(id, part)| part.as_mut()?.keep(now).err().map(|error| (*id, error))).collect();
        for (id, error) in failed {
            self.fail(id, &error);
        }
    }

    fn end(&mut self, id: u64, entry: Entry) {
        let Some(Some(part)) = self.parts.remove(&id) else { return };
        let (leg, number) = (entry.leg, entry.wanted.part);
        let event = match part.end(entry.ended) {
            Ok(samples) => Event::Recorded {
                leg,
                part: number,
                path: entry.path().into(),
                ms: samples / 8,
                masked: entry.masked.iter().map(|(from, to)| (from / 8, to / 8)).collect(),
            },
            Err(error) => {
                tracing::warn!(%error, path = %entry.path().display(), "a recording cannot be completed");
                self.counts.add(Count::Recording, 1);
                Event::RecordFailed { leg, part: number }
            }
        };
        let _ = self.events.send(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::id::CallId;

    const LEG: LegId = LegId { call: CallId(1), n: 0 };

    fn recorder() -> (Recorder, broadcast::Receiver<Event>) {
        let (events, heard) = broadcast::channel(8);
        (Recorder::start(Arc::default(), events).expect("a thread"), heard)
    }

    #[test]
    fn a_recording_has_everything_in_its_place_and_says_what_was_masked() {
        let folder = tempfile::tempdir().expect("a folder");
        let (recorder, mut events) = recorder();
        let wanted = Wanted { stem: folder.path().join("call-0"), part: 2 };
        let id = recorder.begin(LEG, wanted.clone()).expect("room");
        let code = Law::Mu.encode(1_000);
        for place in [160, 480, 320] {
            recorder.audio(id, place, Law::Mu, &[code; 160]);
        }
        recorder.mask(id, 640, true);
        recorder.mask(id, 960, false);
        recorder.end(id, 8_000);
        let Ok(Event::Recorded { leg: LEG, part: 2, path, ms: 1_000, masked }) = events.blocking_recv() else { panic!("not recorded") };
        assert_eq!(*masked, [(80, 120)]);
        let samples: Vec<i16> = hound::WavReader::open(&*path).expect("a file").samples().collect::<Result<_, _>>().expect("complete");
        let sample = Law::Mu.decode(code);
        assert_eq!(samples.len(), 8_000);
        assert!(samples[..160].iter().chain(&samples[640..]).all(|silent| *silent == 0));
        assert!(samples[160..640].iter().all(|heard| *heard == sample));
        let again = recorder.begin(LEG, wanted).expect("room");
        assert_eq!(events.blocking_recv(), Ok(Event::RecordFailed { leg: LEG, part: 2 }), "nothing is written over");
        recorder.end(again, 0);
    }

    #[test]
    fn what_is_open_when_the_relay_ends_is_completed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (recorder, mut events) = recorder();
        let id = recorder.begin(LEG, Wanted { stem: folder.path().join("x"), part: 0 }).expect("room");
        recorder.audio(id, 0, Law::A, &[0xD5; 160]);
        drop(recorder);
        assert!(matches!(events.blocking_recv(), Ok(Event::Recorded { ms: 20, .. })));
    }
}
