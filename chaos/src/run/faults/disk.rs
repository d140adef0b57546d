//! Disks at rest: wiped, a torn tail, a flipped bit. The log's layout is read as `cluster/src/log/record.rs` writes it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tandem_bench::error::Error;

use super::{Context, Injury, POLL, members};
use crate::state::{self, Undo};

const GONE_WITHIN: Duration = Duration::from_secs(10);
const MAGIC: &[u8] = b"TWL1";
const HEADER_BYTES: usize = 56;
/// Where the payload's length and the generation are within a header.
const LEN_AT: usize = 8;
const GENERATION_AT: usize = 16;

/// A node that is down and kept down while its files are changed, and what its log says afterwards.
struct Down {
    node: u16,
    dir: PathBuf,
    log: PathBuf,
    /// The log's length when the node was killed: only what comes after counts.
    said: u64,
    before: Option<u32>,
}

impl Down {
    fn new(context: &Context, node: u16) -> Self {
        let dir = context.stage.lab.dir();
        Self { node, dir: dir.join(format!("node{node}")), log: dir.join(format!("node{node}.log")), said: 0, before: None }
    }

    fn take(&mut self, context: &Context) -> Result<(), Error> {
        let lab = &context.stage.lab;
        self.before = lab.pid(self.node);
        lab.hold(self.node, true)?;
        lab.signal(self.node, Signal::KILL)?;
        let until = Instant::now() + GONE_WITHIN;
        while lab.is_running(self.node) {
            if Instant::now() > until {
                return Err(Error::Missed(format!("node {} outlived SIGKILL", self.node)));
            }
            thread::sleep(POLL);
        }
        self.said = fs::metadata(&self.log)?.len();
        Ok(())
    }

    fn release(&self, context: &Context) -> Result<(), Error> {
        context.stage.lab.hold(self.node, false)
    }

    /// The first line since it was killed that holds `text`.
    fn says(&self, text: &str) -> Result<Option<String>, Error> {
        let bytes = fs::read(&self.log)?;
        let new = String::from_utf8_lossy(bytes.get(self.said as usize..).unwrap_or_default()).into_owned();
        Ok(new.lines().find(|line| line.contains(text)).map(|line| line.trim().to_owned()))
    }

    fn is_back(&self, context: &Context) -> bool {
        let lab = &context.stage.lab;
        lab.pid(self.node) != self.before && lab.is_running(self.node) && lab.ready(self.node)
    }

    /// The newest segment of its log.
    fn segment(&self) -> Result<PathBuf, Error> {
        let mut found = Vec::new();
        segments(&self.dir, &mut found)?;
        found.sort();
        found.pop().ok_or_else(|| Error::Missed(format!("{} holds no log", self.dir.display())))
    }
}

fn segments(dir: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for path in fs::read_dir(dir)?.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            segments(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "wal") {
            found.push(path);
        }
    }
    Ok(())
}

/// Offset and length of each record of a segment's present life, in order.
fn records(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while bytes.len() >= at + HEADER_BYTES && bytes[at..].starts_with(MAGIC) {
        let len = u32::from_le_bytes(bytes[at + LEN_AT..at + LEN_AT + 4].try_into().expect("four bytes")) as usize;
        let size = (HEADER_BYTES + len).next_multiple_of(8);
        let generation = |at: usize| &bytes[at + GENERATION_AT..at + GENERATION_AT + 8];
        if at + size > bytes.len() || generation(at) != generation(0) {
            break;
        }
        found.push((at, HEADER_BYTES + len));
        at += size;
    }
    found
}

pub(super) struct TornTail {
    down: Down,
}

impl TornTail {
    pub(super) fn new(context: &Context, node: u16) -> Self {
        Self { down: Down::new(context, node) }
    }
}

impl Injury for TornTail {
    fn targets(&self) -> String {
        format!("node {}", self.down.node)
    }

    fn undo(&self) -> Vec<Undo> {
        vec![Undo::Release { node: self.down.node }]
    }

    fn inject(&mut self, context: &Context) -> Result<(), Error> {
        self.down.take(context)?;
        let path = self.down.segment()?;
        let mut bytes = fs::read(&path)?;
        let (at, len) = *records(&bytes).last().ok_or_else(|| Error::Missed("the log is empty".to_owned()))?;
        let end = at + len.next_multiple_of(8);
        // The head of a write that never was finished: a header, and a checksum of more than there is.
        let mut torn = bytes[at..at + HEADER_BYTES].to_vec();
        torn[4] ^= 0xFF;
        if end + torn.len() > bytes.len() {
            return Err(Error::Missed("the segment is full to its end".to_owned()));
        }
        bytes[end..end + torn.len()].copy_from_slice(&torn);
        fs::write(&path, bytes)?;
        self.down.release(context)
    }

