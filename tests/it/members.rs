//! Nodes that join, leave, drain and only vote: real processes, steered by the command line as an operator would.

use std::{
    net::UdpSocket,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use rustix::process::Signal;

use crate::harness::{Cluster, Options};

const TENANT: &str = r#"
[tenant]
id = "demo"
[[queue]]
id = "support"
[[agent]]
id = "alice"
contact = "sip:alice@127.0.0.1:{own0}"
skills = { support = 5 }
"#;

/// How long a node may take from the decision to its end.
const LEAVE_WITHIN: Duration = Duration::from_secs(30);

/// One cluster at a time: these have many processes.
static ALONE: Mutex<()> = Mutex::new(());

fn run(cluster: &Cluster, args: &[&str]) {
    let output = cluster.cli(1, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn join(cluster: &Cluster, node: u16) {
    let addr = format!("127.0.0.1:{}", cluster.ports().cluster_base() + node - 1);
    run(cluster, &["join", "--id", &node.to_string(), "--addr", &addr]);
}

/// True when every group's voters are these, as node `k` sees them, and nobody merely follows.
fn votes(cluster: &Cluster, k: u16, wanted: &[u64]) -> bool {
    let page = cluster.get(k, "/api/v1/partitions?stale=true&limit=500");
    let Some(items) = (page.status == 200).then(|| page.json()["items"].as_array().cloned()).flatten() else { return false };
    items.len() == 17
        && items.iter().all(|row| {
            let ids = |key: &str| row[key].as_array().into_iter().flatten().filter_map(serde_json::Value::as_u64).collect::<Vec<_>>();
            ids("voters") == wanted && ids("learners").is_empty()
        })
}

fn leaders(cluster: &Cluster, k: u16) -> Vec<u64> {
    cluster.all(k, "/api/v1/partitions?stale=true").iter().map(|row| row["leader"].as_u64().unwrap_or_default()).collect()
}

/// Sets the agent's state through node `k`; the answer's status.
fn set_state(cluster: &Cluster, k: u16, state: &str) -> u16 {
    let body = format!("{{\"state\":\"{state}\"}}");
    cluster.ask(k, "POST", "/api/v1/agents/alice/state", &[("content-type", "application/json")], &body).status
}

fn state(cluster: &Cluster, k: u16) -> String {
    cluster.all(k, "/api/v1/agents").first().and_then(|row| Some(row["state"].as_str()?.to_owned())).unwrap_or_default()
}

#[test]
fn a_cluster_grows_from_three_to_five_and_shrinks_to_three_while_it_works() {
    let _alone = ALONE.lock();
    let mut cluster = Options::default().arg("--spare").arg("2").open_tenant(TENANT).start();
    // The members are ready before it may even listen.
    let spare = cluster.eventually("the spare node answers", |cluster| cluster.get_or_none(4, "/readyz"));
    assert_eq!(spare, 503, "a node that waits to be joined is not ready");
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let wanted = if done.load(Ordering::Relaxed).is_multiple_of(2) { "available" } else { "offline" };
                // A machine too busy to hear of a quorum in time refuses; it must not do anything else.
                match set_state(&cluster, 1, wanted) {
                    200..300 => drop(done.fetch_add(1, Ordering::Relaxed)),
                    status => assert!([503, 504].contains(&status), "{status}\n{}", cluster.logs()),
                }
            }
        });
        join(&cluster, 4);
        join(&cluster, 5);
        for k in 1..=5 {
            cluster.eventually("five voters", |cluster| votes(cluster, k, &[1, 2, 3, 4, 5]).then_some(()));
        }
        cluster.eventually("the new nodes are ready", |cluster| (4..=5).all(|k| readiness(cluster, k) == 200).then_some(()));
        let before = done.load(Ordering::Relaxed);
        cluster.eventually("work goes on", |_| (done.load(Ordering::Relaxed) > before + 10).then_some(()));
        run(&cluster, &["leave", "3"]);
        run(&cluster, &["leave", "2"]);
        for k in [1, 4, 5] {
            cluster.eventually("three voters", |cluster| votes(cluster, k, &[1, 4, 5]).then_some(()));
        }
        stop.store(true, Ordering::Relaxed);
        worker.join().expect("no command was refused for good");
    });
    for _ in 0..2 {
        let line = cluster.line("node ", LEAVE_WITHIN);
        assert!(line.ends_with("has left: drained"), "{line}");
    }
    assert_eq!(set_state(&cluster, 4, "available") / 100, 2);
    assert_eq!(state(&cluster, 5), "available");
    let ids: Vec<u64> = cluster.all(5, "/api/v1/nodes").iter().filter_map(|row| row["id"].as_u64()).collect();
    assert_eq!(ids, [1, 4, 5]);
    let back = cluster.cli(1, &["join", "--id", "3", "--addr", "127.0.0.1:9"]);
    assert!(!back.status.success() && String::from_utf8_lossy(&back.stderr).contains("new id"), "an id is not used twice");
}

