//! Actors that panic or stop under real calls on real nodes: no call depends on one, and they do the work.

mod load;

use std::{collections::BTreeMap, thread, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};

use crate::harness::{Cluster, Options};
use load::Sipp;

/// Three agents are fewer than the callers want, so that calls wait beyond their first routing step.
const TENANT: &str = r#"
[tenant]
id = "demo"
[[queue]]
id = "support"
strategy = "longest-idle"
service_level = { answer_within_s = 20, target_percent = 80 }
wrap_up_s = 1
steps = [{ for_s = 1, require = { support = 5 } }, { require = { support = 1 } }]
[[agent]]
id = "alice"
contact = "sip:alice@127.0.0.1:{own0}"
skills = { support = 5 }
state = "available"
[[agent]]
id = "bob"
contact = "sip:bob@127.0.0.1:{own0}"
skills = { support = 5 }
state = "available"
[[agent]]
id = "carol"
contact = "sip:carol@127.0.0.1:{own0}"
skills = { support = 5 }
state = "available"
[[agent]]
id = "dave"
contact = "sip:dave@127.0.0.1:{own0}"
skills = { support = 1 }
state = "offline"
"#;

const KINDS: [&str; 4] = ["call", "agent", "queue", "partition"];
/// A partition takes its actors with it: it falls in every so many rounds only, or there were none to hit.
const PARTITIONS_EVERY: usize = 4;
const CALLS: u32 = 40;
const CALLS_PER_S: u32 = 4;
const TALK_MS: u32 = 600;
/// Between two drills, so that actors have something to lose again.
const BETWEEN_DRILLS: Duration = Duration::from_millis(300);

/// Three nodes that allow drills, and a phone for every agent. One at a time: each is as busy as a small machine can be.
struct Floor {
    cluster: Cluster,
    _phones: Sipp,
    _alone: MutexGuard<'static, ()>,
}

impl Floor {
    fn open() -> Option<Self> {
        static ONE: Mutex<()> = Mutex::new(());
        if !load::can_run() {
            return None;
        }
        let alone = ONE.lock();
        let cluster = Options::default().open_tenant(TENANT).arg("--drills").start();
        let phones = Sipp::phones(cluster.ports().own(0));
        Some(Self { cluster, _phones: phones, _alone: alone })
    }
}

fn drill(cluster: &Cluster, node: u16, body: &Value) -> u64 {
    let answer = cluster.ask(node, "POST", "/api/v1/drills", &[("content-type", "application/json")], &body.to_string());
    assert_eq!(answer.status, 200, "{body}: {}", answer.text);
    let done = answer.json();
    assert_eq!(done["node"], node, "{done}");
    done["hit"].as_u64().expect("a number")
}

fn set_agent(cluster: &Cluster, agent: &str, body: &str) {
    let path = format!("/api/v1/agents/{agent}/state?tenant=demo");
    let headers = [("content-type", "application/json"), ("idempotency-key", "same")];
    // The actor that commits it may be the one that falls; a repeat with the same key is the same command.
    let answer = cluster.eventually("the agent's state is set", |cluster| {
        Some(cluster.ask(1, "POST", &path, &headers, body)).filter(|answer| answer.status < 500)
    });
    assert_eq!(answer.status, 204, "{}", answer.text);
}

/// Calls that the nodes refused because the machine was too busy for them: they never became calls.
fn refused(cluster: &Cluster) -> u32 {
    let text: String = (1..=3).map(|node| cluster.get(node, "/metrics").text).collect();
    let rows = text.lines().filter(|line| line.starts_with("tandem_sip_admission_refused_total"));
    rows.filter_map(|line| line.rsplit(' ').next()?.parse::<u32>().ok()).sum()
}

/// Of so many callers, all but those refused on arrival were answered, and ended as their caller ended them.
fn all_were_answered(cluster: &Cluster, callers: u32) {
    let count = callers - refused(cluster);
    assert!(count * 2 > callers, "the machine is too busy to show anything: {count} of {callers} callers were admitted");
    let records = cluster.eventually("every call has its record", |cluster| {
        Some(cluster.all(1, "/api/v1/cdrs?tenant=demo")).filter(|records| records.len() >= count as usize)
    });
    let outcomes = records.iter().fold(BTreeMap::<_, u32>::new(), |mut sum, record| {
        *sum.entry((record["outcome"].to_string(), record["end_reason"].to_string())).or_default() += 1;
        sum
    });
    assert_eq!(outcomes, BTreeMap::from([(("\"answered\"".to_owned(), "\"caller_hung_up\"".to_owned()), count)]));
}

/// The sum over nodes of one count of the census, by kind of actor.
fn census(cluster: &Cluster, count: &str) -> BTreeMap<&'static str, u64> {
    let nodes = cluster.all(1, "/api/v1/nodes");
    let sum = |kind: &str| nodes.iter().filter_map(|node| node["actors"][count][kind].as_u64()).sum();
    KINDS.into_iter().map(|kind| (kind, sum(kind))).collect()
}

