//! A call from its INVITE to its end: queued, offered, answered, hung up by either side, given up.

use super::{
    lab::Lab,
    on_every_transport,
    script::{Script, answered, answers},
};

on_every_transport!(
    a_call_is_answered_and_the_caller_hangs_up,
    the_agent_hangs_up,
    a_waiting_caller_hears_182_and_may_give_up,
    a_caller_gives_up_while_the_phone_rings,
    a_late_offer_is_carried_through,
    provisional_answers_are_sent_reliably_to_a_caller_that_requires_it,
    header_fields_of_the_caller_reach_the_agent,
    a_believed_trunk_asks_for_a_skill,
);

fn a_call_is_answered_and_the_caller_hangs_up(lab: &Lab) {
    lab.agents(&["alice"]);
    let phone = lab.phone(0, &answers("phone"));
    lab.caller(2, &answered("caller", 200)).passes();
    phone.passes();
    lab.ended("answered", Some("alice"), "caller_hung_up");
}

fn the_agent_hangs_up(lab: &Lab) {
    lab.agents(&["alice"]);
    let phone = Script::phone("hangs up").receive_invite().respond(180, "Ringing", "", false).respond(200, "OK", "", true);
    let phone = lab.phone(0, &phone.receive("ACK").pause_ms(100).bye().expect(200));
    let caller = Script::caller("caller").invite().may(100).may(182).may(180).expect(200).ack().receive("BYE").ok(false);
    lab.caller(3, &caller).passes();
    phone.passes();
    lab.ended("answered", Some("alice"), "agent_hung_up");
}

fn a_waiting_caller_hears_182_and_may_give_up(lab: &Lab) {
    lab.agents(&[]);
    let script = Script::caller("gives up").invite().may(100).expect(182).pause_ms(100).cancel().expect(200).expect(487).ack_refusal();
    lab.caller(1, &script).passes();
    lab.ended("abandoned", None, "caller_left");
}

fn a_caller_gives_up_while_the_phone_rings(lab: &Lab) {
    lab.agents(&["alice"]);
    let phone = Script::phone("rings").receive_invite().respond(180, "Ringing", "", false).cancelled();
    let phone = lab.phone(0, &phone);
    let caller = Script::caller("gives up").invite().may(100).may(182).expect(180).pause_ms(100).cancel().expect(200).expect(487);
    lab.caller(2, &caller.ack_refusal()).passes();
    phone.passes();
    lab.ended("abandoned", None, "caller_left");
}

fn a_late_offer_is_carried_through(lab: &Lab) {
    lab.agents(&["alice"]);
    let phone = Script::phone("offers").receive_invite().respond(180, "Ringing", "", false).respond(200, "OK", "", true);
    let phone = lab.phone(0, &phone.receive_matching("ACK", "m=audio").receive("BYE").ok(false));
    let caller = Script::caller("late").invite_with("", false).may(100).may(182).may(180).expect_matching(200, "m=audio");
    lab.caller(1, &caller.ack_with_answer().pause_ms(100).bye().expect(200)).passes();
    phone.passes();
    lab.ended("answered", Some("alice"), "caller_hung_up");
}

fn provisional_answers_are_sent_reliably_to_a_caller_that_requires_it(lab: &Lab) {
    let alice = "[[agent]]\nid = \"alice\"\nskills = { support = 5 }\nstate = \"offline\"\n";
    lab.publish(&format!("{alice}contact = \"{}\"\n", lab.uri("alice", 0)), "");
    // It rings until it is told to answer. A 200 may follow a 180 at once, as nothing is described in that (RFC 3262 §3), but
    // a SIPp that finds both in one read takes the second before it sends the PRACK of the first, and calls it unexpected.
    let phone = Script::phone("phone").receive_invite().respond(180, "Ringing", "", false).told().ok_to_kept();
    let phone = lab.phone(0, &phone.receive("ACK").receive("BYE").ok(false));
    let caller = Script::caller("acknowledges").invite_with("Require: 100rel\n", true).may(100).expect_reliable(182).prack(182);
    let caller = lab.caller(1, &caller.expect_reliable(180).prack(180).expect(200).ack().pause_ms(100).bye().expect(200));
    // Each PRACK and its answer bear the same CSeq.
    let answered = |cseq: &str| lab.cluster.eventually(cseq, |_| (caller.times_seen(cseq) >= 2).then_some(()));
    answered("CSeq: 2 PRACK");
    let path = format!("/api/v1/agents/alice/state?tenant={}", lab.tenant);
    let available = lab.cluster.ask(2, "POST", &path, &[("content-type", "application/json")], "{\"state\":\"available\"}");
    assert_eq!(available.status, 204, "{}", available.text);
    answered("CSeq: 3 PRACK");
    lab.tell(0, &phone);
    caller.passes();
    phone.passes();
    lab.ended("answered", Some("alice"), "caller_hung_up");
}

fn header_fields_of_the_caller_reach_the_agent(lab: &Lab) {
    lab.agents(&["alice"]);
    let phone = Script::phone("sees").receive_matching("INVITE", "X-Own: 42").respond(200, "OK", "", true);
    let phone = lab.phone(0, &phone.receive("ACK").receive("BYE").ok(false));
    let caller = Script::caller("says").invite_with("X-Own: 42\n", true).may(100).may(182).may(180).expect(200).ack();
    lab.caller(1, &caller.pause_ms(100).bye().expect(200)).passes();
    phone.passes();
}

fn a_believed_trunk_asks_for_a_skill(lab: &Lab) {
    let agent = |name: &str, n: u8, skills: &str| {
        let contact = lab.uri(name, n);
        format!("[[agent]]\nid = \"{name}\"\ncontact = \"{contact}\"\nskills = {{ support = 5{skills} }}\nstate = \"available\"\n")
    };
    lab.publish(&[agent("alice", 0, ""), agent("bob", 1, ", spanish = 2")].concat(), "trust_priority = true");
    let phone = lab.phone(1, &answers("phone"));
    let caller = Script::caller("asks").invite_with("X-Tandem-Skills: spanish=2\n", true).may(100).may(182).may(180).expect(200).ack();
    lab.caller(1, &caller.pause_ms(100).bye().expect(200)).passes();
    phone.passes();
    lab.ended("answered", Some("bob"), "caller_hung_up");
}
