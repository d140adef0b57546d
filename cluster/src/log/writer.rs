//! The thread that writes the log: takes what waits, makes it durable at once, reports it, recycles segments.
//!
//! It is the only writer, so order on disk is order in the queue. After an error it writes nothing more.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    io, mem,
    path::PathBuf,
    sync::Arc,
    thread::JoinHandle,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    Done, Error, Message, OnFatal, Op, Request, Shared, Stats,
    disk::Disk,
    record::{self, Head, Kind},
    recover::{Recovered, Recovery},
    tracker::Tracker,
};
use crate::{GroupId, limits};

/// A record about to be written.
struct Draft {
    kind: Kind,
    group: GroupId,
    index: u64,
    payload: Vec<u8>,
}

impl Draft {
    fn new(kind: Kind, group: GroupId, index: u64, payload: Vec<u8>) -> Self {
        Self { kind, group, index, payload }
    }
}

pub(super) struct Writer {
    disk: Disk,
    shared: Arc<Shared>,
    on_fatal: OnFatal,
    tracker: Tracker,
    file: File,
    number: u64,
    offset: u64,
    next_seq: u64,
    next_batch: u64,
    spares: VecDeque<PathBuf>,
    /// Zeroes the next segment while this one is written, so that a roll does not wait for the disk.
    preparing: Option<JoinHandle<Result<PathBuf, Error>>>,
    /// Number of the next file to zero; only keeps names apart.
    next_spare: u64,
    buffer: Vec<u8>,
    stats: Stats,
}

impl Writer {
    pub(super) fn new(
        disk: Disk,
        recovery: Recovery,
        shared: Arc<Shared>,
        on_fatal: OnFatal,
    ) -> Result<(Self, BTreeMap<GroupId, Recovered>), Error> {
        let Recovery { tracker, groups, end, next_seq, next_batch, spares } = recovery;
        let next_spare = Disk::free_spare_number(&spares);
        let mut kept = VecDeque::new();
        for spare in spares {
            // A spare from a start with another segment size, or more than are kept, only takes room.
            let fits = std::fs::metadata(&spare).is_ok_and(|m| m.len() == disk.segment_bytes);
            if fits && kept.len() < limits::WAL_SPARE_SEGMENTS { kept.push_back(spare) } else { disk.remove(&spare)? }
        }
        let (number, offset) = end.unwrap_or((1, 0));
        let file = match end {
            Some((number, _)) => disk.reopen(number)?,
            None => {
                let spare = kept.pop_front().map_or_else(|| disk.create_spare(next_spare), Ok)?;
                disk.activate(&spare, number)?
            }
        };
        let stats = Stats { segments: tracker.segments(), ..Stats::default() };
        *shared.stats.lock() = stats;
        *shared.pinned.lock() = tracker.pinned();
        let writer = Self {
            disk,
            shared,
            on_fatal,
            tracker,
            file,
            number,
            offset,
            next_seq,
            next_batch,
            spares: kept,
            preparing: None,
            next_spare: next_spare + 1,
            buffer: Vec::new(),
            stats,
        };
        Ok((writer, groups))
    }

    /// Serves requests until told to stop, until every handle is dropped, or until the disk fails.
    pub(super) fn run(mut self, mut rx: mpsc::Receiver<Message>) {
        let mut stop = None;
        while stop.is_none() {
            let Some(first) = rx.blocking_recv() else { break };
            let (requests, found) = drain(first, &mut rx);
            stop = found;
            if !self.serve(requests) {
                // The process ends here unless a test observes the error. Later requests learn that the log is closed.
                return;
            }
        }
        if !self.shared.committed.lock().is_empty() {
            self.serve(Vec::new());
        }
        drop(rx);
        // A spare in the making must be finished before another opener of the directory may look.
        if let Some(preparing) = self.preparing.take() {
            let _ = preparing.join();
        }
        // The lock of the directory goes with `self`; only then may the closer go on.
        drop(self);
        if let Some(stopped) = stop {
            let _ = stopped.send(());
        }
    }

