//! Bounds of the SIP edge and its stack. Every queue, buffer, loop and wait of `sip` has its bound here, unit in its name.

use std::time::Duration;

// Framing.

/// Start line and header fields of one message.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Body of one message on a stream. A datagram carries at most 64 KB in all.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// A datagram is never longer (RFC 768).
pub const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Bytes read from a stream at once.
pub const STREAM_READ_BYTES: usize = 4 * 1024;

// Connections.

/// Open stream connections of a node, incoming and outgoing, unless its configuration says otherwise.
pub const CONNECTIONS_MAX: usize = 20_000;
/// Incoming connections of one source address. A carrier needs a handful, a site behind a translator some hundreds.
pub const CONNECTIONS_PER_SOURCE_MAX: usize = 1_000;
/// TLS handshakes under way at once; further ones are closed, since a handshake costs a millisecond of processor.
pub const HANDSHAKES_MAX: usize = 256;
/// Longest TLS handshake, incoming or outgoing.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// A new connection must bring its first whole message this soon.
pub const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(15);
/// A message once begun must be complete this soon; a peer that sends a byte a second is cut here.
pub const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection on which nothing arrived for so long is closed. RFC 5626 clients ping every 120 s or less.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
/// Messages waiting to be written to one connection; a peer slower than this is cut.
pub const WRITE_QUEUE_MAX: usize = 256;
/// One write to a connection may take this long.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Opening a connection to a next hop.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Name look-ups under way at once; a message that finds no place is reported as undeliverable.
pub const RESOLVES_MAX: usize = 256;
/// One name look-up.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a look-up's answer is used again.
pub const RESOLVE_TTL: Duration = Duration::from_secs(30);
/// Names remembered, and servers of one name.
pub const RESOLVE_CACHE_MAX: usize = 1_024;
pub const RESOLVE_SERVERS_MAX: usize = 16;
/// How long a server that failed is passed over for others of its name.
pub const RESOLVE_FAILED_FOR: Duration = Duration::from_secs(30);
/// Calls of which it is remembered which of several servers they went to.
pub const RESOLVE_CHOICES_MAX: usize = 65_536;

// Sockets.

/// Receive and send buffer asked of the kernel for a UDP socket: a burst of some thousand INVITEs.
pub const UDP_BUFFER_BYTES: usize = 8 * 1024 * 1024;
/// Datagrams taken from a socket per wake-up before other work gets its turn.
pub const UDP_BATCH_MAX: usize = 64;
/// Connections waiting to be accepted by us.
pub const LISTEN_BACKLOG: u32 = 1_024;
/// How often the certificate files are looked at for a change.
pub const CERTIFICATE_CHECK_EVERY: Duration = Duration::from_secs(10);

// Admission.

/// Messages of calls already admitted (and all answers) waiting for the stack.
pub const ESTABLISHED_QUEUE_MAX: usize = 16_384;
/// Requests outside a dialog waiting for admission. Refusing one costs microseconds, so the queue is short.
pub const FRESH_QUEUE_MAX: usize = 2_048;
/// Requests outside a dialog taken per turn of the loop, so that a flood of them cannot hold up a BYE.
pub const FRESH_BATCH_MAX: usize = 32;
/// A request that waited longer than this before the stack saw it is refused: the node is behind.
pub const ARRIVAL_AGE_MAX: Duration = Duration::from_millis(250);
/// Arrivals awaiting their commit: the bound moves between these.
pub const ARRIVALS_MIN: usize = 16;
pub const ARRIVALS_MAX: usize = 1_024;
/// Commit latency the controller of that bound aims at.
pub const ARRIVAL_TARGET: Duration = Duration::from_millis(250);
/// An arrival not committed by now is answered 503. Below the 5 s in which every caller is answered.
pub const ARRIVAL_TIMEOUT: Duration = Duration::from_millis(3_500);
/// Retry-After of a refusal is drawn from this range, so that the refused do not return together.
pub const RETRY_AFTER_S: std::ops::RangeInclusive<u32> = 2..=8;
/// Admission verdicts remembered per half minute, to treat a retransmission as its original.
pub const VERDICTS_MAX: usize = 65_536;
/// How long a verdict is remembered at least: 64 × T1, the life of an INVITE transaction (RFC 3261 §17).
pub const VERDICT_AGE_MIN: Duration = Duration::from_secs(32);
/// Answers a second to sources that are no trunk and bring no credential, and the burst. The rest is silence.
pub const STRANGER_ANSWERS_PER_S: u32 = 200;
/// Requests other than INVITE outside a dialog, per second (REGISTER, OPTIONS, …).
pub const OUT_OF_DIALOG_PER_S: u32 = 5_000;

