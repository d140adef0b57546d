//! A real cluster as a test sees it: `tandem dev` on free ports in a temporary folder, its processes, its HTTP.
//!
//! It waits for the ready line, never for luck, and leaves neither processes nor folders behind: the supervisor ends when
//! the test process does. Port ranges are probed
//! and reserved by a lock file per range, so that tests of several processes do not meet.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener, UdpSocket},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, Signal, kill_process, test_kill_process},
};
use serde_json::Value;
use tempfile::TempDir;

/// The program under test.
pub(crate) const TANDEM: &str = env!("CARGO_BIN_EXE_tandem");
/// How long a cluster may take until it says it is ready.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// How long a drain may take before the harness kills.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// How long [`Cluster::eventually`] polls.
const SOON: Duration = Duration::from_secs(30);
/// More node processes than any test starts, spare ones included.
const NODES_MAX: u16 = 9;
const POLL: Duration = Duration::from_millis(25);

/// Ports of one cluster: SIP 0–49, demo agents 50, HTTP 60–69, QUIC 70–79, free for the test 80–99.
const RANGE: u16 = 100;
/// They lie below the ports nodes take for media (20000 and up) and the kernel for outgoing connections: a call of somebody
/// else on this machine must not take one between the probe and the start.
const FIRST_PORT: u16 = 10_000;
const LAST_PORT: u16 = 20_000;

/// A range of ports that is this process's for as long as the value lives.
#[derive(Debug)]
pub(crate) struct Ports {
    base: u16,
    _lock: File,
}

impl Ports {
    pub(crate) fn reserve() -> Self {
        let dir = std::env::temp_dir().join("tandem-test-ports");
        fs::create_dir_all(&dir).expect("a temporary folder");
        let bases = (FIRST_PORT..LAST_PORT).step_by(usize::from(RANGE));
        for base in bases {
            let file = File::create(dir.join(base.to_string())).expect("a lock file");
            if flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive).is_ok() && (base..base + RANGE).all(is_free) {
                return Self { base, _lock: file };
            }
        }
        panic!("no free range of {RANGE} ports between {FIRST_PORT} and {LAST_PORT}");
    }

    pub(crate) const fn sip_base(&self) -> u16 {
        self.base
    }

    pub(crate) const fn http_base(&self) -> u16 {
        self.base + 60
    }

    pub(crate) const fn cluster_base(&self) -> u16 {
        self.base + 70
    }

    /// The `n`th port for the test's own use (phones, callers), n below 20.
    pub(crate) const fn own(&self, n: u16) -> u16 {
        assert!(n < 20);
        self.base + 80 + n
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok()
}

/// The way in for callers of this machine, for tenants with a queue `support`: end of many a tenant file.
pub(crate) const ENTRANCE: &str = r#"
[[route]]
to = "support"
queue = "support"
[[trunk]]
id = "lab"
sources = ["127.0.0.0/8"]
"#;

/// How to start a cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    nodes: Option<u16>,
    args: Vec<String>,
    tenant: Option<String>,
}

impl Options {
    pub(crate) fn nodes(mut self, nodes: u16) -> Self {
        self.nodes = Some(nodes);
        self
    }

    /// A further flag of `tandem dev`.
    pub(crate) fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// The text of a tenant file to publish; `{own0}` to `{own19}` stand for the test's own ports.
    pub(crate) fn tenant(mut self, text: &str) -> Self {
        self.tenant = Some(text.to_owned());
        self
    }

    /// As [`Options::tenant`], with [`ENTRANCE`] behind the text.
    pub(crate) fn open_tenant(self, text: &str) -> Self {
        self.tenant(&format!("{text}{ENTRANCE}"))
    }

    pub(crate) fn start(self) -> Cluster {
        Cluster::start(&self, Ports::reserve(), tempfile::tempdir().expect("a temporary folder"))
    }
}

/// A running cluster; drained, or killed, when dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    child: Child,
    lines: Mutex<Receiver<String>>,
    ready: String,
    ports: Option<Ports>,
    folder: Option<TempDir>,
    token: String,
    http: ureq::Agent,
}

