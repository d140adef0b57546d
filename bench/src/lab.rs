//! A real cluster on loopback: `tandem dev` as a child, its HTTP API, its processes and their CPU.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{cpu, error::Error, tenant::TENANT};

/// How long a cluster may take until it says it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Lines of a node's log that are shown when it does not come up.
const LOG_LINES: usize = 15;
/// Nodes a lab can have; the width of its port ranges follows.
pub const NODES_MAX: u16 = 8;

/// How to start a lab.
#[derive(Debug, Clone)]
pub struct Options {
    pub nodes: u16,
    /// Nodes started beside the members, ready to be joined.
    pub spare: u16,
    pub witness: Option<u16>,
    /// Start a node again this long after it ended, milliseconds.
    pub restart_after_ms: Option<u64>,
    pub death_notice: bool,
    /// Let `POST /api/v1/drills` hurt the nodes.
    pub drills: bool,
    /// The loopback address that SIP is on.
    pub ip: IpAddr,
    /// The first port between nodes, and what peers are told to dial instead of it, when something stands between them.
    pub cluster_base: Option<u16>,
    pub advertise_base: Option<u16>,
    /// Control ports of rtpengines that the nodes are told of.
    pub rtpengines: Vec<SocketAddr>,
    /// Folder of recorded prompts.
    pub prompts: Option<PathBuf>,
    /// Ctrl-C in the terminal does not reach the cluster: who started it ends it.
    pub apart: bool,
    /// The one CPU all nodes share, if they are not to have all.
    pub cpu: Option<u32>,
    pub tenant: String,
}

impl Options {
    pub fn new(tenant: String) -> Self {
        Self {
            nodes: 3,
            spare: 0,
            witness: None,
            restart_after_ms: None,
            death_notice: true,
            drills: false,
            ip: Ipv4Addr::LOCALHOST.into(),
            cluster_base: None,
            advertise_base: None,
            rtpengines: Vec::new(),
            prompts: None,
            apart: false,
            cpu: None,
            tenant,
        }
    }
}

/// A running cluster; drained and removed on drop.
pub struct Lab {
    child: Child,
    dir: PathBuf,
    _temp: Option<tempfile::TempDir>,
    sip_base: u16,
    http_base: u16,
    /// The port that peers of node 1 dial.
    cluster_base: u16,
    ip: IpAddr,
    token: String,
    nodes: u16,
    http: ureq::Agent,
}

/// The program under test: beside this one, in the same profile.
fn program() -> Result<PathBuf, Error> {
    let path = std::env::current_exe()?.with_file_name("tandem");
    if path.exists() { Ok(path) } else { Err(Error::Setup(format!("{} is missing: run `cargo build --release` first", path.display()))) }
}

/// A base port whose whole range is free now, for UDP and TCP. All lie below the range the kernel takes ports from for
/// outgoing connections: the port of a node that is down must still be free when it comes back.
pub fn free_range(width: u16, from: u16) -> Result<u16, Error> {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok();
    let mut base = from + (std::process::id() % 150) as u16 * 10;
    for _ in 0..200 {
        if (base..base + width).all(free) {
            return Ok(base);
        }
        base = base.checked_add(width).filter(|next| *next < 60_000).unwrap_or(from);
    }
    Err(Error::Setup("no free port range".to_owned()))
}

impl Lab {
    /// Starts `tandem dev` in a fresh directory.
    pub fn start(options: &Options) -> Result<Self, Error> {
        let temp = tempfile::tempdir()?;
        let mut lab = Self::start_in(options, temp.path())?;
        lab._temp = Some(temp);
        Ok(lab)
    }

