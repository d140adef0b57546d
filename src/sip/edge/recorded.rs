//! Files of recordings: what became of each is told to the core, which may have closed the call long ago.

use sha2::{Digest as _, Sha256};

use super::worker::Worker;
use crate::{
    core::{
        command::{Command, Envelope, Saved},
        id::{LegId, RequestId},
    },
    sip::limits::{RECORDED_PAUSE, RECORDED_TIMEOUT, RECORDED_TRIES_MAX},
};

impl Worker {
    /// Tells the core of a file, with a key that makes a repeat harmless. One that cannot be told stays on the disk: the record
    /// names it anyway.
    pub(super) fn recorded(&mut self, leg: LegId, part: u32, saved: Option<Saved>) {
        let Some(domain) = self.stack.taped(leg, part) else { return };
        let edge = self.me;
        let mut digest = Sha256::new();
        for number in [u128::from(part), leg.call.0, leg.n.into(), edge.node.0.into(), edge.incarnation.into()] {
            digest.update(number.to_be_bytes());
        }
        let digest = digest.finalize();
        let request = RequestId(digest[..16].iter().fold(0, |id, byte| (id << 8) | u128::from(*byte)));
        let command = Command::Recorded { domain: domain.clone(), leg, edge, part, saved };
        let (backend, envelope) = (self.backend.clone(), Envelope { request: Some(request), command });
        tokio::spawn(async move {
            for _ in 0..RECORDED_TRIES_MAX {
                match backend.command(domain.clone(), envelope.clone(), RECORDED_TIMEOUT).await {
                    Ok(_) => return,
                    Err(error) => tracing::debug!(%leg, %error, "a recording is not told yet"),
                }
                tokio::time::sleep(RECORDED_PAUSE).await;
            }
            tracing::warn!(%leg, part, "a recording could not be told; its file is there");
        });
    }
}
