//! Bounds of the core. Every collection in the state has one of these as its cap.

/// Candidates a decision record keeps with keys and filters; the rest are counted.
pub const DECISION_CANDIDATES_MAX: usize = 32;
/// Idempotency keys remembered per group, oldest forgotten first.
pub const REQUEST_IDS_MAX: usize = 65_536;
/// Days of which the first record is remembered, so that older ones can be dropped.
pub const RETENTION_DAYS_MARKED_MAX: usize = 4_000;
/// Offers, and so legs, one call may make in its life.
pub const LEGS_PER_CALL_MAX: u16 = 1_000;
/// Live calls of one domain unless its policy says less.
pub const CALLS_PER_DOMAIN_MAX: u32 = 1_000_000;
/// Agents rung at once by ring-all.
pub const RING_ALL_MAX: usize = 32;
/// Header fields passed on per call, and bytes of each.
pub const HEADERS_MAX: usize = 64;
pub const HEADER_BYTES_MAX: usize = 2_048;
/// Bytes of a session description.
pub const SDP_BYTES_MAX: usize = 16_384;
/// Steps of a routing plan.
pub const ROUTING_STEPS_MAX: usize = 16;
/// Bindings of one agent (phones registered at once).
pub const BINDINGS_PER_AGENT_MAX: usize = 8;
/// Timers fired by one command.
pub const TIMERS_PER_COMMAND_MAX: usize = 256;
/// Lines of a transcript a call keeps, in the same way as attempts, and bytes of each.
pub const LINES_MAX: usize = 128;
pub const LINE_BYTES_MAX: usize = 1_000;
/// Notes for agents a call keeps, in the same way, and bytes of what names an article.
pub const NOTES_MAX: usize = 128;
pub const SOURCE_BYTES_MAX: usize = 256;
/// Answered contacts of a domain that are remembered, so that one about the same is known, and bytes of what one is about.
pub const MATTERS_MAX: usize = 16_384;
pub const TOPIC_BYTES_MAX: usize = 64;
/// Characters of a line of a chat, and bytes of all lines it keeps: beyond, the oldest but the first give way.
pub const CHAT_LINE_CHARS_MAX: usize = 4_000;
pub const CHAT_BYTES_MAX: usize = 64 << 10;
/// Lines before a question that an AI agent is shown.
pub const CHAT_CONTEXT_LINES_MAX: usize = 32;
/// A customer may write a line this often, and this many ahead of it.
pub const CHAT_LINE_EVERY_MS: u64 = 500;
pub const CHAT_BURST_LINES: u64 = 10;
/// How long a chat is kept in which nobody writes.
pub const CHAT_IDLE_MS: u64 = 15 * 60_000;
/// How long an AI agent may be at an answer in a chat until it counts as lost.
pub const CHAT_TURN_MS: u64 = 15_000;
/// Takeovers a record keeps of one call.
pub const TAKEOVERS_PER_RECORD_MAX: usize = 16;
/// Characters kept of why AI was switched.
pub const REASON_CHARS_MAX: usize = 256;
/// How long an AI agent may take to take a contact.
pub const ENGAGE_MS_MAX: u64 = 3_000;
/// AI agents that may be lost with one call until only a person gets it.
pub const LOSSES_MAX: u8 = 2;
/// Attempts and decisions a record keeps of one call; older ones but the first give way and are counted.
pub const ATTEMPTS_PER_RECORD_MAX: usize = 64;
pub const DECISIONS_PER_RECORD_MAX: usize = 16;
/// Transfers a record keeps of one call, in the same way.
pub const TRANSFERS_PER_RECORD_MAX: usize = 32;
/// Supervisors in one call at once.
pub const SUPERVISORS_MAX: usize = 4;
/// Files of a recording that a record lists, and masked windows of each; later windows are told as one.
pub const TAPES_PER_RECORD_MAX: usize = 64;
pub const TAPE_WINDOWS_MAX: usize = 64;
/// Bytes one decoded value may claim, so that a damaged length cannot ask for all memory.
pub const DECODE_BYTES_MAX: usize = 256 << 20;
/// Subjects erased in one domain; each keeps about 2.5 KB of remaining keys.
pub const ERASURES_PER_DOMAIN_MAX: usize = 65_536;
/// How long a farewell to a leg is kept when its edge does not say that the leg is gone.
pub const PARTING_MS: u64 = 30_000;
/// Closed calls remembered per domain, and how long, so that a late repeat of an arrival does not revive one.
pub const CLOSED_CALLS_MAX: usize = 65_536;
pub const CLOSED_CALL_MS: u64 = 120_000;
/// Shortest rest of an agent whose phone refused an offer at once, whatever its queue says.
pub const REFUSED_REST_MS_MIN: u64 = 500;
/// Longest wrap-up, however often it is extended.
pub const WRAP_UP_MS_MAX: u64 = 3_600_000;
/// Longest wait and longest talk, whatever a queue says: no state lasts for ever.
pub const WAIT_MS_MAX: u64 = 24 * 3_600_000;
pub const CALL_MS_MAX: u64 = 24 * 3_600_000;
/// Callbacks of one domain, how far ahead one may be asked for, and how soon a dial that a node's death ended is made again:
/// the customer's phone must have been told first that nobody is there.
pub const CALLBACKS_MAX: usize = 100_000;
pub const CALLBACK_AHEAD_MS_MAX: u64 = 31 * 24 * 3_600_000;
pub const CALLBACK_AGAIN_MS: u64 = 5_000;
/// Dials of one callback, whatever a queue says.
pub const CALLBACK_DIALS_MAX: u8 = 10;
/// Digits of a number that can be dialled.
pub const NUMBER_DIGITS_MIN: usize = 3;
pub const NUMBER_DIGITS_MAX: usize = 32;
/// Queues one call may overflow through.
pub const HOPS_MAX: u8 = 8;
/// Time a new leader may add to ringing and wrap-up.
pub const GRACE_MS_MAX: u64 = 2_000;
/// Redirections (3xx) followed for one offer.
pub const REDIRECTS_MAX: u8 = 3;
/// Eligible agents a decision record lists by name; the rest are counted. A record is archived with every call.
pub const DECISION_LISTED_MAX: usize = 8;
/// Opening hours are looked at again after this time at the latest, so that a step of the wall clock is noticed.
pub const HOURS_CHECK_MS: u64 = 3_600_000;
/// Shortest ringing, whatever a queue says.
pub const OFFER_TIMEOUT_MS_MIN: u64 = 1_000;
/// Callers before one that is told its place; behind more, nothing is said.
pub const ANNOUNCED_MAX: u32 = 99;
/// Edges that share the calls of one that is lost.
pub const HEIRS_MAX: usize = 64;
/// How long our 200 may be on its way to a caller: the edge repeats it for 64·T1 (RFC 3261 §13.3.1.4).
pub const CONFIRMED_AFTER_MS: u64 = 32_000;
/// How long a phone may still be busy with the offer that a dead edge made it. A busy answer in that time is nobody's
/// fault: the offer is made again after `SPARED_REST_MS`.
pub const SPARED_MS: u64 = 3_000;
pub const SPARED_REST_MS: u64 = 250;
/// Matters a tenant leaves to people, phrases of all of them, and characters of one: they travel with every offer to an AI agent.
pub const TOPICS_MAX: usize = 32;
pub const TOPIC_PHRASES_MAX: usize = 200;
pub const TOPIC_PHRASE_CHARS_MAX: usize = 60;
/// Versions of models a cluster knows, those it may go back through, and the latest changes whose makers it names.
pub const MODELS_STAGED_MAX: usize = 16;
pub const MODELS_BEFORE_MAX: usize = 8;
pub const MODEL_CHANGES_MAX: usize = 64;
/// Scorecards of one version, figures of one, and bytes of a text in them or of a reason.
pub const SCORECARDS_MAX: usize = 4;
pub const FIGURES_MAX: usize = 32;
pub const MODEL_TEXT_BYTES_MAX: usize = 200;
/// Largest share of contacts that a version on trial judges.
pub const CANARY_PERCENT_MAX: u8 = 50;
