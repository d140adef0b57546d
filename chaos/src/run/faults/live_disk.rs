//! Disks of nodes that run: full, slow, and one whose fsync fails. A full one is really full; the other two are brought about
//! in the node's own log by a drill, since this kernel has no device that fails on command.

use std::{fs, path::PathBuf};

use rustix::process::Signal;
use serde_json::{Value, json};
use tandem_bench::error::Error;

use super::{Context, Injury, drills, process::renewed_since, words};
use crate::{ram, state::Undo};

/// What a node says of itself from a moment on.
struct Log {
    path: PathBuf,
    from: usize,
}

impl Log {
    fn new(context: &Context, node: u16) -> Self {
        let path = context.stage.lab.dir().join(format!("node{node}.log"));
        let from = fs::metadata(&path).map_or(0, |about| about.len() as usize);
        Self { path, from }
    }

    fn says(&self, text: &str) -> Result<bool, Error> {
        let bytes = fs::read(&self.path)?;
        Ok(String::from_utf8_lossy(bytes.get(self.from..).unwrap_or_default()).contains(text))
    }
}

/// A disk without a byte left.
pub(super) struct Full {
    node: u16,
    ballast: PathBuf,
    log: Log,
    before: Option<u32>,
    taken: u64,
}

impl Full {
    pub(super) fn new(context: &Context, node: u16) -> Result<Self, String> {
        let disk = context.stage.lab.dir().join(format!("node{node}"));
        if !context.disks.mounts().contains(&disk) {
            return Err("mounting a small disk for each node needs root".to_owned());
        }
        Ok(Self { node, ballast: disk.join("ballast"), log: Log::new(context, node), before: None, taken: 0 })
    }
}

impl Injury for Full {
    fn targets(&self) -> String {
        format!("node {}", self.node)
    }

    fn undo(&self) -> Vec<Undo> {
        vec![Undo::Remove { file: self.ballast.clone() }]
    }

    fn inject(&mut self, context: &Context) -> Result<(), Error> {
        self.before = context.stage.lab.pid(self.node);
        self.taken = ram::fill(&self.ballast)?;
        Ok(())
    }

    /// A log goes on in the space it has; full is what a node met that needed more.
    fn observe(&mut self, _: &Context) -> Result<Option<String>, Error> {
        let met = self.log.says("No space left on device")?;
        Ok(met.then(|| format!("{} MiB were taken and the node met \"No space left on device\"", self.taken >> 20)))
    }

    fn heal(&mut self, _: &Context) -> Result<(), Error> {
        Ok(fs::remove_file(&self.ballast)?)
    }

    fn is_healed(&mut self, context: &Context) -> Result<bool, Error> {
        let lab = &context.stage.lab;
        Ok(lab.is_running(self.node) && lab.ready(self.node))
    }

    fn waits_for_evidence(&self) -> bool {
        true
    }
}

/// One fsync that says EIO. The node is kept down for the fault's time, as if its disk were exchanged.
pub(super) struct FsyncError {
    node: u16,
    log: Log,
    before: Option<u32>,
}

impl FsyncError {
    pub(super) fn new(context: &Context, node: u16) -> Self {
        Self { node, log: Log::new(context, node), before: None }
    }
}

impl Injury for FsyncError {
    fn targets(&self) -> String {
        format!("node {}", self.node)
    }

    fn undo(&self) -> Vec<Undo> {
        vec![Undo::Release { node: self.node }]
    }

    fn inject(&mut self, context: &Context) -> Result<(), Error> {
        let lab = &context.stage.lab;
        self.before = lab.pid(self.node);
        lab.hold(self.node, true)?;
        // Its next sync may come before its answer does.
        match drills::post(context, self.node, &json!({ "kind": "disk", "error": "sync" })) {
            Err(_) if !lab.is_running(self.node) => Ok(()),
            other => other.map(drop),
        }
    }

    fn observe(&mut self, context: &Context) -> Result<Option<String>, Error> {
        let ended = !context.stage.lab.is_running(self.node) && self.log.says("cannot be made durable")?;
        Ok(ended.then(|| "one fsync said EIO, and the process ended rather than ask again".to_owned()))
    }

