//! What a language model may do beside talking: hand over, and call the tenant's webhooks that are on the list.
//!
//! It owns the list, what is sent, and the bounds. A result is data for the model, like an article.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    http::{Http, address, body, send},
    wire::Call,
};
use crate::ai::limits::{TOOL_DEADLINE, TOOL_RESULT_BYTES_MAX};

/// The tool every model has: a person, please.
pub(super) const HAND_OVER: &str = "hand_over";

/// A webhook of the tenant that a model may call.
#[derive(Debug, Clone)]
pub struct Tool {
    /// Letters, digits, `_` and `-`, at most 64.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// Its arguments as a JSON Schema of an object.
    pub parameters: Value,
    /// Asked by POST with `{"tool": …, "arguments": {…}}`; answers JSON.
    pub url: String,
}

impl Tool {
    pub(super) fn is_valid(&self) -> bool {
        let named = (1..=64).contains(&self.name.len()) && self.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        named && self.name != HAND_OVER && self.parameters.is_object() && address(&self.url).is_some()
    }

    pub(super) fn offer(&self) -> Value {
        offer(&self.name, &self.description, &self.parameters)
    }
}

fn offer(name: &str, description: &str, parameters: &Value) -> Value {
    json!({ "type": "function", "function": { "name": name, "description": description, "parameters": parameters } })
}

pub(super) fn hand_over() -> Value {
    let parameters = json!({ "type": "object", "properties": { "reason": { "type": "string" } } });
    offer(HAND_OVER, "Give the customer to a person: when you do not know, may not say, or were asked to.", &parameters)
}

/// Carries a call out. Whatever goes wrong is told to the model in a result, so that it can say so or hand over.
///
/// The `Idempotency-Key` is the same when the same turn is asked again, by this node or another: a webhook that heeds it acts once.
pub(super) async fn call(http: &Http, tools: &[Tool], call: &Call, turn: &[u8]) -> String {
    let Some(tool) = tools.iter().find(|tool| tool.name == call.name) else { return error("there is no such tool") };
    let Ok(arguments @ Value::Object(_)) = serde_json::from_str::<Value>(&call.arguments) else {
        return error("the arguments are no JSON object");
    };
    let mut key = Sha256::new();
    for part in [turn, tool.name.as_bytes(), arguments.to_string().as_bytes()] {
        key.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        key.update(part);
    }
    let key: String = key.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let request = http.post_elsewhere(&tool.url).header("Idempotency-Key", key).json(&json!({ "tool": tool.name, "arguments": arguments }));
    let answered = tokio::time::timeout(TOOL_DEADLINE, async { body(send(request).await?, TOOL_RESULT_BYTES_MAX).await }).await;
    match answered {
        Err(_) => error("it did not answer in time"),
        Ok(Err(failure)) => error(&failure.to_string()),
        Ok(Ok(bytes)) => match serde_json::from_slice::<Value>(&bytes) {
            Ok(result) => result.to_string(),
            Err(_) => error("it did not answer in JSON"),
        },
    }
}

fn error(message: &str) -> String {
    json!({ "error": message }).to_string()
}