    /// As [`Writer::run`], on a disk that is simulated: a batch is written, takes its time to be durable, and is then reported.
    #[cfg(feature = "sim")]
    pub(super) async fn run_simulated(mut self, mut rx: mpsc::Receiver<Message>, platter: crate::sim::Platter) {
        while let Some(first) = rx.recv().await {
            let (requests, stop) = drain(first, &mut rx);
            let (result, dones) = self.put(requests);
            let takes = crate::sim::sync_takes(platter.node());
            self.stats.total_us += u64::try_from(takes.as_micros()).unwrap_or(u64::MAX);
            tokio::time::sleep(takes).await;
            if platter.is_dead() {
                dones.into_iter().for_each(|done| done(Err(io::Error::other("the power is off"))));
                return;
            }
            platter.synced();
            if !self.report(result, dones) {
                return;
            }
            if let Some(stopped) = stop {
                let _ = stopped.send(());
                return;
            }
        }
    }

    /// Writes one batch and reports it. False when the disk failed.
    fn serve(&mut self, requests: Vec<Request>) -> bool {
        let (result, dones) = self.put(requests);
        self.report(result, dones)
    }

    /// Writes one batch; also returns whom to tell.
    fn put(&mut self, requests: Vec<Request>) -> (Result<(), Error>, Vec<Done>) {
        let (mut drafts, mut dones) = (Vec::with_capacity(requests.len()), Vec::with_capacity(requests.len()));
        for request in requests {
            drafts_of(request.group, request.op, &mut drafts);
            dones.push(request.done);
        }
        let committed = mem::take(&mut *self.shared.committed.lock());
        drafts.extend(committed.into_iter().map(|(group, mark)| Draft::new(Kind::Committed, group, 0, mark)));
        let result = if drafts.is_empty() { Ok(()) } else { self.write(drafts) };
        (result, dones)
    }

    /// Tells that a batch is durable, or that the disk failed: then false.
    fn report(&mut self, result: Result<(), Error>, dones: Vec<Done>) -> bool {
        if let Err(e) = result {
            (self.on_fatal)(&e);
            let kind = io::Error::from(e).kind();
            dones.into_iter().for_each(|done| done(Err(io::Error::new(kind, "the log failed"))));
            return false;
        }
        dones.into_iter().for_each(|done| done(Ok(())));
        if let Err(e) = self.recycle() {
            (self.on_fatal)(&e);
            return false;
        }
        self.publish();
        true
    }

    fn write(&mut self, drafts: Vec<Draft>) -> Result<(), Error> {
        let begin = Instant::now();
        self.shared.stats.lock().writing_since = Some(begin);
        let size: usize = drafts.iter().map(|d| record::size_of(d.payload.len())).sum();
        let fresh = self.tracker.segments() == 0;
        let full = self.offset + size as u64 > self.disk.segment_bytes;
        if full && !fresh {
            self.roll()?;
        }
        let opening = if fresh || full { self.checkpoint() } else { Vec::new() };
        let all: Vec<Draft> = opening.into_iter().chain(drafts).collect();
        self.encode(&all);
        self.disk.write(&self.file, self.number, self.offset, &self.buffer)?;
        self.offset += self.buffer.len() as u64;
        self.next_seq += all.len() as u64;
        self.next_batch += 1;
        for draft in &all {
            if draft.kind == Kind::Open {
                self.tracker.begin_segment(self.number);
            }
            self.tracker.observe(draft.kind, draft.group, draft.index, &draft.payload);
        }
        let took = begin.elapsed();
        self.stats.batches += 1;
        self.stats.last_batch_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.stats.total_us = self.stats.total_us.saturating_add(self.stats.last_batch_us);
        metrics::histogram!("wal_fsync_seconds").record(took.as_secs_f64());
        metrics::histogram!("wal_batch_bytes").record(self.buffer.len() as f64);
        Ok(())
    }

    fn encode(&mut self, drafts: &[Draft]) {
        self.buffer.clear();
        // One huge batch must not keep its memory for ever.
        self.buffer.shrink_to(limits::WAL_BATCH_MAX_BYTES * 2);
        for (i, draft) in drafts.iter().enumerate() {
            let head = Head {
                kind: draft.kind,
                group: draft.group,
                generation: self.number,
                batch: self.next_batch,
                seq: self.next_seq + i as u64,
                index: draft.index,
                last_of_batch: i + 1 == drafts.len(),
            };
            record::encode(&head, &draft.payload, &mut self.buffer);
        }
    }

