//! One run of an experiment: a cluster of real nodes with a relay between them, callers and agents, the steady state, the
//! faults in time, healing, rest, and what everybody said of it. Judging is `judge`'s.

mod agents;
mod bystanders;
mod callers;
mod events;
mod faults;

mod registers;
mod rest;
mod watch;

use std::{
    collections::BTreeSet,
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tandem_bench::{
    error::Error,
    lab,
    phone::{OnRing, Phone, Transport},
    survival::stage::{Group, Setup, Stage, number},
};

pub use self::faults::{Fate, FaultReport};
use crate::{
    experiment::{Experiment, NODES_MAX},
    history::{Op, Phase, Record, Recorder},
    judge,
    plan::{self, Step},
    ram::Disks,
    relay,
    state::{self, State},
};

/// The queue everybody calls.
const QUEUE: &str = "support";
/// A call that waits for more than a second comes to a second step, which changes nothing but is the queue's actor to take.
const STEPS: &str = "steps = [{ for_s = 1, require = { support = 5 } }, { require = { support = 1 } }]\n";
/// A node that ended is started again after this, unless it is kept down.
const RESTART_AFTER_MS: u64 = 300;
/// Audio is sent this often by each phone: enough to notice, and cheap.
const PTIME: Duration = Duration::from_millis(100);
const WHOLE_WITHIN: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_millis(50);

/// How a run is wanted.
#[derive(Debug, Clone)]
pub struct Options {
    pub seed: u64,
    /// The run's folder is made here.
    pub out: PathBuf,
}

/// Why there is no verdict.
#[derive(Debug)]
pub enum End {
    /// The experiment cannot be run as it is.
    Usage(String),
    /// The cluster was not well before anything was done to it.
    SteadyState(String),
    /// By the guard or the user; everything was healed.
    Aborted(String),
    Internal(String),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

/// What a run leaves: everything a verdict is made of.
pub struct Ran {
    pub dir: PathBuf,
    pub history: Vec<Record>,
    pub faults: Vec<FaultReport>,
}

/// What every part of a run knows.
struct Context {
    experiment: Experiment,
    stage: Stage,
    /// Agents' phones of the tenant that nothing is done to.
    bystanders: Vec<Phone>,
    /// After the cluster, which writes to them until it ends.
    disks: Disks,
    relay: relay::Process,
    recorder: Recorder,
    /// Whom the cluster consists of now.
    members: Mutex<Vec<u16>>,
    state: Mutex<State>,
    /// Nothing new is begun; what is under way is healed.
    stop: Arc<AtomicBool>,
    why: Mutex<String>,
    /// Callers and recorders end.
    done: AtomicBool,
    /// Dialogs of agents' phones that are in the history.
    told: Mutex<BTreeSet<String>>,
    /// Thousandths of the usual rate of arrivals.
    rate_milli: AtomicU64,
    seed: u64,
}

impl Context {
    fn members(&self) -> Vec<u16> {
        self.members.lock().clone()
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    fn abort(&self, why: impl Into<String>) {
        let mut told = self.why.lock();
        if told.is_empty() {
            *told = why.into();
        }
        self.stop.store(true, Ordering::Relaxed);
    }

    /// The end of a run that was stopped.
    fn aborted(&self) -> End {
        let why = self.why.lock().clone();
        End::Aborted(if why.is_empty() { "stopped by the user".to_owned() } else { why })
    }

    /// Sleeps until `until`; false if the run was stopped before.
    fn sleep_until(&self, until: Instant) -> bool {
        while Instant::now() < until {
            if self.is_stopped() {
                return false;
            }
            thread::sleep(POLL.min(until.saturating_duration_since(Instant::now())));
        }
        !self.is_stopped()
    }

    /// The leader of the tenant's partition, as any member that answers knows it.
    fn leader(&self) -> Option<u16> {
        self.members().into_iter().find_map(|k| self.stage.lab.leader(k))
    }

    fn are_ready(&self, nodes: &[u16]) -> bool {
        nodes.iter().all(|k| self.stage.lab.ready(*k))
    }
}

/// Runs an experiment. The folder of the run is made in any case; its history is written even if the run was aborted.
///
/// # Errors
/// Why there is nothing to judge.
pub fn run(experiment: &Experiment, options: &Options) -> Result<Ran, End> {
    let steps = plan::steps(experiment, options.seed);
    plan::guard(experiment, &steps).map_err(End::Usage)?;
    let dir = folder(options, &experiment.experiment.name)?;
    let context = open(experiment, options, &dir)?;
    context.state.lock().save(&state::folder())?;
    watch::signals(&context.stop)?;
    let outcome = thread::scope(|scope| {
        let parts: Vec<Box<dyn FnOnce() + Send>> =
            vec![Box::new(|| call(&context)), Box::new(|| agents::watch(&context)), Box::new(|| watch::leaders(&context))];
        for part in parts {
            scope.spawn(part);
        }
        if !context.bystanders.is_empty() {
            scope.spawn(|| callers::call(&context, &bystanders::crowd(&context)));
        }
        for client in 0..context.experiment.workload.register_clients {
            let context = &context;
            scope.spawn(move || registers::client(context, client));
        }
        events::start(&context.stage.lab, &context.recorder);
        let outcome = live(&context, &steps);
        context.done.store(true, Ordering::Relaxed);
        outcome
    });
    rest::look(&context);
    let history = context.recorder.records();
    crate::history::write(&dir.join("history.jsonl"), &history)?;
    context.state.lock().remove(&state::folder());
    let faults = outcome?;
    let ran = Ran { dir, history, faults };
    drop(context);
    Ok(ran)
}

/// The callers of the tenant that is hurt.
fn call(context: &Context) {
    let load = &context.experiment.workload;
    let crowd = callers::Crowd {
        queue: QUEUE,
        ip: Ipv4Addr::LOCALHOST.into(),
        arrival_per_s: load.arrival_per_s,
        hold: Duration::from_millis(load.hold_ms),
        number,
        is_tagged: true,
    };
    callers::call(context, &crowd);
}

/// A new folder for a run.
fn folder(options: &Options, name: &str) -> Result<PathBuf, End> {
    let stamp = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let dir = options.out.join(format!("{name}-{}-{stamp}", options.seed));
    fs::create_dir_all(dir.join("cluster"))?;
    Ok(dir.canonicalize()?)
}

/// The relay, the phones and the cluster.
fn open(experiment: &Experiment, options: &Options, dir: &Path) -> Result<Context, End> {
    let listen_base = lab::free_range(NODES_MAX, 20_000)?;
    let front_base = lab::free_range(NODES_MAX, listen_base + NODES_MAX)?;
    let control = lab::free_range(1, front_base + NODES_MAX)?;
    let all = experiment.cluster.nodes + experiment.cluster.spare;
    let relay = relay::Process::start(&relay::Ports { nodes: all, listen_base, front_base, control, seed: options.seed })?;
    let load = &experiment.workload;
    let answer = OnRing::Answer { after_ms: load.answer_after_ms };
    let answering = Group { on_ring: answer, further: STEPS, ..Group::answering(QUEUE, load.agents) };
    let setup = Setup {
        callers: 0,
        groups: vec![answering],
        tenant: String::new(),
        transport: Transport::Udp,
        ip: Ipv4Addr::LOCALHOST.into(),
        ptime: PTIME,
        seed: options.seed,
        reinvite_delay: Duration::ZERO,
        further: registers::rows(),
        registered: false,
        rtpengines: 0,
        lines: 2,
        reached: 0..0,
    };
    let cluster_dir = dir.join("cluster");
    let disks = Disks::mount(experiment, &cluster_dir);
    let stage = Stage::open_in(setup, Some(&cluster_dir), |lab| {
        lab.nodes = experiment.cluster.nodes;
        lab.spare = experiment.cluster.spare;
        lab.death_notice = experiment.cluster.death_notice;
        lab.restart_after_ms = Some(RESTART_AFTER_MS);
        lab.drills = true;
        lab.apart = true;
        (lab.cluster_base, lab.advertise_base) = (Some(listen_base), Some(front_base));
    })?;
    let members: Vec<u16> = (1..=experiment.cluster.nodes).collect();
    let state = State {
        tool: std::process::id(),
        run_dir: dir.to_path_buf(),
        supervisor: stage.lab.supervisor(),
        relay: relay.pid(),
        control: relay.client.control,
        cluster_dir: stage.lab.dir().to_path_buf(),
        http: members.iter().map(|k| stage.lab.url(*k, "")).collect(),
        active: Vec::new(),
        mounts: disks.mounts().to_vec(),
    };
    stage.lab.await_whole(&members, WHOLE_WITHIN).map_err(|error| End::SteadyState(error.to_string()))?;
    let bystanders = bystanders::open(experiment, &stage, dir)?;
    Ok(Context {
        experiment: experiment.clone(),
        stage,
        bystanders,
        disks,
        relay,
        recorder: Recorder::default(),
        members: Mutex::new(members),
        state: Mutex::new(state),
        stop: Arc::default(),
        why: Mutex::default(),
        done: AtomicBool::new(false),
        told: Mutex::default(),
        rate_milli: AtomicU64::new(1_000),
        seed: options.seed,
    })
}

/// Steady state, faults, recovery.
fn live(context: &Context, steps: &[Step]) -> Result<Vec<FaultReport>, End> {
    let window = Duration::from_secs_f64(context.experiment.steady_state.window_s);
    eprintln!("steady state for {:.0} s", window.as_secs_f64());
    context.sleep_until(Instant::now() + window);
    steady(context, "before")?;
    let start = Instant::now();
    let reports = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for step in steps {
            let reports = &reports;
            scope.spawn(move || {
                if context.sleep_until(start + Duration::from_secs_f64(step.at_s)) {
                    let report = faults::perform(context, step);
                    eprintln!("{}", report.line());
                    reports.lock().push(report);
                }
            });
        }
        watch::guard(context, start + Duration::from_secs_f64(context.experiment.experiment.duration_s));
    });
    let mut reports = reports.into_inner();
    reports.sort_by_key(|report| report.n);
    recover(context);
    if context.is_stopped() {
        return Err(context.aborted());
    }
    Ok(reports)
}

/// Everything that may still hurt is taken back, and load goes on while the cluster comes to itself.
fn recover(context: &Context) {
    // A relay that is gone shows as members that are not ready.
    let _ = context.relay.client.ask(&relay::Request::Clear);
    let (members, recovery) = (context.members(), &context.experiment.recovery);
    let until = Instant::now() + Duration::from_secs_f64(recovery.heal_within_s);
    while !context.are_ready(&members) && Instant::now() < until {
        thread::sleep(POLL);
    }
    if !context.is_stopped() {
        context.sleep_until(Instant::now() + Duration::from_secs_f64(recovery.settle_s));
    }
}

fn steady(context: &Context, when: &str) -> Result<(), End> {
    let history = context.recorder.records();
    let (wanted, seen) = (&context.experiment.steady_state, judge::service(&history));
    let probes = [
        ("availability", seen.availability, format!("≥ {}", wanted.availability_min), seen.availability >= wanted.availability_min),
        (
            "first response p99 ms",
            seen.first_response_p99_ms,
            format!("≤ {}", wanted.first_response_p99_ms_max),
            seen.first_response_p99_ms <= wanted.first_response_p99_ms_max,
        ),
    ];
    let mut missed = Vec::new();
    for (name, value, bound, kept) in probes {
        context.recorder.add("tool", name, Phase::Info, Op::Probe { when: when.into(), value, bound: bound.clone(), kept });
        if !kept {
            missed.push(format!("{name} {value:.3}, wanted {bound}"));
        }
    }
    if context.is_stopped() {
        return Err(context.aborted());
    }
    if missed.is_empty() { Ok(()) } else { Err(End::SteadyState(missed.join("; "))) }
}
