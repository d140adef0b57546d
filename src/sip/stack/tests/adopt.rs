//! Legs of a dead edge at the one that takes them over: what their parties hear, and what becomes of each answer.

use std::time::Duration;

use super::*;
use crate::core::image::{CSEQ_JUMP, Stage};
use crate::sip::limits::{RESUME_SLOT, RESUMING_MAX};

/// The dead edge: its own legs have tags and branches of node 9.
const DEAD: Edge = Edge { node: NodeId(9), incarnation: 1 };

/// A bench that was the dead edge, for its dialogs.
fn donor() -> Bench {
    let mut bench = Bench::new();
    let addresses = BTreeMap::from([(Transport::Udp, "127.0.0.9:5060".parse().unwrap())]);
    bench.stack = Stack::new(Options {
        edge: DEAD,
        addresses,
        user_agent: "Tandem".into(),
        media: Arc::new(crate::media::Direct::default()),
        engine: None,
    });
    bench
}

fn image(stage: Stage, dialog: Dialog) -> Image {
    Image { stage, dialog, adoptions: 1, trunk: None, anchored: false, peer: None, sdp: None, other: None }
}

fn caller() -> LegId {
    LegId::caller(call())
}

/// The images of a talking call, as the core makes them.
fn talking() -> (Image, Image, LegId) {
    let mut bench = donor();
    bench.arrive("", "v=0 caller");
    let phone = bench.ring(Some("v=0 caller"));
    bench.phone_answers("INVITE", 200, "v=0 phone");
    bench.order(caller(), Action::Answer { peer: phone, sdp: Sdp::from(b"v=0 phone".to_vec()) });
    bench.caller_says("ACK", 1, "");
    let sdp = |text: &str| Some(Sdp::from(text.as_bytes().to_vec()));
    let dialog = |leg| {
        let mut dialog = bench.stack.legs[&leg].dialog.clone();
        dialog.local_cseq += CSEQ_JUMP;
        dialog
    };
    let up = Stage::Up { unconfirmed: false };
    let left = Image { peer: Some(phone), sdp: sdp("v=0 caller"), other: sdp("v=0 phone"), ..image(up.clone(), dialog(caller())) };
    let right = Image { peer: Some(caller()), sdp: sdp("v=0 phone"), other: sdp("v=0 caller"), ..image(up, dialog(phone)) };
    (left, right, phone)
}

/// A bench that has taken a talking call over.
fn heir() -> (Bench, LegId) {
    let (left, right, phone) = talking();
    let mut bench = Bench::new();
    bench.order_with(caller(), Action::Resume, Some(left));
    bench.order_with(phone, Action::Resume, Some(right));
    (bench, phone)
}

/// The caller's answer to the last request it was sent.
fn caller_answers(bench: &mut Bench, request: &Message, status: u16, sdp: &str) {
    let via = request.all(Name::Via).remove(0);
    let text = format!(
        "SIP/2.0 {status} X\nVia: {via}\nFrom: {}\nTo: {}\nCall-ID: {}\nCSeq: {}\nContact: <sip:a@{CALLER}>\n\n{sdp}",
        request.text(Name::From),
        request.text(Name::To),
        request.call_id(),
        request.text(Name::CSeq)
    );
    bench.receive(CALLER, &text);
}

fn events(bench: &Bench, leg: LegId) -> Vec<&LegEvent> {
    bench.reports.iter().filter(|report| report.leg == leg).map(|report| &report.event).collect()
}

#[test]
fn both_parties_are_told_where_we_are_with_a_later_cseq_and_the_other_partys_description() {
    let (mut bench, phone) = heir();
    let sent: Vec<_> = bench.sent.iter().map(|(_, message)| message.clone()).collect();
    let [to_caller, ack, to_phone] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((ack.cseq(), ack.call_id()), (Some((1, Method::Ack)), to_phone.call_id()), "the dead edge may not have come to it");
    assert_eq!(to_caller.cseq(), Some((CSEQ_JUMP + 1, Method::Invite)));
    assert_eq!(to_phone.cseq(), Some((CSEQ_JUMP + 2, Method::Invite)));
    assert_eq!((&to_caller.body[..], &to_phone.body[..]), (&b"v=0 phone"[..], &b"v=0 caller"[..]));
    assert!(to_caller.contact().unwrap().contains("127.0.0.1:5060"), "our address, not the dead one's");
    assert_eq!((to_caller.call_id(), to_caller.to_tag().as_deref()), ("c1".into(), Some("ct")));
    assert_eq!(to_caller.from_tag(), Some(format!("{}.9", caller())), "the tag stays the dead edge's");
    let (to_caller, to_phone) = (to_caller.clone(), to_phone.clone());
    caller_answers(&mut bench, &to_caller, 200, "v=0 caller");
    bench.phone_answers("INVITE", 200, "v=0 phone");
    assert_eq!(to_phone.cseq(), bench.last("INVITE").cseq());
    assert_eq!(bench.count("ACK"), 3);
    assert!(matches!(events(&bench, caller())[..], [LegEvent::Adopted { .. }]));
    assert!(matches!(events(&bench, phone)[..], [LegEvent::Adopted { .. }]));
}