    /// Everything but entries that older segments hold, repeated so that they can be recycled.
    fn checkpoint(&self) -> Vec<Draft> {
        let mut drafts = vec![Draft::new(Kind::Open, 0, 0, Vec::new())];
        for (&group, marks) in self.tracker.marks() {
            let mut add = |kind, index, payload: &Vec<u8>| drafts.push(Draft::new(kind, group, index, payload.clone()));
            marks.vote.iter().for_each(|v| add(Kind::Vote, 0, v));
            marks.committed.iter().for_each(|c| add(Kind::Committed, 0, c));
            marks.purged.iter().for_each(|(index, p)| add(Kind::Purge, *index, p));
        }
        drafts
    }

    /// Goes on in the next segment.
    fn roll(&mut self) -> Result<(), Error> {
        let spare = match (self.spares.pop_front(), self.preparing.take()) {
            (Some(spare), preparing) => {
                self.preparing = preparing;
                spare
            }
            (None, Some(preparing)) => match preparing.join() {
                Ok(Ok(spare)) => spare,
                // It failed a while ago; there may be room again by now.
                Ok(Err(_)) | Err(_) => self.create_spare()?,
            },
            (None, None) => self.create_spare()?,
        };
        self.file = self.disk.activate(&spare, self.number + 1)?;
        self.number += 1;
        self.offset = 0;
        #[cfg(feature = "sim")]
        if crate::sim::on() {
            // No other thread may come between; the next roll zeroes its segment itself.
            return Ok(());
        }
        if self.spares.is_empty() && self.preparing.is_none() {
            let (disk, number) = (self.disk.clone(), self.next_spare);
            self.next_spare += 1;
            // Without the thread the next roll zeroes its segment itself.
            self.preparing = std::thread::Builder::new().name("wal-zero".into()).spawn(move || disk.create_spare(number)).ok();
        }
        Ok(())
    }

    fn create_spare(&mut self) -> Result<PathBuf, Error> {
        self.next_spare += 1;
        self.disk.create_spare(self.next_spare - 1)
    }

    fn recycle(&mut self) -> Result<(), Error> {
        let mut any = false;
        while let Some(number) = self.tracker.retire_oldest() {
            any = true;
            self.spares.extend(self.disk.retire(number, self.spares.len() < limits::WAL_SPARE_SEGMENTS)?);
        }
        if any { self.disk.sync() } else { Ok(()) }
    }

    fn publish(&mut self) {
        self.stats.segments = self.tracker.segments();
        *self.shared.stats.lock() = self.stats;
        *self.shared.pinned.lock() = self.tracker.pinned();
        metrics::gauge!("wal_segments").set(self.stats.segments as f64);
    }
}

/// Takes what waits behind the first message, up to the bounds of a batch.
fn drain(first: Message, rx: &mut mpsc::Receiver<Message>) -> (Vec<Request>, Option<oneshot::Sender<()>>) {
    let (mut requests, mut bytes) = (Vec::new(), 0);
    let mut next = Some(first);
    while let Some(message) = next {
        match message {
            Message::Stop(stopped) => return (requests, Some(stopped)),
            Message::Change(request) => {
                bytes += request.op.bytes();
                requests.push(request);
            }
        }
        let room = requests.len() < limits::WAL_BATCH_MAX_REQUESTS && bytes < limits::WAL_BATCH_MAX_BYTES;
        next = if room { rx.try_recv().ok() } else { None };
    }
    (requests, None)
}

fn drafts_of(group: GroupId, op: Op, drafts: &mut Vec<Draft>) {
    match op {
        Op::Append(entries) => drafts.extend(entries.into_iter().map(|(index, payload)| Draft::new(Kind::Entry, group, index, payload))),
        Op::Vote(payload) => drafts.push(Draft::new(Kind::Vote, group, 0, payload)),
        Op::Truncate(from) => drafts.push(Draft::new(Kind::Truncate, group, from, Vec::new())),
        Op::Purge(index, payload) => drafts.push(Draft::new(Kind::Purge, group, index, payload)),
        Op::Forget => drafts.push(Draft::new(Kind::Forget, group, 0, Vec::new())),
    }
}
