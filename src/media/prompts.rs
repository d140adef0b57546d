//! Recorded prompts: read from a folder by a thread of their own, kept in memory within a bound.
//!
//! A media thread asks by name and never waits: what is not there yet is being read, and what cannot be read is missing.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Instant,
};

use parking_lot::Mutex;

use super::{limits, wav};

/// What there is under a name.
#[derive(Debug, Clone)]
pub enum Prompt {
    Ready(Arc<[i16]>),
    Loading,
    Missing,
}

#[derive(Debug)]
struct Kept {
    prompt: Prompt,
    read_at: Instant,
    asked_at: Instant,
}

#[derive(Debug)]
pub struct Prompts {
    kept: Arc<Mutex<HashMap<Arc<str>, Kept>>>,
    /// Names to read; `None` without a folder. The thread ends with it.
    reader: Option<SyncSender<Arc<str>>>,
}

impl Prompts {
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(folder: Option<PathBuf>) -> std::io::Result<Self> {
        let kept: Arc<Mutex<HashMap<Arc<str>, Kept>>> = Arc::default();
        let Some(folder) = folder else { return Ok(Self { kept, reader: None }) };
        let (reader, names) = sync_channel(limits::PROMPT_QUEUE_MAX);
        let theirs = Arc::clone(&kept);
        std::thread::Builder::new().name("media-prompts".into()).spawn(move || read_all(&folder, &names, &theirs))?;
        Ok(Self { kept, reader: Some(reader) })
    }

    /// What there is under `name`; asks for it to be read if need be.
    pub fn get(&self, name: &Arc<str>, now: Instant) -> Prompt {
        let Some(reader) = &self.reader else { return Prompt::Missing };
        let mut kept = self.kept.lock();
        if let Some(known) = kept.get_mut(name) {
            known.asked_at = now;
            let is_old = now.saturating_duration_since(known.read_at) >= limits::PROMPT_FRESH;
            if is_old && !matches!(known.prompt, Prompt::Loading) && reader.try_send(Arc::clone(name)).is_ok() {
                known.read_at = now;
            }
            return known.prompt.clone();
        }
        if kept.len() >= limits::PROMPT_NAMES_MAX || !is_name(name) || reader.try_send(Arc::clone(name)).is_err() {
            return Prompt::Missing;
        }
        kept.insert(Arc::clone(name), Kept { prompt: Prompt::Loading, read_at: now, asked_at: now });
        Prompt::Loading
    }
}

/// Letters, digits, `-` and `_` with single dots and slashes between: no way out of the folder.
fn is_name(name: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    name.len() <= 200 && name.split(['/', '.']).all(is_word)
}

fn read_all(folder: &Path, names: &Receiver<Arc<str>>, kept: &Mutex<HashMap<Arc<str>, Kept>>) {
    while let Ok(name) = names.recv() {
        let path = folder.join(format!("{name}.wav"));
        let prompt = match wav::read(&path) {
            Ok(samples) => Prompt::Ready(samples.into()),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "a prompt cannot be played and becomes a tone");
                Prompt::Missing
            }
        };
        let mut kept = kept.lock();
        if let Some(known) = kept.get_mut(&name) {
            known.prompt = prompt;
        }
        make_room(&mut kept);
    }
}

/// Forgets what was not played for longest until the rest fits.
fn make_room(kept: &mut HashMap<Arc<str>, Kept>) {
    let samples = |known: &Kept| match &known.prompt {
        Prompt::Ready(samples) => samples.len(),
        _ => 0,
    };
    let mut held: usize = kept.values().map(samples).sum();
    while held > limits::PROMPT_SAMPLES_MAX {
        let oldest = kept.iter().filter(|(_, known)| samples(known) > 0).min_by_key(|(_, known)| known.asked_at);
        let Some((name, size)) = oldest.map(|(name, known)| (Arc::clone(name), samples(known))) else { return };
        kept.remove(&name);
        held -= size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere_else() {
        for name in ["welcome", "de/welcome", "queue-1_b", "v2.welcome"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "../secret", "/etc/passwd", "a//b", "a/../b", ".hidden", "a b", "a\0b"] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn what_was_not_played_for_longest_goes_first() {
        let start = Instant::now();
        let half: Arc<[i16]> = vec![0; limits::PROMPT_SAMPLES_MAX / 2].into();
        let kept = |after: u64| Kept {
            prompt: Prompt::Ready(Arc::clone(&half)),
            read_at: start,
            asked_at: start + std::time::Duration::from_secs(after),
        };
        let mut all: HashMap<Arc<str>, Kept> = [("b".into(), kept(2)), ("a".into(), kept(1)), ("c".into(), kept(3))].into();
        make_room(&mut all);
        assert!(!all.contains_key("a") && all.len() == 2);
    }
}
