//! A contact that is written, not spoken: what such a call carries beyond others, and what is done with one.
//!
//! Its lines are rows of the state with a number each, so that any node can show them from the last one that was seen. How it goes is
//! `domain::chat`'s. Why so: `docs/adr/0017`.

use serde::{Deserialize, Serialize};

use super::{
    assist::{Line, Speaker},
    call::{Call, CallState},
    cdr::Kept,
    command::Actor,
    id::{AgentId, CallId, DomainId, Edge},
    limits::{CHAT_BURST_LINES, CHAT_BYTES_MAX, CHAT_CONTEXT_LINES_MAX, CHAT_IDLE_MS, CHAT_LINE_CHARS_MAX, CHAT_LINE_EVERY_MS, LINES_MAX},
    party::Engage,
    policy::Channel,
    time::LogTime,
};

/// Among the sources of a line: it says that no person writes.
pub const DISCLOSURE: &str = "disclosure";

/// SHA-256 of the secret that a chat's customer was given when it was opened.
pub type SecretHash = [u8; 32];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chat {
    pub secret: SecretHash,
    /// What was written. Each line has a number, see [`Chat::after`].
    pub lines: Kept<Line>,
    /// Bytes of the texts of `lines`.
    pub(super) bytes: usize,
    /// When it ends unless somebody writes.
    pub(super) idle_until: LogTime,
    /// When the customer's next line would be on time, were the lines evenly spread.
    pub(super) paced: LogTime,
    /// The number of the last line that needs no answer of an AI agent any more.
    pub(super) answered: u32,
    /// An AI agent is at an answer to the lines up to this one, and is given up at this time.
    pub(super) turn: Option<(u32, LogTime)>,
    /// It stands in its queue, and its customer was told.
    pub(super) told: bool,
    /// The call that it goes on as.
    pub continued_as: Option<CallId>,
}

impl Chat {
    pub(super) fn new(secret: SecretHash, now: LogTime) -> Self {
        Self {
            secret,
            lines: Kept::default(),
            bytes: 0,
            idle_until: now.plus_ms(CHAT_IDLE_MS),
            paced: now,
            answered: 0,
            turn: None,
            told: false,
            continued_as: None,
        }
    }

    /// The number of the last line; 0 before the first.
    pub fn last(&self) -> u32 {
        self.lines.rows.len() as u32 + self.lines.dropped
    }

    /// Lines with a number above `seen`, each with its own. The first line is number 1; of a long chat, lines behind the first have given
    /// way, and their numbers are missing.
    pub fn after(&self, seen: u32) -> impl Iterator<Item = (u32, &Line)> {
        let number = |at: usize| if at == 0 { 1 } else { at as u32 + 1 + self.lines.dropped };
        self.lines.rows.iter().enumerate().map(move |(at, line)| (number(at), line)).filter(move |(number, _)| *number > seen)
    }

    /// Adds a line, whose text is within its bound. Returns its number.
    pub(super) fn write(&mut self, line: Line) -> u32 {
        while self.lines.rows.len() > 1 && (self.lines.rows.len() >= LINES_MAX || self.bytes + line.text.len() > CHAT_BYTES_MAX) {
            self.bytes -= self.lines.rows.remove(1).text.len();
            self.lines.dropped += 1;
        }
        self.bytes += line.text.len();
        self.lines.rows.push(line);
        self.last()
    }

    /// Counts a line of the customer's. False if it writes faster than anybody reads.
    pub(super) fn keeps_pace(&mut self, now: LogTime) -> bool {
        let ahead_ms = self.paced.ms_since(now);
        if ahead_ms >= CHAT_LINE_EVERY_MS * CHAT_BURST_LINES {
            return false;
        }
        self.paced = self.paced.max(now).plus_ms(CHAT_LINE_EVERY_MS);
        true
    }

    /// What waits for an answer of an AI agent: the number of the last such line, and all of them as one text.
    pub(super) fn unanswered(&self) -> Option<(u32, String)> {
        let open: Vec<_> = self.after(self.answered).filter(|(_, line)| line.who == Speaker::Customer).collect();
        let (last, _) = open.last()?;
        let text: Vec<_> = open.iter().map(|(_, line)| line.text.as_str()).collect();
        Some((*last, text.join("\n").chars().take(CHAT_LINE_CHARS_MAX).collect()))
    }

    /// The last lines up to those that wait for an answer, each cut to what a transcript carries.
    pub(super) fn context(&self) -> Vec<Line> {
        let before: Vec<_> = self.after(0).take_while(|(number, line)| *number <= self.answered || line.who != Speaker::Customer).collect();
        before.iter().skip(before.len().saturating_sub(CHAT_CONTEXT_LINES_MAX)).map(|(_, line)| (*line).clone().bounded()).collect()
    }
}

/// What an AI agent is to write, for the node that the chat is at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// With the lines before, oldest first.
    pub engage: Engage,
    /// The number of the last line it answers; 0 asks for the disclosure.
    pub upto: u32,
    pub text: String,
}

impl Write {
    /// The number of the report that carries it out, so that it is carried out once.
    pub const fn seq(&self) -> u32 {
        2 * self.upto + 1
    }
}

