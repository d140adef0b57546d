//! Rules and models together: routing, abstention, and what a model cannot override.

use super::support::{always, models};
use crate::ai::{Models, Next, Reason, Text, Triage, triage};

fn said(models: &Models, text: &str) -> Triage {
    triage(Some(models), "p", &Text::read(text.as_bytes()))
}

#[test]
fn a_sure_model_routes_and_an_unsure_one_asks_back_or_hands_over() {
    for (scores, next, reason) in [
        ([0.0, 5.0, 0.0], Next::Route("move".into()), Reason::Sure),
        ([0.0, 1.0, 0.9], Next::Clarify, Reason::Unsure),
        ([0.0, -3.0, -4.0], Next::Generalist, Reason::Unsure),
        ([9.0, 5.0, 0.0], Next::Generalist, Reason::Unsure),
    ] {
        let models = always("1", scores);
        let triage = said(&models, "搬家 moving");
        assert_eq!((triage.next, triage.reason), (next, reason), "{scores:?}");
        assert_eq!(triage.model, Some(models.hash()), "every decision cites its models");
        assert!(!triage.fallback);
    }
}

#[test]
fn what_is_outside_every_intent_is_never_routed_to() {
    let triage = said(&always("1", [50.0, -1.0, -2.0]), "how tall is mount everest");
    assert_ne!(triage.intent.map(|intent| intent.value).as_deref(), Some("-"));
    assert_eq!(triage.next, Next::Generalist);
}

#[test]
fn a_person_please_wins_over_the_surest_model() {
    for text in ["pay my bill. a person, please", "交话费，转人工", "pagar mi factura, quiero un humano"] {
        let triage = said(&always("1", [0.0, 0.0, 99.0]), text);
        assert_eq!((triage.next, triage.reason), (Next::Person, Reason::AskedForPerson), "{text}");
        assert_eq!(triage.intent.map(|intent| intent.value).as_deref(), Some("pay"), "the person is told what it is about");
    }
}

#[test]
fn a_model_that_fails_or_talks_nonsense_leaves_the_answer_to_rules() {
    let broken = [
        models("1", |_| Err("broken".into())),
        models("1", |_| Ok(vec![1.0])),
        models("1", |_| Ok(vec![0.0, f32::NAN, 1.0])),
        models("1", |_| Ok(vec![0.0, f32::INFINITY, 1.0])),
    ];
    for models in &broken {
        let triage = said(models, "pay my bill");
        assert!(triage.fallback && triage.model.is_none());
        assert_eq!((triage.next, triage.reason), (Next::Generalist, Reason::ModelFailed));
        assert_eq!(said(models, "转人工").next, Next::Person);
    }
}

#[test]
fn intents_that_no_head_knows_go_to_a_generalist() {
    let triage = triage(Some(&always("1", [0.0, 9.0, 0.0])), "another", &Text::read(b"move me"));
    assert_eq!((triage.next, triage.intent), (Next::Generalist, None));
}

#[test]
fn an_empty_text_asks_no_model() {
    let triage = said(&models("1", |_| panic!("asked")), "  \u{0}\u{7} !!! ");
    assert_eq!((triage.next, triage.reason, triage.fallback), (Next::Clarify, Reason::Empty, true));
}
