//! One file of a recording while it is written.

use std::{
    collections::VecDeque,
    fs::{DirBuilder, File, OpenOptions},
    io::BufWriter,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    time::Instant,
};

use crate::media::{
    g711::Law,
    limits::{RECORD_FLUSH_EVERY, RECORD_HOLD_SAMPLES, RECORD_SAMPLES_MAX},
};

const SPEC: hound::WavSpec =
    hound::WavSpec { channels: 1, sample_rate: 8_000, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };

pub struct Part {
    file: hound::WavWriter<BufWriter<File>>,
    /// Samples written.
    written: u64,
    /// Those behind, held back for packets out of order.
    held: VecDeque<i16>,
    flushed_at: Instant,
}

impl Part {
    /// A new file that only this user reads, in a folder that is made if need be; never one that exists.
    pub fn create(path: &Path) -> Result<Self, hound::Error> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let mut file = hound::WavWriter::new(BufWriter::new(file), SPEC)?;
        // A node that dies in the next moment leaves a file that can be read, though there is nothing in it.
        file.flush()?;
        Ok(Self { file, written: 0, held: VecDeque::new(), flushed_at: Instant::now() })
    }

    /// Audio in its place; what is written already stays as it is.
    pub fn put(&mut self, place: u64, law: Law, codes: &[u8]) -> Result<(), hound::Error> {
        let place = place.min(RECORD_SAMPLES_MAX);
        self.silent_until(place)?;
        for (place, code) in (place..RECORD_SAMPLES_MAX).zip(codes) {
            let Some(behind) = place.checked_sub(self.written) else { continue };
            match self.held.get_mut(behind as usize) {
                Some(sample) => *sample = law.decode(*code),
                None => self.held.push_back(law.decode(*code)),
            }
        }
        self.write(RECORD_HOLD_SAMPLES)
    }

    /// Brings the header up to date now and then.
    pub fn keep(&mut self, now: Instant) -> Result<(), hound::Error> {
        if now.saturating_duration_since(self.flushed_at) < RECORD_FLUSH_EVERY {
            return Ok(());
        }
        self.flushed_at = now;
        self.file.flush()
    }

    /// Completes the file, silent up to `ended` if that is known; its length in samples.
    pub fn end(mut self, ended: Option<u64>) -> Result<u64, hound::Error> {
        self.silent_until(ended.unwrap_or(0).min(RECORD_SAMPLES_MAX))?;
        self.write(0)?;
        self.file.finalize()?;
        Ok(self.written)
    }

    fn silent_until(&mut self, place: u64) -> Result<(), hound::Error> {
        while self.written + (self.held.len() as u64) < place {
            self.held.push_back(0);
            if self.held.len() > 2 * RECORD_HOLD_SAMPLES {
                self.write(RECORD_HOLD_SAMPLES)?;
            }
        }
        Ok(())
    }

    /// Writes all but the last `hold` samples.
    fn write(&mut self, hold: usize) -> Result<(), hound::Error> {
        while self.held.len() > hold {
            let sample = self.held.pop_front().expect("longer than what is held");
            self.file.write_sample(sample)?;
            self.written += 1;
        }
        Ok(())
    }
}
