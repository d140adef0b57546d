//! What is refused: hops that ran out, loops, strays, more than a trunk or a node may carry.

use super::{
    lab::{BY_ADDRESS, Lab, Small},
    on_every_transport,
    script::{Script, answered, answers},
};

on_every_transport!(
    hops_that_run_out_are_refused,
    a_call_that_comes_back_is_a_loop,
    a_request_of_no_known_dialog_is_answered_481,
    health_is_told_and_an_unknown_method_refused,
    an_extension_nobody_has_is_refused,
    a_trunk_over_its_limit_hears_503_and_when_to_try_again,
    a_node_over_its_limit_hears_503_and_when_to_try_again,
    a_trunk_calls_in_by_its_password,
);

fn hops_that_run_out_are_refused(lab: &Lab) {
    lab.agents(&[]);
    let script = Script::caller("hops").invite_with("Max-Forwards: 0\n", true).may(100).expect(483).ack_refusal();
    lab.caller(1, &script).passes();
}

/// An agent whose phone is the node itself gets a call that the node has already: our own Via is in it.
fn a_call_that_comes_back_is_a_loop(lab: &Lab) {
    let agent = |name: &str, uri: &str| {
        format!("[[agent]]\nid = \"{name}\"\ncontact = \"{uri}\"\nskills = {{ support = 5 }}\nstate = \"available\"\n")
    };
    let back = format!("sip:support@{}{}", lab.node(1), lab.transport.parameter());
    lab.publish(&[agent("alice", &back), agent("bob", &lab.uri("bob", 0))].concat(), "");
    let phone = lab.phone(0, &answers("phone"));
    lab.caller(1, &answered("caller", 100)).passes();
    phone.passes();
    let record = lab.record();
    assert_eq!((&record["agent"], &record["attempts"][0]["result"]), (&"bob".into(), &"rejected".into()), "{record}");
    assert_eq!(lab.cluster.all(1, &format!("/api/v1/cdrs?tenant={}", lab.tenant)).len(), 1, "the loop became a call");
}

fn a_request_of_no_known_dialog_is_answered_481(lab: &Lab) {
    lab.agents(&[]);
    lab.caller(1, &Script::caller("stray").outside("BYE", ";tag=none").expect(481)).passes();
    // A tag as a node of this cluster would have made it, of a leg that never was.
    lab.caller(2, &Script::caller("ghost").outside("BYE", ";tag=00000000000000000000000000-0.3").expect(481)).passes();
}

fn health_is_told_and_an_unknown_method_refused(lab: &Lab) {
    lab.agents(&[]);
    lab.caller(2, &Script::caller("health").outside("OPTIONS", "").expect_matching(200, "Allow:")).passes();
    lab.caller(3, &Script::caller("unknown").outside("FOOBAR", "").expect_matching(501, "Allow:")).passes();
}

fn an_extension_nobody_has_is_refused(lab: &Lab) {
    lab.agents(&[]);
    let script = Script::caller("requires").invite_with("Require: x-own\n", true).may(100);
    lab.caller(1, &script.expect_matching(420, "Unsupported: x-own").ack_refusal()).passes();
}

/// A second caller beside one that waits.
fn second_is_refused(lab: &Lab, start: impl Fn(&Script) -> super::process::Sipp) {
    let first = Script::caller("first").invite().may(100).expect(182).pause_ms(1_500).cancel().expect(200).expect(487).ack_refusal();
    let first = start(&first);
    lab.cluster.eventually("the first call waits", |_| first.has_seen("182 Queued").then_some(()));
    let second = Script::caller("second").invite().may(100).expect_matching(503, "Retry-After: [0-9]+").ack_refusal();
    start(&second).passes();
    first.passes();
}

fn a_trunk_over_its_limit_hears_503_and_when_to_try_again(lab: &Lab) {
    lab.publish("", "calls_max = 1");
    second_is_refused(lab, |script| lab.caller(1, script));
    // Another trunk of the same node is not concerned: the limit is the trunk's.
    lab.agents(&[]);
    let waits = Script::caller("others").invite().may(100).expect(182).pause_ms(50).cancel().expect(200).expect(487).ack_refusal();
    lab.caller(1, &waits).passes();
}

fn a_node_over_its_limit_hears_503_and_when_to_try_again(lab: &Lab) {
    let small = Small::start(lab, "[limits]\ncalls = 1\n", BY_ADDRESS);
    second_is_refused(lab, |script| {
        if script.is("second") {
            // Whoever asks first is told too.
            let full = Script::caller("health").outside("OPTIONS", "").expect_matching(503, "Retry-After: [0-9]+");
            lab.caller_at(small.entrance(lab), &full).passes();
        }
        lab.caller_at(small.entrance(lab), script)
    });
    let free = Script::caller("health").outside("OPTIONS", "").expect(200);
    lab.caller_at(small.entrance(lab), &free).passes();
}

/// A carrier without addresses of its own proves itself by digest; others are refused.
fn a_trunk_calls_in_by_its_password(lab: &Lab) {
    let small = Small::start(lab, "", "username = \"carrier\"\npassword = \"secret\"");
    let waits = Script::caller("carrier").invite().may(100).expect_challenge(401).ack_refusal().invite_again("carrier", "secret");
    let waits = waits.may(100).expect(182).pause_ms(100).cancel().expect(200).expect(487).ack_refusal();
    lab.caller_at(small.entrance(lab), &waits).passes();
    let guess = Script::caller("guess").invite().may(100).expect_challenge(401).ack_refusal().invite_again("carrier", "guess");
    lab.caller_at(small.entrance(lab), &guess.may(100).expect(403).ack_refusal()).passes();
}
