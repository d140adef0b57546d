//! Behaviours of real endpoints on loopback.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tempfile::TempDir;
use tokio::net::UdpSocket;

use super::*;
use crate::{limits, pki};

/// A request that is held until its asker gives up.
const HOLD: u8 = 7 | APPLICATION;
const ECHO: u8 = 8;
const DEADLINE: Duration = Duration::from_secs(20);

/// Answers with who asked and what; counts what it holds.
#[derive(Default)]
struct Echo {
    held: AtomicUsize,
}

impl Handler for Echo {
    fn handle(&self, from: NodeId, kind: u8, group: u32, body: Bytes) -> BoxFuture<Result<Bytes, String>> {
        if kind == HOLD {
            self.held.fetch_add(1, Ordering::SeqCst);
            return Box::pin(std::future::pending());
        }
        Box::pin(async move {
            match &body[..] {
                b"refuse" => Err("not this one".to_owned()),
                _ => Ok([format!("{from}/{group}/").as_bytes(), &body].concat().into()),
            }
        })
    }
}

fn authority(nodes: &[NodeId]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    pki::init(dir.path()).unwrap();
    nodes.iter().for_each(|node| pki::issue(dir.path(), *node, &[]).unwrap());
    dir
}

fn files(dir: &Path, node: NodeId) -> Files {
    Files { ca: dir.join("ca.pem"), cert: dir.join(format!("node{node}.pem")), key: dir.join(format!("node{node}.key")) }
}

fn options(dir: &Path, node: NodeId) -> Options {
    let listen = "127.0.0.1:0".parse().unwrap();
    Options { node, incarnation: node * 10, listen, files: files(dir, node), loss_after_ms: 1_000, levels: (0, 1) }
}

fn start(options: Options) -> Transport {
    Transport::start(options, Arc::new(Echo::default())).unwrap()
}

fn dial(from: &Transport, to: NodeId, addr: SocketAddr) {
    from.set_peers(&BTreeMap::from([(to, addr)]));
}

async fn next(events: &mut broadcast::Receiver<PeerEvent>) -> PeerEvent {
    timeout(DEADLINE, events.recv()).await.expect("an event in time").unwrap()
}

/// Two nodes of one authority, the first connected to the second.
async fn pair() -> (TempDir, Transport, Transport) {
    let dir = authority(&[1, 2]);
    let (a, b) = (start(options(dir.path(), 1)), start(options(dir.path(), 2)));
    connect(&a, 2, &b).await;
    (dir, a, b)
}

async fn connect(a: &Transport, node: NodeId, b: &Transport) {
    let mut events = a.events();
    dial(a, node, b.local_addr().unwrap());
    assert_eq!(next(&mut events).await, PeerEvent::Up { node, incarnation: node * 10 });
}

async fn ask(a: &Transport, kind: u8, body: &[u8]) -> Result<Bytes, RequestError> {
    a.request(2, kind, 5, body, DEADLINE).await
}

/// A dialler that never gets through: its peer must go on serving others.
async fn never_connects(stranger: Options, b: &Transport, good: &Transport) {
    let refused = start(stranger);
    dial(&refused, 2, b.local_addr().unwrap());
    // Several attempts fit in the time of many requests of the good one.
    for _ in 0..20 {
        assert!(ask(good, ECHO, b"still there").await.is_ok());
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(refused.connected(2), None);
    }
    refused.close(CLOSED_PLAIN).await;
}

#[tokio::test]
async fn a_request_comes_back_with_its_answer_or_its_refusal() {
    let (_dir, a, _b) = pair().await;
    assert_eq!(ask(&a, ECHO, b"hello").await.unwrap(), "1/5/hello");
    assert_eq!(ask(&a, ECHO, b"").await.unwrap(), "1/5/");
    assert!(matches!(ask(&a, ECHO, b"refuse").await, Err(RequestError::Refused(why)) if why == "not this one"));
    let late = a.request(2, HOLD, 0, b"", Duration::from_millis(50)).await;
    assert!(matches!(late, Err(RequestError::Deadline)));
    assert!(matches!(a.request(9, ECHO, 0, b"", DEADLINE).await, Err(RequestError::Unreachable(9, _))));
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    let (_dir, a, _b) = pair().await;
    let body: Vec<u8> = (0..8u32 << 18).flat_map(u32::to_le_bytes).collect();
    let answer = ask(&a, ECHO | BULK, &body).await.unwrap();
    assert!(answer[4..] == body);
}

