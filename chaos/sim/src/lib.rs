//! The simulator: three real nodes on one thread, in virtual time, through faults that a seed chooses.
//!
//! What is real: the core, its machine and archive, every live actor, openraft and its groups, the log with its records and
//! recovery, snapshots, leases, failover, placement, the meta group. What is made up: network, disk, clocks (`laws`), the SIP
//! edge (`edge`) and the parties (`town`). A run has a phase in which only safety is asked for, then everything heals, and
//! what was begun must come to its end. The same seed gives the same bytes.

pub mod cli;
mod digest;
mod edge;
mod faults;
mod judge;
mod laws;
mod robot;
mod settle;
mod stage;
#[cfg(test)]
mod tests;
mod town;
mod watch;

use std::{
    cell::Cell,
    fmt,
    path::PathBuf,
    sync::{
        Arc, Once,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tandem::core::id::{CallId, DomainId, NodeId};
use tandem_cluster::{GroupId, sim};
use tokio::{runtime::Builder, time};

use edge::Books;
use faults::Counts;
use judge::Judge;
use laws::Laws;
use stage::Stage;
use town::Town;
use watch::Watch;

/// The partition all calls are in.
const GROUP: GroupId = 1;
/// Sequences of faults that run beside each other.
const LANES: u64 = 2;
/// Before the end of the time faults cease; calls cease a little earlier.
const QUIET: Duration = Duration::from_secs(8);

fn domain() -> DomainId {
    DomainId::new("demo")
}

/// What to simulate.
#[derive(Debug, Clone)]
pub struct Options {
    /// The first seed; each further iteration takes the next.
    pub seed: u64,
    pub iterations: u64,
    /// No iteration begins after this long on the real clock.
    pub minutes: Option<u64>,
    /// Simulations at once, each on a thread of its own.
    pub threads: usize,
    /// Callers of an iteration.
    pub calls: u64,
    /// Virtual time of an iteration, in seconds; what was begun may take longer to end.
    pub seconds: u64,
    /// Where to write all that happens, for a reader; of use with one iteration.
    pub trace: Option<PathBuf>,
    /// All nodes may lose their power at once, and elections be contested. Seeds that found something before there were such faults
    /// go without.
    pub outages: bool,
    /// Begin no iteration after the first that failed.
    pub first: bool,
    pub print: Print,
}

/// Which iterations get a line each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Print {
    Nothing,
    Failed,
    All,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            iterations: 1,
            minutes: None,
            threads: 1,
            calls: 220,
            seconds: 60,
            trace: None,
            outages: true,
            first: false,
            print: Print::Nothing,
        }
    }
}

/// One iteration.
#[derive(Debug, Clone)]
pub struct Run {
    pub seed: u64,
    /// Callers who dialled, calls that were committed, calls an agent answered.
    pub calls: u64,
    pub accepted: u64,
    pub answered: u64,
    /// Faults injected and felt, by name.
    pub faults: Vec<(&'static str, u64, u64)>,
    pub virtual_ms: u64,
    pub real_ms: u64,
    /// Applications of entries on replicas.
    pub applied: u64,
    /// Lines of the trace and their hash.
    pub events: u64,
    pub trace: u64,
    pub violations: Vec<String>,
}

impl Run {
    /// Faults that were felt.
    pub fn felt(&self) -> u64 {
        self.faults.iter().map(|(_, _, felt)| felt).sum()
    }

    pub fn passed(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "pass" } else { "FAIL" };
        write!(
            f,
            "seed {} {verdict}: {} calls ({} accepted, {} answered), {} faults felt, {:.1} virtual s in {:.1} s, {} applications, trace {:016x}",
            self.seed,
            self.calls,
            self.accepted,
            self.answered,
            self.felt(),
            self.virtual_ms as f64 / 1e3,
            self.real_ms as f64 / 1e3,
            self.applied,
            self.trace
        )?;
        for violation in &self.violations {
            write!(f, "\n  {violation}")?;
        }
        if !self.passed() {
            write!(f, "\n  repeat it: {}", repeat(self.seed))?;
        }
        Ok(())
    }
}

/// All iterations, in the order of their seeds.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub runs: Vec<Run>,
}

impl Report {
    pub fn passed(&self) -> bool {
        self.runs.iter().all(Run::passed)
    }

    /// Injected and felt faults of all iterations, by name.
    pub fn faults(&self) -> Vec<(&'static str, u64, u64)> {
        let mut sum = Counts::new();
        for (name, injected, felt) in self.runs.iter().flat_map(|run| &run.faults) {
            let row = sum.entry(name).or_default();
            (row.0, row.1) = (row.0 + injected, row.1 + felt);
        }
        sum.into_iter().map(|(name, (injected, felt))| (name, injected, felt)).collect()
    }
}

/// The command that repeats a seed.
fn repeat(seed: u64) -> String {
    format!("make sim SEED={seed} ITERATIONS=1")
}

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
}

/// A panic (a broken assertion of the product may end the process at once) first says which seed it was.
fn say_seed_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let seed = SEED.get();
            if seed != 0 {
                eprintln!("seed {seed} FAIL: a panic; repeat it: {}", repeat(seed));
            }
            before(info);
        }));
    });
}

