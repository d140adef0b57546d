//! What a run must have been: every call accounted for once, offers in order, no agent booked twice.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    error::Error,
    history::{Event, Place, Recorder},
    lab::Lab,
    report::Report,
    settle,
    sipp::Outcome,
    stage::Stage,
};

/// How many bad examples are printed.
const EXAMPLES_MAX: usize = 5;

/// Whether an offer took the call whose turn it was.
#[derive(Debug, Default)]
struct Offers {
    made: usize,
    out_of_order: Vec<String>,
    double_bookings: Vec<String>,
}

/// A waiting call's turn: smaller priority first, then the log entry that queued it, which is its age; of one entry, whose
/// calls are equally old, the smaller id.
type Turn = (u64, u64, String);

/// Replays the history: waiting calls in turn, one open booking per agent.
#[derive(Debug, Default)]
struct Replay {
    waiting: BTreeSet<Turn>,
    turns: BTreeMap<String, Turn>,
    booked: BTreeMap<String, String>,
    verdict: Offers,
}

impl Replay {
    fn event(&mut self, place: Place, event: &Event) {
        let Some(call) = event.call.clone() else { return };
        match event.kind.as_str() {
            "contact.queued" => {
                let Some(priority) = event.data["priority"].as_str().and_then(|text| text.parse().ok()) else {
                    return self.verdict.out_of_order.push(format!("{call} was queued at {place:?} without a priority"));
                };
                let turn = (priority, place.0, call.clone());
                self.turns.insert(call.clone(), turn.clone());
                self.waiting.insert(turn);
            }
            "contact.offered" => self.offered(place, event, &call),
            "contact.rejected" | "contact.offer_timeout" | "contact.rescinded" => {
                self.free(&call);
                // An offer that was not accepted returns the call to its old place.
                if let Some(turn) = self.turns.get(&call) {
                    self.waiting.insert(turn.clone());
                }
            }
            "contact.ended" => {
                self.free(&call);
                if let Some(turn) = self.turns.remove(&call) {
                    self.waiting.remove(&turn);
                }
            }
            _ => {}
        }
    }

    fn offered(&mut self, place: Place, event: &Event, call: &str) {
        self.verdict.made += 1;
        let agent = event.agent.clone().unwrap_or_default();
        if let Some(other) = self.booked.get(&agent) {
            self.verdict.double_bookings.push(format!("{agent} offered {call} at {place:?} while it has {other}"));
        }
        self.booked.insert(agent, call.to_owned());
        let first = self.waiting.first();
        match self.turns.get(call) {
            Some(turn) => {
                if first.is_some_and(|first| first < turn) {
                    self.verdict.out_of_order.push(format!("{turn:?} offered at {place:?} before {first:?}"));
                }
                self.waiting.remove(turn);
            }
            // Offered as it arrived, without having to wait: right only while nobody waits.
            None if first.is_some() => self.verdict.out_of_order.push(format!("{call} offered on arrival at {place:?} before {first:?}")),
            None => {}
        }
    }

    fn free(&mut self, call: &str) {
        self.booked.retain(|_, of| of != call);
    }
}

/// Judges the recorded history.
fn offers(events: &[(Place, Event)]) -> Offers {
    let mut replay = Replay::default();
    for (place, event) in events {
        replay.event(*place, event);
    }
    replay.verdict
}

/// What the records say after every call has ended.
pub struct Records {
    pub cdrs: Vec<Value>,
    pub doubled: usize,
}

impl Records {
    pub fn count(&self, key: &str, value: &str) -> usize {
        self.cdrs.iter().filter(|cdr| cdr[key] == value).count()
    }
}

/// Waits until no call is left and reads all records.
pub fn records(lab: &Lab, at_least: usize) -> Result<Records, Error> {
    let cdrs = settle::records(lab, at_least)?;
    let ids: BTreeSet<&str> = cdrs.iter().filter_map(|cdr| cdr["call_id"].as_str()).collect();
    let doubled = cdrs.len() - ids.len();
    Ok(Records { doubled, cdrs })
}

/// The judgement of a run in which no call may fail.
pub fn traffic(report: &mut Report, stage: &Stage, seen: &mut Outcome) -> Result<(), Error> {
    let committed = seen.succeeded + seen.failed;
    report.figure("placed", (committed + seen.refused) as f64, "calls");
    report.figure("answered to the end", seen.succeeded as f64, "calls");
    report.figure("refused with 503, not committed", seen.refused as f64, "calls");
    report.bounded("failed", seen.failed as f64, "calls", "= 0", seen.failed == 0);
    let records = records(&stage.lab, committed as usize)?;
    let answered = records.count("outcome", "answered");
    report.bounded(
        "CDRs of answered calls",
        answered as f64,
        "records",
        format!("= {}", seen.succeeded),
        answered as u64 == seen.succeeded,
    );
    report.figure("CDRs of other calls", (records.cdrs.len() - answered) as f64, "records");
    rest(report, stage, &records)?;
    report.quantiles("INVITE → first response beyond 100", &mut seen.first_response_ms, "ms");
    Ok(())
}

