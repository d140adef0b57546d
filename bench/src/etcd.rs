//! The peer beside us: a three-node etcd on the same disk, its leader killed through its own JSON gateway, or put to by gRPC.

pub mod puts;

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{cpu, error::Error};

const NODES: usize = 3;
const UP_WITHIN: Duration = Duration::from_secs(20);
/// The tuned values of the comparison: far below the defaults of 100 and 1000.
const HEARTBEAT_MS: u32 = 50;
const ELECTION_MS: u32 = 300;
const BEFORE: Duration = Duration::from_secs(2);
/// A write in flight when the leader dies is lost without a word: the client asks again soon.
pub(crate) const PUT_WITHIN: Duration = Duration::from_millis(200);

struct Member {
    child: Child,
    client: String,
}

/// A running etcd; killed on drop.
struct Etcd {
    members: Vec<Member>,
    http: ureq::Agent,
    _dir: tempfile::TempDir,
}

fn free_port() -> Result<u16, Error> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Etcd {
    fn start(heartbeat_ms: u32, election_ms: u32) -> Result<Self, Error> {
        let dir = tempfile::tempdir()?;
        let peers = (0..NODES).map(|_| free_port()).collect::<Result<Vec<_>, _>>()?;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let cluster = peers.iter().enumerate().map(|(n, port)| format!("n{n}={}", url(*port))).collect::<Vec<_>>().join(",");
        let mut members = Vec::new();
        for (n, peer) in peers.iter().enumerate() {
            let client = url(free_port()?);
            let child = Command::new("etcd")
                .arg("--data-dir")
                .arg(dir.path().join(format!("n{n}")))
                .args(["--name", &format!("n{n}"), "--initial-cluster", &cluster, "--log-level", "error"])
                .args(["--listen-peer-urls", &url(*peer), "--initial-advertise-peer-urls", &url(*peer)])
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--heartbeat-interval", &heartbeat_ms.to_string(), "--election-timeout", &election_ms.to_string()])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .map_err(|error| Error::Setup(format!("etcd does not start ({error}); Debian: apt-get install etcd-server")))?;
            members.push(Member { child, client });
        }
        let http = ureq::Agent::config_builder().timeout_global(Some(PUT_WITHIN)).build().into();
        let etcd = Self { members, http, _dir: dir };
        let start = Instant::now();
        while etcd.put(0).is_err() || etcd.leader().is_none() {
            if start.elapsed() > UP_WITHIN {
                return Err(Error::Setup("etcd does not come up".to_owned()));
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(etcd)
    }

    /// Where a member answers, without the scheme.
    fn authority(&self, member: usize) -> &str {
        self.members[member].client.trim_start_matches("http://")
    }

    /// CPU seconds of all members so far.
    fn cpu_s(&self) -> f64 {
        self.members.iter().filter_map(|member| cpu::seconds(member.child.id())).sum()
    }

    fn post(&self, member: usize, path: &str, body: &Value) -> Result<Value, Error> {
        let url = format!("{}{path}", self.members[member].client);
        let mut response = self.http.post(&url).header("Content-Type", "application/json").send(serde_json::to_vec(body)?)?;
        Ok(serde_json::from_str(&response.body_mut().read_to_string()?)?)
    }

    fn put(&self, member: usize) -> Result<(), Error> {
        self.post(member, "/v3/kv/put", &json!({ "key": "dGFuZGVt", "value": "Y2FsbA==" })).map(drop)
    }

    fn leader(&self) -> Option<usize> {
        (0..NODES).find(|n| {
            self.post(*n, "/v3/maintenance/status", &json!({}))
                .is_ok_and(|status| status["leader"].is_string() && status["leader"] == status["header"]["member_id"])
        })
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in &mut self.members {
            // It may be dead already.
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
    }
}

/// For each kill of a leader, the longest time from the start of a write at a survivor to its commit, milliseconds.
pub fn failover_ms(kills: u32) -> Result<Vec<f64>, Error> {
    let mut gaps_ms = Vec::new();
    for _ in 0..kills {
        let mut etcd = Etcd::start(HEARTBEAT_MS, ELECTION_MS)?;
        thread::sleep(BEFORE);
        let leader = etcd.leader().ok_or_else(|| Error::Setup("etcd has no leader".to_owned()))?;
        let survivor = (leader + 1) % NODES;
        etcd.put(survivor)?;
        etcd.members[leader].child.kill()?;
        let killed = Instant::now();
        // A write refused or timed out is tried again, as a client would.
        while etcd.put(survivor).is_err() {
            if killed.elapsed() > UP_WITHIN {
                return Err(Error::Missed("etcd did not come back".to_owned()));
            }
            thread::sleep(Duration::from_millis(5));
        }
        gaps_ms.push(killed.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(gaps_ms)
}
