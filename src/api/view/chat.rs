//! Chats as clients see them: of a live call, and in a record.

use serde::{Deserialize, Serialize};

use super::assist::{LineView, line};
use crate::core::{
    cdr::ClosedCall,
    chat::{Chat, ClosedChat},
    privacy::Keys,
};

/// A short list that needs no pages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Items<T> {
    pub items: Vec<T>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatView {
    /// The number of its last line.
    pub last: u32,
}

pub(super) fn live(row: &Chat) -> ChatView {
    ChatView { last: row.last() }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClosedChatView {
    /// Lines that were written.
    pub lines: u32,
    /// Null for whoever may not see it, and when the customer was erased.
    pub transcript: Option<Vec<LineView>>,
}

pub(super) fn closed(record: &ClosedCall, row: &ClosedChat, keys: Option<&Keys>) -> ClosedChatView {
    let lines = keys.and_then(|keys| keys.open_transcript(&record.caller, record.call_id, &row.transcript));
    ClosedChatView { lines: row.lines, transcript: lines.map(|lines| lines.rows.iter().map(line).collect()) }
}
