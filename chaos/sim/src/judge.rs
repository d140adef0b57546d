//! What must hold while a simulation runs. It follows the log with a state of its own and looks at every application on
//! every replica: the same entries at the same places (S1: equal states at equal index), the invariants of the state and of
//! the step, one record per call, log time beside time, leases of those declared lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tandem::{
    actor::Prepared,
    core::{
        Command, Effects, State,
        cdr::ClosedCall,
        codec as core_codec,
        command::Envelope,
        id::{CallId, Edge, EffectId, LegId},
        invariant::{self, step::Step},
        time::{At, LogTime, WallTime},
    },
};
use tandem_cluster::{Durable, Entry, GroupId, Machine, MachineFactory, NodeId, Token, codec};
use tokio::time::Instant;

use super::{digest::digest, stage::Stage};

/// How far log time may be ahead of the time that has passed: what a stamp and a clock's grain make of it.
const AHEAD_MAX: Duration = Duration::from_millis(5);
/// Violations kept of one run; the first says enough.
const VIOLATIONS_MAX: usize = 20;

/// What an application of an entry was, the first time a replica did it.
struct Seen {
    node: NodeId,
    term: u64,
    entry: u64,
    state: u64,
}

#[derive(Default)]
struct Golden {
    state: State,
    /// The state before the last command, but for the one in `behind`: to apply a command twice costs less than a copy of the state.
    before: State,
    behind: Option<(At, Envelope)>,
    last: u64,
    /// Log time of the last entry, and when it was first applied.
    clock: Option<(LogTime, Instant)>,
    seen: BTreeMap<u64, Seen>,
    records: BTreeMap<CallId, u32>,
    archived: Vec<Vec<u8>>,
}

/// Whose knowledge of a leader it is: a machine is told of its own leadership moments after the replica knew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Told {
    Replica,
    Machine,
}

struct Inner {
    began: Instant,
    stage: Weak<Stage>,
    groups: BTreeMap<GroupId, Golden>,
    violations: Vec<String>,
    applied: u64,
    compared: u64,
    /// The last leader of a group that each process named, as its replica or as its machine was told, and its term.
    leaders: BTreeMap<(GroupId, NodeId, Told), (u64, NodeId)>,
    arrived: BTreeSet<CallId>,
    /// Orders that reached the edge they are for.
    brought: BTreeSet<EffectId>,
}

/// The judge of one run. Cheap to clone.
#[derive(Clone)]
pub(super) struct Judge(Arc<Mutex<Inner>>);

impl Inner {
    fn violated(&mut self, what: String) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(what);
        }
    }

    fn applied(&mut self, node: NodeId, entry: &Entry<'_>, here: &State) {
        self.applied += 1;
        let group = entry.group;
        let what = digest(&(entry.term, entry.time_ns, entry.wall_ms, entry.commands));
        let golden = self.groups.entry(group).or_default();
        if entry.index > golden.last {
            let mut found = golden.step(entry);
            let (passed, log) = (self.began.elapsed(), Duration::from_nanos(entry.time_ns));
            if log > passed + AHEAD_MAX {
                found.push(format!("T1: log time is {log:?} when {passed:?} have passed"));
            }
            golden.clock = Some((LogTime(entry.time_ns), Instant::now()));
            let expected = digest(&golden.state);
            golden.last = entry.index;
            golden.seen.insert(entry.index, Seen { node, term: entry.term, entry: what, state: expected });
            found.into_iter().for_each(|violation| self.violated(format!("group {group} index {}: {violation}", entry.index)));
        }
        let Some((golden, seen)) = self.groups.get(&group).and_then(|golden| Some((golden, golden.seen.get(&entry.index)?))) else {
            return self.violated(format!("S1: node {node} applied entry {} of group {group}, which no replica had there", entry.index));
        };
        self.compared += 1;
        if seen.entry != what {
            let (first, term, index) = (seen.node, seen.term, entry.index);
            self.violated(format!(
                "S1: node {node} has an entry of term {} at {group}/{index}, node {first} one of term {term}",
                entry.term
            ));
        } else if !golden.was(here, entry.index, seen.state) {
            self.violated(format!("S1: the state of node {node} differs after entry {} of group {group}", entry.index));
        }
    }
}

impl Golden {
    /// True if a state is what the log made at an index, where it had this digest. Most replicas are as far as the log is known, and
    /// to compare two states costs less than to digest one.
    fn was(&self, state: &State, index: u64, then: u64) -> bool {
        if index == self.last { *state == self.state } else { digest(state) == then }
    }

