//! The command line: what may be asked, and the exit codes that answer scripts.

use std::{fs, path::PathBuf};

use clap::{Parser, Subcommand};

use crate::{
    catalogue,
    checker::{self, Status},
    experiment::{Experiment, SHIPPED},
    history,
    judge::{self, code},
    plan, relay,
    report::Report,
    run::{self, End},
    state,
};

#[derive(Parser)]
#[command(
    name = "chaos",
    about = "Hurts a Tandem cluster on purpose and judges it by invariants",
    after_help = "Exit codes: 0 passed, 1 violated, 2 inconclusive, 3 no steady state before, 4 aborted, 64 usage, 70 internal"
)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Run an experiment on a cluster of real nodes, started for it
    Run(RunArguments),
    /// Judge a recorded history again
    Check {
        /// `history.jsonl` of a run
        history: PathBuf,
    },
    /// Say what an experiment would do, and do nothing
    Plan {
        experiment: String,
        #[arg(long)]
        seed: Option<u64>,
    },
    /// The experiments that ship, and the faults
    List,
    /// What a fault does, how it is made and how it is verified
    Explain { fault: String },
    /// What this machine can do
    Doctor,
    /// Undo everything that a tool which died left behind; does nothing the second time
    Heal {
        /// Even what belongs to a tool that still runs
        #[arg(long)]
        even_alive: bool,
        /// Leave the cluster running after it was healed
        #[arg(long)]
        leave_running: bool,
    },
    /// Judge a run again and write its reports anew
    Report { run_dir: PathBuf },
    /// Run the experiment of a run again, with its seed
    Replay { run_dir: PathBuf },
    /// Live through faults in virtual time, without processes: three real nodes on a network, disks and clocks that are made up
    Sim(tandem_sim::cli::Arguments),
    /// The relay between nodes, started by `run`
    #[command(hide = true)]
    Relay(relay::Ports),
}

#[derive(Debug, Clone, clap::Args)]
struct RunArguments {
    /// The name of one that ships, or a file
    experiment: String,
    /// Fixes every choice; the experiment's own otherwise
    #[arg(long)]
    seed: Option<u64>,
    /// Keep the nodes' disks even after a pass
    #[arg(long)]
    keep: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Everything so many times as long
    #[arg(long, default_value_t = 1.0)]
    time_scale: f64,
    /// Where the run's folder is made
    #[arg(long, default_value = "chaos-runs")]
    out: PathBuf,
}

/// What stops a command, with its exit code.
type Stop = (u8, String);

fn usage(why: impl Into<String>) -> Stop {
    (code::USAGE, why.into())
}

fn internal(why: impl std::fmt::Display) -> Stop {
    (code::INTERNAL, why.to_string())
}

/// The whole program.
pub fn main() -> u8 {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let asked_for_help = !error.use_stderr();
            let _ = error.print();
            return if asked_for_help { code::PASSED } else { code::USAGE };
        }
    };
    match perform(arguments.what) {
        Ok(code) => code,
        Err((code, why)) => {
            eprintln!("chaos: {why}");
            code
        }
    }
}

fn perform(what: What) -> Result<u8, Stop> {
    match what {
        What::Run(arguments) => run_one(&arguments),
        What::Check { history } => check(&history),
        What::Plan { experiment, seed } => print_plan(&experiment, seed),
        What::List => Ok(list()),
        What::Explain { fault } => explain(&fault),
        What::Doctor => Ok(doctor()),
        What::Heal { even_alive, leave_running } => heal(even_alive, leave_running),
        What::Report { run_dir } => rejudge(&run_dir),
        What::Replay { run_dir } => replay(&run_dir),
        What::Sim(arguments) => Ok(if tandem_sim::cli::run(arguments) { code::PASSED } else { code::VIOLATED }),
        What::Relay(ports) => relay::serve(&ports).map(|()| code::PASSED).map_err(internal),
    }
}

fn run_one(arguments: &RunArguments) -> Result<u8, Stop> {
    let experiment = Experiment::load(&arguments.experiment).map_err(usage)?;
    if !(0.1..=1_000.0).contains(&arguments.time_scale) {
        return Err(usage("--time-scale is 0.1 to 1000"));
    }
    let experiment = experiment.scaled(arguments.time_scale);
    let seed = arguments.seed.unwrap_or(experiment.experiment.seed);
    let options = run::Options { seed, out: arguments.out.clone() };
    let ran = run::run(&experiment, &options).map_err(|end| match end {
        End::Usage(why) => usage(why),
        End::SteadyState(why) => (code::NO_STEADY_STATE, format!("no steady state, nothing was hurt: {why}")),
        End::Aborted(why) => (code::ABORTED, format!("aborted, everything was healed: {why}")),
        End::Internal(why) => internal(why),
    })?;
    let mut repro = format!("chaos run {} --seed {seed}", arguments.experiment);
    if (arguments.time_scale - 1.0).abs() > f64::EPSILON {
        repro.push_str(&format!(" --time-scale {}", arguments.time_scale));
    }
    fs::write(ran.dir.join("experiment.toml"), toml::to_string(&experiment).map_err(internal)?).map_err(internal)?;
    let report = Report::new(&experiment, seed, repro, &ran.history, ran.faults);
    report.write(&ran.dir, &ran.history).map_err(internal)?;
    if report.judgement.exit_code == code::PASSED && !arguments.keep {
        // What passed needs no autopsy; a disk that cannot be cleared is the operator's to see.
        let _ = fs::remove_dir_all(ran.dir.join("cluster"));
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report).map_err(internal)?);
    } else {
        println!("{}\n  {}", report.text(), ran.dir.join("report.html").display());
    }
    Ok(report.judgement.exit_code)
}

