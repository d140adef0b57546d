//! The recorded history of a run: every event of the tenant in log order, taken from the event streams of all nodes
//! together. It records and orders; what the history must be is judged elsewhere.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::Value;

use crate::lab::Lab;

/// Pause before a node is asked for its stream again.
const RETRY: Duration = Duration::from_millis(100);

/// A place in the log of one partition: (index, n-th effect).
pub type Place = (u64, u32);

/// One event, reduced to what the checkers read.
#[derive(Debug, Clone)]
pub struct Event {
    pub kind: String,
    pub call: Option<String>,
    pub agent: Option<String>,
    /// Further attributes.
    pub data: Value,
}

#[derive(Debug, Default)]
struct Recorded {
    events: BTreeMap<Place, Event>,
    /// Streams that run. When none does, what happens meanwhile is missed.
    streams: usize,
    gap: bool,
}

/// Records until dropped.
pub struct Recorder {
    shared: Arc<Mutex<Recorded>>,
    stop: Arc<AtomicBool>,
}

impl Recorder {
    /// Records from every node of `lab` at once: what one misses while it is down, another tells.
    pub fn start(lab: &Lab) -> Self {
        let (shared, stop) = (Arc::new(Mutex::new(Recorded::default())), Arc::new(AtomicBool::new(false)));
        for k in 1..=lab.nodes() {
            let (url, token) = (lab.url(k, "/api/v1/events"), lab.token().to_owned());
            let (to, until) = (Arc::clone(&shared), Arc::clone(&stop));
            // Detached: it ends with the streams, that end when the nodes do.
            thread::spawn(move || {
                let config = ureq::Agent::config_builder().timeout_connect(Some(Duration::from_secs(2))).build();
                let agent: ureq::Agent = config.into();
                while !until.load(Ordering::Relaxed) {
                    // A node that is down or not yet there is asked again.
                    let _ = stream(&agent, &url, &token, &to, &until);
                    thread::sleep(RETRY);
                }
            });
        }
        Self { shared, stop }
    }

    /// All events so far, in log order.
    pub fn events(&self) -> Vec<(Place, Event)> {
        self.shared.lock().events.iter().map(|(place, event)| (*place, event.clone())).collect()
    }

    /// True if the stream told that events may be missing.
    pub fn gap(&self) -> bool {
        self.shared.lock().gap
    }

    /// How many calls the history has seen end.
    pub fn ended(&self) -> usize {
        self.shared.lock().events.values().filter(|event| event.kind == "contact.ended").count()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn stream(agent: &ureq::Agent, url: &str, token: &str, to: &Mutex<Recorded>, stop: &AtomicBool) -> Result<(), crate::error::Error> {
    let body = agent.get(url).header("Authorization", &format!("Bearer {token}")).call()?.into_body();
    to.lock().streams += 1;
    let mut name = String::new();
    for line in BufReader::new(body.into_reader()).lines() {
        let Ok(line) = line else { break };
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if let Some(event) = line.strip_prefix("event:") {
            event.trim().clone_into(&mut name);
        } else if let Some(json) = line.strip_prefix("data:") {
            record(&name, &serde_json::from_str(json).unwrap_or_default(), &mut to.lock());
        }
    }
    let mut to = to.lock();
    to.streams -= 1;
    to.gap |= to.streams == 0;
    Ok(())
}

/// Keeps an event. Whatever is none, such as a word of a gap, says that something may be missing.
fn record(name: &str, event: &Value, to: &mut Recorded) {
    let Some(place) = event["id"].as_str().and_then(place) else {
        to.gap = true;
        return;
    };
    let text = |key: &str| event["data"][key].as_str().map(str::to_owned);
    to.events.insert(place, Event { kind: name.to_owned(), call: text("call"), agent: text("agent"), data: event["data"].clone() });
}

/// An event's id is `group-index-n`; the bench tenant lives in one group.
fn place(id: &str) -> Option<Place> {
    let mut parts = id.split('-').skip(1);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