    /// Applies an entry for the first time, and says what did not hold.
    fn step(&mut self, entry: &Entry<'_>) -> Vec<String> {
        let at = At { group: entry.group, index: entry.index, time: LogTime(entry.time_ns), wall: WallTime(entry.wall_ms) };
        let mut found = Vec::new();
        for command in entry.commands {
            let Ok(envelope) = codec::decode::<Envelope>(command) else {
                found.push("a command does not decode".to_owned());
                continue;
            };
            if let Some((at, envelope)) = self.behind.take() {
                self.before.apply(at, &envelope, &mut Effects::default());
            }
            let before = &self.before;
            let mut effects = Effects::default();
            // Effects are numbered on from those of the entry's earlier commands, as in the machine.
            let outcome = self.state.apply(at, &envelope, &mut effects);
            let step = Step { before, at, command: &envelope.command, outcome: &outcome, effects: &effects, after: &self.state };
            found.extend(step.violations().iter().map(ToString::to_string));
            found.extend(invariant::violations(&self.state).iter().map(ToString::to_string));
            for record in effects.records {
                match ClosedCall::decode(&record.bytes) {
                    Ok(closed) => *self.records.entry(closed.call_id).or_default() += 1,
                    Err(error) => found.push(format!("D1: a record does not decode: {error}")),
                }
                self.archived.push(record.bytes);
            }
            self.behind = Some((at, envelope));
        }
        found
    }
}

impl Judge {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Inner {
            began: Instant::now(),
            stage: Weak::new(),
            groups: BTreeMap::new(),
            violations: Vec::new(),
            applied: 0,
            compared: 0,
            leaders: BTreeMap::new(),
            arrived: BTreeSet::new(),
            brought: BTreeSet::new(),
        })))
    }

    /// Shows the judge the nodes it judges.
    pub(super) fn sees(&self, stage: &Arc<Stage>) {
        self.0.lock().stage = Arc::downgrade(stage);
    }

    pub(super) fn violated(&self, what: String) {
        self.0.lock().violated(what);
    }

    pub(super) fn violations(&self) -> Vec<String> {
        self.0.lock().violations.clone()
    }

    /// Applications, and those whose state was compared with the first replica's.
    pub(super) fn applications(&self) -> (u64, u64) {
        let inner = self.0.lock();
        (inner.applied, inner.compared)
    }

    /// Looks at the state that the log has made so far of a group.
    pub(super) fn look<R>(&self, group: GroupId, look: impl FnOnce(&State) -> R) -> R {
        look(&self.0.lock().groups.entry(group).or_default().state)
    }

    /// Records of a call in a group.
    pub(super) fn records(&self, group: GroupId, call: CallId) -> u32 {
        self.0.lock().groups.get(&group).and_then(|golden| golden.records.get(&call).copied()).unwrap_or(0)
    }

    /// Every record of a group in order.
    pub(super) fn archived(&self, group: GroupId) -> Vec<Vec<u8>> {
        self.0.lock().groups.get(&group).map(|golden| golden.archived.clone()).unwrap_or_default()
    }

    /// True while the log has this leg talking with its caller.
    pub(super) fn is_talking(&self, group: GroupId, leg: LegId) -> bool {
        use tandem::core::call::CallState;
        self.look(group, |state| {
            let calls = state.domains().values().filter_map(|domain| domain.calls().get(&leg.call));
            calls.into_iter().any(|call| matches!(call.state, CallState::Connected { leg: n, .. } if n == leg.n))
        })
    }

    /// The machines of a process that begins, watched. What the one before it heard and had not on its disk yet is forgotten.
    pub(super) fn watch(&self, node: NodeId, process: Arc<Prepared>) -> Arc<dyn MachineFactory> {
        self.0.lock().leaders.retain(|(_, seen_by, _), _| *seen_by != node);
        Arc::new(Watching { judge: self.clone(), node, process })
    }

    /// A node takes another for the leader of a term. Of one term there may be several, one after the other by their ids, as
    /// openraft's leader ids allow; nobody goes back to one that was followed by another.
    pub(super) fn leads(&self, (seen_by, told): (NodeId, Told), group: GroupId, term: u64, node: NodeId) {
        let mut inner = self.0.lock();
        let before = inner.leaders.insert((group, seen_by, told), (term, node)).unwrap_or_default();
        if before > (term, node) {
            inner.violated(format!("P1: node {seen_by} went back from {before:?} to leader {node} of group {group} in term {term}"));
        }
    }

    /// An order reached the edge it is for.
    pub(super) fn brought(&self, order: EffectId) {
        self.0.lock().brought.insert(order);
    }

    /// Orders of a group that stand in the outbox and have not reached their edges.
    pub(super) fn not_brought(&self, group: GroupId) -> Vec<(EffectId, Edge)> {
        let mut inner = self.0.lock();
        let Inner { groups, brought, .. } = &mut *inner;
        let orders = groups.entry(group).or_default().state.open_orders();
        orders.filter(|order| !brought.contains(&order.id)).map(|order| (order.id, order.edge)).collect()
    }

    /// By how much the next timer of a group is overdue, by the time that has passed since the last entry, and which it is.
    pub(super) fn overdue(&self, group: GroupId) -> (Duration, String) {
        let inner = self.0.lock();
        let Some(golden) = inner.groups.get(&group) else { return Default::default() };
        let next = golden.state.due(LogTime(u64::MAX), 1);
        let (Some((log, at)), Some(next)) = (golden.clock, next.first()) else { return Default::default() };
        let late = (Duration::from_nanos(log.0) + at.elapsed()).saturating_sub(Duration::from_nanos(next.deadline.0));
        (late, format!("{:?}", next.what))
    }

    /// No life of a node may be declared lost while it holds the lease by which it acts for its legs.
    fn mourned(&self, edge: Edge) {
        let Some(stage) = self.0.lock().stage.upgrade() else { return };
        let Some(running) = stage.running(edge.node.0) else { return };
        if running.handle.edge() == edge && running.handle.cluster().lease_valid() {
            self.violated(format!("P1: {edge:?} is declared lost and holds its lease"));
        }
    }

    /// Looks at what was asked for, apart from what came of it.
    fn asked(&self, entry: &Entry<'_>) {
        for command in entry.commands {
            match codec::decode::<Envelope>(command).map(|envelope| envelope.command) {
                Ok(Command::Arrive(arrive)) => drop(self.0.lock().arrived.insert(arrive.call)),
                Ok(Command::EdgeLost { edge, .. }) => self.mourned(edge),
                _ => {}
            }
        }
    }

    /// True if the arrival of a call is in the log, whatever came of it.
    pub(super) fn has_arrived(&self, call: CallId) -> bool {
        self.0.lock().arrived.contains(&call)
    }
}

