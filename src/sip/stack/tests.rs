//! Calls through the stack in virtual time: a caller, a phone, and the orders in between.

mod adopt;
mod engine;
mod hostile;
mod plan;
mod torture;
mod transfer;

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::core::{
    command::HangUpCause,
    effect::{Action, Order, Ring},
    id::EffectId,
    image::Image,
    party::{Party, Target},
};
use crate::sip::message::{Message, Method, Name, parse};

const EDGE: Edge = Edge { node: NodeId(1), incarnation: 1 };
const CALLER: &str = "127.0.0.1:7001";
const PHONE: &str = "127.0.0.1:7002";

struct Bench {
    stack: Stack,
    now: Instant,
    orders: u64,
    sent: Vec<(Destination, Message)>,
    reports: Vec<LegReport>,
    requests: Vec<TxId>,
    foreign: Vec<NodeId>,
    unknown: Vec<TxId>,
    unasked: Vec<(LegId, Flow, Bytes)>,
    refers: Vec<(TxId, String)>,
}

fn flow(remote: &str) -> Flow {
    Flow { transport: Transport::Udp, local: "127.0.0.1:5060".parse().unwrap(), remote: remote.parse().unwrap(), conn: None, via: None }
}

fn call() -> CallId {
    CallId::compose(1, NodeId(1), 7)
}

