//! The laws of the simulated world: which way is open, what a frame and a sync take, what clocks say. It also counts what
//! each law did, so that a fault without effect is not taken for one.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tandem_cluster::{NodeId, sim::Physics};
use tokio::time::Instant;

/// What the wall clocks say when a simulation begins, milliseconds since the Unix epoch.
const WALL_MS: i64 = 1_795_000_000_000;
/// How late a frame is that was lost once.
const LOST_MS: std::ops::Range<u64> = 60..200;

/// A law that a fault bends, and that counts how often it was felt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Law {
    Cut,
    Loss,
    Delay,
    Twice,
    SlowDisk,
    WallClock,
}

#[derive(Default)]
struct Bent {
    /// Ways that are shut, from and to.
    shut: BTreeSet<(NodeId, NodeId)>,
    /// Of a thousand frames so many are lost, late, doubled.
    loss: u32,
    late: u32,
    twice: u32,
    /// How much longer a node's syncs take, milliseconds.
    slow_ms: BTreeMap<NodeId, u64>,
    /// How far a node's wall clock is off, milliseconds.
    off_ms: BTreeMap<NodeId, i64>,
}

struct Inner {
    rng: StdRng,
    bent: Bent,
    /// When a fault last began or ended that stands between nodes, or between a node and its disk.
    troubled: Instant,
    felt: BTreeMap<Law, u64>,
    trace: Trace,
}

/// The running hash over all that happened, and the lines of it if somebody wants to read them.
struct Trace {
    hash: u64,
    lines: u64,
    out: Option<std::io::BufWriter<std::fs::File>>,
}

impl Trace {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }
}

/// The laws of one world. Cheap to clone.
#[derive(Clone)]
pub(super) struct Laws {
    began: Instant,
    inner: Arc<Mutex<Inner>>,
}

impl Laws {
    pub(super) fn new(seed: u64, out: Option<std::fs::File>) -> Self {
        let trace = Trace { hash: 0xCBF2_9CE4_8422_2325, lines: 0, out: out.map(std::io::BufWriter::new) };
        let inner = Inner {
            rng: StdRng::seed_from_u64(seed ^ 0x6C61_7773),
            bent: Bent::default(),
            troubled: Instant::now(),
            felt: BTreeMap::new(),
            trace,
        };
        Self { began: Instant::now(), inner: Arc::new(Mutex::new(inner)) }
    }

    /// Writes something into the trace, with the moment.
    pub(super) fn note(&self, what: std::fmt::Arguments<'_>) {
        let line = format!("{} {what}\n", self.began.elapsed().as_micros());
        let trace = &mut self.inner.lock().trace;
        trace.lines += 1;
        trace.bytes(line.as_bytes());
        if let Some(out) = &mut trace.out {
            // Only for reading; the hash is what counts.
            let _ = out.write_all(line.as_bytes());
        }
    }

    /// The hash and the number of lines of the trace.
    pub(super) fn trace(&self) -> (u64, u64) {
        let trace = &mut self.inner.lock().trace;
        if let Some(out) = &mut trace.out {
            let _ = out.flush();
        }
        (trace.hash, trace.lines)
    }

    /// How often a law was felt so far.
    pub(super) fn felt(&self, law: Law) -> u64 {
        self.inner.lock().felt.get(&law).copied().unwrap_or(0)
    }

    fn bend(&self, change: impl FnOnce(&mut Bent)) {
        let inner = &mut *self.inner.lock();
        change(&mut inner.bent);
        inner.troubled = Instant::now();
    }

    /// For how long nothing has stood between nodes, or between a node and its disk.
    pub(super) fn calm(&self) -> Duration {
        let inner = self.inner.lock();
        let Bent { shut, loss, late, twice: _, slow_ms, off_ms: _ } = &inner.bent;
        let calm = shut.is_empty() && loss + late == 0 && slow_ms.values().all(|ms| *ms == 0);
        if calm { inner.troubled.elapsed() } else { Duration::ZERO }
    }

