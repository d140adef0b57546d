//! The plane against the real daemon, where it is installed (Debian: `rtpengine-daemon`).

use std::{
    net::UdpSocket,
    process::{Child, Command, Stdio},
};

use super::*;

/// Ends with the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A daemon without kernel module on a port that was free just now; none where it is not installed.
fn start() -> Option<(Daemon, SocketAddr)> {
    let control = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
    let child = Command::new("rtpengine")
        .args([
            "--config-file=none",
            "--foreground",
            "--interface=127.0.0.1",
            "--table=-1",
            "--num-threads=1",
            "--log-level=1",
            "--log-stderr",
        ])
        .args([format!("--listen-ng={control}"), "--port-min=24000".to_owned(), "--port-max=24999".to_owned()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match child {
        Ok(child) => Some((Daemon(child), control)),
        Err(_) => {
            println!("skipped: rtpengine is not installed (Debian: apt-get install rtpengine-daemon)");
            None
        }
    }
}

async fn plane_of(addr: SocketAddr) -> (Rtpengine, Receiver<Event>) {
    let plane = Rtpengine::start(&Options { daemons: vec![addr], gate: Arc::new(|| true) }).unwrap();
    let events = plane.events();
    eventually("it answers", || plane.carrier().is_some()).await;
    (plane, events)
}

/// A phone's RTP socket, which gives up after a while.
fn phone() -> (UdpSocket, u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("not zero");
    let port = socket.local_addr().expect("bound").port();
    (socket, port)
}

/// A frame of silence, and what the other phone has of it.
fn speaks(from: &UdpSocket, to: u16, heard_by: &UdpSocket, sequence: u16) {
    let mut packet = [0_u8; 172];
    packet[0] = 0x80;
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet[4..8].copy_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
    packet[12..].fill(0xFF);
    from.send_to(&packet, ("127.0.0.1", to)).expect("sent");
    let mut heard = [0; 1_500];
    let (length, _) = heard_by.recv_from(&mut heard).expect("the other one hears it");
    assert_eq!((length, &heard[2..4]), (172, &sequence.to_be_bytes()[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_phones_hear_each_other_while_their_node_is_replaced() {
    let Some((_daemon, addr)) = start() else { return };
    let ((caller, caller_port), (agent, agent_port)) = (phone(), phone());
    let (offer, answer) = (sdp(caller_port), sdp(agent_port));
    let (first, mut events) = plane_of(addr).await;
    let for_agent = cross(&first, &mut events, &crossing(CALLER, AGENT, &offer, Kind::Offer)).await.expect("carried");
    let for_caller = cross(&first, &mut events, &crossing(AGENT, CALLER, &answer, Kind::Answer)).await.expect("carried");
    let (to_agent, to_caller) = (port_of(&for_caller), port_of(&for_agent));
    for sequence in 1..10 {
        speaks(&caller, to_agent, &agent, sequence);
        speaks(&agent, to_caller, &caller, sequence);
    }
    // The node dies; the daemon does not notice.
    drop(first);
    for sequence in 10..20 {
        speaks(&caller, to_agent, &agent, sequence);
    }
    let (second, mut events) = plane_of(addr).await;
    let both = Kind::Both { other: answer.as_bytes(), version: 1_000 };
    let told = cross(&second, &mut events, &crossing(CALLER, AGENT, &offer, both)).await.expect("carried");
    assert_eq!(port_of(&told), to_caller, "the session of before");
    for sequence in 20..30 {
        speaks(&caller, to_agent, &agent, sequence);
        speaks(&agent, to_caller, &caller, sequence);
    }
    second.close(CALLER);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_what_is_wrong_with_a_description() {
    let Some((_daemon, addr)) = start() else { return };
    let (plane, mut events) = plane_of(addr).await;
    let error = cross(&plane, &mut events, &crossing(CALLER, AGENT, "v=0", Kind::Offer)).await.expect_err("refused");
    assert!(error.to_string().starts_with("rtpengine: it says: "), "{error}");
    let known = plane.0.ask(0, &Request::Query("tandem-nobody")).await;
    assert!(matches!(known, Err(Ng::UnknownCall)), "{known:?}");
}
