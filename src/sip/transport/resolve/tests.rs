//! Behaviours of look-ups, against a small server of names on a free port.

use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_resolver::proto::{
    op::{Message, MessageType, OpCode, ResponseCode},
    rr::Record,
};
use tokio::net::UdpSocket;

use super::*;
use crate::sip::{
    stack::Destination,
    transport::{Event, Listen, Options, Sink},
};

/// Answers from a list of rows; what is not in it does not exist.
struct Names {
    addr: SocketAddr,
    asked: Arc<AtomicUsize>,
}

type Rows = Vec<(&'static str, RData)>;

fn a(last: u8) -> RData {
    RData::A(std::net::Ipv4Addr::new(192, 0, 2, last).into())
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> RData {
    RData::SRV(SRV::new(priority, weight, port, Name::from_ascii(target).unwrap()))
}

async fn names(rows: Rows) -> Names {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (addr, asked) = (socket.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = asked.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 2_048];
        while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
            count.fetch_add(1, Ordering::Relaxed);
            let question = Message::from_vec(&buffer[..len]).unwrap();
            let query = question.queries[0].clone();
            let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
            answer.metadata.recursion_available = true;
            let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
            let known = rows.iter().any(|(row, _)| *row == name);
            answer.metadata.response_code = if known { ResponseCode::NoError } else { ResponseCode::NXDomain };
            let found = rows.iter().filter(|(row, data)| *row == name && data.record_type() == query.query_type());
            answer.add_answers(found.map(|(_, data)| Record::from_rdata(query.name().clone(), 60, data.clone())));
            answer.add_query(query);
            socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
        }
    });
    Names { addr, asked }
}

fn hop(transport: Transport, host: &str, port: Option<u16>) -> Hop {
    (transport, host.to_owned(), port)
}

async fn looked_up(names: &Names, hop: &Hop) -> Resolver {
    let resolver = Resolver::new(Some(names.addr));
    resolver.look_up(hop).await;
    resolver
}

fn at(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], port))
}

#[tokio::test]
async fn a_name_without_a_port_is_found_by_its_srv_records_of_the_transport() {
    let rows = vec![
        ("_sip._udp.carrier.test", srv(10, 0, 5080, "sbc.carrier.test.")),
        ("_sip._tcp.carrier.test", srv(10, 0, 5090, "sbc.carrier.test.")),
        ("_sips._tcp.carrier.test", srv(10, 0, 5091, "sbc.carrier.test.")),
        ("sbc.carrier.test", a(7)),
        ("carrier.test", a(1)),
    ];
    let names = names(rows).await;
    for (transport, port) in [(Transport::Udp, 5080), (Transport::Tcp, 5090), (Transport::Tls, 5091)] {
        let hop = hop(transport, "carrier.test", None);
        assert_eq!(looked_up(&names, &hop).await.known(&hop, || 1), Some(at(7, port)));
    }
}

#[tokio::test]
async fn a_port_or_the_lack_of_records_leads_to_the_address_of_the_name_itself() {
    let names = names(vec![("_sip._udp.carrier.test", srv(10, 0, 5080, "other.test.")), ("carrier.test", a(1))]).await;
    for (transport, port, expected) in [(Transport::Udp, Some(5070), 5070), (Transport::Tcp, None, 5060), (Transport::Tls, None, 5061)] {
        let hop = hop(transport, "carrier.test", port);
        assert_eq!(looked_up(&names, &hop).await.known(&hop, || 1), Some(at(1, expected)));
    }
}

