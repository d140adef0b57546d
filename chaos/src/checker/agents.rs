//! A1, A3: an agent's calls are intervals that do not overlap, and every booking ends.

use std::collections::BTreeMap;

use super::{Verdict, events};
use crate::history::{Op, Record};

pub(super) fn check(history: &[Record]) -> Vec<Verdict> {
    vec![booked_twice(history), stuck(history)]
}

/// An agent's booking: for which call, whether it was accepted, and the line that made it.
struct Booking<'a> {
    call: &'a str,
    accepted: bool,
    line: &'a Record,
}

/// Follows the log's bookings; calls `tell` with the one an agent has when it is offered another call.
fn bookings<'a>(history: &'a [Record], mut tell: impl FnMut(&'a str, &Booking<'a>, &'a str, &'a Record)) -> BTreeMap<&'a str, Booking<'a>> {
    let mut booked: BTreeMap<&str, Booking<'a>> = BTreeMap::new();
    for record in events(history).into_values() {
        let Op::Event { kind, call: Some(call), agent, .. } = &record.op else { continue };
        match (kind.as_str(), agent) {
            ("contact.offered", Some(agent)) => {
                if let Some(other) = booked.get(agent.as_str()) {
                    tell(agent, other, call, record);
                }
                booked.insert(agent, Booking { call, accepted: false, line: record });
            }
            ("contact.accepted", Some(agent)) => {
                if let Some(booking) = booked.get_mut(agent.as_str()).filter(|booking| booking.call == call) {
                    booking.accepted = true;
                }
            }
            // An offer that nobody had accepted died with its node.
            ("contact.adopted", _) => booked.retain(|_, booking| booking.call != call || booking.accepted),
            ("contact.rejected" | "contact.offer_timeout" | "contact.rescinded" | "contact.ended", _) => {
                booked.retain(|_, booking| booking.call != call);
            }
            _ => {}
        }
    }
    booked
}

/// Both sides must agree: the log's bookings, and what the phones of agents had.
fn booked_twice(history: &[Record]) -> Verdict {
    let mut verdict = Verdict::new("A1", "no agent is booked or talks twice at a time");
    bookings(history, |agent, booking, call, record| {
        verdict.violated(format!("{agent} was offered {call} while booked for {}", booking.call), [booking.line, record]);
    });
    let mut talks: BTreeMap<&str, Vec<(f64, f64, &Record)>> = BTreeMap::new();
    for record in history {
        if let Op::AgentCall { up_ms: Some(up), over_ms, .. } = &record.op {
            talks.entry(&record.object).or_default().push((*up, over_ms.unwrap_or(f64::INFINITY), record));
        }
    }
    for (agent, mut talks) in talks {
        verdict.checked += talks.len();
        talks.sort_by(|a, b| a.0.total_cmp(&b.0));
        for pair in talks.windows(2).filter(|pair| pair[1].0 < pair[0].1) {
            verdict.violated(format!("the phone of {agent} talks twice at {:.3} ms", pair[1].0), pair.iter().map(|(.., record)| *record));
        }
    }
    verdict.rests_on(history, "phones").rests_on(history, "events")
}

fn stuck(history: &[Record]) -> Verdict {
    let mut verdict = Verdict::new("A3", "every booking of an agent ends, and at rest no agent holds a call");
    for (agent, booking) in bookings(history, |_, _, _, _| {}) {
        verdict.violated(format!("the booking of {agent} for call {} never ended", booking.call), [booking.line]);
    }
    for record in history {
        let Op::AgentRest { state, contacts } = &record.op else { continue };
        verdict.checked += 1;
        if *contacts > 0 {
            verdict.violated(format!("{} still holds {contacts} calls at rest ({state})", record.object), [record]);
        }
    }
    verdict.rests_on(history, "events")
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Status, script::*},
        *,
    };
    use crate::history::Phase;

    fn status(history: &[Record], id: &str) -> Status {
        check(history).into_iter().find(|verdict| verdict.id == id).unwrap().status
    }

    #[test]
    fn talks_of_one_agent_may_touch_and_not_overlap() {
        assert_eq!(status(&[talked("a", "1", 0.0, 5.0), talked("a", "2", 5.0, 6.0)], "A1"), Status::Holds);
        assert_eq!(status(&[talked("a", "1", 0.0, 5.0), talked("a", "2", 4.9, 6.0)], "A1"), Status::Violated);
        assert_eq!(status(&[talked("a", "1", 0.0, 5.0), talked("b", "2", 1.0, 6.0)], "A1"), Status::Holds);
    }

    #[test]
    fn a_booking_lasts_until_its_call_gives_the_agent_back() {
        let first = event((1, 1, 0), "contact.offered", "c", "a", 0);
        let second = event((1, 3, 0), "contact.offered", "d", "a", 0);
        let talk = talked("a", "1", 0.0, 5.0);
        assert_eq!(status(&[first.clone(), second.clone(), talk.clone()], "A1"), Status::Violated);
        let adopted = event((1, 2, 0), "contact.adopted", "c", "", 0);
        assert_eq!(status(&[first.clone(), adopted.clone(), second.clone(), talk.clone()], "A1"), Status::Holds, "its node died first");
        let accepted = event((1, 1, 1), "contact.accepted", "c", "a", 0);
        assert_eq!(status(&[first.clone(), accepted, adopted, second.clone(), talk.clone()], "A1"), Status::Violated);
        let back = event((1, 2, 0), "contact.rejected", "c", "a", 0);
        assert_eq!(status(&[first, back, second, talk], "A1"), Status::Holds);
    }

    #[test]
    fn a_booking_without_an_end_and_an_agent_that_holds_a_call_at_rest_are_found() {
        let rest = |contacts| at(9.0, "cluster", "a", Phase::Ok, Op::AgentRest { state: "available".into(), contacts });
        let offer = event((1, 1, 0), "contact.offered", "c", "a", 0);
        assert_eq!(status(&[rest(0)], "A3"), Status::Holds);
        assert_eq!(status(&[rest(1)], "A3"), Status::Violated);
        assert_eq!(status(&[offer.clone(), rest(0)], "A3"), Status::Violated);
        assert_eq!(status(&[offer, event((1, 2, 0), "contact.ended", "c", "", 0), rest(0)], "A3"), Status::Holds);
        assert_eq!(status(&[rest(0), gap("events")], "A3"), Status::Unknown);
    }
}