    /// Starts `tandem dev` in `dir`, with the state it may hold from before.
    pub fn start_in(options: &Options, dir: &Path) -> Result<Self, Error> {
        let sip_base = free_range(2 * NODES_MAX, 10_000)?;
        let http_base = free_range(NODES_MAX, 11_500)?;
        let cluster_base = options.cluster_base.map_or_else(|| free_range(NODES_MAX, 13_000), Ok)?;
        let tenant = dir.join("tenant.toml");
        fs::write(&tenant, &options.tenant)?;
        let mut command = match options.cpu {
            None => Command::new(program()?),
            Some(cpu) => {
                let mut command = Command::new("taskset");
                command.args(["--cpu-list", &cpu.to_string()]).arg(program()?);
                command
            }
        };
        command.arg("dev").arg("--data").arg(dir).arg("--tenant").arg(&tenant);
        // Room for thousands of calls on one node.
        command.args(["--media-base", "14000", "--media-ports", "9000"]);
        for (flag, value) in
            [("--nodes", options.nodes), ("--sip-base", sip_base), ("--http-base", http_base), ("--cluster-base", cluster_base)]
        {
            command.arg(flag).arg(value.to_string());
        }
        if let Some(port) = options.advertise_base {
            command.arg("--advertise-base").arg(port.to_string());
        }
        for addr in &options.rtpengines {
            command.arg("--rtpengine").arg(addr.to_string());
        }
        if let Some(dir) = &options.prompts {
            command.arg("--prompts").arg(dir);
        }
        if let Some(ms) = options.restart_after_ms {
            command.args(["--restart", "--restart-after-ms", &ms.to_string()]);
        }
        if !options.death_notice {
            command.arg("--no-death-notice");
        }
        if options.apart {
            command.process_group(0);
        }
        if options.drills {
            command.arg("--drills");
        }
        if options.spare > 0 {
            command.args(["--spare", &options.spare.to_string()]);
        }
        if let Some(node) = options.witness {
            command.args(["--witness", &node.to_string()]);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
        let stdout = child.stdout.take().expect("stdout was piped");
        let mut lab = Self {
            child,
            dir: dir.to_path_buf(),
            _temp: None,
            sip_base,
            http_base,
            cluster_base: options.advertise_base.unwrap_or(cluster_base),
            ip: options.ip,
            token: String::new(),
            nodes: options.nodes + options.spare,
            http: ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).http_status_as_error(false).build().into(),
        };
        await_ready(stdout)?;
        lab.token = fs::read_to_string(dir.join("admin.token"))?.trim().to_owned();
        if options.ip != IpAddr::from(Ipv4Addr::LOCALHOST) {
            lab.move_sip()?;
        }
        Ok(lab)
    }

    /// Moves SIP of every node to another address. `tandem dev` has no option for it, but a node reads its file anew when
    /// it is started again, which the options of this lab must allow.
    fn move_sip(&self) -> Result<(), Error> {
        let all: Vec<u16> = (1..=self.nodes).collect();
        let pids: Vec<_> = all.iter().map(|k| self.pid(*k)).collect();
        for k in &all {
            let path = self.dir.join(format!("node{k}.toml"));
            let text = fs::read_to_string(&path)?;
            let (head, sip) = text.split_once("[sip]").ok_or_else(|| Error::Setup("a node's file has no [sip]".to_owned()))?;
            let end = sip.find("\n[").unwrap_or(sip.len());
            let moved = sip[..end].replace("127.0.0.1:", SocketAddr::new(self.ip, 0).to_string().trim_end_matches('0'));
            fs::write(&path, format!("{head}[sip]{moved}{}", &sip[end..]))?;
        }
        all.iter().try_for_each(|k| self.signal(*k, Signal::KILL))?;
        self.eventually("the nodes were started again", READY_WITHIN, |lab| all.iter().zip(&pids).all(|(k, pid)| lab.pid(*k) != *pid))?;
        self.await_whole(&all, READY_WITHIN)
    }

    pub fn nodes(&self) -> u16 {
        self.nodes
    }

    /// Node `k`'s SIP address over UDP and TCP, k from 1.
    pub fn sip(&self, k: u16) -> String {
        format!("127.0.0.1:{}", self.sip_base + 2 * (k - 1))
    }

    /// Where node `k` takes SIP over UDP and TCP, or over TLS.
    pub fn sip_addr(&self, k: u16, tls: bool) -> SocketAddr {
        SocketAddr::new(self.ip, self.sip_base + 2 * (k - 1) + u16::from(tls))
    }

    /// The process that supervises the nodes.
    pub fn supervisor(&self) -> u32 {
        self.child.id()
    }

    /// Where the nodes have their files: `nodeK.toml`, `nodeK.log`, `nodeK/`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keeps node `k` down once it ended, until it is let go again.
    pub fn hold(&self, k: u16, down: bool) -> Result<(), Error> {
        let file = self.dir.join(format!("node{k}.hold"));
        match (down, file.exists()) {
            (true, _) => fs::write(file, "")?,
            (false, true) => fs::remove_file(file)?,
            (false, false) => {}
        }
        Ok(())
    }

    /// Node `k`'s address for its peers.
    pub fn cluster(&self, k: u16) -> String {
        format!("127.0.0.1:{}", self.cluster_base + k - 1)
    }

    pub fn pid(&self, k: u16) -> Option<u32> {
        fs::read_to_string(self.dir.join(format!("node{k}.pid"))).ok()?.trim().parse().ok()
    }

    /// True while the process of node `k` that was started last is there.
    pub fn is_running(&self, k: u16) -> bool {
        self.pid(k).is_some_and(|pid| Path::new("/proc").join(pid.to_string()).exists())
    }

    /// CPU seconds of all node processes so far.
    pub fn cpu_seconds(&self) -> f64 {
        (1..=self.nodes).filter_map(|k| self.pid(k)).filter_map(cpu::seconds).sum()
    }

    /// GET from node `k`.
    pub fn get(&self, k: u16, path: &str) -> Result<Value, Error> {
        let url = self.url(k, path);
        let mut response = self.http.get(&url).header("Authorization", &format!("Bearer {}", self.token)).call()?;
        let text = response.body_mut().read_to_string()?;
        if !response.status().is_success() {
            return Err(Error::Http(format!("{url}: {} {text}", response.status())));
        }
        Ok(serde_json::from_str(&text)?)
    }

