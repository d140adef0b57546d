//! Intents told by an embedding as well: when it helps, when it fails, and when it is not the one that heads were made for.

use std::{fs, sync::Arc};

use super::support::{always, manifest};
use crate::ai::{
    Embedding, Error, Models, Next, Reason, Text, Triage,
    manifest::Manifest,
    sentences::{Embeds, Refines},
    triage,
    triage::Meaning,
    verdict::Hash,
};

const EMBEDDING: Hash = Hash([7; 32]);

struct Vector<F>(F);

impl<F: Fn(&Text) -> Result<Vec<f32>, String> + Send + Sync> Embeds for Vector<F> {
    fn vector(&self, text: &Text) -> Result<Vec<f32>, String> {
        (self.0)(text)
    }
}

/// Adds the vector to the scores.
struct Sum;

impl Refines for Sum {
    fn scores(&self, scores: &[f32], vector: &[f32]) -> Result<Vec<f32>, String> {
        Ok(scores.iter().zip(vector).map(|(score, value)| score + value).collect())
    }
}

/// A manifest with a refined head for the same intents, which demands more than the plain one.
fn refined_manifest() -> String {
    let plain = manifest("1");
    let head = plain.split("[[head]]").nth(1).unwrap().replace("route_from = 900", "route_from = 990");
    format!("{plain}[[refined]]{head}embedding = \"{EMBEDDING}\"\n")
}

/// Models whose words say `move`, too unsurely to route, and whose embedding gives this vector.
fn models(vector: impl Fn(&Text) -> Result<Vec<f32>, String> + Send + Sync + 'static) -> Models {
    let manifest = Manifest::parse(refined_manifest().as_bytes()).unwrap();
    let embedding = Arc::new(Embedding { name: "e".into(), hash: EMBEDDING, model: Box::new(Vector(vector)) });
    let meaning = Meaning { embedding, heads: vec![(manifest.refined[0].clone(), Box::new(Sum))] };
    Models { manifest, meaning: Some(meaning), ..always("1", [0.0, 1.0, 0.5]) }
}

fn said(models: &Models, pack: &str, text: &str) -> Triage {
    triage(Some(models), pack, &Text::read(text.as_bytes()))
}

#[test]
fn meaning_settles_what_words_leave_open_and_the_decision_cites_both_hashes() {
    let models = models(|text| Ok(if text.as_str().contains("bill") { vec![0.0, 0.0, 6.0] } else { vec![0.0; 3] }));
    let triage = said(&models, "p", "Settle my BILL");
    assert_eq!((triage.next, triage.reason), (Next::Route("pay".into()), Reason::Sure));
    assert_eq!((triage.model, triage.embedding), (Some(models.hash()), Some(EMBEDDING)));
    assert_eq!(said(&models, "p", "moving").next, Next::Clarify, "a vector that adds nothing");
}

#[test]
fn the_refined_head_decides_by_its_own_threshold() {
    let models = models(|_| Ok(vec![0.0, 2.0, 0.0]));
    let triage = said(&models, "p", "moving");
    assert!(triage.intent.unwrap().confidence.0 > 900, "the plain head's threshold is kept");
    assert_eq!(triage.next, Next::Clarify);
}

#[test]
fn an_embedding_that_fails_or_talks_nonsense_leaves_the_intent_to_words() {
    for broken in [models(|_| Err("broken".into())), models(|_| Ok(vec![f32::NAN; 3])), models(|_| Ok(vec![1.0]))] {
        let triage = said(&broken, "p", "moving");
        assert_eq!(triage.intent.map(|intent| intent.value).as_deref(), Some("move"));
        assert_eq!((triage.next, triage.model, triage.embedding), (Next::Clarify, Some(broken.hash()), None));
        assert!(!triage.fallback, "the models answered");
    }
}

#[test]
fn no_text_is_embedded_for_intents_without_a_head_on_it() {
    let models = models(|_| panic!("asked"));
    assert_eq!(said(&models, "another", "moving").embedding, None);
    assert!(models.embedding("another").is_none() && models.embedding("p").is_some());
}

#[test]
fn a_person_please_wins_over_the_surest_meaning() {
    let triage = said(&models(|_| Ok(vec![0.0, 0.0, 99.0])), "p", "pay my bill. a person, please");
    assert_eq!(triage.next, Next::Person);
    assert_eq!(triage.intent.map(|intent| intent.value).as_deref(), Some("pay"));
}

#[test]
fn heads_of_another_embedding_are_not_used() {
    let mut models = always("1", [0.0, 9.0, 0.0]);
    models.manifest = Manifest::parse(refined_manifest().as_bytes()).unwrap();
    let other = Embedding { name: "o".into(), hash: Hash([8; 32]), model: Box::new(Vector(|_: &Text| panic!("asked"))) };
    let nowhere = tempfile::tempdir().unwrap();
    assert!(!models.embed(nowhere.path(), Arc::new(other)).unwrap());
    let triage = said(&models, "p", "moving");
    assert_eq!((triage.next, triage.embedding), (Next::Route("move".into()), None));
}

#[test]
fn a_refined_head_that_refines_nothing_is_refused() {
    let good = refined_manifest();
    let last = |from: &str, to: &str| {
        let (before, after) = good.rsplit_once(from).unwrap();
        format!("{before}{to}{after}")
    };
    for (bad, why) in [
        (last("pack = \"p\"", "pack = \"q\""), "a head for the same intents"),
        (last("\"move\", ", "\"go\", "), "a head for the same intents"),
        (last("embedding", "#"), "names its embedding"),
        (last("\"i.onnx\"", "\"../i.onnx\""), "own directory"),
        (good.replacen("data =", "embedding = \"00\"\ndata =", 1), "only refined heads"),
    ] {
        let error = Manifest::parse(bad.as_bytes()).unwrap_err();
        assert!(error.contains(why), "{why}: {error}");
    }
}

#[test]
fn an_embedding_folder_with_a_wrong_or_missing_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let load = || Embedding::load(dir.path()).err().unwrap();
    assert!(load().to_string().contains("manifest.toml"));
    let manifest = "name = \"e\"\nlicence = \"none\"\nmodel_sha256 = \"00\"\ntokenizer_sha256 = \"00\"\n";
    fs::write(dir.path().join("manifest.toml"), manifest).unwrap();
    assert!(load().to_string().contains("tokenizer.json"));
    fs::write(dir.path().join("tokenizer.json"), b"{}").unwrap();
    assert!(matches!(load(), Error::WrongHash { .. }));
    fs::write(dir.path().join("manifest.toml"), manifest.replace("\"none\"", "\"\"")).unwrap();
    assert!(load().to_string().contains("licence"));
}
