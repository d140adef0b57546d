//! What a client of the API sees of a failover: how long after the kill its next write is committed. It is measured as etcd is
//! beside it (`etcd::failover_ms`): a survivor is asked, with the same patience, again and again until it says yes.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{error::Error, etcd::PUT_WITHIN, lab::Lab, tenant::TENANT};

/// An agent that takes no calls: why it is on a break is what is written.
pub(super) const AGENT: &str = "probe";
const WITHIN: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(5);

/// The agent as a row of the tenant's file.
pub(super) fn row() -> String {
    format!("[[agent]]\nid = \"{AGENT}\"\ncontact = \"sip:{AGENT}@127.0.0.1:9\"\nskills = {{}}\nstate = \"offline\"\n")
}

/// A client of one node.
pub(super) struct Client {
    http: ureq::Agent,
    url: String,
    token: String,
    count: u32,
}

impl Client {
    pub(super) fn new(lab: &Lab, node: u16) -> Self {
        let http = ureq::Agent::config_builder().timeout_global(Some(PUT_WITHIN)).build().into();
        let url = lab.url(node, &format!("/api/v1/agents/{AGENT}/state?tenant={TENANT}"));
        Self { http, url, token: format!("Bearer {}", lab.token()), count: 0 }
    }

    fn write(&mut self) -> Result<(), Error> {
        self.count += 1;
        let body = serde_json::to_vec(&json!({ "state": "break", "reason": format!("write {}", self.count) }))?;
        let request = self.http.post(&self.url).header("Authorization", &self.token).header("Content-Type", "application/json");
        Ok(request.send(body).map(drop)?)
    }

    /// Writes until one is committed, from now on; how long that took, milliseconds.
    pub(super) fn first_ms(&mut self) -> Result<f64, Error> {
        let begun = Instant::now();
        // A write refused or timed out is tried again, as a client would.
        while self.write().is_err() {
            if begun.elapsed() > WITHIN {
                return Err(Error::Missed("no write was taken after the kill".to_owned()));
            }
            thread::sleep(PAUSE);
        }
        Ok(begun.elapsed().as_secs_f64() * 1000.0)
    }
}
