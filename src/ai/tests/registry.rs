//! Versions swapped while contacts come in.

use std::sync::Arc;

use super::support::always;
use crate::ai::{Registry, Swap};

fn version(registry: &Registry, contact: u32) -> Option<String> {
    registry.pick(&contact.to_be_bytes()).map(|models| models.version().to_owned())
}

fn share_of(registry: &Registry, wanted: &str) -> usize {
    (0..10_000).filter(|contact| version(registry, *contact).as_deref() == Some(wanted)).count()
}

#[test]
fn a_canary_answers_its_percent_of_contacts_and_each_contact_keeps_its_version() {
    let registry = Registry::default();
    registry.try_out(Arc::new(always("1", [0.0; 3])), 100);
    assert_eq!(registry.promote(), Some(Swap::Stable("1".into())));
    assert_eq!(registry.try_out(Arc::new(always("2", [0.0; 3])), 10), Swap::Canary("2".into(), 10));
    let share = share_of(&registry, "2");
    assert!((800..1_200).contains(&share), "{share} of 10,000");
    assert!((0..1_000).all(|contact| version(&registry, contact) == version(&registry, contact)));
    registry.try_out(Arc::new(always("2", [0.0; 3])), 0);
    assert_eq!(share_of(&registry, "2"), 0);
    registry.try_out(Arc::new(always("2", [0.0; 3])), 250);
    assert_eq!(share_of(&registry, "2"), 10_000, "more than all is all");
}

#[test]
fn rolling_back_puts_the_canary_away_then_goes_to_the_version_before_then_to_rules() {
    let registry = Registry::default();
    for number in ["1", "2", "3"] {
        registry.try_out(Arc::new(always(number, [0.0; 3])), 50);
        if number != "3" {
            registry.promote().unwrap();
        }
    }
    assert_eq!(registry.roll_back(), Swap::Stable("2".into()));
    assert_eq!(share_of(&registry, "2"), 10_000);
    assert_eq!(registry.roll_back(), Swap::Stable("1".into()));
    assert_eq!(registry.roll_back(), Swap::Nothing);
    assert_eq!(version(&registry, 1), None);
    assert_eq!(registry.promote(), None, "there is nothing to promote");
}

#[test]
fn whoever_asked_keeps_its_version_through_a_swap() {
    let registry = Registry::default();
    registry.try_out(Arc::new(always("1", [0.0; 3])), 100);
    let taken = registry.pick(b"call").unwrap();
    registry.promote();
    registry.roll_back();
    assert_eq!(taken.version(), "1");
}

#[test]
fn versions_that_differ_in_anything_have_another_hash() {
    assert_ne!(always("1", [0.0; 3]).hash(), always("2", [0.0; 3]).hash());
    assert_eq!(always("1", [0.0; 3]).hash(), always("1", [9.0; 3]).hash(), "the hash is the manifest's, which names its files' hashes");
}
