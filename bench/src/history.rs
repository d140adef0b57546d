//! The recorded history of a run: every event of the tenant in log order, taken from the event stream of any node that
//! answers. It records and orders; what the history must be is judged elsewhere.

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

/// Pause before another node is asked for the stream.
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
    last_id: Option<String>,
    gap: bool,
}

/// Records until dropped.
pub struct Recorder {
    shared: Arc<Mutex<Recorded>>,
    stop: Arc<AtomicBool>,
}

impl Recorder {
    /// Starts to record from the nodes of `lab`, one after the other when a stream breaks.
    pub fn start(lab: &Lab) -> Self {
        let (shared, stop) = (Arc::new(Mutex::new(Recorded::default())), Arc::new(AtomicBool::new(false)));
        let urls: Vec<String> = (1..=lab.nodes()).map(|k| lab.url(k, "/api/v1/events")).collect();
        let (token, to, until) = (lab.token().to_owned(), Arc::clone(&shared), Arc::clone(&stop));
        // Detached: it ends with the stream that ends when the nodes do.
        thread::spawn(move || {
            let config = ureq::Agent::config_builder().timeout_connect(Some(Duration::from_secs(2))).build();
            let agent: ureq::Agent = config.into();
            for url in urls.iter().cycle() {
                if until.load(Ordering::Relaxed) {
                    return;
                }
                // A stream that breaks is taken up again at another node after the last event seen.
                let _ = stream(&agent, url, &token, &to, &until);
                thread::sleep(RETRY);
            }
        });
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
    let mut request = agent.get(url).header("Authorization", &format!("Bearer {token}"));
    let last = to.lock().last_id.clone();
    if let Some(last) = &last {
        request = request.header("Last-Event-ID", last);
    }
    let body = request.call()?.into_body();
    for line in BufReader::new(body.into_reader()).lines() {
        let line = line?;
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        if let Some(json) = line.strip_prefix("data: ").or_else(|| line.strip_prefix("data:")) {
            record(&serde_json::from_str(json)?, &mut to.lock());
        }
    }
    Ok(())
}

fn record(event: &Value, to: &mut Recorded) {
    let kind = event["type"].as_str().unwrap_or_default().to_owned();
    let Some(place) = event["id"].as_str().and_then(place) else {
        to.gap |= kind.contains("gap");
        return;
    };
    let text = |key: &str| event["data"][key].as_str().map(str::to_owned);
    to.last_id = event["id"].as_str().map(str::to_owned);
    to.events.insert(place, Event { kind, call: text("call"), agent: text("agent"), data: event["data"].clone() });
}

/// An event's id is `group-index-n`; the bench tenant lives in one group.
fn place(id: &str) -> Option<Place> {
    let mut parts = id.split('-').skip(1);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
