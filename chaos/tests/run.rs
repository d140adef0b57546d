//! The tool from end to end: a real experiment on real nodes, and healing after the tool itself was killed.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Command, Output, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

const CHAOS: &str = env!("CARGO_BIN_EXE_chaos");

/// One cluster at a time: two on a small machine would take each other for dead.
static ONE: Mutex<()> = Mutex::new(());

/// A gentle experiment that a busy machine gets through as well.
fn experiment(fault: &str) -> String {
    format!(
        "[experiment]\nname = \"smoke\"\nwhy = \"the tool's own test\"\nduration_s = 9\n\
         [workload]\narrival_per_s = 2.0\nagents = 8\n\
         [steady_state]\nwindow_s = 4\nfirst_response_p99_ms_max = 8000\navailability_min = 0.5\n\
         [expect]\noutage_ms_max = 20000\navailability_min = 0.5\n[[fault]]\n{fault}\n"
    )
}

fn is_built() -> bool {
    let built = Path::new(CHAOS).with_file_name("tandem").exists();
    if !built {
        println!("skipped: the program under test is not built (cargo build)");
    }
    built
}

/// The tool with a folder for its states of its own, so that tests do not heal each other.
fn chaos(temp: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(CHAOS);
    command.args(arguments).env("TMPDIR", temp);
    command
}

fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_killed_leader_costs_no_call_and_every_invariant_holds() {
    if !is_built() {
        return;
    }
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let temp = tempfile::tempdir().expect("a temporary folder");
    let file = temp.path().join("smoke.toml");
    fs::write(&file, experiment("kind = \"kill\"\ntarget = \"leader\"\nat_s = 1\nduration_s = 3")).expect("a file");
    let out = temp.path().join("runs");
    let run = chaos(temp.path(), &["run", &file.display().to_string(), "--json", "--out", &out.display().to_string()])
        .output()
        .expect("it starts");
    let report: Value = serde_json::from_slice(&run.stdout).unwrap_or_else(|error| panic!("no report ({error}):\n{}", said(&run)));
    assert_eq!(report["reasons"], Value::Array(Vec::new()), "{}", said(&run));
    assert_eq!((run.status.code(), &report["verdict"]), (Some(0), &Value::from("PASSED")), "{}", said(&run));
    assert_eq!(report["faults"][0]["fate"], "verified");
    let folder = fs::read_dir(&out).expect("runs").flatten().next().expect("one run").path();
    for left in ["history.jsonl", "report.json", "report.html", "junit.xml", "experiment.toml"] {
        assert!(folder.join(left).exists(), "{left}");
    }
    // The same history, judged again without a cluster.
    let check = chaos(temp.path(), &["check", &folder.join("history.jsonl").display().to_string()]).output().expect("it starts");
    assert_eq!(check.status.code(), Some(0), "{}", said(&check));
}

#[test]
fn what_a_killed_tool_left_is_healed_and_said() {
    if !is_built() {
        return;
    }
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let temp = tempfile::tempdir().expect("a temporary folder");
    let file = temp.path().join("smoke.toml");
    fs::write(&file, experiment("kind = \"pause\"\ntarget = \"node=2\"\nat_s = 0\nduration_s = 60")).expect("a file");
    let out = temp.path().join("runs").display().to_string();
    let mut command = chaos(temp.path(), &["run", &file.display().to_string(), "--out", &out]);
    let mut tool = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let state = temp.path().join("tandem-chaos").join(format!("{}.json", tool.id()));
    let start = Instant::now();
    while !fs::read_to_string(&state).is_ok_and(|text| text.contains("pause of node 2")) {
        assert!(start.elapsed() < Duration::from_secs(120) && tool.try_wait().expect("a child").is_none(), "the fault was never made");
        thread::sleep(Duration::from_millis(50));
    }
    tool.kill().expect("it can be killed");
    assert_eq!(tool.wait().expect("a child").signal(), Some(9));
    let healed = chaos(temp.path(), &["heal"]).output().expect("it starts");
    let text = said(&healed);
    assert_eq!(healed.status.code(), Some(0), "{text}");
    for line in ["let node 2", "every member is ready", "the cluster, which this tool had started, was ended"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let again = chaos(temp.path(), &["heal"]).output().expect("it starts");
    assert!(said(&again).contains("nothing to heal"), "{}", said(&again));
}

#[test]
fn a_run_whose_guard_says_stop_is_healed_and_ends_with_four() {
    if !is_built() {
        return;
    }
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let temp = tempfile::tempdir().expect("a temporary folder");
    let file = temp.path().join("smoke.toml");
    // Nobody is served while every node stands still, and it would be so for longer than any test may take.
    let fault = "kind = \"pause\"\ntarget = \"all\"\nat_s = 0\nduration_s = 3600\n\
                 [guard]\nmax_nodes_down = 3\nallow_quorum_loss = true\nabort_availability_below = 0.5\nabort_after_s = 4";
    let text = experiment(fault).replace("duration_s = 9", "duration_s = 3600");
    fs::write(&file, text).expect("a file");
    let out = temp.path().join("runs");
    let run = chaos(temp.path(), &["run", &file.display().to_string(), "--out", &out.display().to_string()]).output().expect("it starts");
    assert_eq!(run.status.code(), Some(4), "{}", said(&run));
    assert!(said(&run).contains("guard: "), "{}", said(&run));
    let folder = fs::read_dir(&out).expect("runs").flatten().next().expect("one run").path();
    assert!(folder.join("history.jsonl").exists(), "what was seen until then is kept");
    let left = chaos(temp.path(), &["heal"]).output().expect("it starts");
    assert!(said(&left).contains("nothing to heal"), "{}", said(&left));
}

#[test]
fn what_cannot_be_run_is_refused_before_anything_starts() {
    let temp = tempfile::tempdir().expect("a temporary folder");
    let file = temp.path().join("two.toml");
    let two = experiment("kind = \"kill\"\ntarget = \"all\"\nat_s = 1\nduration_s = 3");
    fs::write(&file, two).expect("a file");
    let refused = chaos(temp.path(), &["run", &file.display().to_string()]).output().expect("it starts");
    assert_eq!(refused.status.code(), Some(64), "{}", said(&refused));
    assert!(said(&refused).contains("max_nodes_down"), "{}", said(&refused));
    let unknown = chaos(temp.path(), &["plan", "no-such-experiment"]).output().expect("it starts");
    assert_eq!(unknown.status.code(), Some(64));
    let plan = chaos(temp.path(), &["plan", "everything", "--seed", "5"]).output().expect("it starts");
    assert_eq!(plan.status.code(), Some(0), "{}", said(&plan));
}
