//! Tenants over HTTP: published by version, refused as a whole, and what a client's mistakes get.

use serde_json::json;

use super::{JSON, TOML, problem, shared, token};

#[test]
fn every_mistake_of_a_client_is_a_problem_document() {
    let cluster = shared();
    problem(&cluster.get(1, "/nowhere"), 404);
    problem(&cluster.ask(1, "PUT", "/api/v1/queues", &[], ""), 405);
    problem(&cluster.ask(1, "POST", "/api/v1/agents/alice/state?tenant=acme", &[], "state=available"), 415);
    problem(&cluster.ask(1, "POST", "/api/v1/agents/alice/state?tenant=acme", &[JSON], "{"), 400);
    problem(&cluster.ask(1, "POST", "/api/v1/agents/alice/state?tenant=acme", &[JSON], r#"{"state":"asleep"}"#), 400);
    problem(&cluster.ask(1, "POST", "/api/v1/agents/nobody/state?tenant=acme", &[JSON], r#"{"state":"available"}"#), 404);
    problem(&cluster.get(1, "/api/v1/calls/nonsense"), 400);
    problem(&cluster.get(1, "/api/v1/calls/01ARZ3NDEKTSV4RRFFQ69G5FAV?tenant=acme"), 404);
    problem(&cluster.get(1, "/api/v1/calls/01ARZ3NDEKTSV4RRFFQ69G5FAV/explain?tenant=acme"), 404);
    problem(&cluster.get(1, "/api/v1/queues?tenant=nobody"), 404);
    problem(&cluster.ask(1, "PUT", "/api/v1/tenants/acme", &[TOML], "[tenant]\nid = \"other\"\n"), 422);
    let large = "x".repeat(33 << 20);
    problem(&cluster.ask(1, "PUT", "/api/v1/tenants/acme", &[TOML], &large), 413);
}

#[test]
fn a_policy_is_published_by_version_and_read_back() {
    let cluster = shared();
    let file = "[tenant]\nid = \"second\"\n[[queue]]\nid = \"q\"\n";
    let first = cluster.ask(2, "PUT", "/api/v1/tenants/second", &[TOML], file);
    assert_eq!(first.status, 200, "{}", first.text);
    let version = first.json()["version"].as_u64().expect("a version");
    let etag = first.header("etag").to_owned();
    assert_eq!(etag, format!("\"{version}\""));
    let read = cluster.get(3, "/api/v1/tenants/second");
    assert_eq!((read.status, read.header("etag")), (200, etag.as_str()));
    let changed = format!("{file}[[queue]]\nid = \"r\"\n");
    let second = cluster.ask(1, "PUT", "/api/v1/tenants/second", &[TOML, ("if-match", &etag)], &changed);
    assert_eq!(second.status, 200, "{}", second.text);
    problem(&cluster.ask(1, "PUT", "/api/v1/tenants/second", &[TOML, ("if-match", &etag)], file), 412);
    assert!(cluster.get(1, "/api/v1/tenants/second").json()["policy"]["queues"].get("r").is_some());
    cluster.eventually("removed", |cluster| (cluster.ask(1, "DELETE", "/api/v1/tenants/second", &[], "").status == 204).then_some(()));
}

#[test]
fn a_bad_tenant_file_is_refused_and_changes_nothing() {
    let cluster = shared();
    let before = cluster.get(1, "/api/v1/tenants/acme").text;
    let start = "[tenant]\nid = \"acme\"\n[[queue]]\nid = \"q\"\n";
    let cases = [
        ("[[queue]]\nid = \"r\"\nstratgy = \"ring-all\"\n", "tenant.toml:7: ", "stratgy"),
        ("[[route]]\nto = \"100\"\nqueue = \"nowhere\"\n", "tenant.toml:7: ", "route.queue"),
        ("[[agent]]\nid = \"a\"\nkind = \"ai\"\n[[agent]]\nid = \"a\"\n", "tenant.toml:9: ", "agent.id"),
    ];
    for (rows, place, key) in cases {
        let refused = problem(&cluster.ask(2, "PUT", "/api/v1/tenants/acme", &[TOML], &format!("{start}{rows}")), 422);
        let detail = refused["detail"].as_str().unwrap_or_default();
        assert!(detail.starts_with(place) && detail.contains(key), "{detail}");
    }
    assert_eq!(cluster.get(1, "/api/v1/tenants/acme").text, before);
}

#[test]
fn a_subject_is_erased_by_an_admin_only() {
    let cluster = shared();
    let path = "/api/v1/tenants/acme/erasures";
    let erase = |token: &str, body: &str| cluster.ask_as(token, 2, "POST", path, &[JSON, ("idempotency-key", "e-1")], body);
    let supervisor = token(&cluster, &json!({ "role": "supervisor", "tenant": "acme" }));
    problem(&erase(&supervisor, r#"{"subject":"+4930123456"}"#), 403);
    problem(&erase(cluster.token(), r#"{"subject":" "}"#), 422);
    assert_eq!(erase(cluster.token(), r#"{"subject":"+4930123456"}"#).status, 204);
    let done = cluster.cli(1, &["erase", "+49 30 123456", "--tenant", "acme"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_repeat_with_the_same_key_changes_nothing() {
    let cluster = shared();
    let file = "[tenant]\nid = \"third\"\n";
    let put = || cluster.ask(1, "PUT", "/api/v1/tenants/third", &[TOML, ("idempotency-key", "k-1")], file).json()["version"].as_u64();
    let first = put();
    assert!(first.is_some());
    assert_eq!(put(), first);
    let other = cluster.ask(1, "PUT", "/api/v1/tenants/third", &[TOML, ("idempotency-key", "k-2")], file).json()["version"].as_u64();
    assert_eq!(other, first.map(|version| version + 1));
    cluster.ask(1, "DELETE", "/api/v1/tenants/third", &[], "");
}