    fn heal(&mut self, context: &Context) -> Result<(), Error> {
        let lab = &context.stage.lab;
        if lab.is_running(self.node) && lab.pid(self.node) == self.before {
            // It synced nothing at all; what is armed must not hit later.
            lab.signal(self.node, Signal::KILL)?;
        }
        lab.hold(self.node, false)
    }

    fn is_healed(&mut self, context: &Context) -> Result<bool, Error> {
        Ok(renewed_since(context, self.node, self.before))
    }

    fn waits_for_evidence(&self) -> bool {
        true
    }
}

/// Each fsync takes longer.
pub(super) struct Slow {
    nodes: Vec<u16>,
    slow_ms: u64,
    from: Vec<Syncs>,
    undo: Vec<Undo>,
}

/// Syncs of a node's log so far, and the seconds they took.
#[derive(Debug, Clone, Copy, Default)]
struct Syncs {
    count: f64,
    sum_s: f64,
}

impl Syncs {
    fn read(context: &Context, node: u16) -> Result<Self, Error> {
        let text = context.stage.lab.metrics(node)?;
        let value = |name: &str| {
            let row = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
            row.ok_or_else(|| Error::Missed(format!("node {node} has no {name}")))
        };
        Ok(Self { count: value("wal_fsync_seconds_count")?, sum_s: value("wal_fsync_seconds_sum")? })
    }

    /// Mean of those since `before`; `None` while there are too few, or the process is another.
    fn mean_ms(self, before: Self) -> Option<f64> {
        let count = self.count - before.count;
        (count >= SYNCS_MIN).then(|| (self.sum_s - before.sum_s) / count * 1000.0)
    }
}

const SYNCS_MIN: f64 = 5.0;
/// Of the extra time, this much must be seen while the fault lasts; and at most this much after it.
const SLOW_SHARE: f64 = 0.9;
const HEALED_SHARE: f64 = 0.5;

impl Slow {
    pub(super) fn new(context: &Context, nodes: Vec<u16>, slow_ms: u64) -> Self {
        let undo = nodes.iter().map(|node| drills::undo(context, *node, &json!({ "kind": "disk" }))).collect();
        Self { nodes, slow_ms, from: Vec::new(), undo }
    }

    fn set(&mut self, context: &Context, slow_ms: u64) -> Result<(), Error> {
        for node in &self.nodes {
            drills::post(context, *node, &json!({ "kind": "disk", "slow_ms": slow_ms }))?;
        }
        self.from = self.nodes.iter().map(|node| Syncs::read(context, *node)).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The mean of every node since the last change.
    fn means(&self, context: &Context) -> Result<Option<Vec<f64>>, Error> {
        let mean = |(node, from): (&u16, &Syncs)| Ok(Syncs::read(context, *node)?.mean_ms(*from));
        self.nodes.iter().zip(&self.from).map(mean).collect()
    }

    fn led(&self, context: &Context) -> usize {
        let rows: Vec<Value> = context.stage.lab.all("/api/v1/partitions").unwrap_or_default();
        rows.iter().filter(|row| row["leader"].as_u64().is_some_and(|id| self.nodes.iter().any(|node| u64::from(*node) == id))).count()
    }
}

impl Injury for Slow {
    fn targets(&self) -> String {
        words(&self.nodes)
    }

    fn undo(&self) -> Vec<Undo> {
        self.undo.clone()
    }

    fn inject(&mut self, context: &Context) -> Result<(), Error> {
        self.set(context, self.slow_ms)
    }

    fn observe(&mut self, context: &Context) -> Result<Option<String>, Error> {
        let slow = self.slow_ms as f64 * SLOW_SHARE;
        let means = self.means(context)?.filter(|means| means.iter().all(|mean| *mean >= slow));
        Ok(means.map(|means| format!("a sync takes {:.0} ms on average; it leads {} partitions", means[0], self.led(context))))
    }

    fn heal(&mut self, context: &Context) -> Result<(), Error> {
        self.set(context, 0)
    }

    fn is_healed(&mut self, context: &Context) -> Result<bool, Error> {
        let fast = self.slow_ms as f64 * HEALED_SHARE;
        let healed = self.means(context)?.is_some_and(|means| means.iter().all(|mean| *mean < fast));
        Ok(healed && context.are_ready(&context.members()))
    }

    fn waits_for_evidence(&self) -> bool {
        true
    }
}
