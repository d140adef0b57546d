//! A daemon that is none: it answers `ng` questions in this process, keeps calls, and misbehaves on demand.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{net::UdpSocket, task::JoinHandle};

use crate::media::rtpengine::bencode::Value;

#[derive(Debug, Default)]
pub struct State {
    /// Port of each tag of each call: what whoever talks to that tag's party sends to.
    pub calls: BTreeMap<String, BTreeMap<String, u16>>,
    /// Commands as they came, repeats left out.
    pub asked: Vec<(String, String)>,
    cookies: BTreeSet<String>,
    /// Datagrams that get no answer.
    pub deaf_for: usize,
    /// Answers this to whatever is asked.
    pub says: Option<Vec<u8>>,
    /// Takes no new call.
    pub full: bool,
    next_port: u16,
}

pub struct Fake {
    pub addr: SocketAddr,
    pub state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Fake {
    pub async fn start(first_port: u16) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), first_port).await
    }

    pub async fn start_at(addr: SocketAddr, first_port: u16) -> Self {
        let socket = UdpSocket::bind(addr).await.unwrap();
        let addr = socket.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { next_port: first_port, ..State::default() }));
        let task = tokio::spawn(serve(socket, state.clone()));
        Self { addr, state, task }
    }

    /// Ends the process: nothing listens there any more.
    pub async fn kill(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// Commands other than pings.
    pub fn asked(&self) -> Vec<String> {
        self.state.lock().asked.iter().filter(|(command, _)| command != "ping").map(|(command, _)| command.clone()).collect()
    }

    pub fn calls(&self) -> usize {
        self.state.lock().calls.len()
    }
}

async fn serve(socket: UdpSocket, state: Arc<Mutex<State>>) {
    let mut buffer = vec![0; 65_535];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        let answer = state.lock().take(&buffer[..length]);
        if let Some(answer) = answer {
            socket.send_to(&answer, from).await.unwrap();
        }
    }
}

impl State {
    fn take(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        let end = datagram.iter().position(|byte| *byte == b' ').unwrap();
        let cookie = String::from_utf8(datagram[..=end].to_vec()).unwrap();
        let request = Value::decode(&Bytes::copy_from_slice(&datagram[end + 1..])).unwrap();
        let text = |key: &str| {
            request.get(key).and_then(Value::as_bytes).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).unwrap_or_default()
        };
        if self.cookies.insert(cookie.clone()) {
            self.asked.push((text("command"), text("call-id")));
        }
        if self.deaf_for > 0 {
            self.deaf_for -= 1;
            return None;
        }
        let mut answer = cookie.into_bytes();
        match self.says.clone() {
            Some(says) => answer.extend(says),
            None => answer.extend(self.answer(&text).encode()),
        }
        Some(answer)
    }

    fn answer(&mut self, text: &impl Fn(&str) -> String) -> Value {
        let error = |why: &str| Value::dict([("result", Value::text("error")), ("error-reason", Value::text(why))]);
        let ok = || Value::dict([("result", Value::text("ok"))]);
        let known = self.calls.contains_key(&text("call-id"));
        match text("command").as_str() {
            "ping" => Value::dict([("result", Value::text("pong"))]),
            "query" | "delete" | "answer" if !known => error("Unknown call-id"),
            "query" => Value::dict([("created", Value::Int(1)), ("tags", Value::dict([]))]),
            "delete" => {
                self.calls.remove(&text("call-id"));
                ok()
            }
            "offer" if self.full && !known => error("Ran out of ports"),
            "offer" => self.told(&text("call-id"), &text("from-tag"), &text("sdp")),
            "answer" => self.told(&text("call-id"), &text("to-tag"), &text("sdp")),
            other => error(&format!("Unrecognized command {other}")),
        }
    }

    /// The description with the port that faces the other party in place of its own.
    fn told(&mut self, call: &str, speaker: &str, sdp: &str) -> Value {
        if !sdp.contains("m=audio ") {
            return Value::dict([("result", Value::text("error")), ("error-reason", Value::text("Error rewriting SDP"))]);
        }
        let next = self.next_port;
        let port = *self.calls.entry(call.to_owned()).or_default().entry(speaker.to_owned()).or_insert(next);
        if port == next {
            self.next_port += 2;
        }
        let lines = sdp.lines().map(|line| match line.strip_prefix("m=audio ") {
            Some(rest) => format!("m=audio {port} {}\r\n", rest.split_once(' ').unwrap().1),
            None => format!("{line}\r\n"),
        });
        Value::dict([("result", Value::text("ok")), ("sdp", Value::text(lines.collect::<String>()))])
    }
}