#[tokio::test]
async fn a_body_larger_than_any_frame_of_consensus_arrives_from_its_parts() {
    let (_dir, a, _b) = pair().await;
    let (state, tail) = (vec![7; limits::FRAME_MAX_BYTES + limits::BULK_CHUNK_BYTES + 1], b"tail");
    let answer = a.send_bulk(2, ECHO | BULK, 5, &[&state, tail], DEADLINE).await.unwrap();
    assert!(answer[4..4 + state.len()] == state && answer.ends_with(tail));
    // Small pieces, as a link that takes little at a time would force them.
    let (mut send, mut receive) = a.route(2, ECHO | BULK).unwrap().0.open_bi().await.unwrap();
    frame::send_parts(&mut send, ECHO | BULK, 5, &[b"state", tail], 2).await.unwrap();
    let answer = timeout(DEADLINE, frame::receive_answer(&mut receive, ECHO | BULK)).await.unwrap().unwrap();
    assert_eq!(answer.unwrap(), "1/5/statetail");
}

#[tokio::test]
async fn a_body_beyond_its_bound_is_refused_on_both_sides() {
    let (_dir, a, _b) = pair().await;
    let body = vec![0; limits::FRAME_MAX_BYTES + 1];
    assert!(matches!(ask(&a, ECHO, &body).await, Err(RequestError::Refused(why)) if why.contains("exceeds the limit")));
    // A peer that does not check: it announces too much and sends nothing of it.
    let connection = a.route(2, ECHO).unwrap().0;
    for (head, why) in [
        (b"TD\x01\x08\0\0\0\0\xFF\xFF\xFF\xFF", "a body of 4294967295 bytes exceeds"),
        (b"TD\x09\x08\0\0\0\0\0\0\0\0", "speaks protocol version 9"),
        (b"GET / HTTP/1", "not a frame"),
    ] {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(head).await.unwrap();
        let answer = timeout(DEADLINE, frame::receive_answer(&mut receive, ECHO)).await.unwrap().unwrap();
        assert!(answer.as_ref().is_err_and(|text| text.contains(why)), "{answer:?}");
    }
    assert!(ask(&a, ECHO, b"the connection goes on").await.is_ok());
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (_dir, a, b) = pair().await;
    let other = authority(&[3]);
    // Its own authority as well as ours in its bundle: only *we* have a reason to refuse.
    let mut stranger = options(other.path(), 3);
    let bundle = other.path().join("bundle.pem");
    fs::write(
        &bundle,
        fs::read(&stranger.files.ca).unwrap().into_iter().chain(fs::read(&a.inner.options.files.ca).unwrap()).collect::<Vec<_>>(),
    )
    .unwrap();
    stranger.files.ca = bundle;
    never_connects(stranger, &b, &a).await;
}

#[tokio::test]
async fn a_peer_under_another_authority_is_not_talked_to() {
    let (_dir, a, b) = pair().await;
    let other = authority(&[3]);
    never_connects(options(other.path(), 3), &b, &a).await;
}

#[tokio::test]
async fn the_certificate_of_one_node_does_not_speak_for_another() {
    let dir = authority(&[1, 2, 3]);
    let (a, b) = (start(options(dir.path(), 1)), start(options(dir.path(), 2)));
    connect(&a, 2, &b).await;
    // As a client: node 3 says that it is node 1.
    never_connects(Options { node: 1, ..options(dir.path(), 3) }, &b, &a).await;
    // As a server: node 3 answers where node 2 is expected.
    let impostor = start(options(dir.path(), 3));
    let c = start(options(dir.path(), 1));
    dial(&c, 2, impostor.local_addr().unwrap());
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(c.connected(2), None);
    }
}

#[tokio::test]
async fn nothing_is_answered_before_the_hello() {
    let (_dir, a, b) = pair().await;
    let connecting = a.inner.endpoint.connect_with(a.inner.identity.client(), b.local_addr().unwrap(), &pki::node_name(2)).unwrap();
    let connection = connecting.await.unwrap();
    assert!(exchange(&connection, ECHO, 0, b"no hello").await.is_err());
    assert!(matches!(timeout(DEADLINE, connection.closed()).await.unwrap(), quinn::ConnectionError::ApplicationClosed(_)));
}

#[tokio::test]
async fn nodes_without_a_common_feature_level_refuse_each_other() {
    let (dir, a, b) = pair().await;
    never_connects(Options { levels: (2, 3), ..options(dir.path(), 1) }, &b, &a).await;
}

