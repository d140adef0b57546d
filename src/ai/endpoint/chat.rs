//! One request and its streamed answer, put together within bounds.

use super::{
    Failure, Options,
    events::Events,
    http::{Http, send},
    tools::Tool,
    wire::{Call, Chunk, Message, request},
};
use crate::ai::limits::{ANSWER_CHARS_MAX, STREAM_BYTES_MAX, TOOL_ARGUMENT_BYTES_MAX, TOOL_CALLS_MAX};

/// What a model said in one go.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) calls: Vec<Call>,
}

pub(super) async fn round(http: &Http, options: &Options, messages: &[Message], tools: &[Tool]) -> Result<Said, Failure> {
    let request = http.post("chat/completions").json(&request(&options.model, options.answer_tokens, messages, tools));
    let mut response = send(request).await?;
    let (mut events, mut said, mut bytes, mut finished) = (Events::default(), Said::default(), 0, false);
    while let Some(chunk) = response.chunk().await.map_err(|_| Failure::Unreachable)? {
        bytes += chunk.len();
        if bytes > STREAM_BYTES_MAX {
            return Err(Failure::TooLong);
        }
        for data in events.push(&chunk)? {
            if data.trim() == "[DONE]" {
                return said.finish(finished);
            }
            finished |= said.take(&data)?;
            // Nobody listens longer: the rest is not waited for.
            if said.text.len() > 4 * ANSWER_CHARS_MAX || said.text.chars().count() > ANSWER_CHARS_MAX {
                return said.finish(true);
            }
        }
    }
    said.finish(finished)
}

impl Said {
    /// Takes one event; true if it says that the answer is whole.
    fn take(&mut self, data: &str) -> Result<bool, Failure> {
        let chunk: Chunk = serde_json::from_str(data).map_err(|_| Failure::Garbage)?;
        // The last one may hold only what was used up.
        let Some(choice) = chunk.choices.into_iter().next() else { return Ok(false) };
        self.text.push_str(&choice.delta.content.unwrap_or_default());
        for piece in choice.delta.tool_calls.unwrap_or_default() {
            if piece.index >= TOOL_CALLS_MAX {
                return Err(Failure::TooLong);
            }
            if self.calls.len() <= piece.index {
                self.calls.resize(piece.index + 1, Call::default());
            }
            let call = &mut self.calls[piece.index];
            call.id.push_str(&piece.id.unwrap_or_default());
            call.name.push_str(&piece.function.name.unwrap_or_default());
            call.arguments.push_str(&piece.function.arguments.unwrap_or_default());
            if call.id.len() + call.name.len() + call.arguments.len() > TOOL_ARGUMENT_BYTES_MAX {
                return Err(Failure::TooLong);
            }
        }
        match choice.finish_reason.as_deref() {
            Some("content_filter") => Err(Failure::Empty),
            reason => Ok(reason.is_some()),
        }
    }

    /// An answer that broke off is none: half a sentence may say the opposite of the whole.
    fn finish(mut self, finished: bool) -> Result<Self, Failure> {
        if !finished {
            return Err(Failure::Garbage);
        }
        self.text = speakable(&self.text);
        Ok(self)
    }
}

/// Text as it can be said: without marks of Markdown and control characters, in single spaces, ended behind a sentence within the bound.
fn speakable(text: &str) -> String {
    let marked = text.chars().filter(|c| !matches!(c, '*' | '#' | '`'));
    let plain: String = marked.map(|c| if c.is_control() || c == '|' { ' ' } else { c }).collect();
    let words = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    let Some((bound, _)) = words.char_indices().nth(ANSWER_CHARS_MAX) else { return words };
    let cut = &words[..bound];
    let end = cut.char_indices().rfind(|(_, c)| matches!(c, '.' | '!' | '?' | '。' | '！' | '？'));
    end.map_or(cut, |(at, c)| &cut[..at + c.len_utf8()]).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_holds_no_marks_and_ends_behind_a_sentence() {
        assert_eq!(speakable("**Yes**,\n- it `is`.\u{7}"), "Yes, - it is.");
        let long = speakable(&"一句话。".repeat(400));
        assert!(long.ends_with('。') && long.chars().count() <= 600);
        assert_eq!(speakable(&"a".repeat(10_000)).len(), 600);
    }
}