fn check(path: &std::path::Path) -> Result<u8, Stop> {
    let history = history::read(path).map_err(|error| usage(format!("{}: {error}", path.display())))?;
    let verdicts = checker::check(&history, judge::LINEAR_WITHIN);
    for verdict in &verdicts {
        println!("{:<3} {:?}: {} checked: {}", verdict.id, verdict.status, verdict.checked, verdict.sentence);
        if verdict.status == Status::Unknown {
            println!("    {}", verdict.why);
        }
        for example in &verdict.examples {
            println!("    {}", example.what);
            for record in &example.excerpt {
                println!("      {}", serde_json::to_string(record).map_err(internal)?);
            }
        }
    }
    let any = |status: Status| verdicts.iter().any(|verdict| verdict.status == status);
    Ok(if any(Status::Violated) {
        code::VIOLATED
    } else if any(Status::Unknown) {
        code::INCONCLUSIVE
    } else {
        code::PASSED
    })
}

fn print_plan(name: &str, seed: Option<u64>) -> Result<u8, Stop> {
    let experiment = Experiment::load(name).map_err(usage)?;
    let seed = seed.unwrap_or(experiment.experiment.seed);
    let steps = plan::steps(&experiment, seed);
    let (cluster, load) = (&experiment.cluster, &experiment.workload);
    println!("{}: {}", experiment.experiment.name, experiment.experiment.why);
    println!("  {} nodes, {} spare; {} calls/s, {} agents; seed {seed}", cluster.nodes, cluster.spare, load.arrival_per_s, load.agents);
    println!("  steady state for {} s, then:", experiment.steady_state.window_s);
    for step in &steps {
        println!("  {}", step.line());
    }
    let (down, at_s) = plan::worst(&steps, cluster.nodes);
    println!("  {:>6.1} s  end of the load, {} s to heal", experiment.experiment.duration_s, experiment.recovery.heal_within_s);
    println!("  worst case: {down} of {} nodes down at {at_s:.1} s", cluster.nodes);
    plan::guard(&experiment, &steps).map_err(usage)?;
    Ok(code::PASSED)
}

fn list() -> u8 {
    println!("experiments:");
    for (name, _) in SHIPPED {
        let why = Experiment::load(name).map_or_else(|error| error, |experiment| experiment.experiment.why);
        println!("  {name:<18} {why}");
    }
    println!("faults:");
    for entry in catalogue::FAULTS {
        println!("  {:<18} {}", plan::name(entry.kind), entry.what);
    }
    println!("not made by this tool:");
    for (name, needs) in catalogue::NOT_BUILT {
        println!("  {name:<24} {needs}");
    }
    code::PASSED
}

fn explain(fault: &str) -> Result<u8, Stop> {
    let entry = catalogue::explain(fault).ok_or_else(|| usage(format!("no fault {fault:?}; `chaos list` names them")))?;
    println!("{fault}: {}", entry.what);
    println!("  made by: {}", entry.how);
    println!("  seen to be made when {}", entry.injected_when);
    println!("  seen to be healed when {}", entry.healed_when);
    Ok(code::PASSED)
}

fn doctor() -> u8 {
    let rows = catalogue::doctor();
    for (ok, line) in &rows {
        println!("{} {line}", if *ok { "ok  " } else { "MISS" });
    }
    for (name, needs) in catalogue::NOT_BUILT {
        println!("skip {name}: {needs}");
    }
    if rows.iter().all(|(ok, _)| *ok) { code::PASSED } else { code::INCONCLUSIVE }
}

fn heal(even_alive: bool, leave_running: bool) -> Result<u8, Stop> {
    let healed = state::heal(&state::folder(), even_alive, leave_running).map_err(internal)?;
    if healed.is_empty() {
        println!("nothing to heal");
    }
    for one in &healed {
        println!("{}", one.lines.join("\n  "));
    }
    Ok(if healed.iter().all(|one| one.whole) { code::PASSED } else { code::VIOLATED })
}

fn rejudge(dir: &std::path::Path) -> Result<u8, Stop> {
    let old = Report::read(dir).map_err(|error| usage(format!("{}: {error}", dir.display())))?;
    let experiment = Experiment::load(&dir.join("experiment.toml").display().to_string()).map_err(usage)?;
    let history = history::read(&dir.join("history.jsonl")).map_err(usage_io)?;
    let report = Report { environment: old.environment, ..Report::new(&experiment, old.seed, old.repro, &history, old.faults) };
    report.write(dir, &history).map_err(internal)?;
    println!("{}\n  {}", report.text(), dir.join("report.html").display());
    Ok(report.judgement.exit_code)
}

fn usage_io(error: std::io::Error) -> Stop {
    usage(error.to_string())
}

fn replay(dir: &std::path::Path) -> Result<u8, Stop> {
    let old = Report::read(dir).map_err(|error| usage(format!("{}: {error}", dir.display())))?;
    let experiment = dir.join("experiment.toml").display().to_string();
    let out = dir.parent().unwrap_or(dir).to_path_buf();
    run_one(&RunArguments { experiment, seed: Some(old.seed), keep: true, json: false, time_scale: 1.0, out })
}