struct Watching {
    judge: Judge,
    node: NodeId,
    process: Arc<Prepared>,
}

impl MachineFactory for Watching {
    fn open(&self, group: GroupId) -> Box<dyn Machine> {
        let inner = self.process.open(group);
        Box::new(Watched { judge: self.judge.clone(), node: self.node, group, process: Arc::clone(&self.process), inner })
    }
}

struct Watched {
    judge: Judge,
    node: NodeId,
    group: GroupId,
    process: Arc<Prepared>,
    inner: Box<dyn Machine>,
}

impl Machine for Watched {
    fn apply(&mut self, entry: &Entry<'_>) -> Vec<Bytes> {
        let replies = self.inner.apply(entry);
        self.judge.asked(entry);
        if self.process.look(self.group, |state| self.judge.0.lock().applied(self.node, entry, state)).is_none() {
            self.judge.violated(format!("S1: node {} has no state of group {}", self.node, self.group));
        }
        replies
    }

    fn skip(&mut self, entry: &Entry<'_>) -> Vec<Bytes> {
        self.inner.skip(entry)
    }

    fn snapshot(&mut self) -> io::Result<Vec<u8>> {
        let snapshot = self.inner.snapshot()?;
        // Behind its first byte, the version, it is the encoded state.
        if self.process.look(self.group, core_codec::encode).as_deref() != snapshot.get(1..) {
            self.judge.violated(format!("S2: a snapshot of group {} is not the state of node {}", self.group, self.node));
        }
        Ok(snapshot)
    }

    fn side_files(&mut self) -> io::Result<Durable> {
        self.inner.side_files()
    }

    fn restore(&mut self, snapshot: &[u8]) -> io::Result<()> {
        self.inner.restore(snapshot)
    }

    fn role(&mut self, leading: Option<Token>) {
        if let Some(token) = leading {
            self.judge.leads((self.node, Told::Machine), self.group, token.term, self.node);
        }
        self.inner.role(leading);
    }
}
