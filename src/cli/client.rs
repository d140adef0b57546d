//! HTTP to a node, for the client commands: blocking, with deadlines, problems turned into failures.

use std::{
    io::{BufRead, BufReader, Write},
    time::Duration,
};

use serde::Deserialize;
use serde_json::Value;
use ureq::http::{Request, Response};

use super::{Failure, Remote};

/// Longer than any deadline of the node, so that its own answer arrives.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Repeats of a command whose outcome is unknown, all with one idempotency key.
const REPEATS: u32 = 3;
/// Items asked for at once.
const PAGE: usize = 500;
/// Bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// A node to talk to.
pub(super) struct Client {
    agent: ureq::Agent,
    server: String,
    token: Option<String>,
}

/// What a problem document says.
#[derive(Debug, Deserialize)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
}

impl Client {
    pub(super) fn new(remote: &Remote) -> Self {
        let server = remote.server.trim_end_matches('/');
        let server = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
        let config = ureq::Agent::config_builder().timeout_connect(Some(Duration::from_secs(3))).http_status_as_error(false).build();
        Self { agent: config.into(), server, token: remote.token.clone() }
    }

    /// `GET`s JSON.
    pub(super) fn get(&self, path: &str) -> Result<Value, Failure> {
        let response = self.send("GET", path, &[], String::new(), Some(TIMEOUT))?;
        read_json(response)
    }

    /// `GET`s a text.
    pub(super) fn get_text(&self, path: &str) -> Result<String, Failure> {
        let response = self.send("GET", path, &[], String::new(), Some(TIMEOUT))?;
        response.into_body().into_with_config().limit(ANSWER_BYTES_MAX).read_to_string().map_err(Failure::new)
    }

    /// Every item of a collection, page by page, at most `max`.
    pub(super) fn all(&self, path: &str, max: usize) -> Result<Vec<Value>, Failure> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let left = (max - items.len()).min(PAGE);
            let join = if path.contains('?') { '&' } else { '?' };
            let mut page = self.get(&format!("{path}{join}limit={left}{cursor}"))?;
            if let Some(rows) = page.get_mut("items").and_then(Value::as_array_mut) {
                items.append(rows);
            }
            match page.get("next").and_then(Value::as_str) {
                Some(next) if items.len() < max => cursor = format!("&cursor={next}"),
                _ => return Ok(items),
            }
        }
    }

    /// Changes something; repeated with the same key while the outcome is unknown.
    pub(super) fn change(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Value, Failure> {
        let key = idempotency_key();
        let mut headers = headers.to_vec();
        headers.push(("idempotency-key", &key));
        let mut last = Failure::new("never tried");
        for _ in 0..REPEATS {
            match self.send(method, path, &headers, body.to_owned(), Some(TIMEOUT)) {
                Ok(response) => return read_json(response),
                Err(Failure::Unknown(message)) => last = Failure::Unknown(message),
                Err(other) => return Err(other),
            }
        }
        Err(last)
    }

    /// The lines of a stream that has no end.
    pub(super) fn lines(&self, path: &str, headers: &[(&str, &str)]) -> Result<impl Iterator<Item = String> + use<>, Failure> {
        let response = self.send("GET", path, headers, String::new(), None)?;
        let reader = BufReader::new(response.into_body().into_reader());
        Ok(reader.lines().map_while(Result::ok))
    }

    /// `GET`s a body of any size into `to`.
    pub(super) fn download(&self, path: &str, to: &mut dyn Write) -> Result<(), Failure> {
        let response = self.send("GET", path, &[], String::new(), None)?;
        let copied = std::io::copy(&mut response.into_body().into_reader(), to);
        copied.map(drop).map_err(|e| Failure::new(format!("{}: {e}", self.server)))
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
        timeout: Option<Duration>,
    ) -> Result<Response<ureq::Body>, Failure> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.server));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).map_err(|e| Failure::new(format!("{}: {e}", self.server)))?;
        let request = self.agent.configure_request(request).timeout_global(timeout).allow_non_standard_methods(true).build();
        let response = self.agent.run(request).map_err(|e| self.no_answer(&e))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refusal(response))
    }

    /// A request that got no answer: not sent at all, or perhaps done.
    fn no_answer(&self, error: &ureq::Error) -> Failure {
        let message = format!("{}: {error}", self.server);
        match error {
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::Timeout(ureq::Timeout::Connect) => {
                Failure::Unavailable(message)
            }
            ureq::Error::Io(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => Failure::Unavailable(message),
            ureq::Error::Timeout(_) | ureq::Error::Io(_) => Failure::Unknown(message),
            _ => Failure::Refused(message),
        }
    }
}

fn refusal(response: Response<ureq::Body>) -> Failure {
    let status = response.status();
    let text = response.into_body().into_with_config().limit(ANSWER_BYTES_MAX).read_to_string().unwrap_or_default();
    let problem: Option<Problem> = serde_json::from_str(&text).ok();
    let said = problem.and_then(|problem| problem.detail.filter(|detail| !detail.is_empty()).or(problem.title));
    let message = said.unwrap_or_else(|| status.to_string());
    match status.as_u16() {
        429 | 503 => Failure::Unavailable(message),
        504 => Failure::Unknown(message),
        401 => Failure::Refused(format!("{message} (--token or TANDEM_TOKEN)")),
        _ => Failure::Refused(message),
    }
}

fn read_json(response: Response<ureq::Body>) -> Result<Value, Failure> {
    let text = response.into_body().into_with_config().limit(ANSWER_BYTES_MAX).read_to_string().map_err(Failure::new)?;
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text).map_err(|e| Failure::new(format!("the answer is no JSON: {e}")))
}

fn idempotency_key() -> String {
    use rand::RngCore as _;
    let mut rng = rand::rng();
    format!("cli-{:016x}{:016x}", rng.next_u64(), rng.next_u64())
}

/// Percent-encodes a path segment or query value.
pub(super) use crate::api::routes::collect::escape;
