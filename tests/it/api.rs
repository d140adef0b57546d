//! The HTTP side of a real three-node cluster: every node answers, every error is a problem, every role has its bounds.

mod chats;
mod models;
mod outages;
mod repeats;
mod roles;
mod takeover;
mod tenants;

use std::{
    io::BufRead as _,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
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
"#;

const JSON: (&str, &str) = ("content-type", "application/json");
const TOML: (&str, &str) = ("content-type", "application/toml");

/// One cluster for the tests that disturb nobody: starting one costs more than they do. The last one to let go ends it.
fn shared() -> Arc<Cluster> {
    static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock();
    shared.upgrade().unwrap_or_else(|| {
        let cluster = Arc::new(Options::default().open_tenant(TENANT).start());
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
