//! A connected call goes on with another agent or a number outside: by REFER of the phone that has it, and by the API.

use super::{
    lab::Lab,
    on_every_transport,
    script::{Script, answers},
};

on_every_transport!(
    a_phone_transfers_its_call_by_refer,
    a_supervisor_transfers_a_call_to_its_queue,
    a_refer_that_cannot_be_followed_is_refused,
    a_phone_sends_its_call_to_a_number_outside,
    a_call_comes_back_from_a_number_that_is_busy,
    an_agent_asks_another_one_and_hands_the_call_over,
    an_agent_asks_another_one_and_takes_the_caller_back,
);

const JSON: (&str, &str) = ("content-type", "application/json");

/// A phone that has answered, and goes on when the caller has said that it is done.
fn picked_up(name: &str) -> Script {
    let phone = Script::phone(name).receive_invite().respond(180, "Ringing", "", false).respond(200, "OK", "", true).receive("ACK");
    phone.receive("INFO").ok(false)
}

/// A caller that is answered and says so.
fn talking(name: &str) -> Script {
    Script::caller(name).invite().may(100).may(182).may(180).expect(200).ack().in_dialog("INFO", "", "").expect(200)
}

/// A caller that is taken back to the queue, hears so in its dialog, and goes on until the next agent hangs up.
fn taken_back(name: &str) -> Script {
    talking(name).receive_matching("INVITE", "m=audio").ok(true).receive("ACK").receive("BYE").ok(false)
}

/// A phone that answers and hangs up.
fn ends(name: &str) -> Script {
    let phone = Script::phone(name).receive_invite().respond(180, "Ringing", "", false).respond(200, "OK", "", true).receive("ACK");
    phone.pause_ms(300).bye().expect(200)
}

/// Asserts what the record says of the transfer.
fn transferred(lab: &Lab, by: &str, to: &str) {
    lab.ended("answered", Some("bob"), "agent_hung_up");
    let record = lab.record();
    let sent = &record["transfers"][0];
    let by_is = sent["by"].as_str().is_some_and(|who| who.starts_with(by));
    assert!(by_is && sent["from"] == "alice" && sent["to"] == to, "{record}");
    let agents: Vec<_> = record["attempts"].as_array().into_iter().flatten().map(|attempt| attempt["agent"].clone()).collect();
    assert_eq!(agents, ["alice", "bob"], "{record}");
}

/// The path of something done with the only call, once it is connected.
fn the_call(lab: &Lab, what: &str) -> String {
    let calls = format!("/api/v1/calls?tenant={}", lab.tenant);
    let call = lab.cluster.eventually("a connected call", |cluster| {
        cluster.all(3, &calls).into_iter().find(|call| call["state"] == "connected" || call["state"] == "held")
    });
    format!("/api/v1/calls/{}/{what}?tenant={}", call["id"].as_str().expect("an id"), lab.tenant)
}

/// Does something with the only call.
fn done(lab: &Lab, what: &str, body: &str) {
    let path = the_call(lab, what);
    let headers: &[_] = if body.is_empty() { &[] } else { &[JSON] };
    let answer = lab.cluster.ask(2, "POST", &path, headers, body);
    assert_eq!(answer.status, 204, "{what}: {}", answer.text);
}

fn a_phone_transfers_its_call_by_refer(lab: &Lab) {
    lab.agents(&["alice", "bob"]);
    let refers = picked_up("refers").pause_ms(50).in_dialog("REFER", "Refer-To: <sip:bob@[domain]>\n", "").expect(202);
    // What it is told comes at once, and a SIPp that finds several requests in one read cannot answer each in between.
    let refers = refers.receive_matching("NOTIFY", "SIP/2.0 100 Trying").receive_matching("NOTIFY", "SIP/2.0 200 OK");
    let alice = lab.phone(0, &refers.receive("BYE").ok(false));
    let bob = lab.phone(1, &ends("bob"));
    lab.caller(2, &taken_back("caller")).passes();
    alice.passes();
    bob.passes();
    transferred(lab, "agent:alice", "agent:bob");
}