/// A phone's 200 to the INVITE of the dead edge, brought here by whoever got it.
fn answers_the_dead(bench: &mut Bench, invite: &Message, sdp: &str) {
    bench.sent.push((Destination::Flow(flow(PHONE)), invite.clone()));
    bench.phone_answers("INVITE", 200, sdp);
    bench.sent.retain(|(_, message)| message != invite);
}

#[test]
fn a_phone_that_still_repeats_its_answer_to_the_dead_edge_is_acknowledged_by_the_heir() {
    let mut before = donor();
    before.arrive("", "v=0 caller");
    before.ring(Some("v=0 caller"));
    let invite = before.last("INVITE").clone();
    let (mut bench, _) = heir();
    let acks = bench.count("ACK");
    answers_the_dead(&mut bench, &invite, "v=0 phone");
    assert_eq!((bench.count("ACK"), bench.count("BYE"), bench.unasked.len()), (acks + 1, 0, 0));
}

#[test]
fn a_phone_that_answered_the_dead_edge_unheard_is_let_go_by_the_tag_it_answers_with() {
    let rung = || {
        let mut bench = donor();
        bench.arrive("", "v=0");
        let phone = bench.ring(Some("v=0"));
        let ring = bench.stack.legs[&phone].rung.clone().map(|ring| std::sync::Arc::new(*ring));
        let invite = bench.last("INVITE").clone();
        let mut bench = Bench::new();
        let stage = Stage::Ringing { ring, by: DEAD };
        bench.order_with(phone, Action::HangUp { cause: "node_lost".into() }, Some(image(stage, Dialog::default())));
        assert_eq!((bench.count("CANCEL"), bench.count("BYE")), (1, 0));
        (bench, invite)
    };
    let (mut bench, _) = rung();
    bench.phone_answers("CANCEL", 200, "");
    assert_eq!(bench.last("BYE").to_tag().as_deref(), Some("pt"), "the answer to a CANCEL has the dialog's tag");
    let (mut bench, invite) = rung();
    answers_the_dead(&mut bench, &invite, "v=0");
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.last("BYE").to_tag().as_deref(), Some("pt"), "so has the 200, wherever it comes from");
    let (mut bench, _) = rung();
    bench.phone_answers("CANCEL", 481, "");
    assert_eq!(bench.count("BYE"), 0, "a phone that knows of no INVITE has no dialog");
}

#[test]
fn a_party_may_hang_up_at_its_new_edge() {
    let (mut bench, phone) = heir();
    let request = bench.sent[0].1.clone();
    caller_answers(&mut bench, &request, 200, "v=0 caller");
    let bye = format!(
        "BYE sip:tandem@127.0.0.1:5060 SIP/2.0\nVia: SIP/2.0/UDP {CALLER};branch=z9hG4bKbye\nFrom: <sip:a@x>;tag=ct\nTo: {}\nCall-ID: c1\nCSeq: 2 BYE\n\n",
        request.text(Name::From)
    );
    bench.receive(CALLER, &bye);
    assert_eq!(bench.event(), &LegEvent::HungUp { cause: HangUpCause::Bye });
    bench.order(phone, Action::HangUp { cause: "ended".into() });
    assert_eq!(bench.last("BYE").call_id(), format!("{phone}@tandem"));
}

#[test]
fn a_party_that_had_hung_up_did_so_and_a_silent_one_was_not_adopted() {
    for (status, cause) in [(481, HangUpCause::Bye), (408, HangUpCause::NotAdopted), (0, HangUpCause::NotAdopted)] {
        let (mut bench, _) = heir();
        let request = bench.sent[0].1.clone();
        if status > 0 {
            caller_answers(&mut bench, &request, status, "");
        }
        bench.pass(Duration::from_secs(33));
        let said = events(&bench, caller());
        assert_eq!(said[0], &LegEvent::HungUp { cause }, "after {status}");
    }
}

