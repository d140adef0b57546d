//! The synthetic callers: they ring `support` on any node, wait with some patience, and listen until they are left.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::{
    CALLS_PER_S, PATIENCE,
    sip::{self, Message, SDP},
    some_ms, some_name,
};

/// How often the callers look at their clocks.
const TICK: Duration = Duration::from_millis(50);
/// An INVITE that nobody answers at all is sent again this often, then to the next node.
const REPEAT: Duration = Duration::from_millis(400);
const REPEATS_MAX: u32 = 3;
/// Callers at once; a demo whose agents are gone must not grow for ever.
const CALLERS_MAX: usize = 100;

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// INVITE sent, nothing heard yet.
    Dialling { again: Instant, sent: u32 },
    /// A provisional answer came.
    Waiting { until: Instant },
    /// CANCEL sent, or talking: whatever comes next ends it.
    Done { forget: Instant },
}

#[derive(Debug)]
struct Caller {
    node: usize,
    number: String,
    tag: String,
    state: State,
}

/// The lines of all callers.
#[derive(Debug)]
struct Lines {
    here: SocketAddr,
    nodes: Vec<SocketAddr>,
    callers: BTreeMap<String, Caller>,
    next_node: usize,
    next_call: Instant,
    no_more_calls: CancellationToken,
}

type Datagram = (Vec<u8>, SocketAddr);

pub(super) async fn run(socket: UdpSocket, nodes: Vec<SocketAddr>, no_more_calls: CancellationToken) {
    let here = socket.local_addr().expect("a bound socket has an address");
    let mut lines = Lines { here, nodes, callers: BTreeMap::new(), next_node: 0, next_call: Instant::now(), no_more_calls };
    let mut buffer = vec![0; 65_535];
    let mut tick = tokio::time::interval(TICK);
    loop {
        let out = tokio::select! {
            received = socket.recv_from(&mut buffer) => match received {
                Ok((length, from)) => Message::parse(&buffer[..length]).map(|message| lines.receive(&message, from)).unwrap_or_default(),
                // A dead node's port answers with an ICMP error, which the socket reports here.
                Err(_) => Vec::new(),
            },
            now = tick.tick() => lines.advance(now.into_std()),
        };
        for (bytes, to) in out {
            socket.send_to(&bytes, to).await.ok();
        }
    }
}

impl Lines {
    fn receive(&mut self, message: &Message, from: SocketAddr) -> Vec<Datagram> {
        let id = message.get("call-id");
        match (message.method(), message.status()) {
            ("BYE", None) => {
                self.callers.remove(id);
                vec![(message.answer("200 OK", "", &self.contact(), ""), from)]
            }
            ("ACK", None) => Vec::new(),
            (_, None) => vec![(message.answer("200 OK", "", &self.contact(), SDP), from)],
            (_, Some(100..=199)) => {
                if let Some(caller) = self.callers.get_mut(id)
                    && matches!(caller.state, State::Dialling { .. })
                {
                    caller.state = State::Waiting { until: Instant::now() + PATIENCE };
                }
                Vec::new()
            }
            (_, Some(status)) if message.about() == "INVITE" => self.acknowledge(message, status),
            (_, Some(_)) => Vec::new(),
        }
    }

    /// ACK: a request of its own after a 200, part of the INVITE's transaction after a refusal.
    fn acknowledge(&mut self, answer: &Message, status: u16) -> Vec<Datagram> {
        let id = answer.get("call-id").to_owned();
        let Some(caller) = self.callers.get_mut(&id) else { return Vec::new() };
        let node = self.nodes[caller.node];
        let taken = status < 300;
        let uri = if taken { answer.contact().to_owned() } else { format!("sip:support@{node}") };
        let branch = if taken { some_name() } else { caller.tag.clone() };
        let fields = fields(self.here, caller, &id, &branch, answer.get("to"), "1 ACK");
        if taken {
            // The agent hangs up; a caller that hears nothing for this long was forgotten.
            caller.state = State::Done { forget: Instant::now() + PATIENCE };
        } else {
            self.callers.remove(&id);
        }
        vec![(sip::request("ACK", &uri, &fields, ""), node)]
    }

    fn advance(&mut self, now: Instant) -> Vec<Datagram> {
        let mut out = Vec::new();
        if self.next_call <= now && self.callers.len() < CALLERS_MAX && !self.no_more_calls.is_cancelled() {
            let gap_ms = (1000.0 / CALLS_PER_S) as u64;
            self.next_call = now + some_ms(gap_ms / 2..gap_ms * 3 / 2);
            self.next_node = (self.next_node + 1) % self.nodes.len();
            let number = format!("+4930{:07}", some_ms(0..10_000_000).as_millis());
            let state = State::Dialling { again: now, sent: 0 };
            self.callers.insert(some_name(), Caller { node: self.next_node, number, tag: some_name(), state });
        }
        let (here, nodes) = (self.here, &self.nodes);
        self.callers.retain(|id, caller| match caller.state {
            State::Dialling { again, sent } if again <= now => {
                if sent == REPEATS_MAX {
                    // The node is silent: dial the next one, as a carrier would, with a new transaction.
                    caller.node = (caller.node + 1) % nodes.len();
                    caller.tag = some_name();
                }
                caller.state = State::Dialling { again: now + REPEAT, sent: sent % REPEATS_MAX + 1 };
                out.push((invite(here, nodes[caller.node], caller, id), nodes[caller.node]));
                true
            }
            State::Waiting { until } if until <= now => {
                caller.state = State::Done { forget: now + PATIENCE };
                out.push((cancel(here, nodes[caller.node], caller, id), nodes[caller.node]));
                true
            }
            State::Done { forget } => forget > now,
            _ => true,
        });
        out
    }

    fn contact(&self) -> String {
        format!("sip:caller@{}", self.here)
    }
}

fn fields(here: SocketAddr, caller: &Caller, id: &str, branch: &str, to: &str, cseq: &str) -> Vec<String> {
    vec![
        format!("via: SIP/2.0/UDP {here};branch=z9hG4bK{branch};rport"),
        format!("from: <sip:{}@{here}>;tag={}", caller.number, caller.tag),
        format!("to: {to}"),
        format!("call-id: {id}"),
        format!("cseq: {cseq}"),
        format!("contact: <sip:caller@{here}>"),
    ]
}

fn invite(here: SocketAddr, node: SocketAddr, caller: &Caller, id: &str) -> Vec<u8> {
    let uri = format!("sip:support@{node}");
    sip::request("INVITE", &uri, &fields(here, caller, id, &caller.tag, &format!("<{uri}>"), "1 INVITE"), SDP)
}

fn cancel(here: SocketAddr, node: SocketAddr, caller: &Caller, id: &str) -> Vec<u8> {
    let uri = format!("sip:support@{node}");
    sip::request("CANCEL", &uri, &fields(here, caller, id, &caller.tag, &format!("<{uri}>"), "1 CANCEL"), "")
}
