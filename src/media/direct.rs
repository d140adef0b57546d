//! Media that does not pass this node: descriptions go through as they are, so that a node's death costs no audio.

use bytes::Bytes;
use tokio::sync::broadcast;

use super::{Error, Event, MediaPlane};
use crate::core::id::LegId;

/// The plane without media: treatment, recording and takeover of audio are not to be had with it.
#[derive(Debug)]
pub struct Direct {
    events: broadcast::Sender<Event>,
}

impl Default for Direct {
    fn default() -> Self {
        Self { events: broadcast::channel(1).0 }
    }
}

impl MediaPlane for Direct {
    fn anchors(&self) -> bool {
        false
    }

    fn check(&self, _sdp: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    fn pass(&self, _from: LegId, _to: LegId, sdp: &[u8]) -> Result<Bytes, Error> {
        Ok(Bytes::copy_from_slice(sdp))
    }

    fn close(&self, _leg: LegId) {}

    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::id::CallId;

    #[test]
    fn a_description_goes_through_byte_by_byte() {
        let (caller, agent) = (LegId { call: CallId(1), n: 0 }, LegId { call: CallId(1), n: 1 });
        let direct = Direct::default();
        assert_eq!(direct.pass(caller, agent, b"v=0\r\nanything").expect("unread"), "v=0\r\nanything");
        assert!(direct.answer(caller, b"v=0").is_err(), "there is nobody to answer for");
    }
}
