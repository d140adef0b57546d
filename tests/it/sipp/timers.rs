//! Session timers (RFC 4028): too short, refreshed by us, and run out.

use std::{
    sync::{LazyLock, Once},
    thread,
};

use super::{
    lab::{Lab, Transport, on},
    on_every_transport,
    script::Script,
};

on_every_transport!(a_session_interval_below_the_least_is_refused);

mod a_session_is_refreshed_and_one_that_is_not_ends {
    use super::{Transport, waited_out};

    #[test]
    fn udp() {
        waited_out(Transport::Udp);
    }

    #[test]
    fn tcp() {
        waited_out(Transport::Tcp);
    }

    #[test]
    fn tls() {
        waited_out(Transport::Tls);
    }
}

fn a_session_interval_below_the_least_is_refused(lab: &Lab) {
    lab.agents(&[]);
    let script = Script::caller("brief").invite_with("Supported: timer\nSession-Expires: 30\n", true).may(100);
    lab.caller(1, &script.expect_matching(422, "Min-SE: 90").ack_refusal()).passes();
}

/// What came of it over each transport. The shortest session lasts a minute and a half, so they wait it out together.
static ALL: LazyLock<Vec<(Transport, bool)>> = LazyLock::new(|| {
    let start = |transport| (transport, thread::spawn(move || on(transport, refreshed_or_ended)));
    let runs = [Transport::Udp, Transport::Tcp, Transport::Tls].map(start);
    runs.into_iter().map(|(transport, run)| (transport, run.join().is_ok())).collect()
});

fn waited_out(transport: Transport) {
    assert!(ALL.contains(&(transport, true)), "failed over {}, as said above", transport.name());
}

/// Begins to wait while other behaviours are tried, if this run of the tests will ask for the outcome.
pub(super) fn begin_early() {
    static BEGUN: Once = Once::new();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let name = "sipp::timers::a_session_is_refreshed_and_one_that_is_not_ends::";
    let filters: Vec<_> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let chosen = filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    if chosen && !words.iter().any(|word| word.starts_with("--skip")) {
        BEGUN.call_once(|| drop(thread::spawn(|| LazyLock::force(&ALL).len())));
    }
}

fn refreshed_or_ended(lab: &Lab) {
    lab.agents(&["alice"]);
    // The phone leaves the refresh to us, the caller wants to do it and does not.
    let timer = "Supported: timer\nRequire: timer\nAllow: INVITE, ACK, BYE, UPDATE\nSession-Expires: 90;refresher=uac\n";
    let phone = Script::phone("refreshed").receive_invite().respond(200, "OK", timer, true).receive("ACK");
    let phone = phone.receive_matching("UPDATE", "Session-Expires: 90;refresher=uac").ok_with(timer).receive("BYE").ok(false);
    let phone = lab.phone(0, &phone.patient());
    let caller = Script::caller("forgets").invite_with("Supported: timer\nSession-Expires: 90;refresher=uac\n", true).may(100).may(182);
    let caller = caller.may(180).expect_matching(200, "Session-Expires: 90;refresher=uac").ack().receive("BYE").ok(false);
    lab.caller(1, &caller.patient()).passes();
    phone.passes();
    lab.ended("answered", Some("alice"), "session_expired");
}
