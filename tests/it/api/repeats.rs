//! Commands on the cluster itself, sent twice under one idempotency key: the repeat has the first outcome.

use serde_json::json;

use super::{JSON, problem, shared, token};
use crate::harness::{Cluster, Options};

#[test]
fn a_drain_repeated_late_does_not_drain_again() {
    let cluster = Options::default().start();
    let state = |cluster: &Cluster| cluster.get(1, "/api/v1/nodes/3").json()["state"].as_str().map(str::to_owned);
    let path = "/api/v1/nodes/3/drain";
    assert_eq!(cluster.ask(1, "POST", path, &[("idempotency-key", "d-1")], "").status, 204);
    assert_eq!(cluster.ask(2, "DELETE", path, &[("idempotency-key", "d-2")], "").status, 204);
    assert_eq!(cluster.ask(2, "POST", path, &[("idempotency-key", "d-1")], "").status, 204, "told what the first was told");
    cluster.eventually("it is up", |cluster| (state(cluster).as_deref() == Some("up")).then_some(()));
    problem(&cluster.ask(1, "POST", "/api/v1/nodes/77/drain", &[("idempotency-key", "d-3")], ""), 404);
}

#[test]
fn a_revocation_repeated_is_done_and_another_finds_nothing() {
    let cluster = shared();
    token(&cluster, &json!({ "role": "auditor", "tenant": "twice-revoked" }));
    let row = cluster.all(1, "/api/v1/tokens").into_iter().find(|row| row["tenant"] == "twice-revoked").expect("it is listed");
    let path = format!("/api/v1/tokens/{}", row["id"].as_str().expect("an id"));
    for k in [1, 2, 3] {
        assert_eq!(cluster.ask(k, "DELETE", &path, &[("idempotency-key", "r-1")], "").status, 204, "by node {k}");
    }
    problem(&cluster.ask(1, "DELETE", &path, &[("idempotency-key", "r-2")], ""), 404);
}

#[test]
fn a_node_joined_and_sent_away_under_keys_is_not_joined_again() {
    let cluster = Options::default().start();
    let body = json!({ "id": 60000, "addr": "127.0.0.1:9", "witness": true }).to_string();
    let join = |k| cluster.ask(k, "POST", "/api/v1/nodes", &[JSON, ("idempotency-key", "j-1")], &body);
    let leave = |k, key| cluster.ask(k, "DELETE", "/api/v1/nodes/60000", &[("idempotency-key", key)], "");
    assert_eq!(join(1).status, 202);
    assert_eq!(leave(2, "l-1").status, 202);
    cluster.eventually("it is forgotten", |cluster| (cluster.get(1, "/api/v1/nodes/60000").status == 404).then_some(()));
    assert_eq!(join(3).status, 202, "told what the first was told");
    assert_eq!(leave(3, "l-1").status, 202);
    assert_eq!(cluster.get(3, "/api/v1/nodes/60000").status, 404, "and nothing was done");
    problem(&leave(1, "l-2"), 404);
    let refused = problem(&cluster.ask(1, "POST", "/api/v1/nodes", &[JSON, ("idempotency-key", "j-2")], &body), 409);
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("new id")), "{refused}");
}