    fn observe(&mut self, _: &Context) -> Result<Option<String>, Error> {
        Ok(self.down.says("cut the torn tail")?.map(|_| "the node says that it cut a torn tail".to_owned()))
    }

    fn heal(&mut self, context: &Context) -> Result<(), Error> {
        self.down.release(context)
    }

    fn is_healed(&mut self, context: &Context) -> Result<bool, Error> {
        Ok(self.down.is_back(context))
    }

    fn waits_for_evidence(&self) -> bool {
        true
    }
}

pub(super) struct BitFlip {
    down: Down,
    flipped: Option<(PathBuf, u64, u8)>,
}

impl BitFlip {
    pub(super) fn new(context: &Context, node: u16) -> Self {
        Self { down: Down::new(context, node), flipped: None }
    }
}

impl Injury for BitFlip {
    fn targets(&self) -> String {
        format!("node {}", self.down.node)
    }

    fn undo(&self) -> Vec<Undo> {
        vec![Undo::Release { node: self.down.node }]
    }

    fn inject(&mut self, context: &Context) -> Result<(), Error> {
        self.down.take(context)?;
        let path = self.down.segment()?;
        let bytes = fs::read(&path)?;
        let records = records(&bytes);
        let (at, _) = *records.get(records.len() / 2).ok_or_else(|| Error::Missed("the log is empty".to_owned()))?;
        // Of the checksum, so that the record is damaged whatever it holds.
        let (offset, was) = (at as u64 + 4, bytes[at + 4]);
        let undo = Undo::Byte { file: path.clone(), offset, was };
        {
            let mut state = context.state.lock();
            let name = format!("bit-flip of {}", self.targets());
            state.active.iter_mut().filter(|active| active.fault == name).for_each(|active| active.undo.insert(0, undo.clone()));
            state.save(&state::folder())?;
        }
        state::put_byte(&path, offset, was ^ 0x10)?;
        self.flipped = Some((path, offset, was));
        self.down.release(context)
    }

    fn observe(&mut self, _: &Context) -> Result<Option<String>, Error> {
        Ok(self.down.says("is damaged")?.map(|_| "the node refuses to start and says that its log is damaged".to_owned()))
    }

    fn heal(&mut self, context: &Context) -> Result<(), Error> {
        let lab = &context.stage.lab;
        lab.hold(self.down.node, true)?;
        let until = Instant::now() + GONE_WITHIN;
        while lab.is_running(self.down.node) && Instant::now() < until {
            thread::sleep(POLL);
        }
        if let Some((path, offset, was)) = &self.flipped {
            state::put_byte(path, *offset, *was)?;
        }
        self.down.release(context)
    }

    fn is_healed(&mut self, context: &Context) -> Result<bool, Error> {
        Ok(self.down.is_back(context))
    }

    fn waits_for_evidence(&self) -> bool {
        true
    }
}

/// A node without its disk: it must not come back under its name. A spare takes its place.
pub(super) struct Wipe {
    down: Down,
    spare: u16,
}

impl Wipe {
    pub(super) fn new(context: &Context, node: u16) -> Result<Self, String> {
        let spare = members::spares(context).first().copied().ok_or("no spare is left to take its place (`cluster.spare`)")?;
        Ok(Self { down: Down::new(context, node), spare })
    }
}

impl Injury for Wipe {
    fn targets(&self) -> String {
        format!("node {} (node {} takes its place)", self.down.node, self.spare)
    }

    fn undo(&self) -> Vec<Undo> {
        vec![Undo::Release { node: self.down.node }]
    }

    fn inject(&mut self, context: &Context) -> Result<(), Error> {
        self.down.take(context)?;
        fs::remove_dir_all(&self.down.dir)?;
        self.down.release(context)
    }

    fn observe(&mut self, _: &Context) -> Result<Option<String>, Error> {
        Ok(self.down.says("has lived before")?.map(|_| "the node refuses to start: it has lived before".to_owned()))
    }

    fn heal(&mut self, context: &Context) -> Result<(), Error> {
        context.stage.lab.hold(self.down.node, true)?;
        members::replace(context, &[self.down.node], &[self.spare])
    }

    fn is_healed(&mut self, context: &Context) -> Result<bool, Error> {
        Ok(members::are_voters(context, &context.members()) && context.are_ready(&context.members()))
    }

    fn waits_for_evidence(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(generation: u64, payload: usize) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([0; 4]);
        bytes.extend((payload as u32).to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(generation.to_le_bytes());
        bytes.resize((HEADER_BYTES + payload).next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn records_are_found_up_to_those_of_a_former_life() {
        let log = [record(7, 3), record(7, 16), record(6, 3), vec![0; 64]].concat();
        assert_eq!(records(&log), [(0, 59), (64, 72)]);
        assert_eq!(records(&[0; 100]), []);
    }
}
