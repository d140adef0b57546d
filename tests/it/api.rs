//! The HTTP side of a real three-node cluster: every node answers, every error is a problem, every role has its bounds.

use std::{
    io::BufRead as _,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Answer, Cluster, Options};

const TENANT: &str = r#"
[tenant]
id = "acme"
[[queue]]
id = "support"
strategy = "longest-idle"
service_level = { answer_within_s = 20, target_percent = 80 }
[[queue]]
id = "sales"
[[agent]]
id = "alice"
contact = "sip:alice@127.0.0.1:{own0}"
skills = { support = 5 }
state = "offline"
[[agent]]
id = "bob"
contact = "sip:bob@127.0.0.1:{own0}"
skills = { support = 3 }
state = "offline"
[[agent]]
id = "carol"
contact = "sip:carol@127.0.0.1:{own0}"
skills = { sales = 3 }
state = "offline"
[[route]]
to = "support"
queue = "support"
[[trunk]]
id = "lab"
sources = ["127.0.0.0/8"]
"#;

const JSON: (&str, &str) = ("content-type", "application/json");
const TOML: (&str, &str) = ("content-type", "application/toml");

/// One cluster for the tests that disturb nobody: starting one costs more than they do. The last one to let go ends it.
fn shared() -> Arc<Cluster> {
    static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock();
    shared.upgrade().unwrap_or_else(|| {
        let cluster = Arc::new(Options::default().tenant(TENANT).start());
        *shared = Arc::downgrade(&cluster);
        cluster
    })
}

fn problem(answer: &Answer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.text);
    let problem = answer.json();
    for key in ["type", "title", "detail"] {
        assert!(problem[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {problem}");
    }
    assert_eq!(problem["status"], status);
    problem
}

fn token(cluster: &Cluster, body: &Value) -> String {
    let made = cluster.ask(1, "POST", "/api/v1/tokens", &[JSON], &body.to_string());
    assert_eq!(made.status, 201, "{}", made.text);
    let token = made.json()["token"].as_str().expect("a token").to_owned();
    // The other nodes learn of it by the log; a test that asks them must not be faster.
    for k in 1..=3 {
        cluster.eventually("the token is known", |cluster| {
            (cluster.ask_as(&token, k, "GET", "/api/v1/nodes", &[], "").status != 401).then_some(())
        });
    }
    token
}

#[test]
fn every_node_lists_the_same_queues_agents_nodes_and_partitions() {
    let cluster = shared();
    for k in 1..=3 {
        let names = |path: &str| cluster.all(k, path).iter().map(|row| row["id"].to_string()).collect::<Vec<_>>();
        assert_eq!(names("/api/v1/queues?tenant=acme"), ["\"sales\"", "\"support\""]);
        assert_eq!(names("/api/v1/agents?tenant=acme"), ["\"alice\"", "\"bob\"", "\"carol\""]);
        assert_eq!(names("/api/v1/nodes"), ["1", "2", "3"]);
        let partitions = cluster.all(k, "/api/v1/partitions");
        assert_eq!(partitions.len(), 17, "16 partitions and the meta group");
        assert!(partitions.iter().all(|row| row["leader"].is_u64()), "{partitions:?}");
        assert_eq!(partitions.iter().filter(|row| row["domains"].as_array().is_some_and(|all| all.contains(&json!("acme")))).count(), 1);
    }
}

#[test]
fn a_collection_comes_in_pages_that_meet_without_gap_or_overlap() {
    let cluster = shared();
    let first = cluster.get(2, "/api/v1/agents?tenant=acme&limit=2").json();
    assert_eq!(first["items"].as_array().map(Vec::len), Some(2));
    let next = first["next"].as_str().expect("there is more");
    // The next page may come from another node.
    let second = cluster.get(3, &format!("/api/v1/agents?tenant=acme&limit=2&cursor={next}")).json();
    assert_eq!(second["items"][0]["id"], "carol");
    assert_eq!(second["next"], Value::Null);
    problem(&cluster.get(1, "/api/v1/agents?cursor=zz"), 400);
    problem(&cluster.get(1, "/api/v1/agents?limit=0"), 400);
    problem(&cluster.get(1, "/api/v1/agents?lmit=5"), 400);
}

#[test]
fn a_stale_read_says_how_old_it_may_be() {
    let cluster = shared();
    let page = cluster.get(2, "/api/v1/queues?stale=true").json();
    assert!(page["stale"]["entries_behind"].is_u64() && page["stale"]["leader_known"].is_boolean(), "{page}");
    assert_eq!(cluster.get(2, "/api/v1/queues").json()["stale"], Value::Null);
}

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
fn without_a_token_everything_under_api_is_closed_and_the_probes_are_open() {
    let cluster = shared();
    let described = cluster.ask_as("", 1, "GET", "/openapi.json", &[], "").json();
    let paths = described["paths"].as_object().expect("paths");
    for (path, verbs) in paths.iter().filter(|(path, _)| path.starts_with("/api/")) {
        for verb in verbs.as_object().expect("verbs").keys() {
            let path = path.replace("{id}", "1");
            // A body of the right type, so that the token is what is missing.
            let answer = cluster.ask_as("", 1, &verb.to_uppercase(), &path, &[JSON], "{}");
            assert_eq!(answer.status, 401, "{verb} {path}: {}", answer.text);
            assert_eq!(cluster.ask_as("tdm_wrong", 1, &verb.to_uppercase(), &path, &[JSON], "{}").status, 401, "{verb} {path}");
        }
    }
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
        assert_eq!(cluster.ask_as("", 1, "GET", path, &[], "").status, 200, "{path}");
    }
}

