//! What must hold while a simulation runs. It follows the log with a state of its own and looks at every application on
//! every replica: the same entries at the same places (S1: equal states at equal index), the invariants of the state and of
//! the step, one record per call.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    io,
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tandem::core::{
    Command, Effects, State,
    cdr::ClosedCall,
    codec as core_codec,
    command::Envelope,
    id::{CallId, LegId},
    invariant::{self, step::Step},
    time::{At, LogTime, WallTime},
};
use tandem_cluster::{Durable, Entry, GroupId, Machine, MachineFactory, NodeId, Token, codec};

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
    last: u64,
    seen: BTreeMap<u64, Seen>,
    records: BTreeMap<CallId, u32>,
    archived: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Inner {
    groups: BTreeMap<GroupId, Golden>,
    violations: Vec<String>,
    applied: u64,
    compared: u64,
    leaders: BTreeMap<(GroupId, u64), NodeId>,
    arrived: BTreeSet<CallId>,
}

/// The judge of one run. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Judge(Arc<Mutex<Inner>>);

fn hash(bytes: &[u8]) -> u64 {
    // Its keys are fixed, so it is the same in every run.
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

impl Inner {
    fn violated(&mut self, what: String) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(what);
        }
    }

    fn applied(&mut self, node: NodeId, entry: &Entry<'_>, state: &[u8]) {
        self.applied += 1;
        let group = entry.group;
        let what = hash(&codec::encode(&(entry.term, entry.time_ns, entry.wall_ms, entry.commands)).unwrap_or_default());
        let golden = self.groups.entry(group).or_default();
        let here = hash(state);
        if entry.index > golden.last {
            let found = golden.step(entry);
            let expected = hash(&core_codec::encode(&golden.state));
            golden.last = entry.index;
            golden.seen.insert(entry.index, Seen { node, term: entry.term, entry: what, state: expected });
            found.into_iter().for_each(|violation| self.violated(format!("group {group} index {}: {violation}", entry.index)));
        }
        let Some(seen) = self.groups.get(&group).and_then(|golden| golden.seen.get(&entry.index)) else {
            return self.violated(format!("S1: node {node} applied entry {} of group {group}, which no replica had there", entry.index));
        };
        self.compared += 1;
        if seen.entry != what {
            let (first, term, index) = (seen.node, seen.term, entry.index);
            self.violated(format!(
                "S1: node {node} has an entry of term {} at {group}/{index}, node {first} one of term {term}",
                entry.term
            ));
        } else if seen.state != here {
            self.violated(format!("S1: the state of node {node} differs after entry {} of group {group}", entry.index));
        }
    }
}

impl Golden {
    /// Applies an entry for the first time, and says what did not hold.
    fn step(&mut self, entry: &Entry<'_>) -> Vec<String> {
        let at = At { group: entry.group, index: entry.index, time: LogTime(entry.time_ns), wall: WallTime(entry.wall_ms) };
        let mut found = Vec::new();
        for command in entry.commands {
            let Ok(envelope) = codec::decode::<Envelope>(command) else {
                found.push("a command does not decode".to_owned());
                continue;
            };
            let before = self.state.clone();
            let mut effects = Effects::default();
            // Effects are numbered on from those of the entry's earlier commands, as in the machine.
            let outcome = self.state.apply(at, &envelope, &mut effects);
            let step = Step { before: &before, at, command: &envelope.command, outcome: &outcome, effects: &effects, after: &self.state };
            found.extend(step.violations().iter().map(ToString::to_string));
            found.extend(invariant::violations(&self.state).iter().map(ToString::to_string));
            for record in effects.records {
                match ClosedCall::decode(&record.bytes) {
                    Ok(closed) => *self.records.entry(closed.call_id).or_default() += 1,
                    Err(error) => found.push(format!("D1: a record does not decode: {error}")),
                }
                self.archived.push(record.bytes);
            }
        }
        found
    }
}

impl Judge {
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

    /// A machine of `inner` that is watched.
    pub(super) fn watch(&self, node: NodeId, inner: Arc<dyn MachineFactory>) -> Arc<dyn MachineFactory> {
        Arc::new(Watching { judge: self.clone(), node, inner })
    }

    fn leads(&self, group: GroupId, token: Token, node: NodeId) {
        let mut inner = self.0.lock();
        let other = *inner.leaders.entry((group, token.term)).or_insert(node);
        if other != node {
            inner.violated(format!("P1: nodes {other} and {node} both lead group {group} in term {}", token.term));
        }
    }

    fn arrived(&self, entry: &Entry<'_>) {
        for command in entry.commands {
            if let Ok(Envelope { command: Command::Arrive(arrive), .. }) = codec::decode::<Envelope>(command) {
                self.0.lock().arrived.insert(arrive.call);
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
    inner: Arc<dyn MachineFactory>,
}

impl MachineFactory for Watching {
    fn open(&self, group: GroupId) -> Box<dyn Machine> {
        Box::new(Watched { judge: self.judge.clone(), node: self.node, group, inner: self.inner.open(group) })
    }
}

struct Watched {
    judge: Judge,
    node: NodeId,
    group: GroupId,
    inner: Box<dyn Machine>,
}

impl Machine for Watched {
    fn apply(&mut self, entry: &Entry<'_>) -> Vec<Bytes> {
        let replies = self.inner.apply(entry);
        self.judge.arrived(entry);
        match self.inner.snapshot() {
            // Behind its first byte, the version, a snapshot is the encoded state.
            Ok(state) => self.judge.0.lock().applied(self.node, entry, state.get(1..).unwrap_or_default()),
            Err(error) => self.judge.violated(format!("S2: a state has no snapshot: {error}")),
        }
        replies
    }

    fn skip(&mut self, entry: &Entry<'_>) -> Vec<Bytes> {
        self.inner.skip(entry)
    }

    fn snapshot(&mut self) -> io::Result<Vec<u8>> {
        self.inner.snapshot()
    }

    fn side_files(&mut self) -> io::Result<Durable> {
        self.inner.side_files()
    }

    fn restore(&mut self, snapshot: &[u8]) -> io::Result<()> {
        self.inner.restore(snapshot)
    }

    fn role(&mut self, leading: Option<Token>) {
        if let Some(token) = leading {
            self.judge.leads(self.group, token, self.node);
        }
        self.inner.role(leading);
    }
}