impl Bench {
    fn new() -> Self {
        let addresses = BTreeMap::from([(Transport::Udp, "127.0.0.1:5060".parse().unwrap())]);
        let stack = Stack::new(Options {
            edge: EDGE,
            addresses,
            user_agent: "Tandem".into(),
            media: Arc::new(crate::media::Direct::default()),
            engine: None,
        });
        Self {
            stack,
            now: Instant::now(),
            orders: 0,
            sent: vec![],
            reports: vec![],
            requests: vec![],
            foreign: vec![],
            unknown: vec![],
            unasked: vec![],
            refers: vec![],
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.stack.poll() {
            match output {
                Output::Transmit { to, bytes } => self.sent.push((to, parse(&bytes).expect("well-formed"))),
                Output::Report(report) | Output::Refused { report, .. } => self.reports.push(report),
                Output::Request { tx, .. } => self.requests.push(tx),
                Output::Unknown { tx, .. } => self.unknown.push(tx),
                Output::Refer { tx, user, .. } => self.refers.push((tx, user)),
                Output::Foreign { node, .. } => self.foreign.push(node),
                Output::Unasked { leg, flow, response } => self.unasked.push((leg, flow, response)),
            }
        }
    }

    fn receive(&mut self, from: &str, text: &str) {
        self.stack.receive(self.now, flow(from), Bytes::from(text.replace('\n', "\r\n")));
        self.drain();
    }

    fn order(&mut self, leg: LegId, action: Action) {
        self.order_with(leg, action, None);
    }

    fn order_with(&mut self, leg: LegId, action: Action, image: Option<Image>) {
        self.orders += 1;
        let (id, image) = (EffectId { group: 1, index: self.orders, n: 0 }, image.map(Box::new));
        let order = Order { id, domain: "demo".into(), leg, edge: EDGE, action, image };
        self.stack.order(self.now, &order);
        // A repeat changes nothing.
        let before = self.sent.len();
        self.drain();
        let sent = self.sent.len() - before;
        self.stack.order(self.now, &order);
        self.drain();
        assert_eq!(self.sent.len() - before, sent, "a repeated order is performed once");
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(next) = self.stack.next_timeout().filter(|next| *next <= until) {
            self.now = next;
            self.stack.timeout(next);
            self.drain();
        }
        self.now = until;
    }

    /// The last message sent that is this request or, given as a number, this response.
    fn last(&self, what: &str) -> &Message {
        let found = self.sent.iter().rev().map(|(_, message)| message).find(|message| match what.parse::<u16>() {
            Ok(status) => message.status() == status,
            Err(_) => message.is_request() && message.method().name() == what,
        });
        found.unwrap_or_else(|| panic!("no {what} was sent"))
    }

    fn count(&self, what: &str) -> usize {
        self.sent
            .iter()
            .filter(|(_, message)| message.is_request() && message.method().name() == what || what.parse() == Ok(message.status()))
            .count()
    }

    fn event(&self) -> &LegEvent {
        &self.reports.last().expect("something was reported").event
    }

    fn arrive(&mut self, extra: &str, sdp: &str) {
        let text = format!(
            "INVITE sip:support@127.0.0.1 SIP/2.0\nVia: SIP/2.0/UDP {CALLER};branch=z9hG4bKcaller\nFrom: <sip:a@x>;tag=ct\nTo: <sip:support@y>\nCall-ID: c1\nCSeq: 1 INVITE\nContact: <sip:a@{CALLER}>\nMax-Forwards: 70\n{extra}\n{sdp}"
        );
        self.receive(CALLER, &text);
        let tx = *self.requests.last().expect("the edge is asked");
        let taken = self.stack.take_call(self.now, tx, &"demo".into(), call(), Carried::Past).expect("not cancelled");
        assert_eq!(taken.sdp.is_some(), !sdp.is_empty());
    }

    fn ring(&mut self, sdp: Option<&str>) -> LegId {
        let leg = LegId { call: call(), n: 1 };
        let ring = Ring {
            target: Target::Contact { uri: format!("sip:alice@{PHONE}") },
            caller: Party { user: "a".into(), display: "A".into(), uri: "sip:a@x".into() },
            queue: Some("support".into()),
            trunk: None,
            sdp: sdp.map(|sdp| Sdp::from(sdp.as_bytes().to_vec())),
            headers: vec![("X-Own".into(), "1".into())],
            max_forwards: 69,
            anchored: false,
            aside: false,
        };
        self.order(leg, Action::ring(ring));
        leg
    }

    fn phone_answers(&mut self, request: &str, status: u16, sdp: &str) {
        let request = self.last(request);
        let via = request.all(Name::Via).remove(0);
        let tag = if request.to_tag().is_some() { "" } else { ";tag=pt" };
        let text = format!(
            "SIP/2.0 {status} X\nVia: {via}\nFrom: {}\nTo: {}{tag}\nCall-ID: {}\nCSeq: {}\nContact: <sip:alice@{PHONE}>\n\n{sdp}",
            request.text(Name::From),
            request.text(Name::To),
            request.call_id(),
            request.text(Name::CSeq)
        );
        self.receive(PHONE, &text);
    }

    fn caller_says(&mut self, method: &str, cseq: u32, sdp: &str) {
        let to = self.last("200").text(Name::To);
        let text = format!(
            "{method} sip:tandem@127.0.0.1:5060 SIP/2.0\nVia: SIP/2.0/UDP {CALLER};branch=z9hG4bK{method}{cseq}\nFrom: <sip:a@x>;tag=ct\nTo: {to}\nCall-ID: c1\nCSeq: {cseq} {method}\nContact: <sip:a@{CALLER}>\nMax-Forwards: 70\n\n{sdp}"
        );
        self.receive(CALLER, &text);
    }

    /// A call that is answered and acknowledged on both sides.
    fn talking() -> (Self, LegId) {
        let mut bench = Self::new();
        bench.arrive("", "v=0 caller");
        let phone = bench.ring(Some("v=0 caller"));
        bench.phone_answers("INVITE", 180, "");
        bench.phone_answers("INVITE", 200, "v=0 phone");
        bench.order(LegId::caller(call()), Action::Answer { peer: phone, sdp: Sdp::from(b"v=0 phone".to_vec()) });
        bench.caller_says("ACK", 1, "");
        (bench, phone)
    }
}

#[test]
fn a_call_is_bridged_and_ended_by_the_caller() {
    let (mut bench, phone) = Bench::talking();
    assert_eq!((bench.count("100"), bench.count("ACK")), (1, 1));
    assert_eq!(bench.last("INVITE").fields.iter().filter(|field| &field.spelt[..] == b"X-Own").count(), 1, "header fields pass on");
    assert_eq!(&bench.last("200").body[..], b"v=0 phone");
    bench.caller_says("BYE", 2, "");
    assert!(matches!(bench.event(), LegEvent::HungUp { cause: HangUpCause::Bye }));
    bench.order(phone, Action::HangUp { cause: "x".into() });
    bench.phone_answers("BYE", 200, "");
    assert!(matches!(bench.event(), LegEvent::Ended));
    assert_eq!(bench.stack.legs().count(), 0);
}

#[test]
fn a_waiting_caller_hears_182_every_minute_and_may_cancel() {
    let mut bench = Bench::new();
    bench.arrive("", "v=0");
    bench.order(LegId::caller(call()), Action::Queue { position: 1 });
    bench.pass(Duration::from_secs(61));
    assert_eq!(bench.count("182"), 2);
    bench.receive(CALLER, &format!("CANCEL sip:support@127.0.0.1 SIP/2.0\nVia: SIP/2.0/UDP {CALLER};branch=z9hG4bKcaller\nFrom: <sip:a@x>;tag=ct\nTo: <sip:support@y>\nCall-ID: c1\nCSeq: 1 CANCEL\n\n"));
    assert_eq!((bench.count("487"), bench.count("200")), (1, 1));
    assert!(matches!(bench.event(), LegEvent::HungUp { cause: HangUpCause::Cancel }));
}

#[test]
fn lost_messages_are_repeated_until_they_arrive() {
    let mut bench = Bench::new();
    bench.arrive("", "v=0");
    let phone = bench.ring(Some("v=0"));
    bench.pass(Duration::from_secs(4));
    assert!(bench.count("INVITE") >= 3, "the INVITE is repeated");
    bench.phone_answers("INVITE", 200, "v=0 phone");
    bench.order(LegId::caller(call()), Action::Answer { peer: phone, sdp: Sdp::from(b"v=0".to_vec()) });
    bench.phone_answers("INVITE", 200, "v=0 phone");
    assert_eq!(bench.count("ACK"), 2, "a repeated 200 is acknowledged again");
    bench.pass(Duration::from_secs(3));
    assert!(bench.count("200") >= 3, "the 200 is repeated until its ACK");
    bench.pass(Duration::from_secs(40));
    assert!(bench.reports.iter().any(|report| matches!(report.event, LegEvent::HungUp { cause: HangUpCause::NoAck })));
    assert_eq!(bench.last("BYE").to_tag().as_deref(), Some("ct"));
}

#[test]
fn refusals_and_silence_of_a_phone_are_told_apart() {
    for status in [486, 480, 603] {
        let mut bench = Bench::new();
        bench.arrive("", "v=0");
        bench.ring(Some("v=0"));
        bench.phone_answers("INVITE", status, "");
        assert!(matches!(bench.event(), LegEvent::Refused { status: seen, .. } if *seen == status));
        assert_eq!(bench.last("ACK").top_via(), bench.last("INVITE").top_via(), "the ACK of a refusal is in its transaction");
    }
    let mut bench = Bench::new();
    bench.arrive("", "v=0");
    bench.ring(Some("v=0"));
    bench.pass(Duration::from_secs(33));
    assert!(matches!(bench.event(), LegEvent::Unreachable { status: 408 }));
}

#[test]
fn a_hang_up_before_the_answer_waits_for_a_provisional_and_cancels() {
    let mut bench = Bench::new();
    bench.arrive("", "v=0");
    let phone = bench.ring(Some("v=0"));
    bench.order(phone, Action::HangUp { cause: "timeout".into() });
    assert_eq!(bench.count("CANCEL"), 0);
    bench.phone_answers("INVITE", 180, "");
    assert_eq!(bench.last("CANCEL").top_via(), bench.last("INVITE").top_via());
    bench.phone_answers("CANCEL", 200, "");
    bench.phone_answers("INVITE", 487, "");
    assert!(matches!(bench.event(), LegEvent::Ended));
}

#[test]
fn a_200_that_crosses_the_cancel_is_acknowledged_and_ended() {
    let mut bench = Bench::new();
    bench.arrive("", "v=0");
    let phone = bench.ring(Some("v=0"));
    bench.phone_answers("INVITE", 180, "");
    bench.order(phone, Action::HangUp { cause: "timeout".into() });
    bench.phone_answers("INVITE", 200, "v=0");
    assert_eq!((bench.count("ACK"), bench.count("BYE")), (1, 1));
}

#[test]
fn a_phones_answer_is_acknowledged_when_a_call_has_it_and_not_before() {
    let answered = || {
        let mut bench = Bench::new();
        bench.arrive("", "v=0");
        let phone = bench.ring(Some("v=0"));
        bench.phone_answers("INVITE", 200, "v=0 phone");
        bench.phone_answers("INVITE", 200, "v=0 phone");
        assert_eq!(bench.count("ACK"), 0, "a phone that is acknowledged would stay, whatever becomes of the commit");
        (bench, phone)
    };
    let (mut bench, phone) = answered();
    bench.stack.answer_decided(bench.now, phone, true);
    bench.drain();
    bench.order(LegId::caller(call()), Action::Answer { peer: phone, sdp: Sdp::from(b"v=0 phone".to_vec()) });
    assert_eq!(bench.count("ACK"), 1, "by whatever says so first");
    bench.phone_answers("INVITE", 200, "v=0 phone");
    assert_eq!(bench.count("ACK"), 2, "one that got lost is sent again");
    let (mut bench, phone) = answered();
    bench.stack.answer_decided(bench.now, phone, false);
    bench.drain();
    assert_eq!((bench.count("ACK"), bench.count("BYE")), (1, 1), "a leg that no call has is ended");
    let (mut bench, phone) = answered();
    bench.order(phone, Action::HangUp { cause: "timeout".into() });
    assert_eq!((bench.count("ACK"), bench.count("BYE")), (1, 1), "a dialog is confirmed before it is ended");
}

#[test]
fn a_phone_that_answered_an_earlier_life_of_this_node_is_looked_up_and_sent_away_if_no_call_has_it() {
    let mut before = Bench::new();
    before.arrive("", "v=0");
    let phone = before.ring(Some("v=0"));
    let invite = before.last("INVITE").clone();
    let mut bench = Bench::new();
    // The same INVITE, of which this stack knows nothing.
    bench.sent.push((Destination::Flow(flow(PHONE)), invite));
    bench.phone_answers("INVITE", 180, "");
    assert!(bench.unasked.is_empty(), "it rings only");
    bench.phone_answers("INVITE", 200, "v=0 phone");
    let (leg, from, response) = bench.unasked.pop().expect("whoever has it is to be found");
    assert_eq!((leg, bench.count("ACK")), (phone, 0));
    bench.stack.unwanted(bench.now, leg, from, &response);
    bench.drain();
    let (ack, bye) = (bench.last("ACK").clone(), bench.last("BYE").clone());
    assert_eq!((ack.cseq(), bye.cseq()), (Some((1, Method::Ack)), Some((2, Method::Bye))));
    assert_eq!(
        (bye.to_tag().as_deref(), bye.from_tag(), bye.call_id()),
        (Some("pt"), Some(format!("{phone}.1")), format!("{phone}@tandem"))
    );
    assert!(ack.top_via() != bye.top_via());
}

#[test]
fn a_late_offer_travels_in_the_200_and_its_answer_in_the_ack() {
    let mut bench = Bench::new();
    bench.arrive("", "");
    let phone = bench.ring(None);
    bench.phone_answers("INVITE", 200, "v=0 offer");
    assert_eq!(bench.count("ACK"), 0);
    bench.order(LegId::caller(call()), Action::Answer { peer: phone, sdp: Sdp::from(b"v=0 offer".to_vec()) });
    bench.caller_says("ACK", 1, "v=0 answer");
    assert_eq!(&bench.last("ACK").body[..], b"v=0 answer");
}

#[test]
fn hold_is_passed_on_and_seen() {
    let (mut bench, _) = Bench::talking();
    bench.caller_says("INVITE", 2, "v=0\na=sendonly");
    bench.phone_answers("INVITE", 200, "v=0\na=recvonly");
    assert!(matches!(bench.event(), LegEvent::Media { held: true, .. }));
    assert_eq!((&bench.last("200").body[..], bench.count("ACK")), (&b"v=0\r\na=recvonly"[..], 2));
}

#[test]
fn glare_is_answered_491_and_an_old_cseq_500() {
    let (mut bench, _) = Bench::talking();
    bench.caller_says("INVITE", 2, "v=0");
    bench.caller_says("UPDATE", 3, "v=0");
    assert_eq!(bench.count("491"), 1);
    bench.caller_says("INFO", 1, "x");
    assert_eq!(bench.count("500"), 1);
}

#[test]
fn a_required_reliable_182_is_repeated_until_its_prack() {
    let mut bench = Bench::new();
    bench.arrive("Require: 100rel\n", "v=0");
    bench.order(LegId::caller(call()), Action::Queue { position: 1 });
    bench.pass(Duration::from_millis(1_600));
    assert_eq!(bench.count("182"), 3);
    let (to, rseq) = (bench.last("182").text(Name::To), bench.last("182").text(Name::RSeq));
    bench.receive(CALLER, &format!("PRACK sip:t@127.0.0.1 SIP/2.0\nVia: SIP/2.0/UDP {CALLER};branch=z9hG4bKp\nFrom: <sip:a@x>;tag=ct\nTo: {to}\nCall-ID: c1\nCSeq: 2 PRACK\nRAck: {rseq} 1 INVITE\n\n"));
    bench.pass(Duration::from_secs(5));
    assert_eq!((bench.count("182"), bench.count("200")), (3, 1));
}

#[test]
fn a_session_that_is_not_refreshed_ends() {
    let mut bench = Bench::new();
    bench.arrive("Session-Expires: 120\nSupported: timer\n", "v=0");
    let phone = bench.ring(Some("v=0"));
    bench.phone_answers("INVITE", 200, "v=0");
    bench.order(LegId::caller(call()), Action::Answer { peer: phone, sdp: Sdp::from(b"v=0".to_vec()) });
    assert_eq!(bench.last("200").text(Name::SessionExpires), "120;refresher=uac");
    bench.caller_says("ACK", 1, "");
    bench.pass(Duration::from_secs(80));
    bench.caller_says("UPDATE", 2, "");
    bench.pass(Duration::from_secs(80));
    assert!(!bench.reports.iter().any(|report| matches!(report.event, LegEvent::HungUp { .. })));
    bench.pass(Duration::from_secs(30));
    assert!(bench.reports.iter().any(|report| matches!(report.event, LegEvent::HungUp { cause: HangUpCause::SessionExpired })));
}

#[test]
fn loops_hops_extensions_and_methods_are_refused_with_their_status() {
    let ask = |method: &str, extra: &str| {
        let mut bench = Bench::new();
        bench.receive(CALLER, &format!("{method} sip:s@y SIP/2.0\nVia: SIP/2.0/UDP {CALLER};branch=z9hG4bKq\nFrom: <sip:a@x>;tag=ct\nTo: <sip:s@y>\nCall-ID: c\nCSeq: 1 {method}\n{extra}\n\n"));
        bench.sent.last().map(|(_, message)| message.status())
    };
    assert_eq!(ask("INVITE", "Max-Forwards: 0"), Some(483));
    assert_eq!(ask("INVITE", "Require: levitation"), Some(420));
    assert_eq!(ask("SUBSCRIBE", "Event: x"), Some(405));
    assert_eq!(ask("FOOBAR", "X: y"), Some(501));
    assert_eq!(ask("INVITE", "Content-Length: 99"), Some(400));
}

#[test]
fn a_message_of_another_nodes_leg_goes_to_that_node_and_an_unknown_one_is_looked_up() {
    let mut bench = Bench::new();
    let leg = LegId::caller(call());
    for node in [1, 3] {
        bench.receive(CALLER, &format!("BYE sip:t@y SIP/2.0\nVia: SIP/2.0/UDP {CALLER};branch=z9hG4bK{node}\nFrom: <sip:a@x>;tag=ct\nTo: <sip:s@y>;tag={leg}.{node}\nCall-ID: c\nCSeq: 2 BYE\n\n"));
    }
    assert_eq!((bench.foreign, bench.unknown.len()), (vec![NodeId(3)], 1));
}

#[test]
fn a_refused_leg_is_tried_again_with_a_new_cseq_and_a_repeated_order_hears_the_last_report() {
    let mut bench = Bench::new();
    bench.arrive("", "v=0");
    let leg = bench.ring(Some("v=0"));
    let first = bench.last("INVITE").clone();
    bench.phone_answers("INVITE", 407, "");
    let ring = Ring {
        target: Target::Contact { uri: format!("sip:alice@{PHONE}") },
        caller: Party::default(),
        queue: None,
        trunk: None,
        sdp: Some(Sdp::from(b"v=0".to_vec())),
        headers: vec![("Proxy-Authorization".into(), "Digest x".into())],
        max_forwards: 9,
        anchored: false,
        aside: false,
    };
    assert!(bench.stack.retry(bench.now, leg, &ring));
    bench.drain();
    let again = bench.last("INVITE").clone();
    assert_eq!((again.cseq(), again.from_tag(), again.call_id()), (Some((2, Method::Invite)), first.from_tag(), first.call_id()));
    assert_eq!((again.text(Name::ProxyAuthorization), again.text(Name::MaxForwards)), ("Digest x".into(), "9".into()));
    bench.phone_answers("INVITE", 486, "");
    bench.pass(Duration::from_secs(40));
    assert!(!bench.stack.retry(bench.now, leg, &ring), "too late");
    let (reports, invites) = (bench.reports.len(), bench.count("INVITE"));
    let id = EffectId { group: 1, index: bench.orders, n: 0 };
    let order = Order { id, domain: "demo".into(), leg, edge: EDGE, action: Action::ring(ring), image: None };
    bench.stack.order(bench.now, &order);
    bench.drain();
    assert_eq!((bench.count("INVITE"), bench.reports.len()), (invites, reports + 1));
    assert_eq!(bench.reports[reports], bench.reports[reports - 1], "the same report, same number");
}

#[test]
fn unfinished_invites_are_bounded_and_those_who_talk_can_still_hang_up() {
    use crate::sip::limits::TRANSACTIONS_MAX;
    let (mut bench, _) = Bench::talking();
    let text = |n: usize| {
        format!(
            "INVITE sip:support@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {CALLER};branch=z9hG4bKf{n}\r\nFrom: <sip:a@b>;tag=f{n}\r\n\
             To: <sip:support@127.0.0.1>\r\nCall-ID: f{n}\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n\r\n"
        )
    };
    for n in 0..TRANSACTIONS_MAX + 100 {
        bench.stack.receive(bench.now, flow(CALLER), Bytes::from(text(n)));
        while bench.stack.poll().is_some() {}
    }
    bench.stack.receive(bench.now, flow(CALLER), Bytes::from(text(TRANSACTIONS_MAX + 100)));
    bench.drain();
    assert!(bench.stack.transactions() <= TRANSACTIONS_MAX + 10, "{} are kept", bench.stack.transactions());
    let (_, refused) = bench.sent.last().unwrap();
    assert_eq!((refused.status(), refused.get(Name::RetryAfter).is_some()), (503, true));
    bench.caller_says("BYE", 2, "");
    assert_eq!(bench.event(), &LegEvent::HungUp { cause: HangUpCause::Bye });
}

#[test]
fn a_request_that_another_node_answers_gets_nothing_more_from_here() {
    let mut bench = Bench::new();
    let leg = LegId::caller(CallId::compose(1, NodeId(7), 5));
    let bye = format!(
        "BYE sip:tandem@127.0.0.1 SIP/2.0\nVia: SIP/2.0/UDP {CALLER};branch=z9hG4bKd1\nFrom: <sip:a@b>;tag=1\nTo: <sip:c@d>;tag={leg}.1\nCall-ID: d\nCSeq: 9 BYE\n\n"
    );
    bench.receive(CALLER, &bye);
    bench.stack.dismiss(bench.unknown[0]);
    bench.pass(Duration::from_secs(60));
    assert!(bench.sent.is_empty(), "{:?}", bench.sent);
    bench.receive(CALLER, &bye);
    assert_eq!(bench.unknown.len(), 2, "a repeat is looked up again");
}

#[test]
fn an_order_to_ring_that_was_overtaken_by_its_end_calls_nobody() {
    let mut bench = Bench::new();
    bench.arrive("", "v=0");
    let leg = LegId { call: call(), n: 1 };
    let ring = Ring {
        target: Target::Contact { uri: format!("sip:alice@{PHONE}") },
        caller: Party::default(),
        queue: None,
        trunk: None,
        sdp: Some(Sdp::from(b"v=0".to_vec())),
        headers: Vec::new(),
        max_forwards: 9,
        anchored: false,
        aside: false,
    };
    // Its target was being looked up while its caller hung up.
    bench.orders += 1;
    let late = EffectId { group: 1, index: bench.orders, n: 0 };
    bench.order(leg, Action::HangUp { cause: "caller_left".into() });
    assert_eq!(bench.event(), &LegEvent::Ended);
    let order = Order { id: late, domain: "demo".into(), leg, edge: EDGE, action: Action::ring(ring), image: None };
    bench.stack.order(bench.now, &order);
    bench.drain();
    assert_eq!(bench.count("INVITE"), 0);
}
