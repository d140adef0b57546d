//! Phones and trunks: registrations, flows of other nodes, outbound contacts, digest both ways.

use std::sync::Arc;

use rustls::ClientConfig;
use tandem::{
    core::{
        command::{Binding, Command, LegEvent},
        id::{CallId, LegId, NodeId, TrunkId},
        party::{Target, Transport},
    },
    sip::{
        auth,
        framer::{Frame, StreamFramer},
        message::{Message, Method, Name, parse},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::fake::{Node, PATIENCE, Peer, demo, request, response, trunk, until};

/// A TLS client that takes any certificate, as a softphone in a lab does.
pub(crate) fn trusting_client() -> Arc<ClientConfig> {
    use rustls::{
        DigitallySignedStruct, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::ring,
        pki_types::{CertificateDer, ServerName, UnixTime},
    };
    #[derive(Debug)]
    struct Any;
    impl ServerCertVerifier for Any {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            ring::default_provider().signature_verification_algorithms.supported_schemes()
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.dangerous().with_custom_certificate_verifier(Arc::new(Any)).with_no_client_auth())
}

/// A phone on a TCP connection.
struct TcpPhone {
    stream: TcpStream,
    framer: StreamFramer,
}

impl TcpPhone {
    async fn connect(node: &Node) -> Self {
        Self { stream: TcpStream::connect(node.addr(Transport::Tcp)).await.unwrap(), framer: StreamFramer::default() }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn next(&mut self) -> Message {
        let mut buffer = [0; 4096];
        loop {
            if let Some(Frame::Message(bytes)) = self.framer.next().unwrap() {
                return parse(&bytes).unwrap();
            }
            let len = tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await.unwrap().unwrap();
            assert!(len > 0, "closed");
            self.framer.push(&buffer[..len]);
        }
    }

    /// Registers as alice with a password; returns the final answer.
    async fn register(&mut self, call: &str, password: &str, extra: &str) -> Message {
        let local = self.stream.local_addr().unwrap().to_string();
        let text = |call: &str, extra: &str| {
            request("TCP", &local, "REGISTER", "sip:demo", call, extra, "")
                .replace("To: <sip:demo>", "To: <sip:alice@demo>")
                .replace("sip:100@", "sip:alice@")
        };
        self.send(text(call, extra)).await;
        let challenge = self.next().await;
        assert_eq!(challenge.status(), 401);
        let value = challenge.text(Name::WwwAuthenticate);
        let answer = auth::answer([value.as_str()].into_iter(), "REGISTER", "sip:demo", ("alice", password), 7).unwrap();
        self.send(text(&format!("{call}b"), &format!("{extra}Authorization: {answer}\r\n"))).await;
        self.next().await
    }
}

fn bound(node: &Node) -> Option<Binding> {
    node.fake.commands.lock().iter().find_map(|c| if let Command::Bind { binding, .. } = c { Some(binding.clone()) } else { None })
}

#[tokio::test]
async fn a_phone_on_tcp_at_one_node_rings_for_a_call_at_another() {
    let directory = || demo(trunk(&["192.0.2.0/24"]));
    let (one, three) = (Node::start(1, directory()).await, Node::start(3, directory()).await);
    Node::join(&[&one, &three]);
    let mut phone = TcpPhone::connect(&one).await;
    let ok = phone.register("reg", "secret", "").await;
    assert_eq!(ok.status(), 200);
    assert_eq!(ok.all(Name::Contact).len(), 1);
    let binding = bound(&one).unwrap();
    assert_eq!(binding.flow.map(|flow| flow.node), Some(NodeId(1)));
    let target = Target::Binding {
        uri: binding.contact,
        route: binding.path,
        transport: binding.transport,
        remote: binding.received,
        flow: binding.flow,
    };
    // The addresses of the others.
    three.fake.seen().await;
    let leg = three.ring(LegId { call: CallId::compose(1, NodeId(3), 1), n: 1 }, target);
    let invite = phone.next().await;
    assert_eq!(invite.method(), Method::Invite);
    let tcp = one.addr(Transport::Tcp).to_string();
    assert!(invite.text(Name::Via).contains(&tcp), "Via names the node that holds the flow: {}", invite.text(Name::Via));
    let contact = format!("sip:alice@{};transport=tcp", phone.stream.local_addr().unwrap());
    phone.send(response(&invite, 180, &contact, "", "")).await;
    three.report(leg, |event| matches!(event, LegEvent::Ringing { .. }).then_some(())).await;
    phone.send(response(&invite, 200, &contact, "", "v=1\r\n")).await;
    three.report(leg, |event| matches!(event, LegEvent::Answered { .. }).then_some(())).await;
    // Its answer is committed.
    tandem::actor::Edge::answer_decided(&three.edge, leg, true);
    assert_eq!(phone.next().await.method(), Method::Ack);
}

#[tokio::test]
async fn a_wrong_password_and_a_brief_interval_are_refused() {
    let node = Node::start(1, demo(trunk(&["192.0.2.0/24"]))).await;
    let mut phone = TcpPhone::connect(&node).await;
    assert_eq!(phone.register("w1", "guess", "").await.status(), 403);
    let brief = phone.register("w2", "secret", "Expires: 5\r\n").await;
    assert_eq!((brief.status(), brief.fields.iter().any(|f| &f.spelt[..] == b"Min-Expires")), (423, true));
    assert!(node.fake.commands.lock().is_empty());
}

#[tokio::test]
async fn a_phone_whose_connection_closes_is_unbound() {
    let node = Node::start(1, demo(trunk(&["192.0.2.0/24"]))).await;
    let mut phone = TcpPhone::connect(&node).await;
    assert_eq!(phone.register("u1", "secret", "").await.status(), 200);
    drop(phone);
    until("the unbinding", || node.fake.commands.lock().iter().any(|c| matches!(c, Command::Unbind { .. })).then_some(())).await;
    until("the connection's end", || (node.edge.connections() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_phone_calls_in_by_digest_and_a_stranger_does_not() {
    let node = Node::start(1, demo(trunk(&["192.0.2.0/24"]))).await;
    let (phone, udp) = (Peer::new().await, node.addr(Transport::Udp));
    phone.send(udp, phone.request("INVITE", "sip:support@demo", "p1", "", "")).await;
    let value = phone.status(401).await.text(Name::WwwAuthenticate);
    let with = |call: &str, user: &str, password: &str| {
        let answer = auth::answer([value.as_str()].into_iter(), "INVITE", "sip:support@demo", (user, password), 7).unwrap();
        phone.request("INVITE", "sip:support@demo", call, &format!("Authorization: {answer}\r\n"), "")
    };
    phone.send(udp, with("p2", "mallory", "secret")).await;
    phone.status(403).await;
    assert!(node.fake.arrivals.lock().is_empty());
    // The realm comes with the name, which the first challenge could not know.
    phone.send(udp, phone.request("INVITE", "sip:support@demo", "p3", "", "").replace("sip:100@example", "sip:alice@demo")).await;
    let value = phone.status(401).await.text(Name::WwwAuthenticate);
    let answer = auth::answer([value.as_str()].into_iter(), "INVITE", "sip:support@demo", ("alice", "secret"), 7).unwrap();
    phone.send(udp, phone.request("INVITE", "sip:support@demo", "p4", &format!("Authorization: {answer}\r\n"), "")).await;
    assert_eq!(node.arrival().await.trunk, None);
}

#[tokio::test]
async fn a_stranger_is_refused_where_nobody_has_a_password() {
    let mut directory = demo(trunk(&["192.0.2.0/24"]));
    directory.domains.values_mut().for_each(|view| view.agents.clear());
    let (node, peer) = (Node::start(1, directory).await, Peer::new().await);
    peer.send(node.addr(Transport::Udp), peer.request("INVITE", "sip:support@demo", "s1", "", "")).await;
    peer.status(403).await;
    assert_eq!(node.edge.calls(), 0);
}

#[tokio::test]
async fn a_trunk_is_tried_contact_by_contact_with_credentials_and_redirection() {
    let (busy, asks, moved) = (Peer::new().await, Peer::new().await, Peer::new().await);
    let mut lab = trunk(&["127.0.0.0/8"]);
    lab.contacts = vec![format!("sip:{}", busy.addr), format!("sip:{}", asks.addr)];
    lab.outbound_auth = Some(("tandem".into(), "pass".into()));
    lab.caller_id = Some("+4930".into());
    let node = Node::start(1, demo(lab)).await;
    let leg = node.ring(
        LegId { call: CallId::compose(1, NodeId(1), 1), n: 1 },
        Target::Trunk { trunk: TrunkId::new("lab"), number: "+491701".into() },
    );
    let (invite, edge) = busy.wait("INVITE", |m| m.method() == Method::Invite).await;
    assert!(invite.uri().starts_with("sip:+491701@") && invite.text(Name::From).contains("+4930"), "{invite:?}");
    busy.send(edge, response(&invite, 503, "", "", "")).await;
    let (invite, _) = asks.wait("INVITE", |m| m.method() == Method::Invite).await;
    let challenge = "Proxy-Authenticate: Digest realm=\"carrier\", nonce=\"n\", algorithm=MD5, qop=\"auth\"";
    asks.send(edge, response(&invite, 407, "", challenge, "")).await;
    let (invite, _) =
        asks.wait("INVITE with credentials", |m| m.method() == Method::Invite && m.get(Name::ProxyAuthorization).is_some()).await;
    assert_eq!(invite.cseq().map(|(n, _)| n > 1), Some(true));
    asks.send(edge, response(&invite, 302, &format!("sip:+491701@{}", moved.addr), "", "")).await;
    let (invite, _) = moved.wait("INVITE", |m| m.method() == Method::Invite).await;
    assert!(invite.get(Name::ProxyAuthorization).is_none(), "credentials go to the one who asked");
    moved.send(edge, response(&invite, 486, "", "", "")).await;
    let status = node.report(leg, |event| if let LegEvent::Refused { status, .. } = event { Some(*status) } else { None }).await;
    assert_eq!(status, 486);
}

#[tokio::test]
async fn a_challenge_of_one_node_is_answered_at_another_and_a_foreign_one_once_more() {
    let directory = || demo(trunk(&["192.0.2.0/24"]));
    let (one, three) = (Node::start(1, directory()).await, Node::start(3, directory()).await);
    let key = until("a shared key", || *one.fake.nonce_key.lock()).await;
    let phone = Peer::new().await;
    let register = |call: &str, extra: &str| {
        phone
            .request("REGISTER", "sip:demo", call, extra, "")
            .replace("To: <sip:demo>", "To: <sip:alice@demo>")
            .replace("<sip:100@example>", "<sip:alice@demo>")
    };
    let with = |call: &str, value: &str| {
        let answer = auth::answer([value].into_iter(), "REGISTER", "sip:demo", ("alice", "secret"), 7).unwrap();
        register(call, &format!("Authorization: {answer}\r\n"))
    };
    phone.send(one.addr(Transport::Udp), register("n1", "")).await;
    let value = phone.status(401).await.text(Name::WwwAuthenticate);
    // The other node made a key of its own: what it cannot know is challenged anew, not refused.
    until("its own key", || *three.fake.nonce_key.lock()).await;
    phone.send(three.addr(Transport::Udp), with("n2", &value)).await;
    assert!(phone.status(401).await.text(Name::WwwAuthenticate).contains("stale=true"));
    *three.fake.nonce_key.lock() = Some(key);
    three.fake.seen().await;
    phone.send(three.addr(Transport::Udp), with("n3", &value)).await;
    phone.status(200).await;
}