fn a_supervisor_transfers_a_call_to_its_queue(lab: &Lab) {
    lab.agents(&["alice", "bob"]);
    let alice = lab.phone(0, &picked_up("alice").receive("BYE").ok(false));
    let bob = lab.phone(1, &ends("bob"));
    let caller = lab.caller(1, &taken_back("caller"));
    lab.cluster.eventually("the INFO", |_| (caller.times_seen("CSeq: 2 INFO") >= 2).then_some(()));
    let path = the_call(lab, "transfer");
    for (body, status) in [("{\"agent\":\"nobody\"}", 404), ("{\"agent\":\"alice\"}", 409), ("{}", 422)] {
        let refused = lab.cluster.ask(2, "POST", &path, &[JSON], body);
        assert_eq!(refused.status, status, "{}", refused.text);
    }
    let done = lab.cluster.ask(2, "POST", &path, &[JSON], "{\"queue\":\"support\"}");
    assert_eq!(done.status, 204, "{}", done.text);
    caller.passes();
    alice.passes();
    bob.passes();
    transferred(lab, "user:", "queue:support");
}

fn a_refer_that_cannot_be_followed_is_refused(lab: &Lab) {
    lab.agents(&["alice"]);
    let refers = picked_up("refers").pause_ms(50).in_dialog("REFER", "Refer-To: <sip:nobody@[domain]>\n", "").expect(404);
    let refers = refers.in_dialog("REFER", "Refer-To: <sip:alice@[domain]>\n", "").expect(480).receive("BYE").ok(false);
    let alice = lab.phone(0, &refers);
    let caller = talking("caller").in_dialog("REFER", "Refer-To: <sip:support@[domain]>\n", "").expect(603);
    lab.caller(1, &caller.pause_ms(1_000).bye().expect(200)).passes();
    alice.passes();
    lab.ended("answered", Some("alice"), "caller_hung_up");
}

/// Publishes agents on the first phones, and a trunk to the `n`-th that takes numbers in Berlin.
fn with_trunk_out(lab: &Lab, names: &[&str], n: u8) {
    let gateway = format!("sip:{}{}", lab.phone_at(n), lab.transport.parameter());
    lab.agents_and(
        names,
        &format!("[[trunk]]\nid = \"out\"\ncontacts = [\"{gateway}\"]\ncaller_id = \"+4930111\"\n[transfer]\nnumbers = [\"+4930\"]\n"),
    );
}

fn a_phone_sends_its_call_to_a_number_outside(lab: &Lab) {
    with_trunk_out(lab, &["alice"], 1);
    let barred = picked_up("refers").pause_ms(50).in_dialog("REFER", "Refer-To: <sip:+4420123456@[domain]>\n", "").expect(403);
    let refers = barred.in_dialog("REFER", "Refer-To: <sip:+4930123456@[domain];user=phone>\n", "").expect(202);
    let refers = refers.receive_matching("NOTIFY", "SIP/2.0 100 Trying").receive_matching("NOTIFY", "SIP/2.0 200 OK");
    let alice = lab.phone(0, &refers.receive("BYE").ok(false));
    let number = lab.phone(1, &ends("number"));
    lab.caller(2, &taken_back("caller")).passes();
    alice.passes();
    assert!(number.has_seen("INVITE sip:+4930123456@") && number.has_seen("<sip:+4930111@"), "it is called as the trunk wants it");
    number.passes();
    lab.ended("answered", Some("alice"), "number_hung_up");
    let record = lab.record();
    let sent = &record["transfers"][0];
    let outside = &sent["outside"];
    assert_eq!((&sent["by"], &sent["to"]), (&"agent:alice".into(), &"number".into()), "{record}");
    assert_eq!((&outside["number"], &outside["result"]), (&"+4930123456".into(), &"accepted".into()), "{record}");
    assert!(outside["answered_at"].is_string() && outside["ended_at"] == record["ended_at"], "{record}");
}