    pub(super) fn shut(&self, ways: &[(NodeId, NodeId)]) {
        self.bend(|bent| bent.shut.extend(ways));
    }

    pub(super) fn reopen(&self, ways: &[(NodeId, NodeId)]) {
        self.bend(|bent| bent.shut.retain(|way| !ways.contains(way)));
    }

    /// Of a thousand frames so many are lost, late and doubled from now on.
    pub(super) fn weather(&self, loss: u32, late: u32, twice: u32) {
        self.bend(|bent| (bent.loss, bent.late, bent.twice) = (loss, late, twice));
    }

    pub(super) fn slow_disk(&self, node: NodeId, ms: u64) {
        self.bend(|bent| *bent.slow_ms.entry(node).or_default() = ms);
    }

    /// Sets a wall clock off by so much; it stays so.
    pub(super) fn jump(&self, node: NodeId, ms: i64) {
        *self.inner.lock().bent.off_ms.entry(node).or_default() += ms;
    }

    /// All is well again; wall clocks stay as they are.
    pub(super) fn heal(&self) {
        self.bend(|bent| *bent = Bent { off_ms: std::mem::take(&mut bent.off_ms), ..Bent::default() });
    }

    pub(super) fn wall_now(&self) -> i64 {
        WALL_MS + self.began.elapsed().as_millis() as i64
    }
}

impl Inner {
    fn feel(&mut self, law: Law) {
        *self.felt.entry(law).or_default() += 1;
    }

    fn of_a_thousand(&mut self, so_many: u32) -> bool {
        so_many > 0 && self.rng.random_range(0..1_000) < so_many
    }
}

impl Physics for Laws {
    fn open(&self, from: NodeId, to: NodeId) -> bool {
        let inner = &mut *self.inner.lock();
        let open = !inner.bent.shut.contains(&(from, to));
        if !open {
            inner.feel(Law::Cut);
        }
        open
    }

    fn delay(&self, _: NodeId, _: NodeId) -> Duration {
        let inner = &mut *self.inner.lock();
        let mut us = inner.rng.random_range(150..2_500);
        while inner.of_a_thousand(inner.bent.loss) {
            inner.feel(Law::Loss);
            us += inner.rng.random_range(LOST_MS) * 1_000;
        }
        if inner.of_a_thousand(inner.bent.late) {
            inner.feel(Law::Delay);
            us += inner.rng.random_range(5_000..120_000);
        }
        Duration::from_micros(us)
    }

    fn again(&self, _: NodeId, _: NodeId) -> Option<Duration> {
        let inner = &mut *self.inner.lock();
        if !inner.of_a_thousand(inner.bent.twice) {
            return None;
        }
        inner.feel(Law::Twice);
        Some(Duration::from_millis(inner.rng.random_range(1..3_000)))
    }

    fn sync(&self, node: NodeId) -> Duration {
        let inner = &mut *self.inner.lock();
        let mut us = inner.rng.random_range(200..3_000);
        if let Some(ms) = inner.bent.slow_ms.get(&node).copied().filter(|ms| *ms > 0) {
            inner.feel(Law::SlowDisk);
            us += inner.rng.random_range(ms / 2..=ms) * 1_000;
        }
        Duration::from_micros(us)
    }

    fn wall_ms(&self, node: NodeId) -> i64 {
        let off_ms = {
            let inner = &mut *self.inner.lock();
            let off_ms = inner.bent.off_ms.get(&node).copied().unwrap_or(0);
            if off_ms != 0 {
                inner.feel(Law::WallClock);
            }
            off_ms
        };
        self.wall_now() + off_ms
    }

    fn chance(&self) -> u64 {
        self.inner.lock().rng.random()
    }

    fn arrived(&self, from: NodeId, to: NodeId, kind: u8, group: u32, body: &[u8]) {
        let mut sum = 0xCBF2_9CE4_8422_2325_u64;
        for byte in body {
            sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
        self.note(format_args!("{from}>{to} {kind} g{group} {} {sum:016x}", body.len()));
    }
}
