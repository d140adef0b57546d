//! Registrations in virtual time: what is committed, what is kept local, what is refused.

use super::*;
use crate::{
    core::{id::NodeId, party::Transport},
    sip::message::parse,
};

const EDGE: Edge = Edge { node: NodeId(1), incarnation: 4 };

fn owner() -> Owner {
    (DomainId::new("demo"), AgentId::new("alice"))
}

fn request(fields: &str) -> Message {
    let head = "REGISTER sip:demo SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nFrom: <sip:alice@demo>;tag=1\r\nTo: <sip:alice@demo>\r\nCall-ID: r\r\nCSeq: 1 REGISTER\r\n";
    parse(format!("{head}{fields}\r\n").as_bytes()).unwrap()
}

fn flow(conn: Option<u64>) -> Flow {
    let transport = if conn.is_some() { Transport::Tcp } else { Transport::Udp };
    Flow { transport, local: ([127, 0, 0, 1], 5060).into(), remote: ([10, 0, 0, 9], 5062).into(), conn, via: None }
}

/// Registers with these fields and settles; returns the commands.
fn register(registrar: &mut Registrar, now: Instant, conn: Option<u64>, fields: &str) -> Vec<Command> {
    let wish = Wish::read(&request(fields)).unwrap();
    let plan = registrar.plan(now, EDGE, owner(), &flow(conn), &wish, &[]).unwrap();
    registrar.settle(now, &plan);
    plan.commands
}

/// What a REGISTER that only asks is told.
fn listed(registrar: &Registrar, now: Instant) -> Vec<String> {
    let asks = registrar.plan(now, EDGE, owner(), &flow(None), &Wish::read(&request("")).unwrap(), &[]).unwrap();
    registrar.contacts(now, &asks, None)
}

const PHONE: &str = "Contact: <sip:alice@10.0.0.9:5062;transport=tcp>;+sip.instance=\"<urn:uuid:1>\";reg-id=1;expires=600\r\n";

