//! Media that does not pass this node: descriptions go through as they are, so that a node's death costs no audio.

use bytes::Bytes;
use tokio::sync::broadcast;

use super::{Error, Event, Image, MediaPlane, Program, Recording};
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

    fn answer(&self, _leg: LegId, _offer: &[u8]) -> Result<Bytes, Error> {
        Err(Error::NoAddress)
    }

    fn offer(&self, _from: LegId, _to: LegId, _sdp: &[u8]) -> Result<Bytes, Error> {
        Err(Error::NoAddress)
    }

    fn restore(&self, _leg: LegId, _image: &Image) -> Result<(), Error> {
        Ok(())
    }

    fn image(&self, _leg: LegId) -> Option<Image> {
        None
    }

    fn hear(&self, _leg: LegId, _sources: &[LegId]) {}

    fn play(&self, _leg: LegId, _program: Program) {}

    fn stop(&self, _leg: LegId) {}

    fn record(&self, _leg: LegId, _recording: Recording) {}

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