#[test]
fn an_agent_changes_its_own_state_and_nothing_else() {
    let cluster = shared();
    let bob = token(&cluster, &json!({ "role": "agent", "tenant": "acme", "agent": "bob" }));
    let body = r#"{"state":"break","reason":"lunch"}"#;
    let own = cluster.ask_as(&bob, 2, "POST", "/api/v1/agents/bob/state?tenant=acme", &[JSON], body);
    assert_eq!(own.status, 204, "{}", own.text);
    let row = cluster.all(3, "/api/v1/agents?tenant=acme").into_iter().find(|row| row["id"] == "bob").expect("bob");
    assert_eq!((row["state"].as_str(), row["reason"].as_str()), (Some("break"), Some("lunch")));
    problem(&cluster.ask_as(&bob, 2, "POST", "/api/v1/agents/alice/state?tenant=acme", &[JSON], body), 403);
    problem(&cluster.ask_as(&bob, 2, "POST", "/api/v1/agents/bob/state?tenant=acme", &[JSON], r#"{"state":"force_release"}"#), 403);
    problem(&cluster.ask_as(&bob, 2, "GET", "/api/v1/agents", &[], ""), 403);
}

#[test]
fn an_auditor_reads_and_a_supervisor_runs_the_floor_but_neither_configures() {
    let cluster = shared();
    let auditor = token(&cluster, &json!({ "role": "auditor" }));
    let supervisor = token(&cluster, &json!({ "role": "supervisor", "tenant": "acme" }));
    for path in ["/api/v1/queues", "/api/v1/calls", "/api/v1/cdrs", "/api/v1/agents"] {
        for token in [&auditor, &supervisor] {
            assert_eq!(cluster.ask_as(token, 1, "GET", path, &[], "").status, 200, "{path}");
        }
    }
    let offline = r#"{"state":"offline"}"#;
    problem(&cluster.ask_as(&auditor, 1, "POST", "/api/v1/agents/carol/state?tenant=acme", &[JSON], offline), 403);
    assert_eq!(cluster.ask_as(&supervisor, 1, "POST", "/api/v1/agents/carol/state?tenant=acme", &[JSON], offline).status, 204);
    for token in [&auditor, &supervisor] {
        problem(&cluster.ask_as(token, 1, "PUT", "/api/v1/tenants/acme", &[TOML], "[tenant]\nid = \"acme\"\n"), 403);
        problem(&cluster.ask_as(token, 1, "POST", "/api/v1/nodes/1/drain", &[], ""), 403);
        problem(&cluster.ask_as(token, 1, "POST", "/api/v1/tokens", &[JSON], r#"{"role":"admin"}"#), 403);
    }
    problem(&cluster.ask_as(&supervisor, 1, "GET", "/api/v1/queues?tenant=other", &[], ""), 403);
}

#[test]
fn drills_are_refused_where_the_node_does_not_allow_them() {
    let cluster = shared();
    let refused = problem(&cluster.ask(1, "POST", "/api/v1/drills", &[JSON], r#"{"kind":"stop-all"}"#), 403);
    assert_eq!(refused["type"], "/problems/drills-off");
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("drills = true")), "{refused}");
    problem(&cluster.ask(1, "POST", "/api/v1/drills", &[JSON], r#"{"kind":"reboot"}"#), 400);
    let supervisor = token(&cluster, &json!({ "role": "supervisor" }));
    let refused = problem(&cluster.ask_as(&supervisor, 1, "POST", "/api/v1/drills", &[JSON], r#"{"kind":"stop-all"}"#), 403);
    assert_eq!(refused["type"], "/problems/forbidden");
}

#[test]
fn a_revoked_token_is_unknown_on_every_node() {
    let cluster = shared();
    let before: Vec<Value> = cluster.all(1, "/api/v1/tokens");
    let made = cluster.cli(1, &["token", "create", "--role", "auditor", "--tenant", "revoked"]);
    assert!(made.status.success());
    let secret = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    cluster.eventually("the token is known", |cluster| {
        (cluster.ask_as(&secret, 3, "GET", "/api/v1/nodes", &[], "").status == 403).then_some(())
    });
    assert!(!before.iter().any(|row| row["tenant"] == "revoked"));
    let row = cluster.all(1, "/api/v1/tokens").into_iter().find(|row| row["tenant"] == "revoked").expect("it is listed");
    assert!(cluster.cli(1, &["token", "revoke", row["id"].as_str().expect("an id")]).status.success());
    for k in 1..=3 {
        cluster.eventually("the token is unknown", |cluster| {
            (cluster.ask_as(&secret, k, "GET", "/api/v1/nodes", &[], "").status == 401).then_some(())
        });
    }
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
fn a_token_asked_for_twice_under_one_key_is_one_token() {
    let cluster = shared();
    let ask = || {
        let made = cluster.ask(1, "POST", "/api/v1/tokens", &[JSON, ("idempotency-key", "t-1")], r#"{"role":"auditor","tenant":"twice"}"#);
        assert_eq!(made.status, 201, "{}", made.text);
        made.json()["token"].as_str().expect("a token").to_owned()
    };
    let (first, second) = (ask(), ask());
    cluster.eventually("the first is replaced", |cluster| {
        (cluster.ask_as(&first, 1, "GET", "/api/v1/nodes", &[], "").status == 401).then_some(())
    });
    assert_eq!(cluster.ask_as(&second, 1, "GET", "/api/v1/nodes", &[], "").status, 403);
    assert_eq!(cluster.all(1, "/api/v1/tokens").iter().filter(|row| row["tenant"] == "twice").count(), 1);
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

/// The next event of a stream.
fn event(lines: &mut impl Iterator<Item = String>) -> Value {
    let line = lines.find(|line| line.starts_with("data:")).expect("an event");
    serde_json::from_str(line.trim_start_matches("data:").trim()).expect("JSON")
}

#[test]
fn events_are_cloud_events_and_a_broken_stream_goes_on_where_it_broke() {
    let cluster = shared();
    let filter = "/api/v1/events?tenant=acme&type=agent.&agent=carol";
    let stream = |last: &str| {
        let mut request =
            ureq::get(format!("{}{filter}", cluster.server(2))).header("authorization", format!("Bearer {}", cluster.token()));
        if !last.is_empty() {
            request = request.header("last-event-id", last);
        }
        std::io::BufReader::new(request.call().expect("a stream").into_body().into_reader()).lines().map_while(Result::ok)
    };
    let set = |body: &str| {
        let answer = cluster.ask(1, "POST", "/api/v1/agents/carol/state?tenant=acme", &[JSON], body);
        assert_eq!(answer.status, 204, "{}", answer.text);
    };
    let mut first = stream("");
    set(r#"{"state":"break","reason":"tea"}"#);
    let seen = event(&mut first);
    assert_eq!((seen["specversion"].as_str(), seen["type"].as_str()), (Some("1.0"), Some("agent.state_changed")));
    assert_eq!(seen["data"]["agent"], "carol");
    drop(first);
    set(r#"{"state":"offline"}"#);
    let mut second = stream(seen["id"].as_str().expect("an id"));
    let next = event(&mut second);
    assert_ne!(next["id"], seen["id"]);
    assert_eq!(next["data"]["agent"], "carol");
}

#[test]
fn metrics_name_the_catalogue_and_no_call_or_agent() {
    let cluster = shared();
    cluster.get(1, "/api/v1/queues");
    let text = cluster.eventually("some node leads the tenant", |cluster| {
        (1..=3).map(|k| cluster.get(k, "/metrics").text).find(|text| text.contains("tandem_queue_depth{"))
    });
    for name in ["tandem_groups_led", "tandem_lease_valid 1", "tandem_http_requests_total", "tandem_agents{", "tandem_build_info"] {
        assert!(text.contains(name), "{name} is missing:\n{text}");
    }
    assert!(!text.contains("alice"), "agents are no labels");
}

#[test]
fn the_client_prints_tables_and_json() {
    let cluster = shared();
    let table = cluster.cli(3, &["get", "queues", "--tenant", "acme"]);
    let out = String::from_utf8_lossy(&table.stdout);
    assert!(out.starts_with("TENANT  QUEUE") && out.contains("acme    support  longest-idle"), "{out}");
    let json = cluster.cli(3, &["get", "nodes", "-o", "json"]);
    let nodes: Vec<Value> = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(nodes.len(), 3);
    let refused = cluster.cli(1, &["agent", "nobody", "available", "--tenant", "acme"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&refused.stderr), "tandem: no such agent: nobody\n");
}

#[test]
fn a_node_without_quorum_says_so_at_once_and_comes_back() {
    let mut cluster = Options::default().tenant(TENANT).arg("--no-death-notice").start();
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
    let said = cluster.cli(1, &["agent", "alice", "available", "--tenant", "acme"]);
    assert_eq!(said.status.code(), Some(3), "{}", String::from_utf8_lossy(&said.stderr));
    assert!(String::from_utf8_lossy(&said.stderr).contains("no quorum"));
    problem(&cluster.ask(1, "PUT", "/api/v1/tenants/acme", &[TOML], "[tenant]\nid = \"acme\"\n"), 503);
    let stale = cluster.get(1, "/api/v1/agents?stale=true");
    assert_eq!(stale.status, 200, "a stale read needs nobody: {}", stale.text);
}

#[test]
fn a_cluster_that_was_stopped_goes_on_with_its_state() {
    let options = Options::default().tenant(TENANT);
    let cluster = options.start();
    let answer = cluster.ask(1, "POST", "/api/v1/agents/alice/state?tenant=acme", &[JSON], r#"{"state":"break","reason":"night"}"#);
    assert_eq!(answer.status, 204, "{}", answer.text);
    let cluster = cluster.restart(&Options::default());
    let alice = cluster.all(2, "/api/v1/agents").into_iter().find(|row| row["id"] == "alice").expect("alice is still there");
    assert_eq!((alice["state"].as_str(), alice["reason"].as_str()), (Some("break"), Some("night")));
}

#[test]
fn a_dead_node_is_told_once_and_its_peers_at_once() {
    let mut cluster = Options::default().tenant(TENANT).start();
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
