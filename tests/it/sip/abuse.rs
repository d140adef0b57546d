//! Bad input and hostile peers: whatever comes, the edge goes on for the others, within bounds.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;

use tandem::{
    core::party::Transport,
    sip::{limits::ARRIVALS_MAX, transport::Timeouts},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::fake::{Node, PATIENCE, Peer, demo, request, trunk, until};

/// All that this test's node logs, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// A test has one thread, and its node runs on it.
    fn listen() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false).with_writer(move || writer.clone());
        (log, tracing::subscriber::set_default(subscriber.finish()))
    }

    fn tells_no_body(&self, body: &str) {
        let text = String::from_utf8_lossy(&self.0.lock()).into_owned();
        assert!(!text.contains(" ERROR ") && !text.contains(body), "{text}");
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn node() -> Node {
    Node::start(1, demo(trunk(&["127.0.0.0/8"]))).await
}

/// Asks for the node's health from a peer of its own, and so whether it still serves.
async fn is_alive(node: &Node, name: &str) {
    let peer = Peer::new().await;
    peer.send(node.addr(Transport::Udp), peer.request("OPTIONS", "sip:demo", &format!("alive{name}"), "", "")).await;
    peer.status(200).await;
}

#[tokio::test]
async fn garbage_and_giant_datagrams_are_survived_in_silence() {
    let (log, _listening) = Log::listen();
    let (node, peer) = (node().await, Peer::new().await);
    let udp = node.addr(Transport::Udp);
    for bytes in
        [vec![0xFF; 65_507], vec![b'x'; 65_507], vec![0; 3], b"\r\n\r\n".to_vec(), b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![b'a'; 1]]
    {
        peer.send(udp, bytes).await;
    }
    assert!(peer.next(Duration::from_millis(300)).await.is_none(), "garbage was answered");
    let body = "x".repeat(64_000);
    peer.send(udp, peer.request("OPTIONS", "sip:demo", "big", "", &body)).await;
    peer.status(200).await;
    is_alive(&node, "garbage").await;
    log.tells_no_body("xxxx");
}

#[tokio::test]
async fn a_bad_message_is_answered_and_a_bad_stream_is_closed() {
    let (node, peer) = (node().await, Peer::new().await);
    let bad = peer.request("OPTIONS", "sip:demo", "b1", "", "").replace("Content-Length: 0", "Content-Length: 900");
    peer.send(node.addr(Transport::Udp), bad).await;
    peer.status(400).await;
    let mut stream = TcpStream::connect(node.addr(Transport::Tcp)).await.unwrap();
    let text = request("TCP", "127.0.0.1:1", "OPTIONS", "sip:demo", "b2", "", "").replace("Content-Length: 0\r\n", "");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with(b"SIP/2.0 400 Missing Content-Length"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn a_peer_that_sends_a_byte_now_and_then_is_cut() {
    let timeouts = Timeouts { first_message: Duration::from_millis(600), message: Duration::from_millis(400), ..Timeouts::default() };
    let node = Node::start_with(1, demo(trunk(&["127.0.0.0/8"])), timeouts).await;
    let mut slow = TcpStream::connect(node.addr(Transport::Tcp)).await.unwrap();
    let text = request("TCP", "127.0.0.1:1", "OPTIONS", "sip:demo", "slow", "", "");
    let cut = tokio::time::timeout(PATIENCE, async {
        for byte in text.bytes().cycle() {
            if slow.write_all(&[byte]).await.is_err() {
                return;
            }
            let _ = tokio::time::timeout(Duration::from_millis(50), slow.read_u8()).await;
        }
    });
    cut.await.expect("the peer was not cut");
    let mut mute = TcpStream::connect(node.addr(Transport::Tcp)).await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, mute.read(&mut [0; 8])).await.unwrap().unwrap_or(0), 0);
    until("no connection left", || (node.edge.connections() == 0).then_some(())).await;
    is_alive(&node, "slow").await;
}

#[tokio::test]
async fn a_keep_alive_on_a_stream_is_answered() {
    let node = node().await;
    let mut stream = TcpStream::connect(node.addr(Transport::Tcp)).await.unwrap();
    stream.write_all(b"\r\n\r\n").await.unwrap();
    let mut pong = [0; 2];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut pong)).await.unwrap().unwrap();
    assert_eq!(&pong, b"\r\n");
}

#[tokio::test]
async fn a_flood_of_unfinished_invites_is_bounded_and_the_rest_is_refused() {
    let (node, peer) = (node().await, Peer::new().await);
    *node.fake.outcome.lock() = None;
    let udp = node.addr(Transport::Udp);
    let (mut refused, mut sent) = (0, 0);
    while refused < 50 && sent < 20_000 {
        for _ in 0..100 {
            sent += 1;
            peer.send(udp, peer.request("INVITE", "sip:support@demo", &format!("flood{sent}"), "", "")).await;
        }
        while let Some((answer, _)) = peer.next(Duration::from_millis(5)).await {
            refused += u32::from(answer.status() == 503);
        }
    }
    assert!(refused >= 50, "{refused} refused of {sent}");
    assert!(node.edge.calls() <= ARRIVALS_MAX, "{} calls are kept", node.edge.calls());
    let other = Peer::new().await;
    other.send(udp, other.request("BYE", "sip:demo", "bye", "", "").replace("To: <sip:demo>", "To: <sip:demo>;tag=1")).await;
    other.status(481).await;
}

#[tokio::test]
async fn the_torture_messages_of_rfc_4475_leave_the_edge_alive() {
    let shared = std::env::var_os("TANDEM_SHARED").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let folder = shared.join("data/sip-torture");
    let Ok(files) = std::fs::read_dir(&folder) else {
        println!("skipped: no torture messages at {}", folder.display());
        return;
    };
    let (log, _listening) = Log::listen();
    let node = node().await;
    let mut sent = 0;
    for file in files {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let peer = Peer::new().await;
        peer.send(node.addr(Transport::Udp), &bytes).await;
        let mut stream = TcpStream::connect(node.addr(Transport::Tcp)).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        is_alive(&node, &sent.to_string()).await;
        sent += 1;
    }
    assert_eq!(sent, 49);
    log.tells_no_body("mhandley");
}
