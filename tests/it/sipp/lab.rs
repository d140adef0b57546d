//! What a behaviour is tried in: a tenant and loopback addresses of its own in a cluster that all of them share.
//!
//! It places SIPp and the tenant; a SIPp's own life is `process`'s, the messages are `script`'s.

use std::{
    fs,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Weak,
        atomic::{AtomicU8, Ordering},
    },
};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{
    process::Sipp,
    relay::{self, Relay},
    script::{Face, Script},
    timers,
};
use crate::harness::{Cluster, Options, Ports, TANDEM};

const TOML: (&str, &str) = ("content-type", "application/toml");

/// A trunk that needs no password.
pub(super) const BY_ADDRESS: &str = "sources = [\"127.0.0.0/8\"]\n";

/// Last octets of the addresses in a laboratory: phones from 1, their relays from 100, callers from 200.
const PHONES: u8 = 1;
const RELAYS: u8 = 100;
const CALLERS: u8 = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }

    /// As SIPp speaks it, for which a relay speaks TLS.
    const fn plain(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp | Self::Tls => "TCP",
        }
    }

    /// As a URI's parameter.
    pub(super) const fn parameter(self) -> &'static str {
        match self {
            Self::Udp => "",
            Self::Tcp => ";transport=tcp",
            Self::Tls => ";transport=tls",
        }
    }
}

/// Runs a behaviour, if there is a SIPp to run it with.
pub(super) fn on(transport: Transport, behaviour: fn(&Lab)) {
    if Command::new("sipp").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        return println!("skipped: sipp is not installed (Debian: apt-get install sip-tester)");
    }
    timers::begin_early();
    // A machine too busy to answer a ping within its lease costs a node its lease or its life, as it must: calls are refused
    // or handed over then. What failed meanwhile says nothing about the behaviour, and only that is tried again.
    for last in [false, false, true] {
        let lab = Lab::new(transport);
        let before = lab.disturbances();
        let Err(failure) = panic::catch_unwind(AssertUnwindSafe(|| behaviour(&lab))) else { return };
        let after = lab.disturbances();
        if last || after == before {
            panic::resume_unwind(failure);
        }
        println!("once more: nodes lost leases meanwhile ({before:?} became {after:?})");
    }
}

/// One cluster for all behaviours: starting one costs more than they do. The last one to let go ends it.
fn shared() -> Arc<Cluster> {
    static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock();
    shared.upgrade().unwrap_or_else(|| {
        let cluster = Arc::new(Options::default().start());
        *shared = Arc::downgrade(&cluster);
        cluster
    })
}

/// True once somebody listens there. Asking the kernel disturbs nobody, as a connection would.
fn listens(at: SocketAddr, transport: Transport) -> bool {
    let SocketAddr::V4(v4) = at else { return false };
    let row = format!("{:08X}:{:04X}", u32::from_le_bytes(v4.ip().octets()), v4.port());
    let table = fs::read_to_string(if transport == Transport::Udp { "/proc/net/udp" } else { "/proc/net/tcp" }).unwrap_or_default();
    table.lines().any(|line| line.split_whitespace().nth(1) == Some(&row))
}

pub(super) struct Lab {
    pub(super) cluster: Arc<Cluster>,
    pub(super) transport: Transport,
    /// Its tenant, which is also the host callers dial.
    pub(super) tenant: String,
    /// The third octet of its addresses.
    number: u8,
    callers: AtomicU8,
    relays: Mutex<Vec<Relay>>,
}

impl Lab {
    fn new(transport: Transport) -> Self {
        static NUMBERS: AtomicU8 = AtomicU8::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let tenant = format!("t{number}");
        let (callers, relays) = (AtomicU8::new(CALLERS), Mutex::default());
        Self { cluster: shared(), transport, tenant, number, callers, relays }
    }

