//! The event streams of all nodes at once, each event told by each node, so that what they say can be compared.

use std::{
    io::{BufRead as _, BufReader},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::Value;
use tandem_bench::{error::Error, lab::Lab};

use crate::history::{Op, Phase, Place, Recorder};

/// Pause before a node is asked for its stream again.
const RETRY: Duration = Duration::from_millis(100);

/// Records until the process ends: the threads end with the streams, those with the nodes.
pub(super) fn start(lab: &Lab, recorder: &Recorder) {
    let running = Arc::new(AtomicUsize::new(0));
    for node in 1..=lab.nodes() {
        let (url, token) = (lab.url(node, "/api/v1/events"), lab.token().to_owned());
        let (recorder, running) = (recorder.clone(), Arc::clone(&running));
        thread::spawn(move || {
            let agent: ureq::Agent = ureq::Agent::config_builder().timeout_connect(Some(Duration::from_secs(2))).build().into();
            // A cluster that ended refuses connections for good; the thread is then one that sleeps.
            loop {
                let _ = stream(node, &agent, &url, &token, &recorder, &running);
                thread::sleep(RETRY);
            }
        });
    }
}

fn stream(node: u16, agent: &ureq::Agent, url: &str, token: &str, recorder: &Recorder, running: &AtomicUsize) -> Result<(), Error> {
    let body = agent.get(url).header("Authorization", &format!("Bearer {token}")).call()?.into_body();
    running.fetch_add(1, Ordering::SeqCst);
    let mut kind = String::new();
    for line in BufReader::new(body.into_reader()).lines() {
        let Ok(line) = line else { break };
        if let Some(event) = line.strip_prefix("event:") {
            event.trim().clone_into(&mut kind);
        } else if let Some(json) = line.strip_prefix("data:") {
            record(node, &kind, &serde_json::from_str(json).unwrap_or_default(), recorder);
        }
    }
    // While no stream runs, what happens is told by nobody.
    if running.fetch_sub(1, Ordering::SeqCst) == 1 {
        gap(node, recorder, "no node told its events for a while");
    }
    Ok(())
}

fn gap(node: u16, recorder: &Recorder, why: &str) {
    recorder.add(&format!("node{node}"), "events", Phase::Info, Op::Gap { of: "events".into(), why: why.into() });
}

/// Keeps an event. Whatever is none, such as a word of a gap, says that something may be missing.
fn record(node: u16, kind: &str, event: &Value, recorder: &Recorder) {
    let Some(place) = event["id"].as_str().and_then(place) else {
        return gap(node, recorder, "a node could not tell all its events");
    };
    let text = |key: &str| event["data"][key].as_str().map(str::to_owned);
    let (call, agent) = (text("call"), text("agent"));
    let priority = text("priority").and_then(|text| text.parse().ok());
    let object = call.clone().or_else(|| agent.clone()).unwrap_or_default();
    recorder.add(&format!("node{node}"), &object, Phase::Info, Op::Event { node, place, kind: kind.into(), call, agent, priority });
}

/// An event's id is `group-index-n`.
fn place(id: &str) -> Option<Place> {
    let mut parts = id.split('-');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_found_at_its_place_and_anything_else_is_a_gap() {
        let recorder = Recorder::default();
        let event = serde_json::json!({ "id": "3-17-2", "data": { "call": "c", "priority": "5" } });
        record(2, "contact.queued", &event, &recorder);
        record(2, "", &Value::Null, &recorder);
        let records = recorder.records();
        assert!(matches!(&records[0].op, Op::Event { place: (3, 17, 2), priority: Some(5), call: Some(call), .. } if call == "c"));
        assert!(matches!(&records[1].op, Op::Gap { of, .. } if of == "events"));
    }
}
