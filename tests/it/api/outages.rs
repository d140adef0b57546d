//! What the API says while nodes are dead, and after.

use rustix::process::Signal;
use serde_json::json;

use super::{JSON, TENANT, TOML, problem};
use crate::harness::{Cluster, Options};

#[test]
fn a_node_without_quorum_says_so_at_once_and_comes_back() {
    let mut cluster = Options::default().open_tenant(TENANT).arg("--no-death-notice").start();
    cluster.signal(2, Signal::KILL);
    cluster.signal(3, Signal::KILL);
    cluster.line("node ", std::time::Duration::from_secs(10));
    cluster.eventually("node 1 notices", |cluster| cluster.get(1, "/readyz").text.contains("no lease").then_some(()));
    let state = |cluster: &Cluster| {
        cluster.ask(1, "POST", "/api/v1/agents/alice/state?tenant=acme", &[JSON], r#"{"state":"break","reason":"tea"}"#)
    };
    let refused = problem(&state(&cluster), 503);
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("no quorum")), "{refused}");
    assert_eq!(refused["retry_after_s"], 1);
    for (method, path, body) in [
        ("POST", "/api/v1/tokens", r#"{"role":"auditor"}"#),
        ("POST", "/api/v1/nodes/2/drain", ""),
        ("POST", "/api/v1/nodes", r#"{"id":7,"addr":"127.0.0.1:1"}"#),
        ("DELETE", "/api/v1/nodes/3", ""),
        ("PUT", "/api/v1/tenants/new", "[tenant]\nid = \"new\"\n"),
    ] {
        let kind = if method == "PUT" { TOML } else { JSON };
        let refused = problem(&cluster.ask(1, method, path, &[kind], body), 503);
        assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("no quorum")), "{method} {path}: {refused}");
    }
    let said = cluster.cli(1, &["agent", "alice", "available", "--tenant", "acme"]);
    assert_eq!(said.status.code(), Some(3), "{}", String::from_utf8_lossy(&said.stderr));
    assert!(String::from_utf8_lossy(&said.stderr).contains("no quorum"));
    problem(&cluster.ask(1, "PUT", "/api/v1/tenants/acme", &[TOML], "[tenant]\nid = \"acme\"\n"), 503);
    let stale = cluster.get(1, "/api/v1/agents?stale=true");
    assert_eq!(stale.status, 200, "a stale read needs nobody: {}", stale.text);
}

#[test]
fn a_cluster_that_was_stopped_goes_on_with_its_state() {
    let options = Options::default().open_tenant(TENANT);
    let cluster = options.start();
    let answer = cluster.ask(1, "POST", "/api/v1/agents/alice/state?tenant=acme", &[JSON], r#"{"state":"break","reason":"night"}"#);
    assert_eq!(answer.status, 204, "{}", answer.text);
    let cluster = cluster.restart(&Options::default());
    let alice = cluster.all(2, "/api/v1/agents").into_iter().find(|row| row["id"] == "alice").expect("alice is still there");
    assert_eq!((alice["state"].as_str(), alice["reason"].as_str()), (Some("break"), Some("night")));
}

#[test]
fn a_dead_node_is_told_once_and_its_peers_at_once() {
    let mut cluster = Options::default().open_tenant(TENANT).start();
    cluster.signal(2, Signal::KILL);
    let line = cluster.line("node 2 died", std::time::Duration::from_secs(10));
    assert!(line.starts_with("node 2 died: signal 9 (kill); told 2 peers"), "{line}");
    let state = |cluster: &Cluster| cluster.all(1, "/api/v1/nodes").iter().find(|row| row["id"] == 2).map(|row| row["state"].clone());
    cluster.eventually("node 2 is lost", |cluster| (state(cluster) == Some(json!("lost"))).then_some(()));
    cluster.eventually("every partition is led again", |cluster| {
        cluster.all(1, "/api/v1/partitions").iter().all(|row| row["leader"].as_u64().is_some_and(|leader| leader != 2)).then_some(())
    });
}

#[test]
fn a_drained_cluster_ends_with_code_0() {
    let mut cluster = Options::default().start();
    assert!(cluster.ready_line().starts_with("ready nodes=3 "), "{}", cluster.ready_line());
    assert_eq!(cluster.stop(), Some(0));
}
