//! The bounds of triage: every text, table, queue and wait of this module takes its size from here.

use std::time::Duration;

/// Bytes of a message that are looked at; the rest is cut off, and the answer says so.
pub(super) const INPUT_BYTES_MAX: usize = 1 << 20;
/// Characters that are judged. What a customer wants is said in the first lines; the training script cuts at the same place.
pub(super) const TEXT_CHARS_MAX: usize = 2_000;
/// Features of one text; of more, those in the first rows of the table count.
pub(super) const FEATURES_MAX: usize = 1_024;
/// Largest manifest, model file and number of heads and labels that are read.
pub(super) const MANIFEST_BYTES_MAX: u64 = 1 << 20;
pub(super) const MODEL_BYTES_MAX: u64 = 64 << 20;
pub(super) const HEADS_MAX: usize = 32;
pub(super) const LABELS_MAX: usize = 4_096;
/// Largest embedding model and tokenizer, pieces of a text that are embedded, and numbers in a vector. A text's time grows with its
/// pieces; the training script cuts at the same place.
pub(super) const EMBEDDING_BYTES_MAX: u64 = 512 << 20;
pub(super) const TOKENIZER_BYTES_MAX: u64 = 32 << 20;
#[cfg(feature = "ai")]
pub(super) const TOKENS_MAX: usize = 32;
#[cfg(feature = "ai")]
pub(super) const DIMENSIONS_MAX: usize = 4_096;
/// Rows of a table, as a power of two.
pub(super) const ROWS_LOG2_MAX: u32 = 20;
/// Texts waiting for the threads of the models; more are answered by rules at once.
pub(super) const WAITING_MAX: usize = 256;
/// Threads of the models.
pub(super) const THREADS_MAX: usize = 16;
/// Longest a caller waits for the models by default: then rules answer.
pub(super) const DEADLINE: Duration = Duration::from_millis(50);
/// Bytes and rows of an evaluation set that are read.
pub(super) const SET_BYTES_MAX: u64 = 64 << 20;
pub(super) const SET_ROWS_MAX: usize = 1_000_000;
/// Phrases of one tenant's matters that are left to people, and characters of one.
pub(super) const PHRASES_MAX: usize = 1_000;
pub(super) const PHRASE_CHARS_MAX: usize = 100;
/// Articles of a tenant, bytes of one, folders below one another, and passages of all.
pub(super) const ARTICLES_MAX: usize = 2_000;
pub(super) const ARTICLE_BYTES_MAX: u64 = 1 << 20;
pub(super) const ARTICLE_DEPTH_MAX: usize = 4;
pub(super) const PASSAGES_MAX: usize = 20_000;
/// Questions an article says it answers.
pub(super) const ASKS_MAX: usize = 50;
/// Characters of a passage: what a caller listens to in one go, half a minute read out.
pub(super) const PASSAGE_CHARS_MAX: usize = 400;
/// Sentences of a message that are asked on their own, the whole message among them, and passages that are given back.
pub(super) const CLAUSES_MAX: usize = 12;
pub(super) const HITS_MAX: usize = 3;
/// Questions back, or tries, in a row; then a person takes over.
pub(super) const CLARIFY_MAX: usize = 2;
/// Turns an assistant takes in one conversation; then a person takes over.
pub(super) const ASSISTANT_TURNS_MAX: usize = 30;
/// Lines of a conversation that are looked at, the last ones.
pub(super) const LINES_MAX: usize = 80;
/// Bytes of a persona's file, and characters of one of its texts.
pub(super) const PERSONA_BYTES_MAX: u64 = 64 << 10;
pub(super) const PERSONA_TEXT_CHARS_MAX: usize = 500;
/// Longest a language model is waited for by default, tools included: beyond it a caller thinks the line is dead.
pub(super) const MODEL_DEADLINE: Duration = Duration::from_secs(4);
/// Longest one webhook of a tool is waited for.
pub(super) const TOOL_DEADLINE: Duration = Duration::from_secs(2);
/// Tokens a language model may write, and characters of its answer that are said.
pub(super) const ANSWER_TOKENS_MAX: u32 = 300;
pub(super) const ANSWER_CHARS_MAX: usize = 600;
/// Bytes of a whole answer of an endpoint, and of one event in it.
pub(super) const STREAM_BYTES_MAX: usize = 1 << 20;
pub(super) const EVENT_BYTES_MAX: usize = 64 << 10;
/// Requests to one language model at once; one more is answered without it.
pub(super) const ASKED_AT_ONCE_MAX: usize = 64;
/// Failures in a row after which an endpoint is left alone, and for how long.
pub(super) const FAILURES_MAX: u32 = 3;
pub(super) const REST: Duration = Duration::from_secs(30);
/// Times a language model may call tools in one turn, calls each time, tools of a tenant, and bytes of what is sent and what comes back.
pub(super) const TOOL_ROUNDS_MAX: usize = 3;
pub(super) const TOOL_CALLS_MAX: usize = 4;
pub(super) const TOOLS_MAX: usize = 32;
pub(super) const TOOL_ARGUMENT_BYTES_MAX: usize = 8 << 10;
pub(super) const TOOL_RESULT_BYTES_MAX: usize = 16 << 10;
/// Characters of history that a language model is given, the latest, and of what was said.
pub(super) const HISTORY_CHARS_MAX: usize = 8_000;
pub(super) const SAID_CHARS_MAX: usize = 2_000;
/// Longest audio or a text of an endpoint of voice is waited for.
pub(super) const SPEECH_DEADLINE: Duration = Duration::from_secs(4);
/// Samples of one text that are said, two minutes; of one utterance that are heard, a minute, and fewer than a tenth of a second are none.
pub(super) const SAID_SAMPLES_MAX: usize = 120 * 8_000;
pub(super) const HEARD_SAMPLES_MAX: usize = 60 * 8_000;
pub(super) const HEARD_SAMPLES_MIN: usize = 800;
/// Bytes of an endpoint's answer to an utterance.
pub(super) const TRANSCRIPT_BYTES_MAX: usize = 64 << 10;
