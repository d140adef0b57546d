//! Threads, queue and deadline: whatever models do, an answer comes.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use parking_lot::Mutex;

use super::support::{always, models};
use crate::ai::{Answers, Engine, Models, Next, Options, Reason, Registry, Shelf, Text, Urgency, features};

fn engine(models: Option<Models>, options: &Options) -> Engine {
    let registry = models.map_or_else(Registry::default, Registry::of);
    Engine::start(Arc::new(registry), options).unwrap()
}

/// Models that answer only once the sender is dropped, and tell the rows of the texts they are asked about.
fn held() -> (Models, Sender<()>, Receiver<Vec<i64>>) {
    let (release, released) = channel();
    let (ask, asked) = channel();
    let released = Mutex::new(released);
    let models = models("1", move |features| {
        ask.send(features.rows.clone()).map_err(|error| error.to_string())?;
        let _ = released.lock().recv();
        Ok(vec![0.0, 9.0, 0.0])
    });
    (models, release, asked)
}

/// Lets a text hold the thread. Its caller waits on, so that the thread does not pass it over however late it comes to it.
macro_rules! hold {
    ($engine:expr, $asked:expr, $text:literal) => {{
        let mut patient = $engine.clone();
        patient.deadline = Duration::from_secs(3_600);
        let mut first = Box::pin(async move { patient.judge(b"a", "p", $text).await });
        assert!(futures::poll!(&mut first).is_pending());
        ($asked.recv().unwrap(), first)
    }};
}

/// A deadline that nothing held can keep; short, since it is really waited for.
fn soon() -> Options {
    Options { deadline: Duration::from_millis(1), ..Options::default() }
}

#[tokio::test]
async fn models_answer_from_their_own_thread() {
    let engine = engine(Some(always("1", [0.0, 9.0, 0.0])), &Options { deadline: Duration::from_secs(60), ..Options::default() });
    let triage = engine.judge(b"call-1", "p", "搬家".as_bytes()).await;
    assert_eq!((triage.next, triage.reason, triage.fallback), (Next::Route("move".into()), Reason::Sure, false));
    assert_eq!(triage.model, engine.registry().pick(b"call-1").models.map(|models| models.hash()));
}

#[tokio::test]
async fn a_version_that_stands_in_for_another_is_cited_and_marked() {
    let engine = engine(Some(always("1", [0.0, 9.0, 0.0])), &Options { deadline: Duration::from_secs(60), ..Options::default() });
    let stand_in = Answers { stand_in: true, ..engine.registry().pick(b"call-1") };
    let hash = stand_in.models.as_ref().map(|models| models.hash());
    engine.registry().put(Shelf { current: stand_in, canary: None });
    let triage = engine.judge(b"call-1", "p", "搬家".as_bytes()).await;
    assert_eq!((triage.next, triage.model, triage.fallback), (Next::Route("move".into()), hash, true));
}

#[tokio::test]
async fn without_models_rules_answer_at_once() {
    let triage = engine(None, &Options::default()).judge(b"call-1", "p", b"move me").await;
    assert_eq!((triage.next, triage.reason, triage.fallback), (Next::Generalist, Reason::NoModel, true));
}

#[tokio::test]
async fn a_late_model_is_not_waited_for_and_the_answer_says_so() {
    let (models, release, asked) = held();
    let engine = engine(Some(models), &soon());
    let _held = hold!(engine, asked, b"hold");
    let triage = engine.judge(b"call-1", "p", "很急，搬家".as_bytes()).await;
    assert_eq!((triage.next, triage.reason, triage.fallback), (Next::Generalist, Reason::Late, true));
    assert_eq!(triage.urgency.value, Urgency::High, "rules had their say");
    let person = engine.judge(b"call-1", "p", "转人工".as_bytes()).await;
    assert_eq!(person.next, Next::Person, "a person is heard however late the model is");
    drop(release);
}

#[tokio::test]
async fn beyond_the_queue_rules_answer_and_what_nobody_waits_for_is_not_computed() {
    let (models, release, asked) = held();
    let engine = engine(Some(models), &Options { waiting: 1, ..soon() });
    let rows = |text: &str| features::of(&Text::read(text.as_bytes()), 14).rows;
    let (first, _held) = hold!(engine, asked, b"one");
    assert_eq!(first, rows("one"), "the thread is held by the first");
    assert_eq!(engine.judge(b"b", "p", b"two").await.reason, Reason::Late, "the second waits in the queue");
    assert_eq!(engine.judge(b"c", "p", b"three").await.reason, Reason::Busy, "there is no place for a third");
    drop(release);
    // However long the thread takes to come round again, it takes the fourth in the end.
    let mut patient = engine;
    patient.deadline = Duration::from_secs(60);
    let fourth = loop {
        match patient.judge(b"d", "p", b"four").await.reason {
            Reason::Busy => tokio::task::yield_now().await,
            reason => break reason,
        }
    };
    assert_eq!(fourth, Reason::Sure);
    assert!(asked.try_iter().all(|asked| asked == rows("four")), "the second's caller had gone, the third was never taken");
}

#[tokio::test]
async fn a_panic_in_a_backend_costs_its_text_the_model_and_nobody_else() {
    let models = models("1", |features| if features.rows.len() > 40 { panic!("backend") } else { Ok(vec![0.0, 9.0, 0.0]) });
    let engine = engine(Some(models), &Options { deadline: Duration::from_secs(60), ..Options::default() });
    let triage = engine.judge(b"a", "p", b"a rather long text with many different words in it").await;
    assert_eq!((triage.reason, triage.fallback), (Reason::ModelFailed, true));
    assert_eq!(engine.judge(b"a", "p", b"move").await.reason, Reason::Sure);
}