    /// An address of this laboratory alone: the second octet is the process's, as its port range is.
    fn at(&self, last: u8) -> SocketAddr {
        let range = self.cluster.ports().sip_base() / 100;
        let process = u8::try_from(range % 250).expect("below 250") + 1;
        SocketAddr::from((Ipv4Addr::new(127, process, self.number, last), self.cluster.ports().own(0)))
    }

    /// Where the `n`-th phone is reached, and where its SIPp listens: beside a relay if it speaks TLS.
    pub(super) fn phone_at(&self, n: u8) -> SocketAddr {
        self.at(if self.transport == Transport::Tls { RELAYS } else { PHONES } + n)
    }

    pub(super) fn sipp_at(&self, n: u8) -> SocketAddr {
        self.at(PHONES + n)
    }

    /// The URI of the `n`-th phone.
    pub(super) fn uri(&self, user: &str, n: u8) -> String {
        format!("sip:{user}@{}{}", self.phone_at(n), self.transport.parameter())
    }

    /// The address of node `k` over this transport.
    pub(super) fn node(&self, k: u16) -> SocketAddr {
        let mut addr = self.cluster.sip(k);
        addr.set_port(addr.port() + u16::from(self.transport == Transport::Tls));
        addr
    }

    pub(super) fn pki(&self, file: &str) -> PathBuf {
        self.cluster.path().join("pki").join(file)
    }

    /// Publishes the tenant: the queue `support` with these agents on static contacts, the phones from 0 on.
    pub(super) fn agents(&self, names: &[&str]) {
        self.agents_and(names, "");
    }

    /// The same, with more of the tenant's file behind it.
    pub(super) fn agents_and(&self, names: &[&str], more: &str) {
        let row = |(n, name): (usize, &&str)| {
            let n = u8::try_from(n).expect("a handful");
            format!("[[agent]]\nid = \"{name}\"\ncontact = \"{}\"\nskills = {{ support = 5 }}\nstate = \"available\"\n", self.uri(name, n))
        };
        let rows: String = names.iter().enumerate().map(row).collect();
        self.publish(&format!("{rows}{more}"), "");
    }

    /// The tenant's file, with these agents' rows and these keys of its trunk.
    fn file(&self, agents: &str, trunk: &str) -> String {
        format!(
            "[tenant]\nid = \"{0}\"\npass_headers = [\"X-Own\"]\n\
             [[queue]]\nid = \"support\"\nstrategy = \"longest-idle\"\noffer_timeout_s = 3\nmax_wait_s = 600\nwrap_up_s = 0\n\
             [[route]]\nto = \"support\"\nqueue = \"support\"\n\
             [[trunk]]\nid = \"lab\"\n{trunk}\n{agents}",
            self.tenant
        )
    }

    /// Publishes the tenant, its trunk known by address, and waits until every node has it.
    pub(super) fn publish(&self, agents: &str, trunk: &str) {
        let path = format!("/api/v1/tenants/{}", self.tenant);
        let file = self.file(agents, &format!("{BY_ADDRESS}{trunk}"));
        // Right after its start a loaded machine's cluster may not know yet what became of a command; this one is idempotent.
        self.cluster.eventually("the tenant is published", |cluster| {
            let answer = cluster.ask(1, "PUT", &path, &[TOML], &file);
            assert!(matches!(answer.status, 200 | 503 | 504), "{}", answer.text);
            (answer.status == 200).then_some(())
        });
        for k in 1..=3 {
            let rows = format!("/api/v1/queues?tenant={}&stale=true", self.tenant);
            self.cluster.eventually("the tenant on every node", |cluster| (cluster.get(k, &rows).status == 200).then_some(()));
        }
    }

    /// The phone of the `n`-th agent, once it listens.
    pub(super) fn phone(&self, n: u8, script: &Script) -> Sipp {
        let (at, own) = (self.sipp_at(n), self.phone_at(n));
        if self.transport == Transport::Tls {
            let pair = (self.pki("node1.pem"), self.pki("node1.key"));
            self.relays.lock().push(relay::towards_phone(own, at, (&pair.0, &pair.1)));
        }
        self.answering(at, own, script)
    }