// Authentication.

/// A nonce is accepted for this long; then the client is told `stale=true`.
pub const NONCE_AGE_MAX: Duration = Duration::from_secs(300);
/// Nonces whose counts a node keeps; the oldest are forgotten, which a client notices as one more challenge.
pub const NONCES_MAX: usize = 65_536;
/// How far a nonce count may lag behind the highest seen (several requests on their way at once).
pub const NONCE_COUNT_WINDOW: u32 = 64;
/// Bytes of an Authorization value that are looked at.
pub const AUTHORIZATION_BYTES_MAX: usize = 2_048;

// Registrar.

/// Shortest registration granted over UDP or a connection; a shorter wish is answered 423 (RFC 3261 §10.3).
pub const EXPIRES_MIN_S: u32 = 60;
pub const EXPIRES_MAX_S: u32 = 3_600;
pub const EXPIRES_DEFAULT_S: u32 = 600;
/// Contacts of one REGISTER.
pub const REGISTER_CONTACTS_MAX: usize = 8;
/// Bindings whose refreshes stay on this node.
pub const BINDINGS_MAX: usize = 200_000;
/// Longest commit of a binding; then 503.
pub const BIND_TIMEOUT: Duration = Duration::from_secs(4);
/// REGISTERs whose commit is awaited.
pub const REGISTERS_IN_FLIGHT_MAX: usize = 1_024;

// Edge.

/// Orders waiting for the stack's task: an order or two per live call of a full node.
pub const ORDERS_MAX: usize = 1_000_000;
/// Results of asynchronous work (commits, look-ups) waiting for the stack's task.
pub const FINDINGS_MAX: usize = 8_192;
/// Skills that one INVITE may ask for, and bytes of a name in what it asks.
pub const ASKED_SKILLS_MAX: usize = 8;
pub const ASKED_ID_BYTES_MAX: usize = 64;
/// Messages withheld while the node has no lease.
pub const WITHHELD_MAX: usize = 16_384;
/// Reports of one call held back until its arrival is committed.
pub const REPORTS_HELD_MAX: usize = 16;
/// Messages on their way to other nodes at once.
pub const TUNNEL_IN_FLIGHT_MAX: usize = 4_096;
/// Bytes of one tunnelled frame: a message and its flow.
pub const TUNNEL_FRAME_BYTES_MAX: usize = HEAD_BYTES_MAX + BODY_BYTES_MAX + 256;
/// Targets tried for one leg: contacts of a trunk and of 3xx answers together.
pub const TARGETS_MAX: usize = 8;
/// A draining edge looks this often whether its calls have ended.
pub const DRAIN_POLL: Duration = Duration::from_millis(20);
/// A node that starts asks this often whether it has read its tenants, each time for so long at most.
pub const CATCH_UP_PAUSE: Duration = Duration::from_millis(50);
pub const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest sleep of the stack's task when nothing is due.
pub const TICK: Duration = Duration::from_millis(500);
/// An edge that has not ticked for this long does not keep up, and its node is not ready.
pub const TICK_LATE: Duration = Duration::from_secs(3);

