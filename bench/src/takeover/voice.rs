//! The AI agent's prompts: files whose 20 ms frames, once encoded as G.711 µ-law again, carry a voice as phones do.

use std::path::Path;

use crate::{error::Error, phone::frame};

/// Name of a prompt and the number of its voice.
pub const DISCLOSURE: (&str, u32) = ("disclosure", 900_001);
pub const SPEECH: (&str, u32) = ("speech", 900_002);

const FRAME_SAMPLES: usize = 160;
const DISCLOSURE_FRAMES: u64 = 15;
/// Longer than any run: two minutes.
const SPEECH_FRAMES: u64 = 6_000;

pub fn write(dir: &Path) -> Result<(), Error> {
    for ((name, speaker), frames) in [(DISCLOSURE, DISCLOSURE_FRAMES), (SPEECH, SPEECH_FRAMES)] {
        let spec = hound::WavSpec { channels: 1, sample_rate: 8_000, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
        let wrong = |error: hound::Error| Error::Setup(format!("{name}.wav: {error}"));
        let mut file = hound::WavWriter::create(dir.join(format!("{name}.wav")), spec).map_err(wrong)?;
        for n in 0..frames {
            for code in frame(speaker, n, FRAME_SAMPLES) {
                file.write_sample(linear(code)).map_err(wrong)?;
            }
        }
        file.finalize().map_err(wrong)?;
    }
    Ok(())
}

/// The sample that a µ-law code stands for (ITU-T G.711).
const fn linear(code: u8) -> i16 {
    let code = !code;
    let magnitude = ((((code & 0x0F) as i16) << 3) + 0x84) << ((code >> 4) & 0x07);
    let value = magnitude - 0x84;
    if code & 0x80 == 0 { value } else { -value }
}
