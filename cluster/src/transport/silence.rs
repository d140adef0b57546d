//! When a peer counts as silent, whatever its round trips were like.
//!
//! QUIC's own idle timeout is three probe timeouts where that is longer (RFC 9000 §10.1). On a busy machine the round
//! trips vary so much that this is most of a second, just when somebody should take over. It does not decide what a lost
//! connection means.

use std::time::{Duration, Instant};

use quinn::Connection;
use tokio::time::{MissedTickBehavior, interval};

use crate::limits::SILENCE_LOOKS;

/// Returns once no datagram has come on this connection for `bound`. A live peer sends some all the time: it acknowledges our
/// pings and QUIC's keep-alive.
pub(super) async fn silent(connection: &Connection, bound: Duration) {
    let pause = bound / SILENCE_LOOKS;
    let mut looks = interval(pause);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut quiet, mut seen, mut last) = (0, None, Instant::now());
    while quiet <= SILENCE_LOOKS {
        looks.tick().await;
        let received = Some(connection.stats().udp_rx.datagrams);
        // A look that comes late says that this process was held up, and with it the reading of what arrived.
        let in_time = last.elapsed() < pause * 2;
        quiet = if received != seen { 0 } else { quiet + u32::from(in_time) };
        (seen, last) = (received, Instant::now());
    }
}