#[tokio::test]
async fn calls_go_to_the_first_priority_and_on_to_the_next_server_when_it_fails() {
    let rows = vec![
        ("_sip._udp.carrier.test", srv(20, 0, 5060, "backup.carrier.test.")),
        ("_sip._udp.carrier.test", srv(10, 0, 5060, "main.carrier.test.")),
        ("main.carrier.test", a(1)),
        ("backup.carrier.test", a(2)),
    ];
    let names = names(rows).await;
    let hop = hop(Transport::Udp, "carrier.test", None);
    let resolver = looked_up(&names, &hop).await;
    let call = call_of(b"INVITE sip:x SIP/2.0\r\nCall-ID: one@here\r\n\r\n");
    assert_eq!(call, hash(b"one@here"));
    assert_eq!(resolver.known(&hop, || call), Some(at(1, 5060)));
    assert!(resolver.failed(&hop, call));
    assert_eq!(resolver.known(&hop, || call), Some(at(2, 5060)));
    assert!(!resolver.failed(&hop, call), "both have failed");
    let asked = names.asked.load(Ordering::Relaxed);
    assert!(resolver.known(&hop, || 9).is_some());
    assert_eq!(names.asked.load(Ordering::Relaxed), asked, "an answer is used again");
}

#[tokio::test]
async fn a_service_that_is_declared_absent_and_a_name_that_does_not_exist_are_no_hops() {
    let names = names(vec![("_sip._udp.carrier.test", srv(0, 0, 0, ".")), ("carrier.test", a(1))]).await;
    for host in ["carrier.test", "nobody.test"] {
        let hop = hop(Transport::Udp, host, None);
        assert_eq!(looked_up(&names, &hop).await.known(&hop, || 1), None);
    }
}

#[tokio::test]
async fn literals_need_no_look_up() {
    let resolver = Resolver::new(None);
    for (host, port, expected) in [("192.0.2.9", None, "192.0.2.9:5060"), ("[2001:db8::1]", Some(7), "[2001:db8::1]:7")] {
        assert_eq!(resolver.known(&hop(Transport::Udp, host, port), || 1), Some(expected.parse().unwrap()));
    }
}

/// Everything a transport has to tell.
struct Told(tokio::sync::mpsc::UnboundedSender<Event>);

impl Sink for Told {
    fn take(&self, event: Event) -> Result<(), Box<Event>> {
        self.0.send(event).ok();
        Ok(())
    }
}

#[tokio::test]
async fn an_invite_that_finds_nobody_goes_to_the_next_server_of_the_name() {
    let listen = || async { tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap() };
    let (dead, alive) = (listen().await, listen().await);
    let (dead_port, port) = (dead.local_addr().unwrap().port(), alive.local_addr().unwrap().port());
    drop(dead);
    let here = || RData::A(std::net::Ipv4Addr::LOCALHOST.into());
    let rows = vec![
        ("_sip._tcp.carrier.test", srv(1, 0, dead_port, "first.test.")),
        ("_sip._tcp.carrier.test", srv(2, 0, port, "second.test.")),
        ("first.test", here()),
        ("second.test", here()),
    ];
    let names = names(rows).await;
    let bind = "127.0.0.1:0".parse().unwrap();
    let options = Options { udp: vec![Listen { bind, advertise: None }], nameserver: Some(names.addr), ..Options::default() };
    let transport = super::super::Transport::bind(&options).await.unwrap();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    transport.start(Arc::new(Told(tell)));
    let to = Destination::Host { transport: Transport::Tcp, host: "carrier.test".into(), port: None };
    let invite = bytes::Bytes::from_static(b"INVITE sip:x@carrier.test SIP/2.0\r\nCall-ID: c1\r\nContent-Length: 0\r\n\r\n");
    transport.send(&to, &invite).unwrap();
    assert!(matches!(told.recv().await, Some(Event::Undeliverable { to: given, .. }) if given == to));
    assert!(transport.has_another(&to, "c1"));
    transport.send(&to, &invite).unwrap();
    let (mut stream, _) = alive.accept().await.unwrap();
    let mut first = [0; 6];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut first).await.unwrap();
    assert_eq!(&first, b"INVITE");
    assert!(!transport.has_another(&to, "c1"), "there is no third");
    transport.shutdown();
}