/// What must hold of every run once it has come to rest: one record per call, offers in order, no agent booked twice, every
/// phone told of its call's end, the same archive everywhere.
pub fn rest(report: &mut Report, stage: &Stage, records: &Records) -> Result<(), Error> {
    report.bounded("calls with two CDRs", records.doubled as f64, "calls", "= 0", records.doubled == 0);
    history(report, &stage.lab, &stage.recorder, records.cdrs.len());
    // A phone that was not told of its call's end stays in it.
    let _ = stage.lab.eventually("every phone on the hook", settle::WITHIN, |_| stage.phones.busy() == Some(0));
    let busy = stage.phones.busy();
    report.bounded("phones still in a call", busy.map_or(f64::NAN, |busy| busy as f64), "phones", "= 0", busy == Some(0));
    archives(report, &stage.lab)
}

/// The same archive on every node.
pub fn archives(report: &mut Report, lab: &Lab) -> Result<(), Error> {
    let agree = settle::archives_agree(lab)?;
    report.bounded("archives equal on every node", f64::from(u8::from(agree)), "", "= 1", agree);
    Ok(())
}

/// Order of offers and bookings from the recorded history.
fn history(report: &mut Report, lab: &Lab, recorder: &Recorder, ended: usize) {
    // The verdict below says what is missing.
    let _ = lab.eventually("the whole history", settle::WITHIN, |_| recorder.ended() >= ended);
    let whole = recorder.ended() == ended && !recorder.gap();
    report.bounded("calls whose end is in the history", recorder.ended() as f64, "calls", format!("= {ended}, no gap"), whole);
    let offers = offers(&recorder.events());
    report.figure("offers made", offers.made as f64, "offers");
    for (what, bad) in [("offers out of (priority, age) order", offers.out_of_order), ("agents booked twice", offers.double_bookings)] {
        report.bounded(what, bad.len() as f64, "offers", "= 0", bad.is_empty());
        for example in bad.iter().take(EXAMPLES_MAX) {
            report.note(example.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Queued calls are `(id, priority)`, offers `(id, agent)`, in log order.
    fn judged(rows: &[(&str, &str, &str)]) -> (usize, usize, usize) {
        let event = |(kind, call, of): &(&str, &str, &str)| Event {
            kind: format!("contact.{kind}"),
            call: Some((*call).to_owned()),
            agent: Some((*of).to_owned()),
            data: json!({ "priority": of }),
        };
        let events: Vec<_> = (1..).zip(rows).map(|(index, row)| ((index, 0), event(row))).collect();
        let verdict = offers(&events);
        (verdict.made, verdict.out_of_order.len(), verdict.double_bookings.len())
    }

    #[test]
    fn offers_by_priority_and_age_are_right() {
        let rows = [("queued", "a", "5"), ("queued", "b", "5"), ("queued", "c", "1"), ("offered", "c", "x"), ("offered", "a", "y")];
        assert_eq!(judged(&rows), (2, 0, 0));
    }

    #[test]
    fn an_offer_past_an_older_or_a_more_urgent_call_is_found() {
        assert_eq!(judged(&[("queued", "a", "5"), ("queued", "b", "5"), ("offered", "b", "x")]), (1, 1, 0));
        assert_eq!(judged(&[("queued", "a", "5"), ("queued", "b", "1"), ("offered", "a", "x")]), (1, 1, 0));
        assert_eq!(judged(&[("queued", "a", "5"), ("offered", "new", "x")]), (1, 1, 0), "one that did not wait at all");
    }

    #[test]
    fn a_refused_call_keeps_its_old_place() {
        let refused = [("queued", "a", "5"), ("queued", "b", "5"), ("offered", "a", "x"), ("rejected", "a", "x")];
        assert_eq!(judged(&[&refused[..], &[("offered", "a", "y")]].concat()), (2, 0, 0));
        assert_eq!(judged(&[&refused[..], &[("offered", "b", "y")]].concat()), (2, 1, 0));
    }

    #[test]
    fn an_agent_with_two_calls_is_found_and_one_after_the_other_is_right() {
        assert_eq!(judged(&[("offered", "a", "x"), ("offered", "b", "x")]), (2, 0, 1));
        assert_eq!(judged(&[("offered", "a", "x"), ("ended", "a", "x"), ("offered", "b", "x")]), (2, 0, 0));
    }

    #[test]
    fn a_history_without_priorities_proves_no_order() {
        assert_eq!(judged(&[("queued", "a", "")]), (0, 1, 0));
    }
}
