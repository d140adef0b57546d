//! What an agent's phone may say to an offer besides yes, and where the call goes then.

use super::{
    lab::Lab,
    on_every_transport,
    script::{Script, answered, answers},
};

on_every_transport!(
    a_busy_agent_makes_room_for_the_next,
    an_agent_that_is_not_available_makes_room_for_the_next,
    a_phone_that_timed_out_makes_room_for_the_next,
    an_agent_that_declines_makes_room_for_the_next,
    a_phone_that_is_not_answered_is_cancelled_and_the_call_goes_on,
    a_redirected_offer_follows_its_contact,
);

/// The first agent's phone refuses; the second's gets the call.
fn refused_then_answered(lab: &Lab, status: u16, reason: &str) {
    lab.agents(&["alice", "bob"]);
    let refuses = lab.phone(0, &Script::phone("refuses").receive_invite().respond(status, reason, "", false).receive("ACK"));
    let phone = lab.phone(1, &answers("phone"));
    lab.caller(1, &answered("caller", 100)).passes();
    refuses.passes();
    phone.passes();
    lab.ended("answered", Some("bob"), "caller_hung_up");
}

fn a_busy_agent_makes_room_for_the_next(lab: &Lab) {
    refused_then_answered(lab, 486, "Busy Here");
}

fn an_agent_that_is_not_available_makes_room_for_the_next(lab: &Lab) {
    refused_then_answered(lab, 480, "Temporarily Unavailable");
}

fn a_phone_that_timed_out_makes_room_for_the_next(lab: &Lab) {
    refused_then_answered(lab, 408, "Request Timeout");
}

fn an_agent_that_declines_makes_room_for_the_next(lab: &Lab) {
    refused_then_answered(lab, 603, "Decline");
}

fn a_phone_that_is_not_answered_is_cancelled_and_the_call_goes_on(lab: &Lab) {
    lab.agents(&["alice", "bob"]);
    let silent = lab.phone(0, &Script::phone("silent").receive_invite().respond(180, "Ringing", "", false).cancelled());
    let phone = lab.phone(1, &answers("phone"));
    lab.caller(3, &answered("caller", 100)).passes();
    silent.passes();
    phone.passes();
    lab.ended("answered", Some("bob"), "caller_hung_up");
}

fn a_redirected_offer_follows_its_contact(lab: &Lab) {
    lab.agents(&["alice"]);
    let moved = format!("Contact: <{}>\n", lab.uri("alice", 1));
    let desk = lab.phone(0, &Script::phone("moved").receive_invite().refuse_with(302, "Moved Temporarily", &moved).receive("ACK"));
    let mobile = lab.phone(1, &answers("mobile"));
    lab.caller(2, &answered("caller", 100)).passes();
    desk.passes();
    mobile.passes();
    lab.ended("answered", Some("alice"), "caller_hung_up");
}
