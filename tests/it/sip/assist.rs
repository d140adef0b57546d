//! Agent assist with real audio: what is said becomes notes for whoever has the call, until the call is somebody else's.

use std::sync::Arc;

use futures::StreamExt as _;
use tandem::{
    ai::{
        Language,
        knowledge::Knowledge,
        speech::{Heard, Scripted, SpeechEngine as _},
    },
    core::{
        aid::{Aid, Hearing, NoteKind},
        command::Command,
        effect::{Action, Treat},
        matrix::{Hears, Plan, Taping},
        policy::{Assistant, Words},
    },
    sip::brain::{Answer, Brain, Said, Suggestion},
};
use tandem_cluster::BoxFuture;

use super::{
    control::{Call, SECRET, SILENCE},
    fake::until,
};

/// Frames of 20 ms until a pause is the end of an utterance, and some to spare.
const PAUSE_FRAMES: usize = 60;

/// Hears what is scripted, and answers from one article.
struct Ears {
    engine: Scripted,
    articles: Arc<Knowledge>,
}

impl Ears {
    fn hearing(script: &[&str]) -> Arc<dyn Brain> {
        let article = "# Parcels\n\n## Tracking\n\nYour parcel is on its way; the link in the mail shows where.\n";
        let articles = Knowledge::of([("parcels.md".into(), article.as_bytes().to_vec())]).unwrap();
        let script = script.iter().map(|text| Ok((*text).to_owned()));
        Arc::new(Self { engine: Scripted::hearing(script), articles: Arc::new(articles) })
    }
}

impl Brain for Ears {
    fn disclosure(&self, _: &Assistant) -> Words {
        Words::default()
    }

    fn answer(&self, _: Said) -> BoxFuture<Answer> {
        Box::pin(std::future::pending())
    }

    fn voice(&self, _: Arc<Assistant>, _: String) -> BoxFuture<Option<Arc<[i16]>>> {
        Box::pin(async { None })
    }

    fn hears(&self) -> bool {
        true
    }

    fn hear(&self, _: Arc<Assistant>, samples: Vec<i16>) -> BoxFuture<Option<String>> {
        let mut events = self.engine.hear(futures::stream::iter([samples]).boxed(), Language::En);
        Box::pin(async move {
            match events.next().await {
                Some(Ok(Heard::Final(text))) => Some(text),
                _ => None,
            }
        })
    }

    fn overhear(&self, of: Arc<Assistant>, samples: Vec<i16>) -> BoxFuture<Option<String>> {
        self.hear(of, samples)
    }

    fn suggest(&self, of: Arc<Assistant>, text: String) -> BoxFuture<Option<Suggestion>> {
        assert_eq!(of.knowledge, "shop", "as the tenant says");
        let articles = self.articles.clone();
        Box::pin(async move {
            let passage = articles.search(Language::En, &text).first()?.passage;
            Some(Suggestion { text: passage.text.clone(), source: passage.source() })
        })
    }
}

/// Both talk, and what these legs say is written down for the agent on leg 1.
fn hearing(call: &Call, version: u32, legs: &[u16]) {
    let aid = Arc::new(Aid { suggest: true, agents: true, language: "en".into(), knowledge: "shop".into() });
    let hearing = Hearing { owner: 1, legs: legs.to_vec(), aid };
    let legs = [(0, Hears::Legs(vec![1])), (1, Hears::Legs(vec![0]))].into();
    let plan = Plan { version, legs, taping: Taping::Off, taped: Vec::new(), hearing: Some(Arc::new(hearing)) };
    call.node.order(call.leg, Action::Media(Arc::new(plan)));
}

/// What was proposed so far: for whom, what it is, what it says.
fn notes(call: &Call) -> Vec<(u16, NoteKind, String)> {
    let commands = call.node.fake.commands.lock();
    let notes = commands.iter().filter_map(|command| match command {
        Command::Note(new) => Some((new.note.owner, new.note.kind, new.note.text.clone())),
        _ => None,
    });
    notes.collect()
}

/// One party says something, and then both are silent.
async fn utter(call: &mut Call, codes: [u8; 2]) {
    call.say(&codes, 20).await;
    call.say(&[SILENCE; 2], PAUSE_FRAMES).await;
}

#[tokio::test]
async fn what_a_customer_says_is_noted_with_an_article_that_answers_it_and_what_its_agent_says_without() {
    let mut call = Call::talking_beside(Some(Ears::hearing(&["Where is my parcel?", "Let me see where your parcel is."]))).await;
    hearing(&call, 1, &[0, 1]);
    call.say(&[SILENCE; 2], 5).await;
    utter(&mut call, [SECRET, SILENCE]).await;
    let both = until("a line and a suggestion", || Some(notes(&call)).filter(|notes| notes.len() == 2)).await;
    assert_eq!(both[0], (1, NoteKind::Customer, "Where is my parcel?".to_owned()));
    assert!(both[1].1 == NoteKind::Suggestion && both[1].2.starts_with("Your parcel is on its way"), "{both:?}");
    utter(&mut call, [SILENCE, SECRET]).await;
    let all = until("the agent's line", || Some(notes(&call)).filter(|notes| notes.len() > 2)).await;
    assert_eq!(all[2..], [(1, NoteKind::Agent, "Let me see where your parcel is.".to_owned())]);
}

#[tokio::test]
async fn nobody_is_heard_who_is_not_to_be_nor_once_the_caller_waits_again() {
    let mut call = Call::talking_beside(Some(Ears::hearing(&["first", "second", "third"]))).await;
    hearing(&call, 1, &[0]);
    call.say(&[SILENCE; 2], 5).await;
    utter(&mut call, [SILENCE, SECRET]).await;
    utter(&mut call, [SECRET, SILENCE]).await;
    let one = until("the customer's line", || Some(notes(&call)).filter(|notes| !notes.is_empty())).await;
    assert_eq!(one, [(1, NoteKind::Customer, "first".to_owned())], "its agent is not listened to");
    // The agent sends it on.
    call.node.order(call.leg, Action::Treat(Arc::new(Treat { greeting: None, position: None, music: None })));
    call.say(&[SILENCE; 2], 5).await;
    utter(&mut call, [SECRET, SILENCE]).await;
    // Another one has it, and the next that is said is the next that is heard.
    hearing(&call, 2, &[0]);
    call.say(&[SILENCE; 2], 5).await;
    utter(&mut call, [SECRET, SILENCE]).await;
    let two = until("the next line", || Some(notes(&call)).filter(|notes| notes.len() > 1)).await;
    assert_eq!(two[1..], [(1, NoteKind::Customer, "second".to_owned())]);
}