#[test]
fn panics_in_actors_of_every_kind_affect_no_call() {
    let Some(floor) = Floor::open() else { return };
    let cluster = &floor.cluster;
    let mut callers = Sipp::callers(cluster.sip(2), CALLS, CALLS_PER_S, TALK_MS);
    let mut hit = BTreeMap::<&str, u64>::new();
    for round in 1.. {
        if callers.is_over() {
            break;
        }
        set_agent(cluster, "dave", r#"{"state":"offline"}"#);
        for kind in KINDS.into_iter().filter(|kind| *kind != "partition" || round % PARTITIONS_EVERY == 0) {
            for node in 1..=3 {
                *hit.entry(kind).or_default() += drill(cluster, node, &json!({ "kind": "crash", "actor": kind, "every": true }));
            }
        }
        thread::sleep(BETWEEN_DRILLS);
    }
    callers.passes();
    all_were_answered(cluster, CALLS);
    let restarts = census(cluster, "restarts");
    for kind in KINDS {
        assert!(hit[kind] > 0 && restarts[kind] > 0, "{kind}: hit {hit:?}, spawned again {restarts:?}");
    }
}

/// What calls leave in the metrics, by the names others build their boards on.
const CATALOGUE: [&str; 20] = [
    "tandem_contacts_total{tenant=\"demo\",queue=\"support\",channel=\"voice\",outcome=\"answered\"}",
    "tandem_queue_depth{",
    "tandem_queue_oldest_wait_seconds{",
    "tandem_queue_wait_seconds_bucket{",
    "tandem_service_level_ratio{",
    "tandem_offers_total{tenant=\"demo\",result=\"accepted\"}",
    "tandem_offer_to_accept_seconds_bucket{",
    "tandem_handle_seconds_bucket{tenant=\"demo\",queue=\"support\",phase=\"talk\"",
    "tandem_handle_seconds_bucket{tenant=\"demo\",queue=\"support\",phase=\"wrap_up\"",
    "tandem_agents{",
    "tandem_agent_occupancy_ratio{",
    "tandem_decision_seconds_bucket{",
    "raft_commit_seconds_bucket{",
    "raft_leader_changes_total",
    "tandem_actors{kind=\"queue\"}",
    "tandem_actor_messages_total{kind=\"call\"}",
    "tandem_actor_restarts_total{kind=\"partition\"}",
    "tandem_actor_recovery_seconds_bucket{",
    "tandem_outbox_lag_seconds_bucket{",
    "wal_fsync_seconds_bucket{",
];

fn the_catalogue_is_exported(cluster: &Cluster) {
    let metrics: String = (1..=3).map(|node| cluster.get(node, "/metrics").text).collect();
    for name in CATALOGUE {
        assert!(metrics.contains(name), "{name} is missing:\n{metrics}");
    }
    for family in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        assert!(metrics.contains(&format!("# HELP {family} ")), "{family} has no help");
    }
}

#[test]
fn every_actor_of_a_node_stopped_at_once_affects_no_call() {
    let Some(floor) = Floor::open() else { return };
    let cluster = &floor.cluster;
    let mut callers = Sipp::callers(cluster.sip(1), CALLS, CALLS_PER_S, TALK_MS);
    let mut hit = 0;
    while !callers.is_over() {
        for node in 1..=3 {
            hit += drill(cluster, node, &json!({ "kind": "stop-all" }));
            thread::sleep(BETWEEN_DRILLS);
        }
    }
    callers.passes();
    all_were_answered(cluster, CALLS);
    assert!(hit > 0);
    the_catalogue_is_exported(cluster);
    let messages = census(cluster, "messages");
    assert!(messages["partition"] > 0 && messages["call"] > 0, "{messages:?}");
}

#[test]
fn with_respawn_off_a_stopped_call_actor_stalls_exactly_its_call() {
    let Some(floor) = Floor::open() else { return };
    let cluster = &floor.cluster;
    let stalled = Sipp::callers(cluster.sip(3), 1, 1, 2_000);
    let id = cluster.eventually("the call is connected", |cluster| {
        let calls = cluster.all(1, "/api/v1/calls?tenant=demo");
        calls.iter().find(|call| call["state"] == "connected").map(|call| call["id"].as_str().expect("an id").to_owned())
    });
    for node in 1..=3 {
        drill(cluster, node, &json!({ "kind": "respawn", "on": false }));
    }
    let stop = cluster.cli(2, &["drill", "stop-call", &id]);
    let said = String::from_utf8_lossy(&stop.stdout).into_owned();
    assert!(said.ends_with(": 1 actors hit, respawn is off\n"), "{said} {}", String::from_utf8_lossy(&stop.stderr));
    stalled.passes();
    Sipp::callers(cluster.sip(3), 10, 10, 100).passes();
    all_were_answered(cluster, 10);
    let live: Vec<Value> = cluster.all(1, "/api/v1/calls?tenant=demo");
    assert_eq!(live.iter().map(|call| &call["id"]).collect::<Vec<_>>(), [&json!(id)], "its caller hung up, and nobody took note");
    for node in 1..=3 {
        let done = cluster.cli(node, &["drill", "respawn", "on"]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    all_were_answered(cluster, 11);
}
