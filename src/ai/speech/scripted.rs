//! An engine for tests: what it says can be told from its audio, what it hears is written down beforehand.

use std::{collections::VecDeque, sync::Arc};

use futures::{StreamExt as _, stream, stream::BoxStream};
use parking_lot::Mutex;

use super::{Heard, SpeechEngine, Spoken};
use crate::ai::{endpoint::Failure, verdict::Language};

/// Samples of each character of a text.
const SAMPLES_PER_CHAR: usize = 160;

/// Says every text as 20 ms a character, each sample the character's code; hears its script, one utterance after the other. Cheap to clone.
#[derive(Clone, Default)]
pub struct Scripted {
    script: Arc<Mutex<VecDeque<Result<String, Failure>>>>,
    said: Arc<Mutex<Vec<Spoken>>>,
}

impl Scripted {
    /// Utterances to hear, in order. After the last one nothing is understood.
    #[must_use]
    pub fn hearing(script: impl IntoIterator<Item = Result<String, Failure>>) -> Self {
        Self { script: Arc::new(Mutex::new(script.into_iter().collect())), said: Arc::default() }
    }

    /// Everything that was to be said, the oldest first.
    #[must_use]
    pub fn said(&self) -> Vec<Spoken> {
        self.said.lock().clone()
    }
}

impl SpeechEngine for Scripted {
    fn say(&self, spoken: Spoken) -> BoxStream<'static, Result<Vec<i16>, Failure>> {
        let chars: Vec<char> = spoken.text.chars().collect();
        self.said.lock().push(spoken);
        let code = |c: char| i16::try_from(u32::from(c) & 0x7fff).unwrap_or_default();
        stream::iter(chars).map(move |c| Ok(vec![code(c); SAMPLES_PER_CHAR])).boxed()
    }

    fn hear(&self, audio: BoxStream<'static, Vec<i16>>, _: Language) -> BoxStream<'static, Result<Heard, Failure>> {
        let script = Arc::clone(&self.script);
        stream::once(async move {
            audio.for_each(|_| std::future::ready(())).await;
            script.lock().pop_front().unwrap_or(Err(Failure::Empty)).map(Heard::Final)
        })
        .boxed()
    }
}
