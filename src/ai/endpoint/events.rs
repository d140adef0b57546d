//! Server-sent events out of bytes, as far as an endpoint of models sends them: the data of each event.
//!
//! Written here because the bound is the point: the crates at hand keep whatever comes until a line ends.

use crate::ai::{endpoint::Failure, limits::EVENT_BYTES_MAX};

/// What has come of an event so far.
#[derive(Default)]
pub(super) struct Events {
    line: Vec<u8>,
    data: String,
}

impl Events {
    /// Takes bytes, and gives the data of every event that ends in them.
    ///
    /// # Errors
    /// When an event passes its bound, or is not UTF-8.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, Failure> {
        let mut events = Vec::new();
        for byte in bytes {
            if *byte != b'\n' {
                if self.line.len() + self.data.len() >= EVENT_BYTES_MAX {
                    return Err(Failure::TooLong);
                }
                self.line.push(*byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = std::str::from_utf8(&line).map_err(|_| Failure::Garbage)?;
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.is_empty() {
                if !self.data.is_empty() {
                    events.push(std::mem::take(&mut self.data));
                }
            } else if let Some(data) = line.strip_prefix("data:") {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(data.strip_prefix(' ').unwrap_or(data));
            }
            // Comments, which keep the connection alive, and other fields say nothing to us.
        }
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn events_are_told_apart_however_they_are_cut() {
        let bytes = b": hello\r\ndata: one\r\n\r\nevent: x\ndata: two\ndata:more\n\n\n\ndata: [DONE]\n\n".as_slice();
        for cut in 0..bytes.len() {
            let mut events = Events::default();
            let mut all = events.push(&bytes[..cut]).unwrap();
            all.extend(events.push(&bytes[cut..]).unwrap());
            assert_eq!(all, ["one", "two\nmore", "[DONE]"]);
        }
    }

    #[test]
    fn an_event_without_end_and_bytes_that_are_no_text_are_failures() {
        assert_eq!(Events::default().push(&vec![b'x'; 1 << 20]), Err(Failure::TooLong));
        assert_eq!(Events::default().push(&b"data: x\n".repeat(1 << 17)), Err(Failure::TooLong));
        assert_eq!(Events::default().push(b"data: \xff\xfe\n\n"), Err(Failure::Garbage));
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let events = Events::default().push(&bytes);
            prop_assert!(events.is_ok() || events == Err(Failure::Garbage));
        }
    }
}
