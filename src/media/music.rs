//! Sounds made here: tones, comfort noise and a short piece of music on hold, as 16-bit samples at 8 kHz.
//!
//! Each is computed once. The music is a plain progression of plucked chords: nobody's work, and no file to lose.

use std::{f32::consts::TAU, sync::LazyLock, time::Duration};

use super::{Tone, limits::FRAME_SAMPLES};

const RATE: usize = 8_000;
/// 17 periods of 425 Hz at 8 kHz.
const TONE_SAMPLES: usize = 320;
/// About -13 dBm0.
const TONE_LEVEL: f32 = 5_000.0;

static TONE: LazyLock<[i16; TONE_SAMPLES]> =
    LazyLock::new(|| std::array::from_fn(|n| (TONE_LEVEL * (TAU * 425.0 * n as f32 / RATE as f32).sin()) as i16));
static MUSIC: LazyLock<Vec<i16>> = LazyLock::new(compose);
static NOISE: LazyLock<Vec<i16>> = LazyLock::new(hiss);

/// How a tone is interrupted: on for the first, off until the second, over and over; and how loud.
fn cadence(tone: Tone) -> (usize, usize, i16) {
    match tone {
        Tone::Ringback => (RATE, 5 * RATE, 1),
        Tone::Busy => (RATE / 2, RATE, 1),
        Tone::Comfort => (RATE / 5, 10 * RATE, 4),
    }
}

/// A frame of a tone, `at` samples after its beginning.
pub fn tone(tone: Tone, at: usize, frame: &mut [i16; FRAME_SAMPLES]) {
    let (on, period, quieter) = cadence(tone);
    for (n, sample) in frame.iter_mut().enumerate() {
        let place = (at + n) % period;
        *sample = if place < on { TONE[place % TONE_SAMPLES] / quieter } else { 0 };
    }
}

/// A frame of music, `at` samples after its beginning; it repeats.
pub fn music(at: usize, frame: &mut [i16; FRAME_SAMPLES]) {
    take(&MUSIC, at, frame);
}

/// A frame of comfort noise, about -65 dBm0.
pub fn noise(at: usize, frame: &mut [i16; FRAME_SAMPLES]) {
    take(&NOISE, at, frame);
}

fn take(samples: &[i16], at: usize, frame: &mut [i16; FRAME_SAMPLES]) {
    for (n, sample) in frame.iter_mut().enumerate() {
        *sample = samples[(at + n) % samples.len()];
    }
}

pub fn samples(duration: Duration) -> usize {
    usize::try_from(duration.as_millis()).unwrap_or(usize::MAX / RATE).saturating_mul(RATE / 1_000)
}

fn hiss() -> Vec<i16> {
    let mut state = 0x2545_F491_u32;
    let mut next = || {
        // Xorshift: any flat spectrum will do.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state % 33) as i16 - 16
    };
    (0..RATE).map(|_| next()).collect()
}

fn compose() -> Vec<i16> {
    /// Semitones above A3: I–vi–IV–V with the octave on top.
    const CHORDS: [[i32; 4]; 4] = [[3, 7, 10, 15], [0, 3, 7, 12], [-4, 0, 3, 8], [-2, 2, 5, 10]];
    /// Which note of a chord sounds on each of its eight steps.
    const PATTERN: [usize; 8] = [0, 1, 2, 3, 2, 1, 2, 1];
    const STEP: usize = RATE * 3 / 8;
    let length = CHORDS.len() * PATTERN.len() * STEP;
    let mut mix = vec![0.0_f32; length];
    for (chord, notes) in CHORDS.iter().enumerate() {
        for (step, note) in PATTERN.iter().enumerate() {
            let start = (chord * PATTERN.len() + step) * STEP;
            let pitch = 220.0 * 2.0_f32.powf(notes[*note] as f32 / 12.0);
            for n in 0..4 * STEP {
                let t = n as f32 / RATE as f32;
                let pluck = (-3.0 * t).exp() * (1.0 - (-200.0 * t).exp());
                let wave = (TAU * pitch * t).sin() + 0.3 * (2.0 * TAU * pitch * t).sin();
                mix[(start + n) % length] += 2_200.0 * pluck * wave;
            }
        }
    }
    mix.into_iter().map(|sample| sample.clamp(-12_000.0, 12_000.0) as i16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn energy(frame: &[i16]) -> i64 {
        frame.iter().map(|sample| i64::from(*sample).pow(2)).sum::<i64>() / frame.len() as i64
    }

    #[test]
    fn a_tone_keeps_its_cadence() {
        let mut frame = [0; FRAME_SAMPLES];
        tone(Tone::Busy, 0, &mut frame);
        assert!(energy(&frame) > 1_000_000);
        tone(Tone::Busy, RATE / 2, &mut frame);
        assert_eq!(energy(&frame), 0);
        tone(Tone::Busy, RATE, &mut frame);
        assert!(energy(&frame) > 1_000_000);
    }

    #[test]
    fn music_is_heard_and_does_not_clip_and_noise_is_faint() {
        let mut frame = [0; FRAME_SAMPLES];
        for second in 0..12 {
            music(second * RATE, &mut frame);
            assert!(energy(&frame) > 10_000, "second {second}");
        }
        assert!(MUSIC.iter().all(|sample| sample.abs() < 12_000));
        noise(0, &mut frame);
        assert!((1..400).contains(&energy(&frame)));
    }
}