/// Simulates, and reports every iteration.
pub fn run(options: &Options) -> Report {
    say_seed_on_panic();
    let (next, runs, failed, began) = (AtomicU64::new(0), Mutex::new(Vec::new()), AtomicBool::new(false), Instant::now());
    let in_time = || options.minutes.is_none_or(|minutes| began.elapsed() < Duration::from_secs(60 * minutes));
    let goes_on = || in_time() && !(options.first && failed.load(Ordering::Relaxed));
    std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| {
                while goes_on() {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= options.iterations {
                        break;
                    }
                    let run = one(options.seed.wrapping_add(n), options);
                    if options.print == Print::All || (options.print == Print::Failed && !run.passed()) {
                        println!("{run}");
                    }
                    failed.fetch_or(!run.passed(), Ordering::Relaxed);
                    runs.lock().push(run);
                }
            });
        }
    });
    let mut runs = runs.into_inner();
    runs.sort_by_key(|run: &Run| run.seed);
    Report { runs }
}

/// One iteration, on this thread.
fn one(seed: u64, options: &Options) -> Run {
    SEED.set(seed);
    let began = Instant::now();
    let mut builder = Builder::new_current_thread();
    builder.enable_time().start_paused(true);
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_le_bytes()));
    let runtime = builder.build().expect("a runtime of one thread needs nothing of the system");
    // Files in memory: what a disk does to them is simulated.
    let root = if std::path::Path::new("/dev/shm").is_dir() { tempfile::tempdir_in("/dev/shm") } else { tempfile::tempdir() };
    let root = root.expect("the simulator needs a directory of its own");
    let (mut run, entered) = runtime.block_on(async {
        let trace = options.trace.as_ref().map(|path| std::fs::File::create(path).expect("the trace can be written"));
        let laws = Laws::new(seed, trace);
        let entered = sim::enter(Arc::new(laws.clone()));
        let world = World::new(seed, &laws, root.path());
        let run = Box::pin(world.live(seed, options)).await;
        (run, entered)
    });
    drop(runtime);
    drop(entered);
    run.real_ms = began.elapsed().as_millis() as u64;
    SEED.set(0);
    run
}

/// All there is in one simulation.
struct World {
    laws: Laws,
    judge: Judge,
    stage: Arc<Stage>,
    books: Arc<Books>,
    town: Arc<Town>,
    began: time::Instant,
}

impl World {
    fn new(seed: u64, laws: &Laws, root: &std::path::Path) -> Self {
        let (judge, town, books) = (Judge::new(), Arc::new(Town::new(seed)), Arc::new(Books::default()));
        let stage = Arc::new(Stage::new(root, laws.clone(), judge.clone(), Arc::clone(&town), Arc::clone(&books)));
        judge.sees(&stage);
        Self { laws: laws.clone(), judge, stage, books, town, began: time::Instant::now() }
    }

    async fn live(self, seed: u64, options: &Options) -> Run {
        let mut faults = Counts::new();
        let all = Duration::from_secs(options.seconds);
        let watch = tokio::spawn(Watch::new(self.laws.clone(), self.judge.clone(), Arc::clone(&self.stage)).run());
        match settle::found(&self).await {
            Err(why) => self.judge.violated(format!("L1: the cluster does not come up: {why}")),
            Ok(()) => {
                let befall = |lane| {
                    let nemesis = faults::Nemesis::new(seed, lane, self.laws.clone(), self.judge.clone(), Arc::clone(&self.stage));
                    let nemesis = if options.outages { nemesis } else { nemesis.without_outages() };
                    tokio::spawn(nemesis.run(self.began + all.saturating_sub(QUIET)))
                };
                let lanes: Vec<_> = (0..LANES).map(befall).collect();
                self.traffic(options.calls, all.saturating_sub(QUIET + QUIET / 2)).await;
                for lane in lanes {
                    for (name, (injected, felt)) in lane.await.unwrap_or_default() {
                        let row = faults.entry(name).or_default();
                        (row.0, row.1) = (row.0 + injected, row.1 + felt);
                    }
                }
                self.laws.heal();
                self.laws.note(format_args!("healed"));
                settle::settles(&self).await;
                time::sleep_until(self.began + all).await;
                settle::books_agree(&self).await;
            }
        }
        watch.abort();
        let (trace, events) = self.laws.trace();
        let run = Run {
            seed,
            calls: options.calls,
            accepted: self.books.accepted.lock().len() as u64,
            answered: self.books.answered.load(Ordering::Relaxed),
            faults: faults.into_iter().map(|(name, (injected, felt))| (name, injected, felt)).collect(),
            virtual_ms: self.began.elapsed().as_millis() as u64,
            real_ms: 0,
            applied: self.judge.applications().0,
            events,
            trace,
            violations: self.judge.violations(),
        };
        self.stage.clear().await;
        run
    }

    /// Callers dial over the given time, each at a node that runs.
    async fn traffic(&self, calls: u64, over: Duration) {
        let pause = over.saturating_sub(self.began.elapsed()).as_millis() as u64 / calls.max(1);
        for _ in 0..calls {
            time::sleep(self.town.ms(0, 2 * pause.max(1))).await;
            let up = self.stage.all();
            let Some((node, running)) = up.get((self.town.number() % up.len().max(1) as u64) as usize) else { continue };
            let call = CallId::compose(self.laws.wall_now() as u64, NodeId(*node), self.town.number());
            let (edge, town) = (Arc::clone(&running.edge), Arc::clone(&self.town));
            tokio::spawn(edge.call(call));
            tokio::spawn(patience(town, call));
        }
    }
}

/// A caller gives up in the end, if nobody answers.
async fn patience(town: Arc<Town>, call: CallId) {
    time::sleep(town.ms(2_000, 20_000)).await;
    if !town.is_joined(call) {
        edge::SimEdge::party_leaves(&town, tandem::core::id::LegId::caller(call), tandem::core::command::HangUpCause::Cancel);
    }
}
