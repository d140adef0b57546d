//! Requests inside a call: hold, UPDATE, both sides at once, and requests that reach another node than the call's own.

use super::{
    lab::{Lab, Transport},
    on_every_transport,
    script::Script,
};

on_every_transport!(
    hold_is_passed_on_and_a_refused_one_leaves_the_call_up,
    the_agent_may_change_the_session_too,
    an_update_is_passed_on_both_ways,
    both_sides_at_once_are_told_to_try_again,
    a_request_in_a_dialog_reaches_its_owner_from_any_node,
);

/// A caller that is answered.
fn talking(name: &str) -> Script {
    Script::caller(name).invite().may(100).may(182).may(180).expect(200).ack().pause_ms(100)
}

/// A phone that has answered.
fn picked_up(name: &str) -> Script {
    Script::phone(name).receive_invite().respond(180, "Ringing", "", false).respond(200, "OK", "", true).receive("ACK")
}

fn hold_is_passed_on_and_a_refused_one_leaves_the_call_up(lab: &Lab) {
    lab.agents(&["alice"]);
    let phone = picked_up("held").receive_matching("INVITE", "a=sendonly").ok(true).receive("ACK").receive("INVITE");
    let phone = lab.phone(0, &phone.refuse(488, "Not Acceptable Here").receive("ACK").receive("BYE").ok(false));
    let caller = talking("holds").reinvite("sendonly").may(100).expect(200).ack().pause_ms(100);
    let caller = caller.reinvite("sendrecv").may(100).expect(488).ack_in_transaction().pause_ms(100).bye().expect(200);
    lab.caller(1, &caller).passes();
    phone.passes();
    lab.ended("answered", Some("alice"), "caller_hung_up");
}

fn the_agent_may_change_the_session_too(lab: &Lab) {
    lab.agents(&["alice"]);
    // Its INFO says that the caller is done with its own INVITE; a request before that would be told to wait.
    let phone =
        picked_up("holds").receive("INFO").ok(false).pause_ms(50).reinvite("sendonly").may(100).expect(200).ack().receive("BYE").ok(false);
    let phone = lab.phone(0, &phone);
    let caller = Script::caller("held").invite().may(100).may(182).may(180).expect(200).ack().in_dialog("INFO", "", "").expect(200);
    let caller = caller.receive_matching("INVITE", "a=sendonly").ok(true).receive("ACK").pause_ms(100).bye().expect(200);
    lab.caller(2, &caller).passes();
    phone.passes();
    lab.ended("answered", Some("alice"), "caller_hung_up");
}

fn an_update_is_passed_on_both_ways(lab: &Lab) {
    lab.agents(&["alice"]);
    let phone = picked_up("updated").receive_matching("UPDATE", "a=sendonly").agree().pause_ms(100).update("inactive");
    let phone = lab.phone(0, &phone.expect_matching(200, "m=audio").receive("BYE").ok(false));
    let caller = talking("updates").update("sendonly").expect_matching(200, "m=audio").receive_matching("UPDATE", "a=inactive").agree();
    lab.caller(1, &caller.pause_ms(100).bye().expect(200)).passes();
    phone.passes();
    lab.ended("answered", Some("alice"), "caller_hung_up");
}

fn both_sides_at_once_are_told_to_try_again(lab: &Lab) {
    lab.agents(&["alice"]);
    // The phone asks while the caller's own request is with it, and answers that one afterwards.
    let phone = picked_up("at once").receive_and_keep("INVITE").reinvite("sendrecv").may(100).expect(491).ack_in_transaction();
    let phone = lab.phone(0, &phone.ok_to_kept().receive("ACK").receive("BYE").ok(false));
    let caller = talking("at once").reinvite("sendonly").may(100).expect(200).ack().pause_ms(100).bye().expect(200);
    lab.caller(3, &caller).passes();
    phone.passes();
    lab.ended("answered", Some("alice"), "caller_hung_up");
}

fn a_request_in_a_dialog_reaches_its_owner_from_any_node(lab: &Lab) {
    lab.agents(&["alice"]);
    let phone = picked_up("stays").receive("INVITE").ok(true).receive("ACK").receive("BYE").ok(false);
    let phone = lab.phone(0, &phone);
    let protocol = if lab.transport == Transport::Udp { "udp" } else { "tcp" };
    let [second, third] = [2, 3].map(|k| lab.entrance(lab.node(k)));
    let caller = talking("wanders").move_to(second, protocol).reinvite("sendrecv").may(100).expect(200).ack().pause_ms(100);
    lab.caller(1, &caller.move_to(third, protocol).bye().expect(200)).passes();
    phone.passes();
    lab.ended("answered", Some("alice"), "caller_hung_up");
}
