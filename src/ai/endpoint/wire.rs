//! Chat completions as they stand on the wire: what is sent, and as much of what comes back as is used. Other fields are passed over.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::tools::Tool;

/// A call of a tool, put together from its pieces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

/// One message of a request.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Message(Value);

impl Message {
    pub(super) fn system(text: &str) -> Self {
        Self(json!({ "role": "system", "content": text }))
    }

    pub(super) fn said(assistant: bool, text: &str) -> Self {
        Self(json!({ "role": if assistant { "assistant" } else { "user" }, "content": text }))
    }

    pub(super) fn calls(text: &str, calls: &[Call]) -> Self {
        let calls: Vec<Value> = calls
            .iter()
            .map(|call| json!({ "id": call.id, "type": "function", "function": { "name": call.name, "arguments": call.arguments } }))
            .collect();
        Self(json!({ "role": "assistant", "content": text, "tool_calls": calls }))
    }

    pub(super) fn result(id: &str, result: &str) -> Self {
        Self(json!({ "role": "tool", "tool_call_id": id, "content": result }))
    }
}

pub(super) fn request(model: &str, tokens: u32, messages: &[Message], tools: &[Tool]) -> Value {
    let mut offered = vec![super::tools::hand_over()];
    offered.extend(tools.iter().map(Tool::offer));
    json!({ "model": model, "stream": true, "temperature": 0, "max_tokens": tokens, "messages": messages, "tools": offered })
}

/// One event of an answer.
#[derive(Debug, Deserialize)]
pub(super) struct Chunk {
    pub(super) choices: Vec<Choice>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Choice {
    #[serde(default)]
    pub(super) delta: Delta,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Delta {
    #[serde(default)]
    pub(super) content: Option<String>,
    #[serde(default)]
    pub(super) tool_calls: Option<Vec<Piece>>,
}

/// A piece of a call of a tool; those of one call share an index.
#[derive(Debug, Deserialize)]
pub(super) struct Piece {
    #[serde(default)]
    pub(super) index: usize,
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) function: Function,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Function {
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) arguments: Option<String>,
}
