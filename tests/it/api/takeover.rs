//! AI switched off and on by API and CLI: what it says it reaches, where it holds, and who may.

use serde_json::json;

use super::{JSON, problem};
use crate::harness::{Cluster, Options};

const TENANT: &str = r#"
[tenant]
id = "acme"
[[queue]]
id = "support"
[[queue]]
id = "sales"
[[agent]]
id = "ada"
kind = "ai"
queues = ["support"]
[[agent]]
id = "bob"
contact = "sip:bob@127.0.0.1:{own0}"
queues = ["support"]
state = "available"
"#;

fn switch(cluster: &Cluster, path: &str, off: bool) -> serde_json::Value {
    let answer = cluster.ask(2, "POST", path, &[JSON], &json!({ "off": off, "reason": "drill" }).to_string());
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

fn off(cluster: &Cluster) -> Vec<String> {
    let rows = cluster.get(3, "/api/v1/ai").json();
    rows["off"].as_array().unwrap().iter().map(|row| row["scope"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn ai_is_switched_for_a_queue_a_tenant_and_the_cluster_and_every_node_says_so() {
    let cluster = Options::default().open_tenant(TENANT).start();
    let planned = switch(&cluster, "/api/v1/queues/support/ai?dry_run=true", true);
    assert_eq!(planned, json!({ "contacts": 0, "people_ready": 1, "people": 1 }));
    assert!(off(&cluster).is_empty(), "a dry run does nothing");
    switch(&cluster, "/api/v1/queues/support/ai", true);
    switch(&cluster, "/api/v1/tenants/acme/ai", true);
    let parts = switch(&cluster, "/api/v1/ai", true);
    assert!(parts.as_array().unwrap().iter().all(|part| part["result"] == "done"), "{parts}");
    assert_eq!(off(&cluster), ["cluster", "tenant", "queue:support"]);
    let again = switch(&cluster, "/api/v1/ai", true);
    assert!(again.as_array().unwrap().iter().all(|part| part["result"] == "already"), "{again}");
    switch(&cluster, "/api/v1/ai", false);
    switch(&cluster, "/api/v1/tenants/acme/ai", false);
    assert_eq!(off(&cluster), ["queue:support"]);
    let said = cluster.cli(1, &["takeover", "queue", "support", "--on"]);
    assert!(said.status.success(), "{said:?}");
    assert!(off(&cluster).is_empty());
    problem(&cluster.ask(1, "POST", "/api/v1/queues/nowhere/ai", &[JSON], r#"{"off":true}"#), 404);
    problem(&cluster.ask(1, "POST", "/api/v1/ai", &[JSON], r#"{"of":true}"#), 400);
    let call = "/api/v1/calls/0000000001000G000000000001";
    problem(&cluster.ask(1, "POST", &format!("{call}/takeover"), &[JSON], "{}"), 404);
    problem(&cluster.get(1, &format!("{call}/transcript")), 404);
}
