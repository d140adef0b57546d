//! A release of models by command and API: chosen once for all nodes, gated, taken back, and by whom.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{JSON, problem, token};
use crate::harness::{Cluster, Options};

const TENANT: &str = "[tenant]\nid = \"acme\"\n[[queue]]\nid = \"support\"\n";

/// The shipped models, and two more versions in folders below them.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for (to, version) in [("", "1"), ("two", "2"), ("three", "3")] {
        let to = dir.path().join(to);
        fs::create_dir_all(&to).expect("a folder");
        for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("models")).expect("models") {
            let file = file.expect("an entry").path();
            if file.is_file() {
                fs::copy(&file, to.join(file.file_name().expect("a name"))).expect("a copy");
            }
        }
        let manifest = to.join("manifest.toml");
        let text = fs::read_to_string(&manifest).expect("a manifest");
        fs::write(&manifest, text.replacen("version = \"1\"", &format!("version = \"{version}\""), 1)).expect("written");
    }
    dir
}

fn post(cluster: &Cluster, node: u16, path: &str, body: &Value) -> Value {
    let answer = cluster.ask(node, "POST", path, &[JSON], &body.to_string());
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text);
    answer.json()
}

/// Waits until every node follows the latest change; what each judges by.
fn settled(cluster: &Cluster) -> Vec<Value> {
    cluster.eventually("every node follows the choice", |cluster| {
        let choice = cluster.get(2, "/api/v1/models").json();
        let nodes: Vec<Value> = choice["nodes"].as_array()?.iter().map(|node| node["models"].clone()).collect();
        nodes.iter().all(|node| node["revision"] == choice["revision"]).then_some(nodes)
    })
}

fn run(cluster: &Cluster, args: &[&str]) -> (bool, String) {
    let done = cluster.cli(1, args);
    (done.status.success(), format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr)))
}

#[test]
fn a_version_is_staged_tried_out_promoted_by_force_and_taken_back_on_every_node() {
    let dir = folder();
    let path = dir.path().to_str().expect("a plain path");
    let cluster = Options::default().arg("--models").arg(path).open_tenant(TENANT).start();
    let began = settled(&cluster);
    assert!(began.iter().all(|node| node["current"]["version"] == "1" && node["missing"] == json!([])), "{began:?}");

    for folder in ["two", "three"] {
        let (done, said) = run(&cluster, &["model", "stage", &format!("{path}/{folder}")]);
        assert!(done, "{said}");
    }
    post(&cluster, 2, "/api/v1/models/2/canary", &json!({ "percent": 10, "reason": "first look" }));
    let nodes = settled(&cluster);
    assert!(nodes.iter().all(|node| node["current"]["version"] == "1" && node["canary"]["version"] == "2"), "{nodes:?}");

    let (done, said) = run(&cluster, &["model", "promote", "2"]);
    assert!(!done && said.contains("the scorecard of version 2 says nothing"), "{said}");
    let (done, said) = run(&cluster, &["model", "promote", "2", "--force", "refunds go astray"]);
    assert!(done && said.starts_with("current: 2\ncanary: none\nbefore: as each node was started\n"), "{said}");
    let nodes = settled(&cluster);
    assert!(nodes.iter().all(|node| node["current"]["version"] == "2" && node["canary"] == Value::Null), "{nodes:?}");

    fs::remove_dir_all(dir.path().join("three")).expect("removed");
    post(&cluster, 3, "/api/v1/models/3/promote", &json!({ "force": true, "reason": "a drill" }));
    let nodes = settled(&cluster);
    assert!(nodes.iter().all(|node| node["current"]["version"] == "2" && node["current"]["stand_in"] == true), "{nodes:?}");
    assert!(nodes.iter().all(|node| node["missing"][0]["version"] == "3"), "{nodes:?}");
    let (done, said) = run(&cluster, &["model", "rollback", "--reason", "no files"]);
    assert!(done && said.starts_with("current: 2\n"), "{said}");
    assert!(settled(&cluster).iter().all(|node| node["current"]["stand_in"] == false));

    let history = cluster.get(3, "/api/v1/models").json()["history"].clone();
    let told: Vec<_> = history.as_array().expect("changes").iter().map(|made| (made["what"].clone(), made["reason"].clone())).collect();
    let made = |what: &str, reason: &str| (json!(what), json!(reason));
    assert_eq!(
        told[2..],
        [
            made("canary 2 10 %", "first look"),
            made("promote 2 by force", "refunds go astray"),
            made("promote 3 by force", "a drill"),
            made("rollback", "no files"),
        ]
    );
    let (done, said) = run(&cluster, &["model", "list"]);
    assert!(done && said.contains("2        current  -"), "{said}");
}

