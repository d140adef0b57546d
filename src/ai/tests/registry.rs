//! Versions swapped while contacts come in.

use std::sync::Arc;

use super::support::always;
use crate::ai::{Answers, Registry, Shelf};

fn answers(version: &str) -> Answers {
    Answers { models: Some(Arc::new(always(version, [0.0; 3]))), stand_in: false }
}

fn trial(percent: u8) -> Shelf {
    Shelf { current: answers("1"), canary: Some((answers("2"), percent)) }
}

fn version(registry: &Registry, contact: u32) -> Option<String> {
    registry.pick(&contact.to_be_bytes()).models.map(|models| models.version().to_owned())
}

fn share_of(registry: &Registry, wanted: &str) -> usize {
    (0..10_000).filter(|contact| version(registry, *contact).as_deref() == Some(wanted)).count()
}

#[test]
fn a_canary_answers_its_percent_of_contacts() {
    let registry = Registry::default();
    assert_eq!(version(&registry, 1), None, "rules");
    for (percent, least, most) in [(0, 0, 0), (10, 800, 1_200), (50, 4_600, 5_400)] {
        registry.put(trial(percent));
        let share = share_of(&registry, "2");
        assert!((least..=most).contains(&share), "{percent} %: {share} of 10,000");
        assert_eq!(share_of(&registry, "1"), 10_000 - share);
    }
}

#[test]
fn a_contact_meets_the_same_version_on_every_node_and_a_larger_canary_takes_none_back() {
    let (one, other) = (Registry::default(), Registry::default());
    one.put(trial(10));
    other.put(trial(10));
    assert!((0..1_000).all(|contact| version(&one, contact) == version(&other, contact)));
    other.put(trial(30));
    let on_trial = |registry: &Registry, contact| version(registry, contact).as_deref() == Some("2");
    assert!((0..1_000).all(|contact| !on_trial(&one, contact) || on_trial(&other, contact)));
}

#[test]
fn whoever_asked_keeps_its_version_through_a_swap() {
    let registry = Registry::of(always("1", [0.0; 3]));
    let taken = registry.pick(b"call").models.unwrap();
    registry.put(Shelf::default());
    assert_eq!(taken.version(), "1");
}

#[test]
fn versions_that_differ_in_anything_have_another_hash() {
    assert_ne!(always("1", [0.0; 3]).hash(), always("2", [0.0; 3]).hash());
    assert_eq!(always("1", [0.0; 3]).hash(), always("1", [9.0; 3]).hash(), "the hash is the manifest's, which names its files' hashes");
}