/// Bytes of one message the parser looks at; a datagram cannot be longer.
pub const MESSAGE_BYTES_MAX: usize = 65_535;
/// Header fields of one message.
pub const HEADER_FIELDS_MAX: usize = 256;
/// Server transactions at once; more get 503. A million unfinished INVITEs are refused here, not remembered.
pub const TRANSACTIONS_MAX: usize = 100_000;
/// Further ones for requests in a dialog: whoever talks can always hang up, however many wait.
pub const TRANSACTIONS_RESERVED: usize = 20_000;
/// Legs that are over but remembered, so that a repeated order cannot raise them again.
pub const ENDED_LEGS_MAX: usize = 65_536;
/// INVITEs sent for one leg: next contacts, credentials, a longer session timer.
pub const RING_ATTEMPTS_MAX: u32 = 8;
/// Proxies that may stand in a dialog's way, and hops a request may have come by (RFC 3261 §8.1.1.6 starts at 70).
pub const ROUTES_MAX: usize = 70;
/// Contacts of a redirection that are reported.
pub const CONTACTS_MAX: usize = 8;
/// Legs held at once.
pub const LEGS_MAX: usize = 262_144;
/// How long the decision about a REFER may take; below `PENDING_MAX`.
pub const REFER_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a request may wait for the edge's answer before it gets 503.
pub const PENDING_MAX: Duration = Duration::from_secs(20);
/// How long an INVITE may ring. The core's own timers are always shorter.
pub const RING_MAX: Duration = Duration::from_secs(300);
/// A waiting caller hears its last provisional answer again this often, so that proxies do not give the call up
/// (RFC 3261 §13.3.1.1, §16.6 timer C).
pub const PROGRESS_EVERY: Duration = Duration::from_secs(60);
/// Re-INVITEs of legs that were taken over awaiting their answer at once, so that a node that inherits thousands of legs
/// does not drown their parties; and how long one that is not answered keeps its place.
pub const RESUMING_MAX: usize = 128;
pub const RESUME_SLOT: Duration = Duration::from_secs(1);
/// A party that has not answered its new edge for this long is gone: its agent should not wait for a whole transaction.
pub const RESUME_MAX: Duration = Duration::from_secs(8);
/// How often, and how many times, a message waits for a leg that is on its way here from a dead edge.
pub const ADOPTION_LOOK: Duration = Duration::from_millis(50);
pub const ADOPTION_LOOKS_MAX: u8 = 40;
/// Audio of a leg that was handed over goes on for this long, while its party follows to the new edge.
pub const LINGER: Duration = Duration::from_secs(2);
/// Music is asked for in pieces of this length, one after the other.
pub const MUSIC_TURN: Duration = Duration::from_secs(60);
/// Requests of our own repeated after 491.
pub const GLARE_RETRIES_MAX: u8 = 3;
/// Shortest session interval we accept (RFC 4028 §5), and the one we ask for.
pub const SESSION_MIN_S: u32 = 90;
pub const SESSION_DEFAULT_S: u32 = 1_800;

// Recordings.

/// Files of recordings whose calls are remembered until they are complete.
pub const TAPES_MAX: usize = 8_192;
/// How often the core is told of a complete file before it is given up, how long each time may take, and the pause between.
pub const RECORDED_TRIES_MAX: u32 = 20;
pub const RECORDED_TIMEOUT: Duration = Duration::from_secs(5);
pub const RECORDED_PAUSE: Duration = Duration::from_secs(3);

// Calls carried by rtpengine.

/// Orders and messages that wait until a description has been asked for: one or two a call that changes at this moment. What
/// finds no room is refused as media that cannot be carried.
pub const HELD_MAX: usize = 8_192;

// AI agents.

/// Conversations of AI agents on one node; further ones are refused, and others get the contact.
pub const ASSISTANTS_MAX: usize = 4_096;
/// How long a step of an offer to an AI agent, or of its end, may take until it is given up.
pub const ENGAGED_WITHIN: Duration = Duration::from_secs(10);
/// How long an answer may take until a person is asked for.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// How long a text may take to become audio until a tone stands for it.
pub const VOICE_WITHIN: Duration = Duration::from_secs(4);
/// How long it may take to find out what a caller said.
pub const HEAR_WITHIN: Duration = Duration::from_secs(6);
/// Longest words of an AI agent.
pub const SPEECH_MAX: Duration = Duration::from_secs(120);
/// How long a caller may say nothing until it is asked again, and how often, until a person takes over.
pub const LISTEN_FOR: Duration = Duration::from_secs(15);
pub const SILENCES_MAX: u8 = 2;
/// Calls of people on one node that are written down for them; of further ones nothing is.
pub const LISTENERS_MAX: usize = 4_096;
/// Utterances of one call that wait to be understood; further ones are lost.
pub const UTTERANCES_WAITING_MAX: usize = 8;
/// How long it may take to find what to suggest to an agent.
pub const SUGGEST_WITHIN: Duration = Duration::from_secs(2);
/// How often a note is proposed until it is given up, how long each time may take, and the pause between.
pub const NOTED_TRIES_MAX: u32 = 3;
pub const NOTED_TIMEOUT: Duration = Duration::from_secs(3);
pub const NOTED_PAUSE: Duration = Duration::from_millis(500);
/// How long one who begins to speak may speak and be understood.
pub const SPOKEN_WITHIN: Duration = Duration::from_secs(30);
