//! Calls through the edge: taken in, queued, offered, bridged, refused, withheld, drained.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use rustls::pki_types::ServerName;
use tandem::{
    core::{
        Outcome, Reason,
        command::{HangUpCause, LegEvent},
        effect::Action,
        id::{CallId, Edge, LegId, NodeId},
        party::{Target, Transport},
    },
    sip::message::{Message, Method, Name, parse},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::fake::{Node, PATIENCE, Peer, demo, request, response, trunk, until};

const QUIET: Duration = Duration::from_millis(300);

async fn node() -> Node {
    Node::start(1, demo(trunk(&["127.0.0.0/8"]))).await
}

/// Brings a caller to the point where its call is committed.
async fn call(node: &Node, caller: &Peer, id: &str) -> LegId {
    let before = node.fake.arrivals.lock().len();
    caller.send(node.addr(Transport::Udp), caller.request("INVITE", "sip:support@demo", id, "", "v=0\r\n")).await;
    until("the arrival", || (node.fake.arrivals.lock().len() > before).then_some(())).await;
    LegId::caller(node.arrival().await.call)
}

#[tokio::test]
async fn a_call_is_taken_in_queued_offered_and_bridged() {
    let (node, caller, phone) = (node().await, Peer::new().await, Peer::new().await);
    let udp = node.addr(Transport::Udp);
    let extra = "X-Customer: 42\r\nX-Other: 1\r\nUser-to-User: abc\r\n";
    caller.send(udp, caller.request("INVITE", "sip:support@demo", "c1", extra, "v=0\r\n")).await;
    caller.status(100).await;
    let arrive = node.arrival().await;
    assert_eq!((arrive.to_user.as_str(), arrive.from.user.as_str(), arrive.from.display.as_str()), ("support", "100", "Anna"));
    assert_eq!(arrive.headers.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>(), ["X-Customer=42", "User-to-User=abc"]);
    assert_eq!(arrive.sdp.as_deref().map(|sdp| &sdp[..]), Some(&b"v=0\r\n"[..]));
    let leg = LegId::caller(arrive.call);
    node.order(leg, Action::Queue { position: 1 });
    caller.status(182).await;
    let agent = node.ring(LegId { n: 1, ..leg }, Target::Contact { uri: format!("sip:alice@{}", phone.addr) });
    let (invite, edge) = phone.wait("INVITE", |m| m.method() == Method::Invite).await;
    phone.send(edge, response(&invite, 180, &format!("sip:alice@{}", phone.addr), "", "")).await;
    node.report(agent, |event| matches!(event, LegEvent::Ringing { .. }).then_some(())).await;
    phone.send(edge, response(&invite, 200, &format!("sip:alice@{}", phone.addr), "", "v=1\r\n")).await;
    let sdp = node.report(agent, |event| if let LegEvent::Answered { sdp, .. } = event { Some(sdp.clone()) } else { None }).await;
    node.order(leg, Action::Answer { peer: agent, sdp });
    let ok = caller.status(200).await;
    assert_eq!(&ok.body[..], b"v=1\r\n");
    assert_eq!(node.edge.calls(), 1);
    let to = ok.text(Name::To);
    for (n, method) in [(1, "ACK"), (2, "BYE")] {
        let text = caller.request(method, "sip:tandem@demo", "c1", "", "").replace("To: <sip:tandem@demo>", &format!("To: {to}"));
        caller.send(udp, text.replace(&format!("CSeq: 1 {method}"), &format!("CSeq: {n} {method}"))).await;
    }
    node.report(leg, |event| (*event == LegEvent::HungUp { cause: HangUpCause::Bye }).then_some(())).await;
    node.order(agent, Action::HangUp { cause: "over".into() });
    let (bye, _) = phone.wait("BYE", |m| m.method() == Method::Bye).await;
    phone.send(edge, response(&bye, 200, "", "", "")).await;
    node.report(agent, |event| (*event == LegEvent::Ended).then_some(())).await;
    until("no call left", || (node.edge.calls() == 0).then_some(())).await;
}

async fn read_status<S: AsyncRead + Unpin>(stream: &mut S, status: u16) -> Message {
    let mut framer = tandem::sip::framer::StreamFramer::default();
    let mut buffer = [0; 4096];
    loop {
        while let Some(frame) = framer.next().unwrap() {
            if let tandem::sip::framer::Frame::Message(bytes) = frame
                && let message = parse(&bytes).unwrap()
                && message.status() == status
            {
                return message;
            }
        }
        let len = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(len > 0, "closed before {status}");
        framer.push(&buffer[..len]);
    }
}

async fn queued_and_refused<S: AsyncRead + AsyncWrite + Unpin>(node: &Node, mut stream: S, transport: &str) {
    let invite = request(transport, "127.0.0.1:1", "INVITE", "sip:support@demo", "s1", "", "v=0\r\n");
    stream.write_all(invite.as_bytes()).await.unwrap();
    read_status(&mut stream, 100).await;
    let leg = LegId::caller(node.arrival().await.call);
    node.order(leg, Action::Queue { position: 1 });
    read_status(&mut stream, 182).await;
    node.order(leg, Action::Reject { status: 480, reason: "closed".into(), retry_after_s: None });
    let refusal = read_status(&mut stream, 480).await;
    assert!(refusal.to_tag().is_some());
}

#[tokio::test]
async fn a_call_over_tcp_is_answered_on_its_connection() {
    let node = node().await;
    let stream = tokio::net::TcpStream::connect(node.addr(Transport::Tcp)).await.unwrap();
    queued_and_refused(&node, stream, "TCP").await;
}

#[tokio::test]
async fn a_call_over_tls_is_answered_on_its_connection() {
    let node = node().await;
    let stream = tokio::net::TcpStream::connect(node.addr(Transport::Tls)).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(super::phones::trusting_client());
    let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    queued_and_refused(&node, stream, "TLS").await;
}

#[tokio::test]
async fn a_rejected_arrival_is_answered_with_its_reason() {
    let (node, caller) = (node().await, Peer::new().await);
    for (reason, status) in [(Reason::NoRoute("support".into()), 404), (Reason::QueueFull, 486), (Reason::TooManyCalls(1), 503)] {
        *node.fake.outcome.lock() = Some(Outcome::Rejected(reason));
        let leg = call(&node, &caller, &format!("r{status}")).await;
        let answer = caller.status(status).await;
        assert_eq!(answer.get(Name::RetryAfter).is_some(), status == 503);
        assert!(node.fake.reports.lock().iter().all(|report| report.leg != leg), "nobody knows of it");
    }
    until("no call left", || (node.edge.calls() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_rule_that_refuses_a_caller_is_answered_with_its_own_status() {
    let (node, caller) = (node().await, Peer::new().await);
    *node.fake.outcome.lock() = Some(Outcome::Refused { status: 603, reason: Reason::QueueFull });
    call(&node, &caller, "rule").await;
    assert!(caller.status(603).await.get(Name::RetryAfter).is_none());
    until("no call left", || (node.edge.calls() == 0).then_some(())).await;
}

#[tokio::test]
async fn an_arrival_without_a_commit_is_refused_within_five_seconds() {
    let (node, caller) = (node().await, Peer::new().await);
    *node.fake.outcome.lock() = None;
    let start = Instant::now();
    let leg = call(&node, &caller, "n1").await;
    let answer = caller.status(503).await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(answer.get(Name::RetryAfter).is_some());
    node.report(leg, |event| (*event == LegEvent::Ended).then_some(())).await;
}

#[tokio::test]
async fn a_caller_that_gives_up_before_the_commit_is_reported_after_it() {
    let (node, caller) = (node().await, Peer::new().await);
    let leg = call(&node, &caller, "x1").await;
    let cancel = caller.request("CANCEL", "sip:support@demo", "x1", "", "").replace("z9hG4bKx1CANCEL", "z9hG4bKx1INVITE");
    caller.send(node.addr(Transport::Udp), cancel).await;
    caller.status(487).await;
    node.report(leg, |event| (*event == LegEvent::HungUp { cause: HangUpCause::Cancel }).then_some(())).await;
    until("no call left", || (node.edge.calls() == 0).then_some(())).await;
}

#[tokio::test]
async fn without_a_lease_nothing_acts_for_a_leg_until_it_is_back() {
    let (node, caller) = (node().await, Peer::new().await);
    let leg = call(&node, &caller, "l1").await;
    caller.status(100).await;
    node.fake.lease.store(false, Ordering::Relaxed);
    let phone = Peer::new().await;
    node.ring(LegId { n: 1, ..leg }, Target::Contact { uri: format!("sip:a@{}", phone.addr) });
    assert!(phone.next(QUIET).await.is_none(), "an INVITE without a lease");
    node.order(leg, Action::Reject { status: 480, reason: "closed".into(), retry_after_s: None });
    assert!(caller.next(QUIET).await.is_none(), "a final answer without a lease");
    let stranger = Peer::new().await;
    stranger.send(node.addr(Transport::Udp), stranger.request("INVITE", "sip:support@demo", "l2", "", "")).await;
    stranger.status(503).await;
    node.fake.lease.store(true, Ordering::Relaxed);
    caller.status(480).await;
    phone.wait("INVITE", |m| m.method() == Method::Invite).await;
}

#[tokio::test]
async fn a_draining_node_refuses_new_calls_and_finishes_its_own() {
    let (node, caller) = (node().await, Peer::new().await);
    let leg = call(&node, &caller, "d1").await;
    let edge = node.edge.clone();
    let drained = tokio::spawn(async move { edge.drain(PATIENCE).await });
    let late = Peer::new().await;
    let udp = node.addr(Transport::Udp);
    // The drain takes hold within a turn of the loop, so the first try may still be let in.
    let refusal = async {
        for n in 0.. {
            late.send(udp, late.request("INVITE", "sip:support@demo", &format!("late{n}"), "", "")).await;
            let (answer, _) = late.wait("an answer", |m| m.status() != 182).await;
            if answer.status() == 503 {
                return answer;
            }
            node.order(
                LegId::caller(node.arrival().await.call),
                Action::Reject { status: 480, reason: String::new(), retry_after_s: None },
            );
        }
        unreachable!("counts on")
    };
    assert!(refusal.await.get(Name::RetryAfter).is_some());
    late.send(udp, late.request("OPTIONS", "sip:demo", "o1", "", "")).await;
    late.wait("503 to OPTIONS", |m| m.status() == 503 && m.method() == Method::Options).await;
    assert!(!drained.is_finished());
    node.order(leg, Action::Reject { status: 480, reason: "closed".into(), retry_after_s: None });
    caller.status(480).await;
    assert_eq!(tokio::time::timeout(PATIENCE, drained).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn options_tell_that_the_node_takes_calls() {
    let (node, peer) = (node().await, Peer::new().await);
    peer.send(node.addr(Transport::Udp), peer.request("OPTIONS", "sip:demo", "o1", "", "")).await;
    assert!(peer.status(200).await.get(Name::Allow).is_some());
}

#[tokio::test]
async fn a_request_for_a_leg_of_another_node_reaches_it_from_any() {
    let directory = || demo(trunk(&["127.0.0.0/8"]));
    let (one, two) = (Node::start(1, directory()).await, Node::start(2, directory()).await);
    Node::join(&[&one, &two]);
    let (caller, phone) = (Peer::new().await, Peer::new().await);
    let leg = call(&one, &caller, "f1").await;
    let agent = one.ring(LegId { n: 1, ..leg }, Target::Contact { uri: format!("sip:a@{}", phone.addr) });
    let (invite, edge) = phone.wait("INVITE", |m| m.method() == Method::Invite).await;
    phone.send(edge, response(&invite, 200, &format!("sip:a@{}", phone.addr), "", "v=1\r\n")).await;
    one.report(agent, |event| matches!(event, LegEvent::Answered { .. }).then_some(())).await;
    // The phone hangs up, but its BYE arrives at the other node.
    let bye = phone
        .request("BYE", "sip:tandem@demo", "f2", "", "")
        .replace("From: \"Anna\" <sip:100@example>;tag=tf2", &format!("From: {};tag=phone", invite.text(Name::To)))
        .replace("To: <sip:tandem@demo>", &format!("To: {}", invite.text(Name::From)))
        .replace("Call-ID: f2", &format!("Call-ID: {}", invite.call_id()));
    phone.send(two.addr(Transport::Udp), bye).await;
    one.report(agent, |event| (*event == LegEvent::HungUp { cause: HangUpCause::Bye }).then_some(())).await;
    phone.wait("200 to BYE", |m| m.status() == 200 && m.method() == Method::Bye).await;
}

#[tokio::test]
async fn a_request_for_a_leg_nobody_has_is_refused_after_a_look_up() {
    let (node, peer) = (node().await, Peer::new().await);
    for id in [1, 7] {
        // Minted by this node, and by one that is gone.
        let leg = LegId::caller(CallId::compose(1, NodeId(id), 5));
        let bye = peer
            .request("BYE", "sip:tandem@demo", &format!("g{id}"), "", "")
            .replace("To: <sip:tandem@demo>", &format!("To: <sip:tandem@demo>;tag={leg}.{id}"));
        peer.send(node.addr(Transport::Udp), bye).await;
        peer.status(481).await;
    }
    let leg = LegId::caller(CallId::compose(1, NodeId(7), 5));
    let two = Node::start(2, demo(trunk(&["127.0.0.0/8"]))).await;
    Node::join(&[&node, &two]);
    node.fake.owners.lock().insert(leg, Edge { node: NodeId(2), incarnation: 1 });
    let bye = peer.request("BYE", "sip:tandem@demo", "g9", "", "").replace("To: <sip:tandem@demo>", &format!("To: <sip:t@d>;tag={leg}.7"));
    peer.send(node.addr(Transport::Udp), bye).await;
    // Its owner does not know it either and says so through the node that was asked.
    peer.status(481).await;
}

/// The 200 of a phone to the INVITE of a leg that node `by` had.
fn late_answer(leg: LegId, by: u64, peer: &Peer) -> String {
    let contact = peer.addr;
    format!(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKT{leg}.{by}.1;rport\r\nFrom: <sip:t@d>;tag={leg}.{by}\r\n\
         To: <sip:alice@{contact}>;tag=phone\r\nCall-ID: {leg}@tandem\r\nCSeq: 1 INVITE\r\nContact: <sip:alice@{contact}>\r\nContent-Length: 0\r\n\r\n"
    )
}

#[tokio::test]
async fn a_phone_whose_answer_no_call_has_is_let_go_wherever_it_says_so() {
    let (node, two, peer) = (node().await, Node::start(2, demo(trunk(&["127.0.0.0/8"]))).await, Peer::new().await);
    Node::join(&[&node, &two]);
    let leg = |id: u64, n: u16| LegId { call: CallId::compose(1, NodeId(id), 5), n };
    // Of a former life of this node, of a node that is gone, and of a leg whose owner does not have it after all.
    node.fake.owners.lock().insert(leg(1, 3), Edge { node: NodeId(2), incarnation: 1 });
    for (by, leg) in [(1, leg(1, 1)), (7, leg(7, 2)), (1, leg(1, 3))] {
        peer.send(node.addr(Transport::Udp), late_answer(leg, by, &peer)).await;
        for method in [Method::Ack, Method::Bye] {
            let (request, _) = peer.wait(method.name(), |m| m.is_request() && m.call_id() == format!("{leg}@tandem")).await;
            assert_eq!((request.method(), request.to_tag().as_deref()), (method, Some("phone")));
        }
    }
    // That this node still has it is news of yesterday: who has it now will be known in a moment.
    node.fake.owners.lock().insert(leg(1, 4), Edge { node: NodeId(1), incarnation: 1 });
    peer.send(node.addr(Transport::Udp), late_answer(leg(1, 4), 1, &peer)).await;
    let ours = |message: &Message| message.is_request() && message.call_id() == format!("{}@tandem", leg(1, 4));
    while let Some((message, _)) = peer.next(QUIET).await {
        assert!(!ours(&message), "{message:?}");
    }
}

#[tokio::test]
async fn a_node_that_starts_refuses_nobody_for_good_before_it_has_read_its_tenants() {
    let node = Node::starting(1, demo(trunk(&["192.0.2.0/24"]))).await;
    let (peer, udp) = (Peer::new().await, node.addr(Transport::Udp));
    for (method, uri) in [("INVITE", "sip:support@demo"), ("REGISTER", "sip:demo"), ("OPTIONS", "sip:demo")] {
        peer.send(udp, peer.request(method, uri, &format!("s{method}"), "", "")).await;
        assert!(peer.status(503).await.get(Name::RetryAfter).is_some(), "{method}");
    }
    assert!(node.edge.not_ready().is_some());
    node.fake.caught_up.store(true, Ordering::Relaxed);
    until("readiness", || node.edge.not_ready().is_none().then_some(())).await;
    // Now it is known that this caller is a stranger, and how a phone proves that it is none.
    peer.send(udp, peer.request("REGISTER", "sip:demo", "later", "", "")).await;
    peer.status(401).await;
}
