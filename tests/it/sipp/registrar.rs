//! Phones that register: digest, then calls by the way they registered.

use super::{
    lab::{Lab, Transport},
    on_every_transport,
    process::Sipp,
    relay,
    script::{Script, answered, answers},
};

on_every_transport!(
    a_phone_registers_with_its_password_and_takes_a_call,
    an_agents_phones_are_listed_wherever_they_registered,
    a_wrong_password_is_refused_and_an_interval_may_be_too_brief,
);

/// Publishes alice, whose phone has to register, and opens its way to node `k`: what SIPp speaks to.
fn alice(lab: &Lab, k: u16) -> std::net::SocketAddr {
    let alice = "[[agent]]\nid = \"alice\"\npassword = \"secret\"\nskills = { support = 5 }\nstate = \"available\"\n";
    lab.publish(alice, "");
    let ca = lab.pki("ca.pem");
    match lab.transport {
        Transport::Udp => return lab.node(k),
        Transport::Tcp => lab.keep(relay::registered(lab.phone_at(9), lab.node(k), lab.sipp_at(0), None)),
        Transport::Tls => lab.keep(relay::registered(lab.phone_at(9), lab.node(k), lab.sipp_at(0), Some(&ca))),
    }
    lab.phone_at(9)
}

fn registers(lab: &Lab, entrance: std::net::SocketAddr, script: &Script) -> Sipp {
    // Over UDP the REGISTER comes from where the calls will go.
    lab.caller_from(lab.sipp_at(if lab.transport == Transport::Udp { 0 } else { 8 }), entrance, script)
}

fn a_phone_registers_with_its_password_and_takes_a_call(lab: &Lab) {
    let entrance = alice(lab, 1);
    let script = Script::caller("registers").register(1, 600, "").expect_challenge(401).register(2, 600, "secret");
    registers(lab, entrance, &script.expect_matching(200, "Contact: .*expires=")).passes();
    let phone = lab.answering(lab.sipp_at(0), lab.sipp_at(0), &answers("phone"));
    // The call comes in at another node than the registration.
    lab.caller(3, &answered("caller", 100)).passes();
    phone.passes();
    lab.ended("answered", Some("alice"), "caller_hung_up");
}

fn an_agents_phones_are_listed_wherever_they_registered(lab: &Lab) {
    let entrance = alice(lab, 1);
    let desk = Script::caller("desk").register(1, 600, "").expect_challenge(401).register(2, 600, "secret").expect(200);
    registers(lab, entrance, &desk).passes();
    let mobile = Script::caller("mobile").register(1, 600, "").expect_challenge(401).register(2, 600, "secret");
    let mobile = mobile.expect_matching(200, "Contact: &lt;[^&gt;]*&gt;;expires=.*Contact: &lt;[^&gt;]*&gt;;expires=");
    let mobile =
        mobile.register(3, 0, "").expect_challenge(401).register(4, 0, "secret").expect_matching(200, "Contact: &lt;[^&gt;]*&gt;;expires=");
    lab.caller(2, &mobile).passes();
}

fn a_wrong_password_is_refused_and_an_interval_may_be_too_brief(lab: &Lab) {
    let entrance = alice(lab, 2);
    let script = Script::caller("guesses").register(1, 600, "").expect_challenge(401).register(2, 600, "guess").expect(403);
    let script = script.register(3, 600, "").expect_challenge(401).register(4, 5, "secret").expect_matching(423, "Min-Expires: 60");
    registers(lab, entrance, &script).passes();
}
