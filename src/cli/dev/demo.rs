//! `tandem dev --demo`: a tenant, synthetic callers and synthetic agents, all speaking real SIP over loopback UDP.
//!
//! It owns the newcomer's first sight: calls that flow without a phone, one line of figures a second, and how to dial
//! in. It plays the outside world and touches nothing inside a node.

mod agents;
mod callers;
mod sip;
mod summary;

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use tokio::{net::UdpSocket, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Args, Folder};
use crate::cli::Failure;

/// New calls a second.
const CALLS_PER_S: f64 = 2.0;
/// Ring time of an agent before it answers.
const RING_MS: std::ops::Range<u64> = 400..1_500;
/// How long a conversation takes.
const TALK_MS: std::ops::Range<u64> = 3_000..8_000;
/// How long a caller waits before it gives up.
const PATIENCE: Duration = Duration::from_secs(45);
/// Where the demo agents' phones listen: this far above the SIP base port.
const AGENT_PORT_ABOVE: u16 = 50;
/// The demo agents: one more than the load keeps busy on average, so that a queue builds up and empties again.
const AGENTS: [&str; 16] =
    ["ada", "bela", "chidi", "dana", "emil", "farah", "gus", "hana", "ines", "jun", "kofi", "lena", "mira", "noor", "omar", "pia"];

const HEAD: &str = r#"# The demo tenant of `tandem dev --demo`.
[tenant]
id = "demo"
chats_max = 100

[[queue]]
id = "support"
strategy = "longest-idle"
service_level = { answer_within_s = 20, target_percent = 80 }
offer_timeout_s = 15
max_wait_s = 600
wrap_up_s = 1

[[route]]
to = "support"
queue = "support"

[[trunk]]
id = "loopback"
sources = ["127.0.0.0/8"]

# Chats: http://127.0.0.1:7070/chat/demo
[[agent]]
id = "tandy"
kind = "ai"
queues = ["support"]
skills = { support = 5 }
capacity = { voice = 0, chat = 20 }

[[agent]]
id = "quinn"
queues = ["support"]
skills = { support = 5 }
capacity = { voice = 0, chat = 4 }
state = "available"
"#;

/// The demo tenant's file, its agents' phones on the port that goes with these arguments.
pub(super) fn tenant(args: &Args) -> String {
    let port = agent_port(args);
    AGENTS.iter().fold(HEAD.to_owned(), |mut text, agent| {
        write!(
            text,
            "\n[[agent]]\nid = \"{agent}\"\ncontact = \"sip:{agent}@127.0.0.1:{port}\"\nskills = {{ support = 5 }}\nstate = \"available\"\n"
        )
        .expect("a String takes every write");
        text
    })
}

const fn agent_port(args: &Args) -> u16 {
    args.sip_base.saturating_add(AGENT_PORT_ABOVE)
}

/// The running show; it ends when dropped.
#[derive(Debug)]
pub(super) struct Show {
    _tasks: JoinSet<()>,
    no_more_calls: CancellationToken,
}

impl Show {
    /// Nobody dials any more; whoever waits or talks goes on, so that a drain has calls to wait for and they end well.
    pub(super) fn wind_down(&self) {
        self.no_more_calls.cancel();
    }
}

/// Starts agents, callers and the summary line.
pub(super) async fn start(args: &Args, folder: &Folder) -> Result<Show, Failure> {
    let local = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let phones = UdpSocket::bind(local(agent_port(args))).await.map_err(|e| Failure::new(e).of("the demo agents' port"))?;
    let lines = UdpSocket::bind(local(0)).await.map_err(|e| Failure::new(e).of("the demo callers' port"))?;
    let nodes: Vec<SocketAddr> = args.data_nodes().map(|node| local(args.sip(node))).collect();
    let http: Vec<String> = (1..=args.nodes).map(|node| format!("http://127.0.0.1:{}", args.http(node))).collect();
    println!(
        "dial in: point a softphone (no registration, UDP) at 127.0.0.1:{} and call sip:support@127.0.0.1:{}",
        args.sip_base, args.sip_base
    );
    println!(
        "look: TANDEM_TOKEN=$(cat {}) tandem --help; or kill a node: kill -9 $(cat {}/node2.pid)",
        folder.token_file().display(),
        folder.path().display()
    );
    let no_more_calls = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(agents::run(phones));
    tasks.spawn(callers::run(lines, nodes, no_more_calls.clone()));
    tasks.spawn(summary::run(http, folder.token()?));
    Ok(Show { _tasks: tasks, no_more_calls })
}

/// A random duration in a range of milliseconds.
fn some_ms(range: std::ops::Range<u64>) -> Duration {
    use rand::Rng as _;
    Duration::from_millis(rand::rng().random_range(range))
}

/// A random name for tags and branches.
fn some_name() -> String {
    use rand::RngCore as _;
    format!("{:016x}", rand::rng().next_u64())
}