/// Somebody opens a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewChat {
    pub domain: DomainId,
    pub call: CallId,
    /// Where AI agents think about it, as long as that node lives.
    pub edge: Edge,
    /// The key into the domain's routes.
    pub to: String,
    /// Who writes, as it says of itself; may be empty.
    pub customer: String,
    pub secret: SecretHash,
    pub text: Option<String>,
}

/// Who does something with a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Writer {
    /// Whoever knows the secret.
    Customer(SecretHash),
    Agent(AgentId),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChatStep {
    Say {
        by: Writer,
        text: String,
    },
    /// An agent takes the chat it is offered, or does not.
    Reply {
        agent: AgentId,
        accept: bool,
    },
    End {
        by: Writer,
    },
    /// The customer is to be called instead: a callback of this id, at the chat's place.
    Phone {
        by: Writer,
        call: CallId,
        edge: Edge,
        number: String,
    },
}

impl Writer {
    /// As events and records say it.
    pub fn actor(&self) -> Actor {
        match self {
            Self::Customer(_) => Actor::User("customer".to_owned()),
            Self::Agent(agent) => Actor::Agent(agent.clone()),
        }
    }
}

/// What the record of a chat says beyond that of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedChat {
    /// Lines that were written.
    pub lines: u32,
    /// A bincoded `Kept<Line>` under the key of the customer.
    #[serde(with = "serde_bytes")]
    pub transcript: Vec<u8>,
    pub continued_as: Option<CallId>,
}

/// Whether a text can be a line: at most [`CHAT_LINE_CHARS_MAX`] characters, and not only blanks.
pub fn is_line(text: &str) -> bool {
    let fits = text.len() <= 4 * CHAT_LINE_CHARS_MAX && text.chars().count() <= CHAT_LINE_CHARS_MAX;
    fits && !text.trim().is_empty() && !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
}

impl Call {
    /// How its customer is in touch.
    pub const fn channel(&self) -> Channel {
        if self.chat.is_some() { Channel::Chat } else { Channel::Voice }
    }

    /// What was said so far, by whichever channel.
    pub fn transcript(&self) -> &[Line] {
        match (&self.chat, &self.assist) {
            (Some(chat), _) => &chat.lines.rows,
            (None, Some(assist)) => &assist.transcript.rows,
            (None, None) => &[],
        }
    }

    /// How a customer sees where its chat is.
    pub fn chat_state(&self) -> &'static str {
        match self.state {
            CallState::Connected { .. } if self.assisted_on().is_some() => "assistant",
            CallState::Connected { .. } => "person",
            _ => "waiting",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::WallTime;

    fn line(who: Speaker, text: &str) -> Line {
        Line { at: WallTime(0), who, text: text.to_owned(), judged: None, sources: Vec::new() }
    }

    fn numbers(chat: &Chat, seen: u32) -> Vec<u32> {
        chat.after(seen).map(|(number, _)| number).collect()
    }

    #[test]
    fn a_line_keeps_its_number_when_older_ones_give_way() {
        let mut chat = Chat::new([0; 32], LogTime(0));
        for n in 1..=LINES_MAX as u32 + 5 {
            assert_eq!(chat.write(line(Speaker::Customer, "x")), n);
        }
        assert_eq!(numbers(&chat, LINES_MAX as u32 + 3), [LINES_MAX as u32 + 4, LINES_MAX as u32 + 5]);
        assert_eq!(numbers(&chat, 0)[..2], [1, 7], "the first is kept, and the gap shows");
    }

    #[test]
    fn long_lines_give_way_earlier_and_the_bytes_are_counted() {
        let mut chat = Chat::new([0; 32], LogTime(0));
        for _ in 0..20 {
            chat.write(line(Speaker::Customer, &"好".repeat(CHAT_LINE_CHARS_MAX)));
            assert!(chat.bytes <= CHAT_BYTES_MAX);
            assert_eq!(chat.bytes, chat.lines.rows.iter().map(|line| line.text.len()).sum::<usize>());
        }
        assert_eq!(chat.last(), 20);
    }

    #[test]
    fn whoever_writes_too_fast_is_held_up_until_it_has_waited() {
        let mut chat = Chat::new([0; 32], LogTime(0));
        let taken = (0..50).filter(|_| chat.keeps_pace(LogTime(0))).count();
        assert_eq!(taken as u64, CHAT_BURST_LINES);
        assert!(chat.keeps_pace(LogTime(CHAT_LINE_EVERY_MS * 1_000_000)));
    }

    #[test]
    fn an_ai_agent_answers_all_that_was_written_since_and_sees_what_was_before() {
        let mut chat = Chat::new([0; 32], LogTime(0));
        chat.write(line(Speaker::Customer, "hello"));
        chat.answered = 1;
        chat.write(line(Speaker::Assistant, "good day"));
        assert_eq!(chat.unanswered(), None);
        chat.write(line(Speaker::Customer, "my card"));
        chat.write(line(Speaker::Customer, "is lost"));
        assert_eq!(chat.unanswered(), Some((4, "my card\nis lost".to_owned())));
        assert_eq!(chat.context().iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["hello", "good day"]);
    }

    #[test]
    fn a_line_is_not_empty_not_too_long_and_without_control_characters() {
        assert!(is_line("你好\nhello") && is_line(&"好".repeat(CHAT_LINE_CHARS_MAX)));
        assert!(!is_line(" \n") && !is_line("a\0b") && !is_line(&"a".repeat(CHAT_LINE_CHARS_MAX + 1)));
    }
}
