//! WAV files as prompts: 8 or 16 kHz, one channel, 16-bit PCM or G.711, to samples at 8 kHz.
//!
//! The library reads PCM; G.711 it refuses, so its two chunks are looked up here.

use std::{fs, io::Cursor, path::Path};

use super::{g711::Law, limits};

/// Why a file is no prompt.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    #[error("larger than {} bytes", limits::PROMPT_BYTES_MAX)]
    TooLarge,
    #[error("no WAV file: {0}")]
    Malformed(#[from] hound::Error),
    #[error("not one channel of 16-bit PCM or G.711 at 8 or 16 kHz")]
    Format,
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Vec<i16>, Unusable> {
    if fs::metadata(path)?.len() > limits::PROMPT_BYTES_MAX {
        return Err(Unusable::TooLarge);
    }
    decode(&fs::read(path)?)
}

fn decode(file: &[u8]) -> Result<Vec<i16>, Unusable> {
    if let Some((law, rate, codes)) = g711(file) {
        return at_8_khz(codes.iter().map(|code| law.decode(*code)).collect(), rate);
    }
    let mut reader = hound::WavReader::new(Cursor::new(file))?;
    let spec = reader.spec();
    if (spec.channels, spec.bits_per_sample, spec.sample_format) != (1, 16, hound::SampleFormat::Int) {
        return Err(Unusable::Format);
    }
    let samples = reader.samples::<i16>().collect::<Result<Vec<_>, _>>()?;
    at_8_khz(samples, spec.sample_rate)
}

/// Law, rate and codes of a G.711 file (format tags 6 and 7 of RFC 2361).
fn g711(file: &[u8]) -> Option<(Law, u32, &[u8])> {
    let mut rest = file.strip_prefix(b"RIFF")?.get(4..)?.strip_prefix(b"WAVE")?;
    let mut format = None;
    while let Some((head, body)) = rest.split_first_chunk::<8>() {
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let chunk = &body[..length.min(body.len())];
        match &head[..4] {
            b"fmt " => format = Some(g711_format(chunk)?),
            b"data" => return format.map(|(law, rate)| (law, rate, chunk)),
            _ => {}
        }
        // Chunks are padded to an even length.
        rest = body.get(length + length % 2..)?;
    }
    None
}

fn g711_format(chunk: &[u8]) -> Option<(Law, u32)> {
    let head: &[u8; 16] = chunk.first_chunk()?;
    let law = match u16::from_le_bytes([head[0], head[1]]) {
        6 => Law::A,
        7 => Law::Mu,
        _ => return None,
    };
    let is_mono = u16::from_le_bytes([head[2], head[3]]) == 1;
    is_mono.then_some((law, u32::from_le_bytes([head[4], head[5], head[6], head[7]])))
}

fn at_8_khz(samples: Vec<i16>, rate: u32) -> Result<Vec<i16>, Unusable> {
    match rate {
        8_000 => Ok(samples),
        16_000 => Ok(halved(&samples)),
        _ => Err(Unusable::Format),
    }
}

/// Half the rate through a half-band filter, (-1, 0, 9, 16, 9, 0, -1) / 32: speech keeps its consonants, and what 8 kHz cannot hold is damped.
fn halved(samples: &[i16]) -> Vec<i16> {
    let at = |n: isize| usize::try_from(n).ok().and_then(|n| samples.get(n)).map_or(0, |sample| i32::from(*sample));
    (0..samples.len() as isize)
        .step_by(2)
        .map(|n| {
            let sum = 16 * at(n) + 9 * (at(n - 1) + at(n + 1)) - at(n - 3) - at(n + 3);
            (sum / 32).clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pcm(rate: u32, channels: u16, samples: &[i16]) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let spec = hound::WavSpec { channels, sample_rate: rate, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
        let mut writer = hound::WavWriter::new(&mut bytes, spec).expect("a writer");
        for sample in samples {
            writer.write_sample(*sample).expect("a Vec takes every byte");
        }
        writer.finalize().expect("a Vec takes every byte");
        bytes.into_inner()
    }

    #[test]
    fn pcm_at_8_khz_is_taken_as_it_is_and_16_khz_is_halved() {
        assert_eq!(decode(&pcm(8_000, 1, &[1, -2, 3])).expect("valid"), [1, -2, 3]);
        let halved = decode(&pcm(16_000, 1, &[1_000; 100])).expect("valid");
        assert_eq!(halved.len(), 50);
        assert!(halved[4..46].iter().all(|sample| *sample == 1_000), "a constant stays: {halved:?}");
    }

    #[test]
    fn g711_is_read_too() {
        let mut file = b"RIFF\0\0\0\0WAVELIST\x01\0\0\0x\0fmt \x12\0\0\0".to_vec();
        file.extend([7, 0, 1, 0, 0x40, 0x1F, 0, 0, 0x40, 0x1F, 0, 0, 1, 0, 8, 0, 0, 0]);
        file.extend(b"data\x02\0\0\0\x80\xFF");
        assert_eq!(decode(&file).expect("valid"), [32_124, 0]);
    }

    #[test]
    fn other_formats_are_told_apart_from_broken_files() {
        assert!(matches!(decode(&pcm(44_100, 1, &[0])), Err(Unusable::Format)));
        assert!(matches!(decode(&pcm(8_000, 2, &[0, 0])), Err(Unusable::Format)));
        assert!(matches!(decode(b"ID3"), Err(Unusable::Malformed(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), flips in proptest::collection::vec((0..60_usize, any::<u8>()), 0..4)) {
            let _ = decode(&bytes);
            bytes = pcm(8_000, 1, &[7; 20]);
            for (place, value) in flips {
                bytes[place] = value;
            }
            let _ = decode(&bytes);
        }
    }
}
