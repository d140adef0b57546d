//! A program while it plays to one leg, frame by frame.

use std::time::Duration;

use super::{Item, Program, Tone, limits::FRAME_SAMPLES, music};

/// What a prompt that cannot be had becomes, and for how long: the caller hears that something is there.
const INSTEAD: (Tone, Duration) = (Tone::Comfort, Duration::from_secs(1));

#[derive(Debug)]
pub struct Player {
    program: Program,
    item: usize,
    /// Samples of the item already played.
    at: usize,
}

impl Player {
    pub fn new(program: Program) -> Self {
        Self { program, item: 0, at: 0 }
    }

    /// The next frame; false when the program is over and `frame` is untouched.
    pub fn frame(&mut self, frame: &mut [i16; FRAME_SAMPLES]) -> bool {
        // A program of items without length must not hold the thread.
        for _ in 0..=self.program.items.len() {
            if self.item >= self.program.items.len() {
                if !self.program.repeat {
                    return false;
                }
                self.item = 0;
            }
            let Some(item) = self.program.items.get(self.item) else { return false };
            if self.at < length(item) {
                fill(item, self.at, frame);
                self.at += FRAME_SAMPLES;
                return true;
            }
            self.item += 1;
            self.at = 0;
        }
        false
    }
}

fn length(item: &Item) -> usize {
    match item {
        Item::Prompt(_) => music::samples(INSTEAD.1),
        Item::Tone(_, duration) | Item::Silence(duration) | Item::Music(duration) => music::samples(*duration),
    }
}

fn fill(item: &Item, at: usize, frame: &mut [i16; FRAME_SAMPLES]) {
    match item {
        Item::Prompt(_) => music::tone(INSTEAD.0, at, frame),
        Item::Tone(tone, _) => music::tone(*tone, at, frame),
        Item::Silence(_) => music::noise(at, frame),
        Item::Music(_) => music::music(at, frame),
    }
}