#[test]
fn glare_and_a_number_already_seen_are_tried_again() {
    let (mut bench, _) = heir();
    let request = bench.sent[0].1.clone();
    caller_answers(&mut bench, &request, 491, "");
    bench.pass(Duration::from_secs(2));
    let again =
        bench.sent.iter().rev().find(|(_, m)| m.is_request() && m.call_id() == "c1" && m.method() == Method::Invite).unwrap().1.clone();
    assert_eq!(again.cseq(), Some((CSEQ_JUMP + 2, Method::Invite)));
    caller_answers(&mut bench, &again, 500, "");
    bench.pass(Duration::ZERO);
    let third =
        bench.sent.iter().rev().find(|(_, m)| m.is_request() && m.call_id() == "c1" && m.method() == Method::Invite).unwrap().1.clone();
    assert_eq!(third.cseq(), Some((2 * CSEQ_JUMP + 3, Method::Invite)));
    caller_answers(&mut bench, &third, 200, "v=0 caller");
    assert!(matches!(events(&bench, caller())[..], [LegEvent::Adopted { .. }]));
}

#[test]
fn a_party_that_refuses_the_description_keeps_its_call() {
    let (mut bench, _) = heir();
    let request = bench.sent[0].1.clone();
    caller_answers(&mut bench, &request, 488, "");
    assert!(matches!(events(&bench, caller())[..], [LegEvent::Adopted { .. }]));
    assert_eq!(bench.stack.legs().count(), 2);
}

#[test]
fn a_caller_that_may_lack_our_answer_gets_it_before_it_is_told_where_we_are() {
    let (mut left, ..) = talking();
    left.stage = Stage::Up { unconfirmed: true };
    let mut bench = Bench::new();
    bench.order_with(caller(), Action::Resume, Some(left));
    let kinds: Vec<_> = bench.sent.iter().map(|(to, m)| (to.clone(), m.status(), m.method())).collect();
    assert_eq!((kinds[0].1, kinds[0].2, kinds[1].2), (200, Method::Invite, Method::Invite));
    assert_eq!(kinds[0].0, Destination::Flow(flow(CALLER)));
    let ok = bench.last("200").clone();
    assert_eq!((ok.cseq(), ok.to_tag(), &ok.body[..]), (Some((1, Method::Invite)), Some(format!("{}.9", caller())), &b"v=0 phone"[..]));
    let request = bench.last("INVITE").clone();
    caller_answers(&mut bench, &request, 200, "v=0 caller");
    let sent = bench.count("200");
    bench.pass(Duration::from_secs(40));
    assert_eq!(bench.count("200"), sent, "a caller that answers a re-INVITE has had the 200");
    assert!(matches!(events(&bench, caller())[..], [LegEvent::Adopted { .. }]));
}

/// The dialog of a caller that waits at the dead edge.
fn waiting() -> Dialog {
    let mut bench = donor();
    bench.arrive("Supported: timer\nSession-Expires: 600\n", "v=0 caller");
    bench.stack.legs[&caller()].dialog.clone()
}

#[test]
fn a_waiting_caller_hears_from_the_heir_and_is_answered_by_it() {
    let mut bench = Bench::new();
    bench.order_with(caller(), Action::Queue { position: 1 }, Some(image(Stage::Waiting, waiting())));
    let queued = bench.last("182").clone();
    assert_eq!((queued.to_tag(), queued.cseq()), (Some(format!("{}.9", caller())), Some((1, Method::Invite))));
    assert!(matches!(events(&bench, caller())[..], [LegEvent::Adopted { .. }]));
    let phone = bench.ring(Some("v=0 caller"));
    bench.phone_answers("INVITE", 200, "v=0 phone");
    bench.order(caller(), Action::Answer { peer: phone, sdp: Sdp::from(b"v=0 phone".to_vec()) });
    let ok = bench.last("200");
    assert_eq!(ok.text(Name::SessionExpires), "600;refresher=uac");
    assert!(ok.contact().unwrap().contains("127.0.0.1:5060"));
    bench.caller_says("ACK", 1, "");
    bench.caller_says("BYE", 2, "");
    assert_eq!(bench.event(), &LegEvent::HungUp { cause: HangUpCause::Bye });
}

#[test]
fn a_waiting_caller_is_refused_by_the_heir() {
    let mut bench = Bench::new();
    let reject = Action::Reject { status: 480, reason: "max_wait".into(), retry_after_s: None };
    bench.order_with(caller(), reject, Some(image(Stage::Waiting, waiting())));
    assert_eq!(bench.last("480").cseq(), Some((1, Method::Invite)));
    assert!(matches!(bench.event(), LegEvent::Ended));
}