#[test]
fn models_are_chosen_by_administrators_once_under_a_key_and_nonsense_is_told() {
    let cluster = super::shared();
    let sha256 = "ab".repeat(32);
    let pass = json!({ "metric": "mis-routed", "hits": 1, "n": 1000, "verdict": "pass" });
    let card = |sha256: &str| json!([{ "set": "banking77", "sha256": sha256, "embedding": null, "figures": [pass] }]);
    let stage = |version: &str| json!({ "version": version, "sha256": sha256, "scorecards": card(&sha256) });
    post(&cluster, 1, "/api/v1/models", &stage("8"));
    post(&cluster, 1, "/api/v1/models", &stage("9"));
    let shown = cluster.get(3, "/api/v1/models/8").json();
    assert_eq!((shown["verdict"].as_str(), shown["state"].as_str()), (Some("pass"), Some("staged")), "{shown}");
    let supervisor = token(&cluster, &json!({ "role": "supervisor" }));
    let auditor = token(&cluster, &json!({ "role": "auditor" }));
    for token in [&supervisor, &auditor] {
        assert_eq!(cluster.ask_as(token, 2, "GET", "/api/v1/models", &[], "").status, 200);
        problem(&cluster.ask_as(token, 2, "POST", "/api/v1/models", &[JSON], &stage("7").to_string()), 403);
        problem(&cluster.ask_as(token, 2, "POST", "/api/v1/models/8/promote", &[JSON], "{}"), 403);
        problem(&cluster.ask_as(token, 2, "POST", "/api/v1/models/rollback", &[JSON], "{}"), 403);
        problem(&cluster.ask_as(token, 2, "DELETE", "/api/v1/models/8", &[], ""), 403);
    }
    let ask = |node, path: &str, key: &str, body: &str| cluster.ask(node, "POST", path, &[JSON, ("idempotency-key", key)], body);
    for node in 1..=3 {
        assert_eq!(ask(node, "/api/v1/models/8/promote", "m-1", "{}").status, 200, "by node {node}");
    }
    problem(&ask(1, "/api/v1/models/8/promote", "m-2", "{}"), 409);
    assert_eq!(ask(1, "/api/v1/models/rollback", "m-3", "{}").status, 200);
    let again = ask(2, "/api/v1/models/8/promote", "m-1", "{}");
    assert_eq!((again.status, again.json()["current"].clone()), (200, Value::Null), "told what the first was told, and not done again");
    problem(&ask(1, "/api/v1/models/rollback", "m-4", "{}"), 409);
    problem(&ask(1, "/api/v1/models/77/canary", "m-5", r#"{"percent":5}"#), 404);
    problem(&ask(1, "/api/v1/models/8/canary", "m-6", r#"{"percent":51}"#), 422);
    problem(&ask(1, "/api/v1/models/9/promote", "m-7", r#"{"force":true}"#), 422);
    problem(
        &ask(1, "/api/v1/models", "m-8", &json!({ "version": "6", "sha256": "cd".repeat(32), "scorecards": card(&sha256) }).to_string()),
        422,
    );
    problem(&ask(1, "/api/v1/models", "m-9", &json!({ "version": "8", "sha256": "cd".repeat(32) }).to_string()), 409);
    for version in ["8", "9"] {
        assert_eq!(cluster.ask(2, "DELETE", &format!("/api/v1/models/{version}"), &[], "").status, 204);
    }
    problem(&cluster.get(1, "/api/v1/models/8"), 404);
}
