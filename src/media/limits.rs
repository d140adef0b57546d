//! Bounds of the media plane. Every queue, buffer, loop and wait of `media` has its bound here, unit in its name.

use std::time::Duration;

// Descriptions.

/// Longest session description that is read.
pub const SDP_BYTES_MAX: usize = 16 * 1024;
/// Media lines of one description.
pub const MEDIA_LINES_MAX: usize = 16;
/// Payload types of the audio line that are read; those behind are left out of what the other side is told.
pub const CODECS_MAX: usize = 64;
/// Attributes of a description in all.
pub const ATTRIBUTES_MAX: usize = 512;
/// Descriptions that were read last and are kept in case they come again.
pub const READ_MAX: usize = 8;

// Packets.

/// Largest datagram taken: an Ethernet frame. Larger ones are dropped.
pub const PACKET_BYTES_MAX: usize = 1_500;
/// Packets read from one port per system call.
pub const RECEIVE_BATCH: usize = 8;
/// Packets sent after the lease was asked once. A process that was stopped sends no more than this of what is stale.
pub const SEND_BATCH_MAX: usize = 64;
/// Packets to one party per system call.
pub const SEND_RUN_MAX: usize = 16;
/// Ready ports taken from the kernel per wake-up.
pub const READY_MAX: usize = 256;
/// Packets a port may bring per second; 20 ms audio is 50, with events and RTCP below 120.
pub const PACKETS_PER_SECOND_MAX: u32 = 250;
/// Packets a port may bring at once, such as after a stall of the network.
pub const PACKETS_BURST_MAX: u32 = 100;

// Latching.

/// Packets of one source after which a port takes no other.
pub const LATCH_LOCK_PACKETS: u32 = 5;
/// So long the described address must have been silent before another source may take its place.
pub const LATCH_PREFER: Duration = Duration::from_millis(100);

// Ports and threads.

/// Ports tried for one leg before it is refused.
pub const PORT_TRIES_MAX: usize = 64;
/// Media threads of a node.
pub const THREADS_MAX: usize = 64;
/// Other legs one leg may hear.
pub const SOURCES_MAX: usize = 8;
/// Events waiting for a slow reader before it misses some.
pub const EVENTS_MAX: usize = 4_096;

// Time.

/// Audio of one packet that we make ourselves.
pub const FRAME: Duration = Duration::from_millis(20);
/// Samples of such a packet at 8 kHz.
pub const FRAME_SAMPLES: usize = 160;
/// Legs that we make audio for are spread over so many moments of a frame.
pub const PHASES: usize = 4;
/// A media thread this far behind leaves out what it missed.
pub const LATE_MAX: Duration = Duration::from_millis(100);
/// A leg whose stream is ours gets comfort noise when what it hears was silent for so long.
pub const FILL_AFTER: Duration = Duration::from_millis(100);
/// How often threads look after counters and quiet legs.
pub const HOUSEKEEPING: Duration = Duration::from_secs(1);

// Prompts.

/// Largest prompt file that is read: 16 minutes at 8 kHz.
pub const PROMPT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Samples of all prompts kept at once; those not played for longest go first.
pub const PROMPT_SAMPLES_MAX: usize = 32 * 1024 * 1024;
/// Prompts waiting to be read from disk; those behind become a tone this time.
pub const PROMPT_QUEUE_MAX: usize = 64;
/// Names remembered, those of missing prompts included.
pub const PROMPT_NAMES_MAX: usize = 4_096;
/// A prompt not read after so many frames becomes a tone.
pub const PROMPT_WAIT_FRAMES: usize = 25;
/// A prompt read longer ago is looked at again, so that a replaced file is heard without a restart.
pub const PROMPT_FRESH: Duration = Duration::from_secs(60);

// Digits.

/// A key whose end was lost counts as released so long after its last packet.
pub const DIGIT_LOST_AFTER: Duration = Duration::from_millis(200);

// Mixing.

/// Samples of one party kept for those who hear it mixed with others: half a second at 8 kHz.
pub const VOICE_SAMPLES: usize = 4_096;
/// A listener of a mix is so far behind what came, against jitter: two frames.
pub const VOICE_DELAY_SAMPLES: u64 = 2 * FRAME_SAMPLES as u64;
/// Farther behind than this (clocks that drift, a burst), a listener catches up.
pub const VOICE_BEHIND_SAMPLES: u64 = 10 * FRAME_SAMPLES as u64;

