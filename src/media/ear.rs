//! Hears when a party speaks: begins with a few loud frames, ends with silence, and keeps what was said in between.
//!
//! By loudness alone: it tells speech from silence on a telephone, not from music or a passing train. Pure: time is an argument.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use super::{
    g711::Law,
    limits::{EAR_BEGIN_SAMPLES, EAR_END_AFTER, EAR_LEAD_SAMPLES, EAR_LEVEL, EAR_LONGEST_SAMPLES},
};

/// What an ear noticed.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// The party begins to speak.
    Begun,
    /// It has spoken: 8 kHz, one channel.
    Said(Arc<[i16]>),
}

#[derive(Debug, Default)]
pub struct Ear {
    /// What came just before, so that the first sound is not cut.
    lead: VecDeque<i16>,
    /// Loud samples in a row.
    loud: usize,
    /// What is being said.
    said: Option<Vec<i16>>,
    loud_at: Option<Instant>,
}

impl Ear {
    /// Some audio of the party.
    pub fn audio(&mut self, law: Law, codes: &[u8], now: Instant) -> Option<Heard> {
        let samples = || codes.iter().map(|code| law.decode(*code));
        let is_loud = level(samples()) >= EAR_LEVEL;
        if is_loud {
            self.loud += codes.len();
            self.loud_at = Some(now);
        } else {
            self.loud = 0;
        }
        if let Some(said) = &mut self.said {
            said.extend(samples());
            let full = said.len() >= EAR_LONGEST_SAMPLES;
            return if full { self.end() } else { self.overdue(now) };
        }
        self.lead.extend(samples());
        let surplus = self.lead.len().saturating_sub(EAR_LEAD_SAMPLES);
        self.lead.drain(..surplus);
        (self.loud >= EAR_BEGIN_SAMPLES).then(|| {
            self.said = Some(self.lead.drain(..).collect());
            Heard::Begun
        })
    }

    /// Lets silence pass, also one in which no packet comes.
    pub fn overdue(&mut self, now: Instant) -> Option<Heard> {
        let quiet = self.loud_at.is_none_or(|at| now.saturating_duration_since(at) >= EAR_END_AFTER);
        if self.said.is_some() && quiet { self.end() } else { None }
    }

    fn end(&mut self) -> Option<Heard> {
        self.loud = 0;
        self.said.take().map(|said| Heard::Said(said.into()))
    }
}

/// Root mean square.
fn level(samples: impl ExactSizeIterator<Item = i16>) -> u32 {
    let count = samples.len().max(1) as u64;
    let power: u64 = samples.map(|sample| u64::from(sample.unsigned_abs()).pow(2)).sum();
    (power / count).isqrt() as u32
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const FRAME: usize = 160;

    /// Plays frames of 20 ms; true is loud. Returns what was noticed, with the frame it was noticed in.
    fn hear(ear: &mut Ear, frames: impl IntoIterator<Item = bool>) -> Vec<(usize, Heard)> {
        let start = Instant::now();
        let code = |loud: bool, n: usize| {
            Law::Mu.encode(if !loud {
                0
            } else if n.is_multiple_of(2) {
                4_000
            } else {
                -4_000
            })
        };
        let frame = |loud| (0..FRAME).map(|n| code(loud, n)).collect::<Vec<_>>();
        let noticed = frames.into_iter().enumerate().filter_map(|(n, loud)| {
            let now = start + Duration::from_millis(20 * n as u64);
            ear.audio(Law::Mu, &frame(loud), now).map(|heard| (n, heard))
        });
        noticed.collect()
    }

    #[test]
    fn speech_is_noticed_soon_and_kept_with_what_came_before_it() {
        let frames = [vec![false; 50], vec![true; 50], vec![false; 60]].concat();
        let heard = hear(&mut Ear::default(), frames);
        let [(begun, Heard::Begun), (_, Heard::Said(said))] = &heard[..] else { panic!("{heard:?}") };
        assert!((begun - 50) * 20 <= 100, "noticed after {} ms", (begun - 50) * 20);
        let loud = said.iter().filter(|sample| sample.unsigned_abs() > 3_000).count();
        assert_eq!(loud, 50 * FRAME, "nothing of it is cut");
        assert!(said.len() > 50 * FRAME);
    }

    #[test]
    fn a_click_is_no_speech_and_a_short_pause_no_end() {
        assert_eq!(hear(&mut Ear::default(), [vec![false; 9], vec![true; 1], vec![false; 99]].concat()), []);
        let with_pause = [vec![true; 20], vec![false; 15], vec![true; 20], vec![false; 60]].concat();
        assert_eq!(hear(&mut Ear::default(), with_pause).len(), 2);
    }

    #[test]
    fn who_never_stops_is_cut_and_whose_packets_stop_has_spoken() {
        let mut ear = Ear::default();
        let heard = hear(&mut ear, vec![true; EAR_LONGEST_SAMPLES / FRAME + 20]);
        assert!(matches!(&heard[1].1, Heard::Said(said) if said.len() <= EAR_LONGEST_SAMPLES + FRAME));
        let mut ear = Ear::default();
        hear(&mut ear, vec![true; 10]);
        assert_eq!(ear.overdue(Instant::now()), None);
        assert!(matches!(ear.overdue(Instant::now() + EAR_END_AFTER * 2), Some(Heard::Said(_))));
    }
}