#[test]
fn a_caller_may_give_up_at_the_heir() {
    let mut bench = Bench::new();
    bench.order_with(caller(), Action::Queue { position: 1 }, Some(image(Stage::Waiting, waiting())));
    bench.receive(CALLER, &format!("CANCEL sip:support@127.0.0.1 SIP/2.0\nVia: SIP/2.0/UDP {CALLER};branch=z9hG4bKcaller\nFrom: <sip:a@x>;tag=ct\nTo: <sip:support@y>\nCall-ID: c1\nCSeq: 1 CANCEL\n\n"));
    assert_eq!((bench.count("200"), bench.count("487")), (1, 1));
    assert_eq!(bench.event(), &LegEvent::HungUp { cause: HangUpCause::Cancel });
}

#[test]
fn a_ringing_phone_is_cancelled_with_the_dead_edges_via_and_ended_in_case_it_answered() {
    let mut bench = donor();
    bench.arrive("", "v=0");
    let phone = bench.ring(Some("v=0"));
    let via = bench.last("INVITE").text(Name::Via);
    bench.phone_answers("INVITE", 180, "");
    let dialog = bench.stack.legs[&phone].dialog.clone();
    let mut bench = Bench::new();
    bench.order_with(phone, Action::HangUp { cause: "node_lost".into() }, Some(image(Stage::Ringing { ring: None, by: DEAD }, dialog)));
    let cancel = bench.last("CANCEL");
    assert_eq!((cancel.text(Name::Via), cancel.cseq(), cancel.to_tag()), (via, Some((1, Method::Cancel)), None));
    bench.phone_answers("CANCEL", 481, "");
    assert_eq!(bench.last("BYE").to_tag().as_deref(), Some("pt"));
    bench.phone_answers("BYE", 200, "");
    assert!(matches!(bench.event(), LegEvent::Ended));
}

#[test]
fn a_phone_that_was_not_heard_to_ring_is_cancelled_by_what_it_was_called_with() {
    let mut bench = donor();
    bench.arrive("", "v=0");
    let phone = bench.ring(Some("v=0"));
    let invite = bench.last("INVITE").clone();
    let ring = bench.stack.legs[&phone].rung.clone().map(|ring| std::sync::Arc::new(*ring));
    let mut bench = Bench::new();
    bench.stack.set_nodes(BTreeMap::from([(DEAD.node, BTreeMap::from([(Transport::Udp, "127.0.0.9:5060".parse().unwrap())]))]));
    let stage = Stage::Ringing { ring, by: DEAD };
    bench.order_with(phone, Action::HangUp { cause: "node_lost".into() }, Some(image(stage, Dialog::default())));
    let cancel = bench.last("CANCEL");
    let same = |name| (cancel.text(name), invite.text(name));
    for (ours, theirs) in [same(Name::Via), same(Name::CallId), same(Name::From), same(Name::To)] {
        assert_eq!(ours, theirs);
    }
    bench.pass(Duration::from_secs(1));
    assert!(matches!(bench.event(), LegEvent::Ended), "without a tag there is no dialog to end");
}

#[test]
fn a_bounded_number_of_parties_is_told_at_once_and_a_silent_one_holds_nobody_up() {
    let (left, ..) = talking();
    let mut bench = Bench::new();
    for n in 0..RESUMING_MAX as u64 + 10 {
        let leg = LegId::caller(CallId::compose(2, DEAD.node, n));
        bench.order_with(leg, Action::Resume, Some(left.clone()));
    }
    assert_eq!(bench.count("INVITE"), RESUMING_MAX);
    let first = bench.sent[0].1.clone();
    caller_answers(&mut bench, &first, 200, "v=0 caller");
    assert_eq!(bench.count("INVITE"), RESUMING_MAX + 1);
    let told = |bench: &Bench| {
        bench
            .sent
            .iter()
            .filter(|(_, m)| m.is_request())
            .map(|(_, m)| m.top_via().unwrap().0)
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    };
    bench.pass(RESUME_SLOT);
    assert_eq!(told(&bench) - 1, RESUMING_MAX + 10, "an ACK aside, everybody was told");
}

#[test]
fn a_leg_that_ended_here_is_not_raised_again_by_an_older_image() {
    let mut bench = Bench::new();
    let queued = || Some(image(Stage::Waiting, waiting()));
    bench.order_with(caller(), Action::Queue { position: 1 }, queued());
    bench.order_with(caller(), Action::Reject { status: 480, reason: "x".into(), retry_after_s: None }, queued());
    let sent = bench.sent.len();
    bench.order_with(caller(), Action::Ringing, queued());
    assert_eq!((bench.sent.len(), bench.stack.legs().count()), (sent, 0));
    assert!(matches!(bench.event(), LegEvent::Ended));
}