fn a_call_comes_back_from_a_number_that_is_busy(lab: &Lab) {
    with_trunk_out(lab, &["alice", "bob"], 2);
    let alice = lab.phone(0, &picked_up("alice").receive("BYE").ok(false));
    let bob = lab.phone(1, &ends("bob"));
    let busy = Script::phone("busy").receive_invite().respond(180, "Ringing", "", false);
    let number = lab.phone(2, &busy.respond(486, "Busy Here", "", false).receive("ACK"));
    let caller = lab.caller(1, &taken_back("caller"));
    lab.cluster.eventually("the INFO", |_| (caller.times_seen("CSeq: 2 INFO") >= 2).then_some(()));
    let path = the_call(lab, "transfer");
    for (body, status) in [("{\"number\":\"+4420123456\"}", 403), ("{\"number\":\"bob\"}", 422), ("{\"number\":\"+4930123456\"}", 204)] {
        let answer = lab.cluster.ask(2, "POST", &path, &[JSON], body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text);
    }
    number.passes();
    caller.passes();
    alice.passes();
    bob.passes();
    lab.ended("answered", Some("bob"), "agent_hung_up");
    let record = lab.record();
    let outside = &record["transfers"][0]["outside"];
    assert!(outside["result"] == "busy" && outside["answered_at"].is_null(), "{record}");
}

fn an_agent_asks_another_one_and_hands_the_call_over(lab: &Lab) {
    lab.agents(&["alice", "bob"]);
    let alice = lab.phone(0, &picked_up("alice").receive("BYE").ok(false));
    // Both parties may be told anew which codec the other speaks.
    let asked = Script::phone("asked").receive_matching("INVITE", "m=audio").respond(180, "Ringing", "", false);
    let bob = lab.phone(1, &asked.respond(200, "OK", "", true).receive("ACK").receive("BYE").ok(false));
    let caller = talking("caller").receive_matching("INVITE", "m=audio").ok(true).receive("ACK").pause_ms(300).bye().expect(200);
    let caller = lab.caller(1, &caller);
    lab.cluster.eventually("the INFO", |_| (caller.times_seen("CSeq: 2 INFO") >= 2).then_some(()));
    done(lab, "consult", "{\"agent\":\"bob\"}");
    lab.cluster.eventually("bob's answer", |_| (bob.times_seen("ACK sip:") >= 1).then_some(()));
    done(lab, "consult/complete", "");
    alice.passes();
    caller.passes();
    bob.passes();
    lab.ended("answered", Some("bob"), "caller_hung_up");
    let record = lab.record();
    assert!(record["transfers"][0]["attended"] == true && record["transfers"][0]["from"] == "alice", "{record}");
}

fn an_agent_asks_another_one_and_takes_the_caller_back(lab: &Lab) {
    lab.agents(&["alice", "bob"]);
    let alice = lab.phone(0, &picked_up("alice").receive("BYE").ok(false));
    let bob = lab.phone(1, &answers("bob"));
    let caller = lab.caller(1, &talking("caller").pause_ms(1_500).bye().expect(200));
    lab.cluster.eventually("the INFO", |_| (caller.times_seen("CSeq: 2 INFO") >= 2).then_some(()));
    done(lab, "consult", "{\"queue\":\"support\"}");
    lab.cluster.eventually("bob's answer", |_| (bob.times_seen("ACK sip:") >= 1).then_some(()));
    done(lab, "consult/join", "");
    done(lab, "consult/cancel", "");
    bob.passes();
    caller.passes();
    alice.passes();
    lab.ended("answered", Some("alice"), "caller_hung_up");
    let results: Vec<_> = lab.record()["attempts"].as_array().into_iter().flatten().map(|row| row["result"].clone()).collect();
    assert_eq!(results, ["consulted", "accepted"]);
}
