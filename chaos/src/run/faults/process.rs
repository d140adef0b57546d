//! Processes: killed, killed again and again, stopped, ended politely.

use std::{
    collections::BTreeMap,
    fs, thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tandem_bench::error::Error;

use super::{Context, Injury, POLL, words};
use crate::state::Undo;

type Pids = BTreeMap<u16, Option<u32>>;

fn pids(context: &Context, nodes: &[u16]) -> Pids {
    nodes.iter().map(|k| (*k, context.stage.lab.pid(*k))).collect()
}

/// Every one of them has another process than before, and is ready.
fn renewed(context: &Context, before: &Pids) -> bool {
    let lab = &context.stage.lab;
    before.iter().all(|(k, pid)| lab.pid(*k) != *pid && lab.is_running(*k) && lab.ready(*k))
}

/// Node `node` has another process than `before`, and is ready.
pub(super) fn renewed_since(context: &Context, node: u16, before: Option<u32>) -> bool {
    renewed(context, &Pids::from([(node, before)]))
}

pub(super) struct Kill {
    nodes: Vec<u16>,
    before: Pids,
}

impl Kill {
    pub(super) fn new(nodes: Vec<u16>) -> Self {
        Self { nodes, before: Pids::new() }
    }
}

impl Injury for Kill {
    fn targets(&self) -> String {
        words(&self.nodes)
    }

    fn undo(&self) -> Vec<Undo> {
        self.nodes.iter().map(|node| Undo::Release { node: *node }).collect()
    }

    fn inject(&mut self, context: &Context) -> Result<(), Error> {
        let lab = &context.stage.lab;
        self.before = pids(context, &self.nodes);
        self.nodes.iter().try_for_each(|k| lab.hold(*k, true))?;
        self.nodes.iter().try_for_each(|k| lab.signal(*k, Signal::KILL))
    }

    fn observe(&mut self, context: &Context) -> Result<Option<String>, Error> {
        let lab = &context.stage.lab;
        let gone = self.nodes.iter().all(|k| !lab.is_running(*k) && !lab.ready(*k));
        Ok(gone.then(|| "the process is gone and its API is silent".to_owned()))
    }

    fn heal(&mut self, context: &Context) -> Result<(), Error> {
        self.nodes.iter().try_for_each(|k| context.stage.lab.hold(*k, false))
    }

    fn is_healed(&mut self, context: &Context) -> Result<bool, Error> {
        Ok(renewed(context, &self.before))
    }
}

pub(super) struct CrashLoop {
    nodes: Vec<u16>,
    killed: Vec<u32>,
}

impl CrashLoop {
    pub(super) fn new(nodes: Vec<u16>) -> Self {
        Self { nodes, killed: Vec::new() }
    }
}

impl Injury for CrashLoop {
    fn targets(&self) -> String {
        words(&self.nodes)
    }

    fn inject(&mut self, context: &Context) -> Result<(), Error> {
        self.observe(context).map(|_| ())
    }

    fn observe(&mut self, context: &Context) -> Result<Option<String>, Error> {
        let lab = &context.stage.lab;
        for node in &self.nodes {
            if let Some(pid) = lab.pid(*node).filter(|pid| lab.is_running(*node) && !self.killed.contains(pid)) {
                lab.signal(*node, Signal::KILL)?;
                self.killed.push(pid);
            }
        }
        Ok((self.killed.len() > self.nodes.len()).then(|| format!("{} processes were killed one after the other", self.killed.len())))
    }

    fn heal(&mut self, _: &Context) -> Result<(), Error> {
        Ok(())
    }

    fn is_healed(&mut self, context: &Context) -> Result<bool, Error> {
        let lab = &context.stage.lab;
        let lives = |k: &u16| lab.pid(*k).is_some_and(|pid| !self.killed.contains(&pid)) && lab.is_running(*k) && lab.ready(*k);
        Ok(self.nodes.iter().all(lives))
    }

    fn waits_for_evidence(&self) -> bool {
        true
    }
}

pub(super) struct Pause {
    nodes: Vec<u16>,
}

impl Pause {
    pub(super) const fn new(nodes: Vec<u16>) -> Self {
        Self { nodes }
    }

    fn all_stopped(&self, context: &Context) -> bool {
        self.nodes.iter().all(|k| context.stage.lab.pid(*k).is_some_and(is_stopped))
    }
}

/// What the kernel says of a process.
fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}

impl Injury for Pause {
    fn targets(&self) -> String {
        words(&self.nodes)
    }

    fn undo(&self) -> Vec<Undo> {
        self.nodes.iter().map(|node| Undo::Continue { node: *node }).collect()
    }

    fn inject(&mut self, context: &Context) -> Result<(), Error> {
        self.nodes.iter().try_for_each(|k| context.stage.lab.signal(*k, Signal::STOP))
    }

    fn observe(&mut self, context: &Context) -> Result<Option<String>, Error> {
        Ok(self.all_stopped(context).then(|| "the kernel shows it stopped".to_owned()))
    }

    fn heal(&mut self, context: &Context) -> Result<(), Error> {
        self.nodes.iter().try_for_each(|k| context.stage.lab.signal(*k, Signal::CONT))
    }

    fn is_healed(&mut self, context: &Context) -> Result<bool, Error> {
        let lab = &context.stage.lab;
        Ok(self.nodes.iter().all(|k| lab.pid(*k).is_some_and(|pid| !is_stopped(pid)) && lab.ready(*k)))
    }
}

/// Each member ended politely in turn.
pub(super) struct Rolling {
    before: Pids,
    ended: usize,
}

impl Rolling {
    pub(super) const fn new() -> Self {
        Self { before: Pids::new(), ended: 0 }
    }
}

/// A node drains, ends, starts and is ready within this.
const RENEWED_WITHIN: Duration = Duration::from_secs(40);

impl Injury for Rolling {
    fn targets(&self) -> String {
        "every member in turn".to_owned()
    }

    fn inject(&mut self, context: &Context) -> Result<(), Error> {
        for node in context.members() {
            let before = pids(context, &[node]);
            context.stage.lab.signal(node, Signal::TERM)?;
            let until = Instant::now() + RENEWED_WITHIN;
            while !renewed(context, &before) || !context.are_ready(&context.members()) {
                if Instant::now() > until || context.is_stopped() {
                    return Err(Error::Missed(format!("node {node} did not come back from a polite end")));
                }
                thread::sleep(POLL);
            }
            self.ended += 1;
            self.before.extend(before);
        }
        Ok(())
    }

    fn observe(&mut self, context: &Context) -> Result<Option<String>, Error> {
        let all = self.ended == context.members().len();
        Ok(all.then(|| format!("{} nodes ended by themselves and came back", self.ended)))
    }

    fn heal(&mut self, _: &Context) -> Result<(), Error> {
        Ok(())
    }

    fn is_healed(&mut self, context: &Context) -> Result<bool, Error> {
        Ok(renewed(context, &self.before))
    }
}