fn bound(command: &Command) -> &Binding {
    match command {
        Command::Bind { binding, .. } => binding,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_phone_is_bound_with_its_flow_path_and_instance() {
    let (mut registrar, now) = (Registrar::default(), Instant::now());
    let commands = register(&mut registrar, now, Some(7), &format!("{PHONE}Path: <sip:p1;lr>, <sip:p2;lr>\r\n"));
    let binding = bound(&commands[0]);
    assert_eq!(binding.contact, "sip:alice@10.0.0.9:5062;transport=tcp");
    assert_eq!(binding.instance, "<urn:uuid:1>;reg-id=1");
    assert_eq!(binding.path, ["<sip:p1;lr>", "<sip:p2;lr>"]);
    assert_eq!(binding.flow, Some(FlowRef { node: NodeId(1), incarnation: 4, flow: 7 }));
    assert!(registrar.is_outbound(&owner()));
    let listed = listed(&registrar, now + Duration::from_secs(100));
    assert_eq!(listed, ["<sip:alice@10.0.0.9:5062;transport=tcp>;expires=500;+sip.instance=\"<urn:uuid:1>\";reg-id=1"]);
}

#[test]
fn refreshes_stay_local_until_half_of_the_time_is_gone() {
    let (mut registrar, start) = (Registrar::default(), Instant::now());
    let commits = |registrar: &mut Registrar, at_s| register(registrar, start + Duration::from_secs(at_s), Some(7), PHONE).len();
    assert_eq!(commits(&mut registrar, 0), 1);
    assert_eq!(commits(&mut registrar, 100), 0);
    assert_eq!(commits(&mut registrar, 290), 0);
    assert_eq!(commits(&mut registrar, 310), 1);
    assert_eq!(commits(&mut registrar, 600), 0);
}

#[test]
fn another_flow_is_committed_at_once_and_the_old_ones_end_changes_nothing() {
    let (mut registrar, now) = (Registrar::default(), Instant::now());
    register(&mut registrar, now, Some(7), PHONE);
    assert_eq!(register(&mut registrar, now, Some(8), PHONE).len(), 1);
    assert!(registrar.closed(7, |_, _| true).is_empty());
    assert_eq!(registrar.closed(8, |_, _| true), [(DomainId::new("demo"), unbind(&owner(), "<urn:uuid:1>;reg-id=1"))]);
    assert!(registrar.is_empty() && registrar.by_conn.is_empty());
}

#[test]
fn several_contacts_are_bound_and_a_star_takes_all_off() {
    let (mut registrar, now) = (Registrar::default(), Instant::now());
    let both = "Contact: <sip:a@1.1.1.1>;expires=60, <sip:b@2.2.2.2>\r\nExpires: 120\r\n";
    let commands = register(&mut registrar, now, None, both);
    assert_eq!(
        commands.iter().map(|c| (bound(c).contact.as_str(), bound(c).expires_s)).collect::<Vec<_>>(),
        [("sip:a@1.1.1.1", 60), ("sip:b@2.2.2.2", 120)]
    );
    assert_eq!(register(&mut registrar, now, None, "Contact: <sip:a@1.1.1.1>;expires=0\r\n"), [unbind(&owner(), "sip:a@1.1.1.1")]);
    assert_eq!(register(&mut registrar, now, None, "Contact: *\r\nExpires: 0\r\n"), [unbind(&owner(), "sip:b@2.2.2.2")]);
    assert!(listed(&registrar, now).is_empty());
}

#[test]
fn a_query_changes_nothing() {
    let (mut registrar, now) = (Registrar::default(), Instant::now());
    register(&mut registrar, now, Some(7), PHONE);
    assert!(register(&mut registrar, now, Some(7), "").is_empty());
    assert_eq!(listed(&registrar, now).len(), 1);
}

#[test]
fn bad_wishes_are_refused() {
    let read = |fields: &str| Wish::read(&request(fields)).unwrap_err();
    assert_eq!(read("Contact: <sip:a@1.1.1.1>;expires=30\r\n"), Refusal::TooBrief);
    assert_eq!(read("Contact: *\r\n"), Refusal::BadContact);
    assert_eq!(read("Contact: *, <sip:a@b>\r\nExpires: 0\r\n"), Refusal::BadContact);
    assert_eq!(read("Contact: <tel:+491>\r\n"), Refusal::BadContact);
    assert_eq!(read(&format!("Contact: {}\r\n", ["<sip:a@b>"; 9].join(","))), Refusal::TooManyContacts);
    assert_eq!(Wish::read(&request("Contact: <sip:a@b>;expires=999999\r\n")).unwrap().contacts[0].expires_s, EXPIRES_MAX_S);
}

#[test]
fn over_udp_only_a_phone_behind_a_translator_depends_on_its_node() {
    let mut registrar = Registrar::default();
    let commands = register(&mut registrar, Instant::now(), None, "Contact: <sip:a@10.0.0.9:5062>, <sip:a@192.168.1.5:5060>\r\n");
    assert_eq!(commands.iter().map(|c| bound(c).flow.map(|f| f.flow)).collect::<Vec<_>>(), [None, Some(0)]);
}

#[test]
fn what_expired_is_forgotten() {
    let (mut registrar, now) = (Registrar::default(), Instant::now());
    register(&mut registrar, now, Some(7), PHONE);
    registrar.expire(now + Duration::from_secs(601));
    assert!(registrar.is_empty() && registrar.closed(7, |_, _| true).is_empty());
}

#[test]
fn phones_at_other_nodes_are_listed_too_and_a_star_removes_them_all() {
    let (mut registrar, now) = (Registrar::default(), Instant::now());
    let desk = bound(&register(&mut registrar, now, Some(7), PHONE)[0]).clone();
    let mobile = Binding { instance: "m".into(), contact: "sip:m@10.0.0.7".into(), ..desk.clone() };
    let gone = Binding { instance: "g".into(), contact: "sip:g@10.0.0.8".into(), ..desk.clone() };
    let replicated = [(desk, 250), (mobile, 90), (gone, 0)];
    let plan = |fields: &str| registrar.plan(now, EDGE, owner(), &flow(None), &Wish::read(&request(fields)).unwrap(), &replicated).unwrap();
    let listed = registrar.contacts(now, &plan(""), Some(&replicated));
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert!(listed[0].contains(";expires=600;"), "the refresh that only this node knows counts: {listed:?}");
    assert_eq!(listed[1], "<sip:m@10.0.0.7>;expires=90;+sip.instance=\"m\"");
    let star = plan("Contact: *\r\nExpires: 0\r\n");
    assert_eq!(star.commands.len(), 3);
    assert!(registrar.contacts(now, &star, Some(&replicated)).is_empty());
}

#[test]
fn a_phone_that_moved_to_another_way_is_not_unbound_when_its_old_connection_closes() {
    let (mut registrar, now) = (Registrar::default(), Instant::now());
    register(&mut registrar, now, Some(7), PHONE);
    assert!(registrar.closed(7, |_, _| false).is_empty());
    assert!(registrar.is_empty());
}
