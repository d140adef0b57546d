//! The command line without a cluster: files, certificates, exit codes, one-line errors.

use std::{fs, path::Path, process::Command};

use crate::harness::TANDEM;

struct Run {
    code: i32,
    out: String,
    err: String,
}

fn tandem(dir: &Path, args: &[&str]) -> Run {
    let output = Command::new(TANDEM)
        .args(args)
        .current_dir(dir)
        .env_remove("TANDEM_SERVER")
        .env_remove("TANDEM_TOKEN")
        .env_remove("TANDEM_TENANT")
        .output()
        .expect("the program starts");
    Run {
        code: output.status.code().expect("it exits by itself"),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn a_mistake_in_the_node_file_is_one_line_with_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("node.toml"), "node = 1\ndata_dir = \"d\"\nspeed = \"fast\"\n").unwrap();
    let run = tandem(dir.path(), &["serve", "--config", "node.toml"]);
    assert_eq!(run.code, 1);
    assert!(run.err.starts_with("tandem: node.toml:3: ") && run.err.contains("speed"), "{}", run.err);
    assert_eq!(run.err.lines().count(), 1);
}

#[test]
fn a_mistake_in_a_tenant_file_is_found_before_anything_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("good.toml"), "[tenant]\nid = \"a\"\n").unwrap();
    fs::write(dir.path().join("bad.toml"), "[tenant]\nid = \"b\"\n[[queue]]\nid = \"q\"\nstratgy = \"ring-all\"\n").unwrap();
    // The good file comes first; that nobody listens would be the error if it had been sent.
    let run = tandem(dir.path(), &["apply", "--server", "127.0.0.1:1", "good.toml", "bad.toml"]);
    assert_eq!(run.code, 1);
    assert!(run.err.starts_with("tandem: bad.toml:5: ") && run.err.contains("stratgy"), "{}", run.err);
}

#[test]
fn a_bad_tenant_file_is_one_error_naming_file_line_and_key() {
    let dir = tempfile::tempdir().unwrap();
    let start = "[tenant]\nid = \"b\"\n[[queue]]\nid = \"q\"\n";
    let cases = [
        ("unknown key", "[[agent]]\nid = \"a\"\nskils = { q = 5 }\n", 7, "skils"),
        ("route to a missing queue", "[[route]]\nto = \"100\"\nqueue = \"nowhere\"\n", 7, "route.queue"),
        ("two agents with one id", "[[agent]]\nid = \"a\"\nkind = \"ai\"\n[[agent]]\nid = \"a\"\n", 9, "agent.id"),
    ];
    for (what, rows, line, key) in cases {
        fs::write(dir.path().join("bad.toml"), format!("{start}{rows}")).unwrap();
        let run = tandem(dir.path(), &["apply", "--server", "127.0.0.1:1", "bad.toml"]);
        assert_eq!(run.code, 1, "{what}: {}", run.err);
        assert!(run.err.starts_with(&format!("tandem: bad.toml:{line}: ")) && run.err.contains(key), "{what}: {}", run.err);
        assert_eq!(run.err.lines().count(), 1, "{what}: {}", run.err);
    }
}

#[test]
fn a_node_that_is_not_there_is_exit_code_3() {
    let dir = tempfile::tempdir().unwrap();
    let run = tandem(dir.path(), &["get", "queues", "--server", "127.0.0.1:1"]);
    assert_eq!(run.code, 3, "{}", run.err);
    assert_eq!(run.err.lines().count(), 1, "{}", run.err);
}

#[test]
fn wrong_usage_is_exit_code_2_and_the_codes_are_documented() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(tandem(dir.path(), &["get", "pigeons"]).code, 2);
    let help = tandem(dir.path(), &["--help"]);
    assert_eq!(help.code, 0);
    assert!(help.out.contains("Exit codes:"), "{}", help.out);
}

#[test]
fn an_authority_is_made_once_and_certificates_by_it() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(tandem(dir.path(), &["pki", "init"]).code, 0);
    let again = tandem(dir.path(), &["pki", "init"]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("already holds an authority"), "{}", again.err);
    assert_eq!(tandem(dir.path(), &["pki", "node", "--id", "4"]).code, 0);
    assert!(dir.path().join("pki/node4.pem").exists() && dir.path().join("pki/node4.key").exists());
    assert_eq!(tandem(dir.path(), &["pki", "node", "--id", "0"]).code, 1);
}

#[test]
fn a_folder_of_another_size_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("nodes"), "5\n").unwrap();
    let run = tandem(dir.path(), &["dev", "--nodes", "3", "--data", "."]);
    assert_eq!(run.code, 1);
    assert!(run.err.contains("founded with 5 nodes"), "{}", run.err);
}