    /// A SIPp that waits for calls at `at` and says that it is reached at `own`.
    pub(super) fn answering(&self, at: SocketAddr, own: SocketAddr, script: &Script) -> Sipp {
        let mode = if self.transport == Transport::Udp { "u1" } else { "t1" };
        let face = Face { transport: self.transport.name(), own: &own.to_string(), domain: &self.tenant };
        let sipp = Sipp::start(&script.xml(&face), at, &["-t", mode]);
        self.cluster.eventually("the phone listens", |_| listens(at, self.transport).then_some(()));
        sipp
    }

    /// Tells the `n`-th phone to go on from [`Script::told`]. Only a message of its own call makes a SIPp go on, so it is one.
    pub(super) fn tell(&self, n: u8, phone: &Sipp) {
        let call = self.cluster.eventually("the phone's call", |_| phone.call_id());
        let (protocol, at) = (self.transport.plain(), self.sipp_at(n));
        let info = format!(
            "INFO sip:phone@{at} SIP/2.0\r\nVia: SIP/2.0/{protocol} {at};branch=z9hG4bKtold\r\nFrom: <sip:test@{at}>;tag=told\r\n\
             To: <sip:phone@{at}>\r\nCall-ID: {call}\r\nCSeq: 1 INFO\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        let from = (Ipv4Addr::LOCALHOST, 0);
        if self.transport == Transport::Udp {
            UdpSocket::bind(from).and_then(|socket| socket.send_to(info.as_bytes(), at)).expect("sent");
        } else {
            TcpStream::connect(at).and_then(|mut stream| stream.write_all(info.as_bytes())).expect("sent");
        }
    }

    /// A caller at node `k`.
    pub(super) fn caller(&self, k: u16, script: &Script) -> Sipp {
        self.caller_at(self.entrance(self.node(k)), script)
    }

    /// Where SIPp must speak to in order to reach `node`: there, or at a relay.
    pub(super) fn entrance(&self, node: SocketAddr) -> SocketAddr {
        if self.transport != Transport::Tls {
            return node;
        }
        let at = self.at(self.callers.fetch_add(1, Ordering::Relaxed));
        self.relays.lock().push(relay::towards_node(at, node, &self.pki("ca.pem")));
        at
    }

    pub(super) fn keep(&self, relay: Relay) {
        self.relays.lock().push(relay);
    }

    pub(super) fn caller_at(&self, entrance: SocketAddr, script: &Script) -> Sipp {
        self.caller_from(self.at(self.callers.fetch_add(1, Ordering::Relaxed)), entrance, script)
    }

    /// A caller that may change where it sends to needs a socket for each place (`tn`).
    pub(super) fn caller_from(&self, at: SocketAddr, entrance: SocketAddr, script: &Script) -> Sipp {
        let mode = match self.transport {
            Transport::Udp => "u1",
            _ if script.moves() => "tn",
            _ => "t1",
        };
        let face = Face { transport: self.transport.name(), own: "[local_ip]:[local_port]", domain: &self.tenant };
        Sipp::start(&script.xml(&face), at, &[&entrance.to_string(), "-s", "support", "-t", mode, "-max_socket", "100"])
    }

    /// Every node's life, how often it refused or withheld something for want of a lease or of time, and calls lost with one.
    fn disturbances(&self) -> Vec<String> {
        let lives = self.cluster.all(1, "/api/v1/nodes").into_iter().map(|node| node["incarnation"].to_string());
        let counters = (1..=3).flat_map(|k| {
            let text = self.cluster.get(k, "/metrics").text;
            let told = |line: &&str| {
                line.starts_with("tandem_sip_withheld_total")
                    || (line.starts_with("tandem_sip_admission_refused_total")
                        && ["no_lease", "behind", "busy"].iter().any(|reason| line.contains(reason)))
            };
            text.lines().filter(told).map(|line| format!("{k} {line}")).collect::<Vec<_>>()
        });
        let records = self.cluster.get(1, &format!("/api/v1/cdrs?tenant={}", self.tenant)).text;
        let lost = records.matches("node_lost").count().to_string();
        lives.chain(counters).chain([lost]).collect()
    }

    /// The only call's record, once it is there.
    pub(super) fn record(&self) -> Value {
        let path = format!("/api/v1/cdrs?tenant={}", self.tenant);
        self.cluster.eventually("a record", |cluster| cluster.all(2, &path).first().cloned())
    }

    /// Asserts how the only call ended.
    pub(super) fn ended(&self, outcome: &str, agent: Option<&str>, reason: &str) {
        let record = self.record();
        assert_eq!(
            (&record["outcome"], &record["agent"], &record["end_reason"]),
            (&outcome.into(), &agent.map_or(Value::Null, Value::from), &reason.into()),
            "{record}"
        );
    }
}

/// A cluster of one, with limits that a scenario can reach.
pub(super) struct Small {
    child: Child,
    dir: tempfile::TempDir,
    ports: Ports,
}

impl Small {
    /// Starts it with `limits` at the end of its configuration, and gives it the tenant of `lab` with this trunk.
    pub(super) fn start(lab: &Lab, limits: &str, trunk: &str) -> Self {
        let (dir, ports) = (tempfile::tempdir().expect("a temporary directory"), Ports::reserve());
        let [cluster, http, sip, tls] =
            [ports.cluster_base(), ports.http_base(), ports.sip_base(), ports.sip_base() + 1].map(|port| format!("127.0.0.1:{port}"));
        let pki = lab.pki("");
        let config = format!(
            "node = 1\ndata_dir = \"data\"\ngroups = 1\ndrain_timeout_s = 1\n[cluster]\nlisten = \"{cluster}\"\nca = \"{pki}ca.pem\"\n\
             cert = \"{pki}node1.pem\"\nkey = \"{pki}node1.key\"\n[[cluster.peer]]\nid = 1\naddr = \"{cluster}\"\n\
             [sip]\nudp = \"{sip}\"\ntcp = \"{sip}\"\ntls = \"{tls}\"\n[http]\nlisten = \"{http}\"\nadmin_token_file = \"token\"\n{limits}",
            pki = pki.display()
        );
        fs::write(dir.path().join("node.toml"), config).expect("written");
        fs::write(dir.path().join("token"), lab.cluster.token()).expect("written");
        let log = fs::File::create(dir.path().join("log")).expect("created");
        let mut command = Command::new(TANDEM);
        command.args(["serve", "--config", "node.toml"]).current_dir(dir.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(log).spawn().expect("the program starts");
        let small = Self { child, dir, ports };
        let url = format!("http://{http}");
        lab.cluster.eventually("the small node is ready", |_| ureq::get(format!("{url}/readyz")).call().ok());
        let published = ureq::put(format!("{url}/api/v1/tenants/{}", lab.tenant))
            .header("authorization", format!("Bearer {}", lab.cluster.token()))
            .header(TOML.0, TOML.1)
            .send(lab.file("", trunk));
        assert!(published.is_ok(), "{published:?}\n{}", fs::read_to_string(small.dir.path().join("log")).unwrap_or_default());
        small
    }

    pub(super) fn entrance(&self, lab: &Lab) -> SocketAddr {
        let port = self.ports.sip_base() + u16::from(lab.transport == Transport::Tls);
        lab.entrance(SocketAddr::from(([127, 0, 0, 1], port)))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // The watcher ends its node with itself.
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            kill_process(pid, Signal::TERM).ok();
        }
        self.child.wait().ok();
    }
}