/// Runs node 2 on a runtime of its own, which can vanish without a word.
fn doomed(dir: &Path) -> (tokio::runtime::Runtime, Transport) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let transport = {
        let _inside = runtime.enter();
        start(options(dir, 2))
    };
    (runtime, transport)
}

#[tokio::test]
async fn a_peer_that_vanishes_is_lost_by_silence_and_found_again() {
    let dir = authority(&[1, 2]);
    let a = start(Options { loss_after_ms: 300, ..options(dir.path(), 1) });
    let (runtime, b) = doomed(dir.path());
    let listen = b.local_addr().unwrap();
    connect(&a, 2, &b).await;
    let mut events = a.events();
    runtime.shutdown_background();
    drop(b);
    assert_eq!(next(&mut events).await, PeerEvent::Lost { node: 2, incarnation: 20, drained: false });
    assert_eq!(a.connected(2), None);
    let risen = Options { listen, incarnation: 21, ..options(dir.path(), 2) };
    let deadline = std::time::Instant::now() + DEADLINE;
    // The kernel may hold the port for a moment after the runtime is gone.
    let _b = loop {
        match Transport::start(risen.clone(), Arc::new(Echo::default())) {
            Ok(b) => break b,
            Err(e) => assert!(std::time::Instant::now() < deadline, "{e}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(next(&mut events).await, PeerEvent::Up { node: 2, incarnation: 21 });
    assert_eq!(ask(&a, ECHO, b"again").await.unwrap(), "1/5/again");
}

/// A way to `to` that holds every other datagram up, as a busy machine does, and can be cut without a word.
async fn shaky_way(to: SocketAddr) -> (SocketAddr, Arc<AtomicBool>) {
    let open = || async { Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap()) };
    let (front, back, cut) = (open().await, open().await, Arc::new(AtomicBool::new(false)));
    let addr = front.local_addr().unwrap();
    let caller = Arc::new(Mutex::new(addr));
    for (read, write, inwards) in [(Arc::clone(&front), Arc::clone(&back), true), (back, front, false)] {
        let (cut, caller) = (Arc::clone(&cut), Arc::clone(&caller));
        tokio::spawn(async move {
            let mut buffer = vec![0; 65_535];
            let mut count = 0;
            while let Ok((len, from)) = read.recv_from(&mut buffer).await {
                if inwards {
                    *caller.lock() = from;
                }
                let (datagram, target) = (buffer[..len].to_vec(), if inwards { to } else { *caller.lock() });
                let (write, cut) = (Arc::clone(&write), Arc::clone(&cut));
                count += 1;
                let late = Duration::from_millis(count % 2 * 120);
                tokio::spawn(async move {
                    tokio::time::sleep(late).await;
                    if !cut.load(Ordering::Relaxed) {
                        let _ = write.send_to(&datagram, target).await;
                    }
                });
            }
        });
    }
    (addr, cut)
}

#[tokio::test]
async fn silence_is_noticed_as_soon_however_the_round_trips_varied_before() {
    let dir = authority(&[1, 2]);
    let a = start(Options { loss_after_ms: 300, ..options(dir.path(), 1) });
    let b = start(Options { loss_after_ms: 300, ..options(dir.path(), 2) });
    let (way, cut) = shaky_way(b.local_addr().unwrap()).await;
    let mut events = a.events();
    dial(&a, 2, way);
    assert!(matches!(next(&mut events).await, PeerEvent::Up { node: 2, .. }));
    for _ in 0..20 {
        ask(&a, ECHO, b"to and fro").await.unwrap();
    }
    let began = std::time::Instant::now();
    cut.store(true, Ordering::Relaxed);
    assert_eq!(next(&mut events).await, PeerEvent::Lost { node: 2, incarnation: 20, drained: false });
    let took = began.elapsed();
    assert!(took < Duration::from_millis(750), "QUIC alone waits three probe timeouts: {took:?}");
}

#[tokio::test]
async fn only_the_drained_close_counts_as_proof() {
    for (code, drained) in [(CLOSED_DRAINED, true), (CLOSED_PLAIN, false), (77, false)] {
        let (_dir, a, b) = pair().await;
        let mut events = a.events();
        b.close(code).await;
        assert_eq!(next(&mut events).await, PeerEvent::Lost { node: 2, incarnation: 20, drained });
    }
}

#[tokio::test]
async fn a_new_life_is_told_and_a_life_that_is_over_is_cut() {
    let (_dir, a, b) = pair().await;
    let mut events = a.events();
    b.begin_anew(25);
    assert_eq!(next(&mut events).await, PeerEvent::Lost { node: 2, incarnation: 20, drained: false });
    assert_eq!(next(&mut events).await, PeerEvent::Up { node: 2, incarnation: 25 });
    a.cut(2, 24);
    assert!(ask(&a, ECHO, b"a later life is not meant").await.is_ok());
    a.cut(2, 25);
    assert_eq!(next(&mut events).await, PeerEvent::Lost { node: 2, incarnation: 25, drained: false });
}

#[tokio::test]
async fn an_authority_is_replaced_without_losing_a_connection() {
    let (dir, a, b) = pair().await;
    let (one, two) = (fs::read(dir.path().join("ca.pem")).unwrap(), authority(&[1, 2]));
    let new = |name: &str| fs::read(two.path().join(name)).unwrap();
    // First both authorities are trusted, then the certificates change, then the old authority goes.
    fs::write(dir.path().join("ca.pem"), [one, new("ca.pem")].concat()).unwrap();
    assert!(a.reload().unwrap() && b.reload().unwrap());
    assert!(!a.reload().unwrap(), "nothing changed since");
    for name in ["node1.key", "node1.pem", "node2.key", "node2.pem"] {
        fs::write(dir.path().join(name), new(name)).unwrap();
    }
    assert!(a.reload().unwrap() && b.reload().unwrap());
    fs::write(dir.path().join("ca.pem"), new("ca.pem")).unwrap();
    assert!(a.reload().unwrap() && b.reload().unwrap());
    assert_eq!(ask(&a, ECHO, b"same connection").await.unwrap(), "1/5/same connection");
    // A new connection is made under the new authority alone.
    a.set_peers(&BTreeMap::new());
    assert_eq!(a.connected(2), None);
    connect(&a, 2, &b).await;
    assert!(ask(&a, ECHO, b"new connection").await.is_ok());
}

#[tokio::test]
async fn unusable_new_files_leave_the_former_ones_in_force() {
    let (dir, a, b) = pair().await;
    // A certificate without its key, as a rotation leaves it for a moment.
    let other = authority(&[2]);
    let good = fs::read(dir.path().join("node2.pem")).unwrap();
    fs::write(dir.path().join("node2.pem"), fs::read(other.path().join("node2.pem")).unwrap()).unwrap();
    assert!(b.reload().is_err());
    fs::write(dir.path().join("node2.pem"), b"half a fi").unwrap();
    assert!(b.reload().is_err());
    a.set_peers(&BTreeMap::new());
    connect(&a, 2, &b).await;
    fs::write(dir.path().join("node2.pem"), good).unwrap();
    assert!(b.reload().unwrap());
}

#[tokio::test]
async fn a_peer_at_a_new_address_is_dialled_there() {
    let (dir, a, b) = pair().await;
    let moved = start(Options { incarnation: 21, ..options(dir.path(), 2) });
    b.close(CLOSED_PLAIN).await;
    let mut events = a.events();
    dial(&a, 2, moved.local_addr().unwrap());
    while next(&mut events).await != (PeerEvent::Up { node: 2, incarnation: 21 }) {}
    assert!(ask(&a, ECHO, b"there").await.is_ok());
}

#[tokio::test]
async fn application_requests_in_flight_are_bounded_and_never_block_consensus() {
    let dir = authority(&[1, 2]);
    let echo = Arc::new(Echo::default());
    let a = start(options(dir.path(), 1));
    let b = Transport::start(options(dir.path(), 2), Arc::clone(&echo) as Arc<dyn Handler>).unwrap();
    connect(&a, 2, &b).await;
    let asked = (0..APP_REQUESTS_PER_PEER + 100).map(|_| a.request(2, HOLD, 0, b"x", Duration::from_secs(3)));
    let consensus = async {
        while echo.held.load(Ordering::SeqCst) < APP_REQUESTS_PER_PEER {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(ask(&a, ECHO, b"vote").await.unwrap(), "1/5/vote");
        assert_eq!(echo.held.load(Ordering::SeqCst), APP_REQUESTS_PER_PEER);
    };
    let (answers, ()) = futures::future::join(futures::future::join_all(asked), consensus).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(RequestError::Deadline))));
}