/// An answer of the API.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {} {}", self.status, self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Cluster {
    fn start(options: &Options, ports: Ports, folder: TempDir) -> Self {
        let nodes = options.nodes.unwrap_or(3);
        let mut command = Command::new(TANDEM);
        command.args(["dev", "--nodes", &nodes.to_string(), "--data"]).arg(folder.path());
        for (flag, port) in [("--sip-base", ports.sip_base()), ("--http-base", ports.http_base()), ("--cluster-base", ports.cluster_base())]
        {
            command.args([flag, &port.to_string()]);
        }
        if let Some(text) = &options.tenant {
            let text = (0..20).fold(text.clone(), |text, n| text.replace(&format!("{{own{n}}}"), &ports.own(n).to_string()));
            let path = folder.path().join("tenant.toml");
            fs::write(&path, text).expect("the folder is writable");
            command.arg("--tenant").arg(path);
        }
        // A drill panics often, and the trace of each would cost more than the drill.
        command.env("RUST_BACKTRACE", "0");
        command.args(&options.args).arg("--until-eof").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("the program starts");
        let lines = Mutex::new(follow(child.stdout.take().expect("stdout is piped")));
        let http = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(15))).http_status_as_error(false).build();
        let mut cluster =
            Self { child, lines, ready: String::new(), ports: Some(ports), folder: Some(folder), token: String::new(), http: http.into() };
        cluster.ready = cluster.line("ready ", READY_WITHIN);
        cluster.token = fs::read_to_string(cluster.path().join("admin.token")).expect("the token is there").trim().to_owned();
        cluster
    }

    /// Ends the cluster by SIGTERM and starts it again in the same folder, on the same ports.
    pub(crate) fn restart(mut self, options: &Options) -> Self {
        self.stop();
        let ports = self.ports.take().expect("taken once");
        let folder = self.folder.take().expect("taken once");
        Self::start(options, ports, folder)
    }

    /// The next line of the supervisor that begins so.
    pub(crate) fn line(&mut self, start: &str, within: Duration) -> String {
        let deadline = Instant::now() + within;
        let mut seen = Vec::new();
        loop {
            match self.lines.get_mut().recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.starts_with(start) => return line,
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("no line {start:?} within {within:?}; lines: {seen:#?}\n{}", self.logs()),
                Err(RecvTimeoutError::Disconnected) => panic!("the supervisor ended; lines: {seen:#?}\n{}", self.logs()),
            }
        }
    }

    pub(crate) fn ready_line(&self) -> &str {
        &self.ready
    }

    pub(crate) fn ports(&self) -> &Ports {
        self.ports.as_ref().expect("a running cluster has ports")
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.as_ref().expect("a running cluster has a folder").path().to_owned()
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Node `k`'s SIP address over UDP and TCP, k from 1; TLS is one port above.
    pub(crate) fn sip(&self, k: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports().sip_base() + 2 * (k - 1)))
    }

    pub(crate) fn server(&self, k: u16) -> String {
        format!("http://127.0.0.1:{}", self.ports().http_base() + k - 1)
    }

    pub(crate) fn pid(&self, k: u16) -> Pid {
        let text = fs::read_to_string(self.path().join(format!("node{k}.pid"))).expect("a pid file");
        Pid::from_raw(text.trim().parse().expect("a number")).expect("not zero")
    }

    pub(crate) fn signal(&self, k: u16, signal: Signal) {
        kill_process(self.pid(k), signal).expect("the node runs");
    }

    /// A request as the administrator.
    pub(crate) fn ask(&self, k: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let token = self.token.clone();
        self.ask_as(&token, k, method, path, headers, body)
    }

    /// A request with another token; an empty one sends none.
    pub(crate) fn ask_as(&self, token: &str, k: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.server(k)));
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.to_owned()).expect("a well-formed request");
        let request = self.http.configure_request(request).allow_non_standard_methods(true).build();
        let response = self.http.run(request).unwrap_or_else(|e| panic!("{method} {path} of node {k}: {e}\n{}", self.logs()));
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: response.into_body().read_to_string().unwrap_or_default() }
    }

    /// The status of a `GET`, if the node answers at all.
    pub(crate) fn get_or_none(&self, k: u16, path: &str) -> Option<u16> {
        self.http.get(format!("{}{path}", self.server(k))).call().ok().map(|answer| answer.status().as_u16())
    }

    pub(crate) fn get(&self, k: u16, path: &str) -> Answer {
        self.ask(k, "GET", path, &[], "")
    }

    /// Every item of a collection, page by page.
    pub(crate) fn all(&self, k: u16, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let join = if path.contains('?') { '&' } else { '?' };
            let page = self.get(k, &format!("{path}{join}limit=500{cursor}"));
            assert_eq!(page.status, 200, "{}", page.text);
            let page = page.json();
            items.extend(page["items"].as_array().cloned().unwrap_or_default());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    /// Runs the program as a client of node `k`.
    pub(crate) fn cli(&self, k: u16, args: &[&str]) -> Output {
        Command::new(TANDEM)
            .args(args)
            .env("TANDEM_SERVER", self.server(k))
            .env("TANDEM_TOKEN", &self.token)
            .stdin(Stdio::null())
            .output()
            .expect("the program starts")
    }

    /// Polls until `check` gives something; panics with the logs after half a minute.
    pub(crate) fn eventually<T>(&self, what: &str, mut check: impl FnMut(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = check(self) {
                return found;
            }
            assert!(start.elapsed() < SOON, "{what}: not within {SOON:?}\n{}", self.logs());
            thread::sleep(POLL);
        }
    }

    /// The last lines of every node's log, for a failure's message.
    pub(crate) fn logs(&self) -> String {
        (1..=NODES_MAX).fold(String::new(), |out, k| {
            let Ok(text) = fs::read_to_string(self.path().join(format!("node{k}.log"))) else { return out };
            let lines: Vec<&str> = text.lines().rev().take(30).collect();
            out + &format!("--- node{k}.log\n{}\n", lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
        })
    }

    /// SIGTERM to the supervisor, and its exit code once all has drained; none if it had to be killed.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            // It may have ended by itself.
            kill_process(pid, Signal::TERM).ok();
        }
        let start = Instant::now();
        while start.elapsed() < STOP_WITHIN {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.code();
            }
            thread::sleep(POLL);
        }
        None
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.ports.is_none() {
            return;
        }
        let nodes: Vec<Pid> = (1..=NODES_MAX)
            .filter_map(|k| fs::read_to_string(self.path().join(format!("node{k}.pid"))).ok())
            .filter_map(|text| Pid::from_raw(text.trim().parse().ok()?))
            .collect();
        // A failed test wants its end, not a clean drain.
        if thread::panicking() || self.stop().is_none() {
            self.child.kill().ok();
            self.child.wait().ok();
            for pid in nodes {
                if test_kill_process(pid).is_ok() && is_ours(pid) {
                    kill_process(pid, Signal::KILL).ok();
                }
            }
        }
    }
}

/// A process id may have been given to somebody else meanwhile.
fn is_ours(pid: Pid) -> bool {
    fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero())).is_ok_and(|exe| exe == Path::new(TANDEM))
}

/// The lines of a child as they come.
fn follow(out: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    told
}
