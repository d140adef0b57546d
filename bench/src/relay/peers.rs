//! The relays under test, each in a process of its own: Tandem's in this program's, and rtpengine through its `ng` protocol.

use std::{
    cell::Cell,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, UdpSocket},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tandem::{
    core::id::{CallId, LegId},
    media::{MediaPlane, Options, Relay},
};

use super::load::Call;
use crate::{cpu, error::Error};

/// Ports of either relay; those that somebody has are passed over.
const PORTS: (u16, u16) = (20_000, 59_999);
const UP_WITHIN: Duration = Duration::from_secs(10);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Tandem,
    Rtpengine,
}

/// The process of Tandem's relay, started by `relay`.
#[derive(Debug, Clone, clap::Args)]
pub struct NodeArguments {
    #[arg(long)]
    calls: usize,
    #[arg(long)]
    callers: SocketAddr,
    #[arg(long)]
    agents: SocketAddr,
}

/// A relay with its calls; killed on drop.
#[derive(Debug)]
pub struct Running {
    child: Child,
    pub to: Vec<Call>,
}

impl Running {
    pub fn start(peer: Peer, calls: usize, callers: SocketAddr, agents: SocketAddr) -> Result<Self, Error> {
        match peer {
            Peer::Tandem => Self::tandem(calls, callers, agents),
            Peer::Rtpengine => Self::rtpengine(calls, callers, agents),
        }
    }

    fn tandem(calls: usize, callers: SocketAddr, agents: SocketAddr) -> Result<Self, Error> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["relay-node", "--calls", &calls.to_string()])
            .args(["--callers", &callers.to_string(), "--agents", &agents.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        let mut running = Self { child, to: Vec::new() };
        BufReader::new(stdout).read_line(&mut line)?;
        running.to = serde_json::from_str(&line)?;
        Ok(running)
    }

    fn rtpengine(calls: usize, callers: SocketAddr, agents: SocketAddr) -> Result<Self, Error> {
        let control = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        let child = Command::new("rtpengine")
            .args(["--foreground", "--interface=127.0.0.1", "--table=-1", "--num-threads=1", "--log-level=1", "--log-stderr"])
            .arg(format!("--listen-ng={control}"))
            .args([format!("--port-min={}", PORTS.0), format!("--port-max={}", PORTS.1)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| Error::Setup(format!("rtpengine does not start ({error}); Debian: apt-get install rtpengine-daemon")))?;
        let mut running = Self { child, to: Vec::new() };
        let ng = Ng::connect(control)?;
        let start = Instant::now();
        while ng.ask("d7:command4:pinge").is_err() {
            if start.elapsed() > UP_WITHIN {
                return Err(Error::Setup("rtpengine does not come up".to_owned()));
            }
            thread::sleep(Duration::from_millis(100));
        }
        for call in 0..calls {
            let (text, call) = (|text: &str| format!("{}:{text}", text.len()), format!("call{call}"));
            // Keys of a dictionary are in order (BEP 3).
            let head = |command: &str| format!("d7:call-id{}7:command{}8:from-tag1:a", text(&call), text(command));
            let for_agent = ng.ask(&format!("{}3:sdp{}e", head("offer"), text(&sdp(callers))))?;
            let for_caller = ng.ask(&format!("{}3:sdp{}6:to-tag1:be", head("answer"), text(&sdp(agents))))?;
            running.to.push((told(&for_caller)?, told(&for_agent)?));
        }
        Ok(running)
    }

    pub fn cpu_s(&self) -> Result<f64, Error> {
        cpu::seconds(self.child.id()).ok_or_else(|| Error::Missed("the relay is gone".to_owned()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// rtpengine's control protocol: a cookie and a bencoded dictionary, over UDP.
struct Ng {
    socket: UdpSocket,
    asked: Cell<u64>,
}

impl Ng {
    fn connect(control: SocketAddr) -> Result<Self, Error> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(control)?;
        socket.set_read_timeout(Some(ANSWER_WITHIN))?;
        Ok(Self { socket, asked: Cell::default() })
    }

    fn ask(&self, dictionary: &str) -> Result<String, Error> {
        self.asked.set(self.asked.get() + 1);
        let cookie = format!("{} ", self.asked.get());
        self.socket.send(format!("{cookie}{dictionary}").as_bytes())?;
        let mut bytes = [0; 16_384];
        let answer = loop {
            let count = self.socket.recv(&mut bytes)?;
            // An answer to a question given up is passed over.
            if let Some(answer) = String::from_utf8_lossy(&bytes[..count]).strip_prefix(&cookie) {
                break answer.to_owned();
            }
        };
        if answer.contains("5:error") { Err(Error::Missed(format!("rtpengine says {answer}"))) } else { Ok(answer) }
    }
}

fn sdp(at: SocketAddr) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio {1} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n",
        at.ip(),
        at.port()
    )
}

/// Where a description says to send.
fn told(sdp: &str) -> Result<SocketAddr, Error> {
    let port = sdp.split("m=audio ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
    port.map(|port| SocketAddr::from(([127, 0, 0, 1], port))).ok_or_else(|| Error::Missed(format!("no audio in {sdp}")))
}

/// Tandem's relay with so many calls, until its parent is gone.
pub fn node(arguments: &NodeArguments) -> Result<(), Error> {
    let fault = |error: tandem::media::Error| Error::Setup(error.to_string());
    let relay = Relay::start(Options { ports: PORTS.0..=PORTS.1, ..Options::new([127, 0, 0, 1].into()) }).map_err(fault)?;
    let mut to: Vec<Call> = Vec::new();
    for call in 0..arguments.calls {
        let (caller, agent) = (LegId { call: CallId(call as u128), n: 0 }, LegId { call: CallId(call as u128), n: 1 });
        let for_agent = relay.pass(caller, agent, sdp(arguments.callers).as_bytes()).map_err(fault)?;
        let for_caller = relay.pass(agent, caller, sdp(arguments.agents).as_bytes()).map_err(fault)?;
        relay.hear(caller, &[agent]);
        relay.hear(agent, &[caller]);
        let text = |sdp: &[u8]| told(&String::from_utf8_lossy(sdp));
        to.push((text(&for_caller)?, text(&for_agent)?));
    }
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&to)?)?;
    std::io::stdin().lines().for_each(drop);
    Ok(())
}