// Recording.

/// Packets waiting for the writer; those behind are missing from the recording, in their place, and counted.
pub const RECORD_QUEUE_MAX: usize = 4_096;
/// Samples of one message to the writer; larger packets make several.
pub const RECORD_CHUNK_SAMPLES: usize = 240;
/// Samples held back so that packets out of order find their place: 100 ms.
pub const RECORD_HOLD_SAMPLES: usize = 800;
/// Recordings open at once.
pub const RECORDINGS_MAX: usize = 2_048;
/// Longest recording; the part ends there.
pub const RECORD_SAMPLES_MAX: u64 = 8_000 * 3_600 * 4;
/// Windows without audio told of one part; those after that are told as one.
pub const RECORD_WINDOWS_MAX: usize = 256;
/// How often the writer looks for recordings that began or ended.
pub const RECORD_SWEEP_EVERY: Duration = Duration::from_millis(100);
/// How often a recording's header is brought up to date, so that a crash leaves a file that can be read.
pub const RECORD_FLUSH_EVERY: Duration = Duration::from_secs(2);
/// RTP time may part so far from the clock before it is set anew: a quarter of a second.
pub const RECORD_DRIFT_SAMPLES: u64 = 2_000;

// SRTP.

/// Packets of one stream among which a repeated one is noticed (RFC 3711 §3.3.2).
pub const SRTP_REPLAY_PACKETS: usize = 128;
/// Streams of one party under one key.
pub const SRTP_STREAMS_MAX: usize = 64;
/// Packets under unknown stream names that were not authentic, after which no new names are tried under that key.
pub const SRTP_FORGED_MAX: u32 = 1_024;

// rtpengine.

/// Daemons a node may be told of.
pub const ENGINES_MAX: usize = 16;
/// Values in each other, and values at all, of one answer: a query of a large call has some thousands.
pub const BENCODE_DEPTH_MAX: usize = 16;
pub const BENCODE_VALUES_MAX: usize = 16_384;
/// The largest datagram there is.
pub const NG_ANSWER_BYTES_MAX: usize = 65_535;
/// Questions to one daemon that have no answer yet.
pub const NG_ASKED_MAX: usize = 16_384;
/// A question is asked as often as there are rows here, and so long is waited for its answer each time: 1.5 s together.
pub const NG_RESENDS: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(400), Duration::from_millis(800)];
/// How often each daemon is asked whether it lives, and how long that answer may take.
pub const NG_PING_EVERY: Duration = Duration::from_millis(500);
/// Pings without an answer, one after the other, after which a daemon counts as dead: 2 s.
pub const NG_PINGS_LOST: u32 = 4;
/// Daemons that are tried for what a party says before it is refused.
pub const ENGINES_TRIED_MAX: usize = 3;
/// Calls that are moved from a dead daemon at once, and calls a daemon that was silent is asked about at once.
pub const ENGINE_MOVES_MAX: usize = 64;
/// A call whose daemon died is given up when no other one has taken it by then.
pub const ENGINE_RESCUE: Duration = Duration::from_secs(8);
/// Pause between two looks for a daemon to move a call to.
pub const ENGINE_RETRY: Duration = Duration::from_millis(250);
/// Sessions of rtpengine a node holds: a caller and an agent each.
pub const ENGINE_SESSIONS_MAX: usize = 65_536;

// Hearing speech.

/// Root mean square of samples above which a frame is loud: about -33 dB of full scale.
pub const EAR_LEVEL: u32 = 700;
/// Loud samples in a row that begin an utterance, at 8 kHz.
pub const EAR_BEGIN_SAMPLES: usize = 480;
/// What is kept of the time before.
pub const EAR_LEAD_SAMPLES: usize = 2_400;
/// Longest utterance; one that goes on is cut there.
pub const EAR_LONGEST_SAMPLES: usize = 8_000 * 20;
/// Silence that ends one.
pub const EAR_END_AFTER: Duration = Duration::from_millis(700);
