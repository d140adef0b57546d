//! Models on threads of their own, behind a bounded queue and a deadline. Late, busy or broken: rules answer, and say so.
//!
//! It owns threads and queue. What an answer says is `triage.rs`, which version gives it `registry.rs`.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{
    limits::{DEADLINE, THREADS_MAX, WAITING_MAX},
    registry::{Answers, Registry},
    text::Text,
    triage::{triage, without_models},
    verdict::{Reason, Triage},
};

/// How an engine works.
#[derive(Debug, Clone)]
pub struct Options {
    pub threads: usize,
    /// Longest a caller waits for the models.
    pub deadline: Duration,
    /// Texts waiting for a thread; more are answered by rules at once.
    pub waiting: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { threads: 1, deadline: DEADLINE, waiting: WAITING_MAX }
    }
}

struct Job {
    answers: Answers,
    pack: String,
    text: Arc<Text>,
    answer: oneshot::Sender<Triage>,
}

/// Answers texts. Cheap to clone; its threads end with the last clone.
#[derive(Clone)]
pub struct Engine {
    jobs: mpsc::SyncSender<Job>,
    pub(super) deadline: Duration,
    registry: Arc<Registry>,
}

impl Engine {
    /// Starts the threads. Without models in the registry rules answer, on the caller's own thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(registry: Arc<Registry>, options: &Options) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::sync_channel(options.waiting.clamp(1, WAITING_MAX));
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..options.threads.clamp(1, THREADS_MAX) {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name(format!("triage-{number}")).spawn(move || work(&queue))?;
        }
        Ok(Self { jobs, deadline: options.deadline, registry })
    }

    /// The versions that answer, to be switched while texts come in.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Judges what was said in a contact. It always answers, at the latest after the deadline.
    pub async fn judge(&self, contact: &[u8], pack: &str, said: &[u8]) -> Triage {
        let text = Arc::new(Text::read(said));
        let answers = self.registry.pick(contact);
        if answers.models.is_none() {
            return without_models(&text, Reason::NoModel);
        }
        let (answer, answered) = oneshot::channel();
        let job = Job { answers, pack: pack.to_owned(), text: Arc::clone(&text), answer };
        match self.jobs.try_send(job) {
            Ok(()) => {}
            Err(mpsc::TrySendError::Full(_)) => return without_models(&text, Reason::Busy),
            Err(mpsc::TrySendError::Disconnected(_)) => return without_models(&text, Reason::ModelFailed),
        }
        match tokio::time::timeout(self.deadline, answered).await {
            Ok(Ok(triage)) => triage,
            Ok(Err(_)) => without_models(&text, Reason::ModelFailed),
            Err(_) => without_models(&text, Reason::Late),
        }
    }
}

fn work(queue: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        // Held while waiting: the threads take turns, and one that works does not hold it.
        let Ok(job) = queue.lock().recv() else { return };
        // Whoever asked has its answer from the rules already.
        if job.answer.is_closed() {
            continue;
        }
        let judged = catch_unwind(AssertUnwindSafe(|| triage(job.answers.models.as_deref(), &job.pack, &job.text)));
        // A panic inside a backend costs its text the model, not the others their thread.
        let mut triage = judged.unwrap_or_else(|_| without_models(&job.text, Reason::ModelFailed));
        triage.fallback |= job.answers.stand_in;
        // The caller may have gone meanwhile, which is its right.
        let _ = job.answer.send(triage);
    }
}