    /// POST of `body` to node `k`.
    pub fn post(&self, k: u16, path: &str, body: &Value) -> Result<Value, Error> {
        let url = self.url(k, path);
        let request = self.http.post(&url).header("Authorization", &format!("Bearer {}", self.token));
        let mut response = request.header("Content-Type", "application/json").send(serde_json::to_vec(body)?)?;
        let text = response.body_mut().read_to_string()?;
        if !response.status().is_success() {
            return Err(Error::Http(format!("{url}: {} {text}", response.status())));
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    pub fn url(&self, k: u16, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http_base + k - 1)
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    /// Runs the product's own command line against node `k`.
    pub fn cli(&self, k: u16, arguments: &[&str]) -> Result<String, Error> {
        let mut command = Command::new(program()?);
        command.args(arguments).args(["--server", &self.url(k, ""), "--token", &self.token]);
        let output = command.stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            Ok(text)
        } else {
            Err(Error::Missed(format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr))))
        }
    }

    /// The node that leads the partition of the bench tenant, as node `k` knows it.
    pub fn leader(&self, k: u16) -> Option<u16> {
        let of_tenant = |row: &Value| row["domains"].as_array().is_some_and(|domains| domains.iter().any(|d| d == TENANT));
        let rows = self.all_from(k, "/api/v1/partitions").ok()?;
        rows.iter().find(|row| of_tenant(row)).and_then(|row| row["leader"].as_u64()).and_then(|id| u16::try_from(id).ok())
    }

    /// Sends a signal to the process of node `k`.
    pub fn signal(&self, k: u16, signal: Signal) -> Result<(), Error> {
        let pid = self.pid(k).and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let pid = pid.ok_or_else(|| Error::Setup(format!("node {k} has no process")))?;
        kill_process(pid, signal).map_err(|error| Error::Setup(format!("node {k}: {error}")))
    }

    /// Waits until every node of `nodes` is up, holds its lease and knows a leader of every partition.
    pub fn await_whole(&self, nodes: &[u16], within: Duration) -> Result<(), Error> {
        let whole = self.eventually("every node up and every partition led", within, |lab| nodes.iter().all(|k| lab.ready(*k)));
        whole.map_err(|error| Error::Missed(format!("{error}\n{}", nodes.iter().map(|k| self.last_words(*k)).collect::<String>())))
    }

    /// Why node `k` is not ready, and the end of its log.
    fn last_words(&self, k: u16) -> String {
        let why = match self.http.get(&self.url(k, "/readyz")).call() {
            Ok(mut response) => response.body_mut().read_to_string().unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        let log = fs::read_to_string(self.dir.join(format!("node{k}.log"))).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
        format!("node {k}: {}\n{end}\n", why.trim())
    }

    /// True if node `k` says that it serves.
    pub fn ready(&self, k: u16) -> bool {
        self.http.get(&self.url(k, "/readyz")).call().is_ok_and(|response| response.status().is_success())
    }

    /// The text of node `k`'s metrics.
    pub fn metrics(&self, k: u16) -> Result<String, Error> {
        let request = self.http.get(&self.url(k, "/metrics")).header("Authorization", &format!("Bearer {}", self.token));
        Ok(request.call()?.body_mut().read_to_string()?)
    }

    /// Every item of a collection, page by page, from any node that answers.
    pub fn all(&self, path: &str) -> Result<Vec<Value>, Error> {
        let mut last = Error::Setup("no node answers".to_owned());
        for k in 1..=self.nodes {
            match self.all_from(k, path) {
                Ok(items) => return Ok(items),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub fn all_from(&self, k: u16, path: &str) -> Result<Vec<Value>, Error> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let join = if path.contains('?') { '&' } else { '?' };
            let page = self.get(k, &format!("{path}{join}limit=500{cursor}"))?;
            items.extend(page["items"].as_array().cloned().unwrap_or_default());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(items),
            }
        }
    }

    /// Polls until `check` is true.
    pub fn eventually(&self, what: &str, within: Duration, mut check: impl FnMut(&Self) -> bool) -> Result<(), Error> {
        let start = Instant::now();
        while start.elapsed() < within {
            if check(self) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err(Error::Missed(format!("{what}: not within {} s", within.as_secs())))
    }
}

fn await_ready(stdout: impl std::io::Read + Send + 'static) -> Result<(), Error> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if line.starts_with("ready ") {
                // The receiver is gone once the lab gave up; later lines are of no interest then.
                let _ = tell.send(());
            }
        }
    });
    told.recv_timeout(READY_WITHIN).map_err(|_| Error::Setup(format!("the cluster was not ready within {} s", READY_WITHIN.as_secs())))
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::TERM);
        }
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in (1..=self.nodes).filter_map(|k| self.pid(k)).filter_map(|pid| Pid::from_raw(pid as i32)) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}
