//! Phones against each other over real sockets, without the product.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;

const SOON: Duration = Duration::from_secs(10);
const PTIME: Duration = Duration::from_millis(20);

fn exchange() -> Exchange {
    Exchange::start(PTIME, 1).unwrap()
}

fn made(exchange: &Exchange, user: &str, transport: Transport, ip: IpAddr) -> Phone {
    exchange.phone(user, transport, ip, |_| {}).unwrap()
}

fn talk(a: &Phone, b: &Phone) {
    a.call(b.addr(), "b");
    assert!(a.wait_state(State::Up, SOON) && b.wait_state(State::Up, SOON));
}

/// Waits until `phone` has heard `frames` more frames.
fn hear(phone: &Phone, frames: u64) {
    let (start, before) = (Instant::now(), phone.heard(|heard| heard.voiced));
    while phone.heard(|heard| heard.voiced) < before + frames {
        assert!(start.elapsed() < SOON, "nothing is heard");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn two_phones_hear_each_other_over_every_transport_and_family() {
    let exchange = exchange();
    for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
        for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
            let a = made(&exchange, "a", transport, ip);
            let b = made(&exchange, "b", transport, ip);
            talk(&a, &b);
            hear(&a, 10);
            hear(&b, 10);
            let voices = |phone: &Phone| phone.heard(|heard| heard.voices.iter().map(|(_, voice)| *voice).collect::<Vec<_>>());
            assert_eq!((voices(&a), voices(&b)), (vec![b.voice()], vec![a.voice()]));
            b.hang_up();
            assert!(a.wait_state(State::Over(By::Them), SOON), "{transport:?} {ip}");
        }
    }
}

#[test]
fn a_hold_is_heard_as_a_gap_in_one_direction_and_ends_with_the_resume() {
    let exchange = exchange();
    let ip = Ipv4Addr::LOCALHOST.into();
    let (a, b) = (made(&exchange, "a", Transport::Udp, ip), made(&exchange, "b", Transport::Udp, ip));
    talk(&a, &b);
    hear(&a, 5);
    a.hold();
    assert!(b.wait_for(SOON, |ua| ua.speak().is_none()));
    let said = b.said();
    let held = Instant::now();
    // The holder goes on to speak: what it says measures the time.
    hear(&b, 20);
    assert_eq!(b.said(), said, "the held side is silent");
    let paused = held.elapsed();
    a.resume();
    assert!(b.wait_for(SOON, |ua| ua.speak().is_some()));
    hear(&a, 2);
    let gap = a.heard(|heard| heard.gap(held)).expect("a gap");
    assert!(gap.length() >= paused, "{gap:?} is shorter than the hold of {paused:?}");
    assert_eq!((gap.missing, gap.sources.0), (0, gap.sources.1));
}

#[test]
fn a_survivor_reaches_a_phone_by_a_new_connection_and_takes_its_audio() {
    let exchange = exchange();
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        let ip = Ipv4Addr::LOCALHOST.into();
        let phone = made(&exchange, "phone", transport, ip);
        let node = made(&exchange, "node", transport, ip);
        let survivor = made(&exchange, "survivor", transport, ip);
        talk(&phone, &node);
        hear(&phone, 5);
        // The node is gone with its sockets; what it knew is not.
        let mut known = Ua::new(node.look(|ua| ua.options.clone()));
        known.calls = node.look(|ua| ua.calls.clone());
        drop(node);
        let died = Instant::now();
        let silence = Duration::from_millis(150);
        let silent = || phone.heard(|heard| heard.longest_gap(Instant::now(), Instant::now())) >= silence;
        while !silent() {
            assert!(died.elapsed() < SOON, "a phone that is gone goes on to speak");
            std::thread::sleep(Duration::from_millis(5));
        }
        survivor.act(|ua, now| ua::tests::take_over(ua, &known, now));
        assert!(phone.wait_for(SOON, |ua| ua.call().is_some_and(|call| call.new_owners() == 1)), "{transport:?}");
        hear(&phone, 5);
        hear(&survivor, 5);
        let gap = phone.heard(|heard| heard.gap(died)).expect("audio moved");
        assert!(gap.length() >= silence && gap.sources.0 != gap.sources.1, "{gap:?}");
        phone.hang_up();
        assert!(survivor.wait_state(State::Over(By::Them), SOON), "{transport:?}");
    }
}
