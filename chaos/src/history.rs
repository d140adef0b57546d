//! The history of a run: what clients, agents' phones, the cluster and the tool itself said happened, one JSON object a line.
//!
//! It records and orders. An operation is invoked and then is `ok`, `fail` (it did not happen) or `info` (nobody knows).
//! What a history must be like is judged in `checker`.

use std::{
    fs,
    io::{self, BufWriter, Write as _},
    path::Path,
    sync::Arc,
    time::{Instant, SystemTime},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Where an operation is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Invoke,
    Ok,
    /// It certainly did not happen.
    Fail,
    /// Something seen in passing; as the end of an operation: nobody knows whether it happened.
    Info,
}

/// How a call ended for whoever made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered, held as long as the caller wished, ended by the caller.
    Completed,
    /// A final status of 400 or more.
    Refused(u16),
    /// No response beyond 100, ever; the caller went elsewhere.
    Unreached,
    /// It talked, and ended without the caller's doing.
    Dropped,
    /// The caller hung up before anybody answered.
    Abandoned,
    /// There was a response beyond 100 and then nothing that ends a call.
    Unfinished,
}

/// How far a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Inject,
    Injected,
    NotInjected,
    Heal,
    Healed,
    NotHealed,
    /// This machine cannot do it.
    Skipped,
}

/// A place in the log of one partition: group, index, n-th effect of the entry.
pub type Place = (u32, u64, u32);

/// What was done or seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// A caller dials node `node`; the object is its number, which no other call has. `again`: after another failed.
    Dial {
        node: u16,
        /// After another node failed its caller.
        again: bool,
    },
    /// The first response beyond 100, milliseconds after the INVITE.
    Responded {
        status: u16,
        after_ms: f64,
    },
    Answered {
        after_ms: f64,
    },
    /// The caller is done.
    CallEnd {
        outcome: Outcome,
    },
    /// A call as an agent's phone had it; times as [`Record::at_ms`]. `up_ms` is when its answer
    /// was acknowledged: an answer that a dying node never read connects nobody.
    AgentCall {
        caller: String,
        rang_ms: f64,
        up_ms: Option<f64>,
        over_ms: Option<f64>,
    },
    /// A record of the archive of a tenant.
    Cdr {
        #[serde(default)]
        tenant: String,
        call: String,
        from: String,
        outcome: String,
        end_reason: String,
        agent: Option<String>,
    },
    /// An event, as node `node` told it.
    Event {
        node: u16,
        place: Place,
        kind: String,
        call: Option<String>,
        agent: Option<String>,
        priority: Option<u64>,
    },
    /// Something may be missing: which kind of records, and why.
    Gap {
        of: String,
        why: String,
    },
    /// Who leads a group, as node `node` believes.
    Leader {
        node: u16,
        group: u32,
        leader: Option<u64>,
        term: u64,
    },
    /// At rest: a node and the heads of its archives (group, records, hash).
    Archive {
        node: u16,
        heads: Vec<(u32, u64, String)>,
    },
    /// At rest: whether a member is ready, and what it believes of each group: (group, leader, term).
    Rest {
        node: u16,
        ready: bool,
        groups: Vec<(u32, Option<u64>, u64)>,
    },
    /// At rest: an agent's state and its open contacts.
    AgentRest {
        state: String,
        contacts: usize,
    },
    /// A register (an agent's reason for a break) is set.
    Write {
        value: String,
    },
    /// A register is read.
    Read {
        value: Option<String>,
    },
    Fault {
        kind: String,
        targets: String,
        stage: Stage,
        detail: String,
    },
    /// A probe of the steady state.
    Probe {
        when: String,
        value: f64,
        bound: String,
        kept: bool,
    },
}

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Since the start of the run, on a clock that never jumps.
    pub at_ms: f64,
    /// Since 1970, for comparing with logs.
    pub wall_ms: u64,
    /// Who says so.
    pub client: String,
    /// What it is about.
    pub object: String,
    pub phase: Phase,
    #[serde(flatten)]
    pub op: Op,
}

/// Records of a run from any thread.
#[derive(Debug, Clone)]
pub struct Recorder {
    start: Instant,
    records: Arc<Mutex<Vec<Record>>>,
}

/// Most records of one run; what comes after is counted as a gap by the writer's last line.
pub const RECORDS_MAX: usize = 2_000_000;

impl Default for Recorder {
    fn default() -> Self {
        Self { start: Instant::now(), records: Arc::default() }
    }
}

impl Recorder {
    /// Milliseconds from the start of the run to `at`.
    pub fn ms(&self, at: Instant) -> f64 {
        round(at.saturating_duration_since(self.start).as_secs_f64() * 1000.0)
    }

    pub fn now_ms(&self) -> f64 {
        self.ms(Instant::now())
    }

    pub fn add(&self, client: &str, object: &str, phase: Phase, op: Op) {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut records = self.records.lock();
        // Taken under the lock: the order of the lines is the order of their times.
        let at_ms = self.now_ms();
        let mut record = Record { at_ms, wall_ms: wall.as_millis() as u64, client: client.into(), object: object.into(), phase, op };
        if records.len() == RECORDS_MAX {
            record.op = Op::Gap { of: "all".into(), why: "the history is full".into() };
        }
        if records.len() <= RECORDS_MAX {
            records.push(record);
        }
    }

    /// Everything so far.
    pub fn records(&self) -> Vec<Record> {
        self.records.lock().clone()
    }

    /// How many records are as wanted.
    pub fn count(&self, wanted: impl Fn(&Record) -> bool) -> usize {
        self.records.lock().iter().filter(|record| wanted(record)).count()
    }
}

/// Microseconds are exact enough, and keep lines short.
fn round(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}

/// Writes a history to a file.
///
/// # Errors
/// The file system's.
pub fn write(path: &Path, records: &[Record]) -> io::Result<()> {
    let mut file = BufWriter::new(fs::File::create(path)?);
    for record in records {
        serde_json::to_writer(&mut file, record)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

/// Reads a history. A line that is none is an error with its number: judging half a history would be a lie.
///
/// # Errors
/// The file system's, and the first line that is no record.
pub fn read(path: &Path) -> io::Result<Vec<Record>> {
    let text = fs::read_to_string(path)?;
    let parse = |(n, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("line {}: {error}", n + 1)))
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_that_was_written_reads_back_line_by_line() {
        let recorder = Recorder::default();
        recorder.add("c1", "49", Phase::Invoke, Op::Dial { node: 2, again: false });
        recorder.add("c1", "49", Phase::Ok, Op::CallEnd { outcome: Outcome::Refused(503) });
        let event = Op::Event { node: 1, place: (3, 7, 0), kind: "contact.ended".into(), call: None, agent: None, priority: Some(5) };
        recorder.add("node1", "x", Phase::Info, event);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        write(&path, &recorder.records()).unwrap();
        assert_eq!(read(&path).unwrap(), recorder.records());
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 3);
    }

    #[test]
    fn a_damaged_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        fs::write(&path, "\n{\"at_ms\":1\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().starts_with("line 2: "));
    }
}
