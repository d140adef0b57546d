//! `tandem serve`: the watcher and its node, and what a supervisor of several does about deaths.

use std::{
    fs,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Options, Ports, TANDEM};

const WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(25);

fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(start.elapsed() < WITHIN, "{what}: not within {WITHIN:?}");
        thread::sleep(POLL);
    }
}

/// A single node under its watcher; killed when dropped.
struct Served {
    watcher: Child,
    http: String,
    dir: tempfile::TempDir,
    _ports: Ports,
}

impl Served {
    fn start() -> Self {
        let (dir, ports) = (tempfile::tempdir().unwrap(), Ports::reserve());
        for args in [&["pki", "init"][..], &["pki", "node", "--id", "1"]] {
            assert!(Command::new(TANDEM).args(args).current_dir(dir.path()).output().unwrap().status.success());
        }
        let cluster = format!("127.0.0.1:{}", ports.cluster_base());
        let http = format!("127.0.0.1:{}", ports.http_base());
        let config = format!(
            "node = 1\ndata_dir = \"data\"\ngroups = 2\ndrain_timeout_s = 2\n[cluster]\nlisten = \"{cluster}\"\nca = \"pki/ca.pem\"\n\
             cert = \"pki/node1.pem\"\nkey = \"pki/node1.key\"\n[[cluster.peer]]\nid = 1\naddr = \"{cluster}\"\n\
             [sip]\nudp = \"127.0.0.1:{}\"\n[http]\nlisten = \"{http}\"\n",
            ports.sip_base()
        );
        fs::write(dir.path().join("node.toml"), config).unwrap();
        let stderr = fs::File::create(dir.path().join("log")).unwrap();
        let watcher = Command::new(TANDEM)
            .args(["serve", "--config", "node.toml"])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let served = Self { watcher, http: format!("http://{http}"), dir, _ports: ports };
        until("ready", || ureq::get(format!("{}/readyz", served.http)).call().ok());
        served
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.watcher.id().cast_signed()).unwrap()
    }

    /// The node itself: the watcher's only child.
    fn node(&self) -> Pid {
        let id = self.watcher.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        Pid::from_raw(children.split_whitespace().next().expect("a child").parse().unwrap()).unwrap()
    }

    fn ended(&mut self) -> ExitStatus {
        until("the watcher ends", || self.watcher.try_wait().unwrap())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // The node ends with its watcher.
        self.watcher.kill().ok();
        self.watcher.wait().ok();
    }
}

fn is_running(pid: Pid) -> bool {
    Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists()
}

#[test]
fn a_terminated_watcher_drains_its_node_and_passes_0_on() {
    let mut served = Served::start();
    let node = served.node();
    kill_process(served.pid(), Signal::TERM).unwrap();
    assert_eq!(served.ended().code(), Some(0), "{}", served.log());
    assert!(!is_running(node));
    assert!(served.log().contains("node drained"), "{}", served.log());
}

#[test]
fn a_killed_node_is_reported_and_its_signal_passed_on() {
    let mut served = Served::start();
    kill_process(served.node(), Signal::KILL).unwrap();
    assert_eq!(served.ended().code(), Some(137));
    assert!(served.log().contains("tandem: node 1 died: signal 9 (kill); told 0 peers"), "{}", served.log());
}

#[test]
fn a_node_does_not_outlive_its_watcher() {
    let mut served = Served::start();
    let node = served.node();
    kill_process(served.pid(), Signal::KILL).unwrap();
    served.ended();
    until("the node ends too", || (!is_running(node)).then_some(()));
}

#[test]
fn a_node_that_died_comes_back_only_when_asked() {
    let mut cluster = Options::default().arg("--restart").start();
    let first = cluster.pid(2);
    cluster.signal(2, Signal::KILL);
    cluster.line("node 2 died: signal 9", Duration::from_secs(10));
    cluster.eventually("node 2 runs again", |cluster| {
        (cluster.pid(2) != first && ureq::get(format!("{}/readyz", cluster.server(2))).call().is_ok()).then_some(())
    });
    let incarnation = |cluster: &crate::harness::Cluster| cluster.get(1, "/api/v1/nodes/2").json()["incarnation"].as_u64();
    cluster.eventually("its new life is known", |cluster| (incarnation(cluster) == Some(2)).then_some(()));
}

#[test]
fn one_node_is_a_cluster_too() {
    let cluster = Options::default().nodes(1).tenant("[tenant]\nid = \"solo\"\n[[queue]]\nid = \"q\"\n").start();
    assert_eq!(cluster.all(1, "/api/v1/queues").len(), 1);
}
