//! Audio of a model's rate down to a telephone's, piece by piece: a low pass, then every n-th sample.

use super::SAMPLES_PER_SECOND;

/// Times a telephone's rate that is taken at most: 48 kHz.
const TIMES_MAX: usize = 6;
/// Taps of the low pass for each kept sample; an odd number of them in all puts its middle on a sample.
const TAPS_PER_SAMPLE: usize = 16;
/// Where the pass ends, as a part of the kept rate: what is above half of it would come back as a whistle.
const EDGE: f32 = 0.44;

/// Keeps what it needs of the samples before between two pieces.
pub(super) struct Decimator {
    times: usize,
    taps: Vec<f32>,
    /// The last samples, as many as there are taps.
    past: Vec<f32>,
    /// Samples until the next one that is kept.
    until: usize,
}

impl Decimator {
    /// From a rate; none if it is no multiple of the telephone's, or too high.
    pub(super) fn from(rate: usize) -> Option<Self> {
        let times = rate / SAMPLES_PER_SECOND;
        if !(1..=TIMES_MAX).contains(&times) || !rate.is_multiple_of(SAMPLES_PER_SECOND) {
            return None;
        }
        let taps = if times == 1 { vec![1.0] } else { low_pass(times) };
        Some(Self { times, past: vec![0.0; taps.len()], taps, until: times })
    }

    pub(super) fn push(&mut self, samples: &[i16]) -> Vec<i16> {
        let mut kept = Vec::with_capacity(samples.len() / self.times + 1);
        let before = self.past.len();
        self.past.extend(samples.iter().map(|sample| f32::from(*sample)));
        for at in before..self.past.len() {
            self.until -= 1;
            if self.until == 0 {
                self.until = self.times;
                let window = &self.past[at + 1 - self.taps.len()..=at];
                let sum: f32 = window.iter().zip(&self.taps).map(|(sample, tap)| sample * tap).sum();
                // `as` saturates, which is what clipping is.
                kept.push(sum.round() as i16);
            }
        }
        self.past.drain(..self.past.len() - self.taps.len());
        kept
    }
}

/// A windowed sinc (Hann), whose taps add up to one.
fn low_pass(times: usize) -> Vec<f32> {
    let length = TAPS_PER_SAMPLE * times + 1;
    let middle = (length / 2) as f32;
    let edge = EDGE / times as f32;
    let taps = (0..length).map(|at| {
        let x = at as f32 - middle;
        let sinc = if x == 0.0 { 2.0 * edge } else { (std::f32::consts::TAU * edge * x).sin() / (std::f32::consts::PI * x) };
        sinc * (0.5 - 0.5 * (std::f32::consts::TAU * (at as f32 + 0.5) / length as f32).cos())
    });
    let taps: Vec<f32> = taps.collect();
    let sum: f32 = taps.iter().sum();
    taps.iter().map(|tap| tap / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f32, rate: f32, samples: usize) -> Vec<i16> {
        (0..samples).map(|at| ((std::f32::consts::TAU * hz * at as f32 / rate).sin() * 10_000.0) as i16).collect()
    }

    fn loudness(samples: &[i16]) -> f32 {
        (samples.iter().map(|sample| f32::from(*sample).powi(2)).sum::<f32>() / samples.len() as f32).sqrt()
    }

    #[test]
    fn speech_passes_and_what_a_telephone_cannot_carry_does_not_come_back_as_a_whistle() {
        for rate in [16_000, 24_000, 48_000] {
            let through = |hz| {
                let mut decimator = Decimator::from(rate).unwrap();
                let out = decimator.push(&tone(hz, rate as f32, rate));
                assert_eq!(out.len(), SAMPLES_PER_SECOND);
                loudness(&out[800..])
            };
            let full = 10_000.0 / 2_f32.sqrt();
            assert!((through(1_000.0) / full - 1.0).abs() < 0.02, "{rate}");
            assert!(through(5_000.0) / full < 0.02, "{rate}: {}", through(5_000.0) / full);
        }
    }

    #[test]
    fn pieces_of_any_size_give_the_same_audio() {
        let samples = tone(700.0, 24_000.0, 5_000);
        let whole = Decimator::from(24_000).unwrap().push(&samples);
        for size in [1, 7, 100, 999] {
            let mut decimator = Decimator::from(24_000).unwrap();
            let pieces: Vec<i16> = samples.chunks(size).flat_map(|piece| decimator.push(piece)).collect();
            assert_eq!(pieces, whole);
        }
    }

    #[test]
    fn the_telephones_own_rate_is_left_as_it_is_and_odd_rates_are_refused() {
        let samples = tone(700.0, 8_000.0, 300);
        assert_eq!(Decimator::from(8_000).unwrap().push(&samples), samples);
        for rate in [0, 4_000, 11_025, 44_100, 96_000] {
            assert!(Decimator::from(rate).is_none(), "{rate}");
        }
    }
}
