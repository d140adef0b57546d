//! An endpoint of models as a test wants it: on a port of its own, one prepared answer a request, whatever was asked is kept.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What the server does with one request.
#[derive(Debug, Clone)]
pub(super) enum Play {
    /// These bytes as an HTTP answer of a type, and the connection is closed.
    Answer(&'static str, Vec<u8>),
    Status(u16),
    /// These bytes again and again, for as long as anybody reads.
    Endless(Vec<u8>),
    /// Nothing, for as long as anybody waits.
    Hang,
    /// The connection breaks off in the middle of this.
    Break(Vec<u8>),
}

/// A request: its head in lower case, and its body.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Asked {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Clone)]
pub(super) struct Fake {
    pub(super) base: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    /// Plays in order, the last one for every further request.
    pub(super) async fn start(plays: Vec<Play>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/v1", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let fake = Self { base, asked: Arc::clone(&asked) };
        tokio::spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else { return };
                let (asked, plays) = (Arc::clone(&asked), plays.clone());
                tokio::spawn(serve(socket, asked, plays));
            }
        });
        fake
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }
}

async fn serve(mut socket: TcpStream, asked: Arc<Mutex<Vec<Asked>>>, plays: Vec<Play>) -> Option<()> {
    let mut bytes = Vec::new();
    let (head, length) = loop {
        socket.read_buf(&mut bytes).await.ok().filter(|read| *read > 0)?;
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok()).unwrap_or(0);
        break (head, end + 4 + length);
    };
    while bytes.len() < length {
        socket.read_buf(&mut bytes).await.ok().filter(|read| *read > 0)?;
    }
    let start = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let play = {
        let mut asked = asked.lock();
        asked.push(Asked { head, body: bytes[start..].to_vec() });
        plays[(asked.len() - 1).min(plays.len() - 1)].clone()
    };
    let head = |kind: &str| format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n");
    match play {
        Play::Answer(kind, body) => {
            socket.write_all(format!("{}content-length: {}\r\n\r\n", head(kind), body.len()).as_bytes()).await.ok()?;
            socket.write_all(&body).await.ok()?;
        }
        Play::Status(status) => {
            let answer = format!("HTTP/1.1 {status} No\r\nconnection: close\r\ncontent-length: 0\r\nlocation: http://127.0.0.1:1/\r\n\r\n");
            socket.write_all(answer.as_bytes()).await.ok()?;
        }
        Play::Endless(body) => {
            socket.write_all(format!("{}\r\n", head("text/event-stream")).as_bytes()).await.ok()?;
            loop {
                socket.write_all(&body).await.ok()?;
            }
        }
        Play::Break(body) => {
            socket.write_all(format!("{}content-length: 1000000\r\n\r\n", head("text/event-stream")).as_bytes()).await.ok()?;
            socket.write_all(&body).await.ok()?;
        }
        Play::Hang => {
            let mut rest = [0];
            // Until the other side goes.
            let _ = socket.read(&mut rest).await;
        }
    }
    Some(())
}

/// A streamed answer of these events.
pub(super) fn stream(events: &[serde_json::Value]) -> Play {
    let mut body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    body.push_str("data: [DONE]\n\n");
    Play::Answer("text/event-stream", body.into_bytes())
}

/// A streamed answer of this text, in pieces.
pub(super) fn says(text: &str) -> Play {
    let mut events = Vec::new();
    for piece in text.chars().collect::<Vec<_>>().chunks(3) {
        let piece: String = piece.iter().collect();
        events.push(serde_json::json!({ "choices": [{ "delta": { "content": piece }, "finish_reason": null }] }));
    }
    events.push(serde_json::json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }] }));
    events.push(serde_json::json!({ "choices": [], "usage": { "total_tokens": 9 } }));
    stream(&events)
}

/// A streamed answer that calls a tool, its arguments in two pieces.
pub(super) fn calls(name: &str, arguments: &str) -> Play {
    let half = arguments.len() / 2;
    let piece = |call: serde_json::Value| serde_json::json!({ "choices": [{ "delta": { "tool_calls": [call] }, "finish_reason": null }] });
    stream(&[
        piece(
            serde_json::json!({ "index": 0, "id": "c1", "type": "function", "function": { "name": name, "arguments": &arguments[..half] } }),
        ),
        piece(serde_json::json!({ "index": 0, "function": { "arguments": &arguments[half..] } })),
        serde_json::json!({ "choices": [{ "delta": {}, "finish_reason": "tool_calls" }] }),
    ])
}
