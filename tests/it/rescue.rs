//! Backup, restore and forced recovery through the command line, on real processes and real disks.

use std::{
    fs,
    net::UdpSocket,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::harness::{Cluster, Options, TANDEM};

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

fn tandem(args: &[&str]) -> Output {
    Command::new(TANDEM).args(args).output().expect("the program starts")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A node under its watcher, on the configuration and ports of a cluster that is stopped; killed when dropped.
struct Served(Child);

impl Served {
    fn start(config: &Path) -> Self {
        let log = fs::File::options().create(true).append(true).open(config.with_extension("log")).expect("a log");
        let child = Command::new(TANDEM).args(["serve", "--config"]).arg(config).stdin(Stdio::null()).stderr(log).spawn();
        Self(child.expect("the program starts"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // The node ends with its watcher.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Makes one call come and go, so that there is an archived record.
fn abandon_a_call(cluster: &Cluster) {
    call(cluster, "gone", true);
    cluster.eventually("the call is archived", |cluster| (!cluster.all(1, "/api/v1/cdrs").is_empty()).then_some(()));
}

fn call(cluster: &Cluster, name: &str, cancel: bool) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout is allowed");
    let (me, to) = (socket.local_addr().expect("bound"), cluster.sip(1));
    let request = |method: &str| {
        format!(
            "{method} sip:support@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bK{name}\r\nFrom: <sip:caller@{me}>;tag=r\r\n\
             To: <sip:support@{to}>\r\nCall-ID: {name}@{me}\r\nCSeq: 1 {method}\r\nContact: <sip:caller@{me}>\r\nMax-Forwards: 70\r\n\
             Content-Length: 0\r\n\r\n"
        )
    };
    let mut buffer = [0; 4096];
    cluster.eventually("the call waits", |_| {
        socket.send_to(request("INVITE").as_bytes(), to).expect("sent");
        let length = socket.recv(&mut buffer).ok()?;
        String::from_utf8_lossy(&buffer[..length]).starts_with("SIP/2.0 182").then_some(())
    });
    if cancel {
        socket.send_to(request("CANCEL").as_bytes(), to).expect("sent");
    }
}

/// What must be the same afterwards: agents' states, closed calls, heads of archives.
fn memory(cluster: &Cluster) -> (Value, Vec<Value>, Vec<Value>) {
    let agents = cluster.all(1, "/api/v1/agents");
    let archives = cluster.all(1, "/api/v1/partitions?stale=true").iter().map(|row| row["archive"].clone()).collect();
    (agents[0]["state"].clone(), cluster.all(1, "/api/v1/cdrs"), archives)
}

/// A cluster that remembers something.
fn seasoned() -> Cluster {
    let cluster = Options::default().open_tenant(TENANT).start();
    abandon_a_call(&cluster);
    let body = r#"{"state":"break","reason":"lunch"}"#;
    let set = cluster.ask(1, "POST", "/api/v1/agents/alice/state", &[("content-type", "application/json")], body);
    assert_eq!(set.status / 100, 2, "{}", set.text);
    cluster
}

#[test]
fn a_backup_taken_while_it_runs_becomes_a_cluster_with_all_calls_and_archives() {
    let mut cluster = seasoned();
    call(&cluster, "waiting", false);
    let (state, closed, _) = memory(&cluster);
    let file = cluster.path().join("backup");
    let file = file.to_str().expect("a plain path");
    let taken = cluster.cli(3, &["backup", file]);
    assert!(taken.status.success() && said(&taken).contains("16 partitions"), "{}", said(&taken));
    assert!(!cluster.cli(3, &["backup", file]).status.success(), "a backup is not overwritten");
    cluster.stop();

    let data = cluster.path().join("node1");
    let data = data.to_str().expect("a plain path");
    assert!(!tandem(&["restore", "--data", data, "--from", file]).status.success(), "a directory in use is not touched");
    fs::remove_dir_all(data).expect("the old disk is lost");
    let restored = tandem(&["restore", "--data", data, "--from", file]);
    assert!(restored.status.success() && said(&restored).contains("groups = 16"), "{}", said(&restored));
    let _node = Served::start(&cluster.path().join("node1.toml"));
    cluster.eventually("the new cluster is ready", |cluster| (cluster.get_or_none(1, "/readyz")? == 200).then_some(()));
    let ended = cluster.eventually("the call that waited ends", |cluster| {
        let calls = cluster.all(1, "/api/v1/cdrs");
        (calls.len() == 2).then_some(calls)
    });
    assert!(closed.iter().all(|call| ended.contains(call)), "{ended:?}");
    let last = ended.iter().find(|call| !closed.contains(call)).expect("one more");
    assert_eq!(last["end_reason"], "node_lost", "{last}");
    assert_eq!(memory(&cluster).0, state);
    assert_eq!(cluster.all(1, "/api/v1/nodes").len(), 1);
}

#[test]
fn a_survivor_goes_on_alone_only_when_the_operator_accepts_the_loss() {
    let mut cluster = seasoned();
    let before = memory(&cluster);
    let data = cluster.path().join("node1");
    let data = data.to_str().expect("a plain path");
    let busy = tandem(&["recover", "--data", data, "--i-accept-data-loss"]);
    assert!(!busy.status.success() && said(&busy).contains("in use"), "a running node is not touched: {}", said(&busy));
    cluster.stop();
    let refused = tandem(&["recover", "--data", data]);
    assert!(!refused.status.success() && said(&refused).contains("--i-accept-data-loss"), "{}", said(&refused));
    let recovered = tandem(&["recover", "--data", data, "--i-accept-data-loss"]);
    assert!(recovered.status.success() && said(&recovered).contains("node 1 is now the only member"), "{}", said(&recovered));
    assert_eq!(said(&recovered).lines().count(), 19, "a line a partition: {}", said(&recovered));
    let _node = Served::start(&cluster.path().join("node1.toml"));
    cluster.eventually("the survivor is ready", |cluster| (cluster.get_or_none(1, "/readyz")? == 200).then_some(()));
    assert_eq!(memory(&cluster), before);
    let ids: Vec<u64> = cluster.all(1, "/api/v1/nodes").iter().filter_map(|row| row["id"].as_u64()).collect();
    assert_eq!(ids, [1]);
}
