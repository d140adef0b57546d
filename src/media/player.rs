//! A program while it plays to one leg, frame by frame.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Item, Program, Tone,
    limits::{self, FRAME_SAMPLES},
    music,
    prompts::{Prompt, Prompts},
};

/// What a prompt that cannot be had becomes, and for how long: the caller hears that something is there.
const INSTEAD: (Tone, Duration) = (Tone::Comfort, Duration::from_secs(1));

/// What an item turned out to be when its turn came.
#[derive(Debug)]
enum Sound {
    Samples(Arc<[i16]>),
    Tone(Tone, usize),
    Silence(usize),
    Music(usize),
}

#[derive(Debug)]
pub struct Player {
    program: Program,
    item: usize,
    /// What plays now; `None` before an item's turn.
    sound: Option<Sound>,
    /// Samples of it already played.
    at: usize,
    /// Frames that went by while the prompt was read.
    waited: usize,
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    Filled,
    /// The same, and the item is a prompt that could not be had.
    Instead,
    /// The program is over; nothing was written.
    Done,
}

impl Player {
    pub fn new(program: Program) -> Self {
        Self { program, item: 0, sound: None, at: 0, waited: 0 }
    }

    pub fn frame(&mut self, prompts: &Prompts, now: Instant, frame: &mut [i16; FRAME_SAMPLES]) -> Frame {
        let mut result = Frame::Filled;
        // A program of items without length must not hold the thread.
        for _ in 0..=self.program.items.len() {
            if self.item >= self.program.items.len() && self.program.repeat {
                self.item = 0;
            }
            let Some(item) = self.program.items.get(self.item) else { return Frame::Done };
            if self.sound.is_none() {
                self.sound = self.begin(item, prompts, now);
                if matches!((item, &self.sound), (Item::Prompt(_), Some(Sound::Tone(..)))) {
                    result = Frame::Instead;
                }
            }
            let Some(sound) = &self.sound else {
                self.waited += 1;
                music::noise(self.waited * FRAME_SAMPLES, frame);
                return Frame::Filled;
            };
            if self.at < sound.length() {
                sound.fill(self.at, frame);
                self.at += FRAME_SAMPLES;
                return result;
            }
            (self.item, self.sound, self.at, self.waited) = (self.item + 1, None, 0, 0);
        }
        Frame::Done
    }

    /// What an item is; `None` while its prompt is being read.
    fn begin(&self, item: &Item, prompts: &Prompts, now: Instant) -> Option<Sound> {
        Some(match item {
            Item::Prompt(name) => match prompts.get(name, now) {
                Prompt::Ready(samples) => Sound::Samples(samples),
                Prompt::Loading if self.waited < limits::PROMPT_WAIT_FRAMES => return None,
                Prompt::Loading | Prompt::Missing => Sound::Tone(INSTEAD.0, music::samples(INSTEAD.1)),
            },
            Item::Samples(samples) => Sound::Samples(Arc::clone(samples)),
            Item::Tone(tone, duration) => Sound::Tone(*tone, music::samples(*duration)),
            Item::Silence(duration) => Sound::Silence(music::samples(*duration)),
            Item::Music(duration) => Sound::Music(music::samples(*duration)),
        })
    }
}

impl Sound {
    fn length(&self) -> usize {
        match self {
            Self::Samples(samples) => samples.len(),
            Self::Tone(_, length) | Self::Silence(length) | Self::Music(length) => *length,
        }
    }

    fn fill(&self, at: usize, frame: &mut [i16; FRAME_SAMPLES]) {
        match self {
            Self::Samples(samples) => {
                let rest = &samples[at..samples.len().min(at + FRAME_SAMPLES)];
                frame.fill(0);
                frame[..rest.len()].copy_from_slice(rest);
            }
            Self::Tone(tone, _) => music::tone(*tone, at, frame),
            Self::Silence(_) => music::noise(at, frame),
            Self::Music(_) => music::music(at, frame),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_FRAME: [i16; FRAME_SAMPLES] = [0; FRAME_SAMPLES];

    fn frames(items: Vec<Item>, repeat: bool, most: usize) -> Vec<Frame> {
        let prompts = Prompts::start(None).expect("without a thread");
        let mut player = Player::new(Program { items, repeat });
        let mut frame = NO_FRAME;
        let mut all = Vec::new();
        while all.len() < most && all.last() != Some(&Frame::Done) {
            all.push(player.frame(&prompts, Instant::now(), &mut frame));
        }
        all
    }

    #[test]
    fn items_follow_each_other_and_the_program_ends() {
        let ms = Duration::from_millis;
        let all = frames(vec![Item::Tone(Tone::Busy, ms(40)), Item::Silence(ms(0)), Item::Music(ms(30))], false, 99);
        assert_eq!(all.iter().filter(|frame| **frame == Frame::Filled).count(), 4);
        assert_eq!(all.last(), Some(&Frame::Done));
    }

    #[test]
    fn a_missing_prompt_is_a_tone() {
        let all = frames(vec![Item::Prompt("nowhere".into())], false, 99);
        assert_eq!((all[0], all.len()), (Frame::Instead, 51));
    }

    #[test]
    fn a_program_repeats_until_stopped_and_one_of_nothing_is_over_at_once() {
        assert_eq!(frames(vec![Item::Silence(Duration::from_millis(20))], true, 500), [Frame::Filled; 500]);
        assert_eq!(frames(vec![Item::Silence(Duration::ZERO)], true, 5), [Frame::Done]);
        assert_eq!(frames(Vec::new(), true, 5), [Frame::Done]);
    }
}
