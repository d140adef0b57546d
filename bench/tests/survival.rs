//! The headline as a test: the calls of a killed node go on at another, with real nodes and phones that speak SIP and RTP.
//!
//! How long they pause is `make survival`'s figure and no test's; here only that none is lost.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

const BENCH: &str = env!("CARGO_BIN_EXE_tandem-bench");
const CALLS: f64 = 6.0;

/// What must be true of the calls, whatever the machine's speed.
const EXPECTED: [(&str, f64); 6] = [
    ("leader: calls lost", 0.0),
    ("leader: calls ended by one phone at both", CALLS),
    ("leader: calls without a record", 0.0),
    ("leader: calls with two records", 0.0),
    ("leader: agents blamed for a miss", 0.0),
    ("leader: requests with a stale CSeq", 0.0),
];

#[test]
fn calls_outlive_the_death_of_their_node() {
    if !Path::new(BENCH).with_file_name("tandem").exists() {
        return println!("skipped: the program is not built (cargo build)");
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("report.json");
    let mut command = Command::new(BENCH);
    command.args(["survival", "gap", "--victim", "leader", "--media", "anchored", "--calls", &CALLS.to_string(), "--json"]).arg(&file);
    // It exits 1 when a pause was too long, which a busy machine may do.
    let run = command.output().expect("the bench starts");
    let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    let report: Value =
        serde_json::from_slice(&fs::read(&file).unwrap_or_else(|error| panic!("no report ({error}):\n{said}"))).expect("JSON");
    let rows = report["rows"].as_array().expect("rows");
    for (figure, expected) in EXPECTED {
        let row = rows.iter().find(|row| row["figure"] == figure).unwrap_or_else(|| panic!("no {figure:?}:\n{said}"));
        assert_eq!(row["value"], expected, "{figure}:\n{said}");
    }
}