fn readiness(cluster: &Cluster, k: u16) -> u16 {
    cluster.get(k, "/readyz").status
}

#[test]
fn two_data_nodes_and_a_witness_outlive_each_of_them_in_turn() {
    let _alone = ALONE.lock();
    let cluster = Options::default().arg("--witness").arg("3").arg("--restart").open_tenant(TENANT).start();
    for (n, victim) in (1..=3).enumerate() {
        let first = cluster.pid(victim);
        cluster.signal(victim, Signal::KILL);
        let survivor = if victim == 1 { 2 } else { 1 };
        let wanted = if n % 2 == 0 { "available" } else { "offline" };
        cluster.eventually("the survivors commit", |cluster| (set_state(cluster, survivor, wanted) / 100 == 2).then_some(()));
        cluster.eventually("the victim is back", |cluster| {
            (cluster.pid(victim) != first && cluster.get_or_none(victim, "/readyz")? == 200).then_some(())
        });
        assert_eq!(state(&cluster, victim), wanted, "the one that came back knows it");
    }
    cluster.eventually("only data nodes lead", |cluster| leaders(cluster, 3).iter().all(|leader| [1, 2].contains(leader)).then_some(()));
    let census = cluster.get(3, "/api/v1/nodes/3").json();
    assert!(
        census["witness"] == true && census["actors"]["live"].as_object().is_some_and(|kinds| kinds.values().all(|live| live == 0)),
        "{census}"
    );
}

/// The first final or ringing answer of node `k` to a new call, 100 aside.
fn call(cluster: &Cluster, k: u16, n: u32) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout is allowed");
    let (me, to) = (socket.local_addr().expect("bound"), cluster.sip(k));
    let invite = format!(
        "INVITE sip:support@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bKmembers{n}\r\nFrom: <sip:caller@{me}>;tag=m{n}\r\n\
         To: <sip:support@{to}>\r\nCall-ID: members-{n}@{me}\r\nCSeq: 1 INVITE\r\nContact: <sip:caller@{me}>\r\nMax-Forwards: 70\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let mut buffer = [0; 4096];
    loop {
        socket.send_to(invite.as_bytes(), to).expect("sent");
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if !answer.starts_with("SIP/2.0 100") {
            return answer;
        }
    }
}

#[test]
fn a_drained_node_refuses_new_calls_and_leads_nothing_until_it_is_taken_back() {
    let _alone = ALONE.lock();
    let cluster = Options::default().open_tenant(TENANT).start();
    assert!(!call(&cluster, 2, 1).starts_with("SIP/2.0 503"));
    run(&cluster, &["drain", "2"]);
    cluster.eventually("new calls are refused", |cluster| {
        let answer = call(cluster, 2, 2);
        (answer.starts_with("SIP/2.0 503") && answer.contains("Retry-After: ")).then_some(())
    });
    cluster.eventually("it leads nothing", |cluster| (!leaders(cluster, 1).contains(&2)).then_some(()));
    assert_eq!(readiness(&cluster, 2), 503);
    assert_eq!(cluster.get(1, "/api/v1/nodes/2").json()["state"], "draining");
    assert_eq!(set_state(&cluster, 2, "available") / 100, 2, "it stays up and serves requests");
    assert!(!call(&cluster, 1, 3).starts_with("SIP/2.0 503"), "the others take calls");
    run(&cluster, &["drain", "2", "--undo"]);
    cluster.eventually("it takes calls again", |cluster| (!call(cluster, 2, 4).starts_with("SIP/2.0 503")).then_some(()));
    assert_eq!(readiness(&cluster, 2), 200);
}
