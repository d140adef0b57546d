//! What a node makes of the cluster's choice with the files it has.

use super::*;
use crate::core::{models::Change, time::WallTime};

/// A folder of models as shipped, with versions 2 and 3 below it that differ in their manifests.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    for to in ["", "two", "three"] {
        let to = dir.path().join(to);
        fs::create_dir_all(&to).expect("a folder");
        for file in fs::read_dir(&shipped).expect("models").filter_map(Result::ok).filter(|file| file.path().is_file()) {
            fs::copy(file.path(), to.join(file.file_name())).expect("a copy");
        }
    }
    for (to, version) in [("two", "2"), ("three", "3")] {
        let path = dir.path().join(to).join("manifest.toml");
        let text = fs::read_to_string(&path).expect("a manifest");
        let line = text.lines().find(|line| line.starts_with("version")).expect("it has a version");
        fs::write(&path, text.replacen(line, &format!("version = \"{version}\""), 1)).expect("written");
    }
    dir
}

fn store(dir: &Path) -> Store {
    Store::open(&Ai { models: Some(dir.to_owned()), ..Ai::default() })
}

fn hash(dir: &Path) -> String {
    Models::peek(dir).expect("a manifest").1.to_string()
}

/// The choice after these changes, with versions 2 and 3 staged by their hashes.
fn choice(dir: &Path, changes: &[Change]) -> Choice {
    let mut choice = Choice::default();
    let stage = [("2", "two"), ("3", "three")].map(|(version, of)| Change::Stage {
        version: version.into(),
        sha256: hash(&dir.join(of)),
        scorecards: Vec::new(),
    });
    for change in stage.iter().chain(changes) {
        choice.make(change, "admin", "because", WallTime(0)).expect("allowed");
    }
    choice
}

fn promote(version: &str) -> Change {
    Change::Promote { version: version.into(), force: true }
}

fn judges(held: &Held) -> (Option<&str>, bool) {
    (held.current.version.as_deref(), held.current.stand_in)
}

#[test]
fn a_node_judges_by_what_it_was_started_with_until_a_version_is_chosen_and_then_by_that() {
    let dir = folder();
    let mut store = store(dir.path());
    let (shelf, held) = store.settle(&Choice::default());
    assert_eq!(held.current.sha256.as_ref(), Some(&hash(dir.path())));
    assert!(shelf.canary.is_none() && !held.current.stand_in);
    let canary = Change::Canary { version: "3".into(), percent: 7 };
    let (shelf, held) = store.settle(&choice(dir.path(), &[promote("2"), canary]));
    assert_eq!((judges(&held), &held.missing[..]), ((Some("2"), false), &[][..]));
    let (answers, percent) = shelf.canary.expect("one is on trial");
    assert_eq!((answers.models.map(|models| models.hash().to_string()), percent), (Some(hash(&dir.path().join("three"))), 7));
    let (_, held) = store.settle(&choice(dir.path(), &[promote("2"), promote("3"), Change::RollBack]));
    assert_eq!(judges(&held), (Some("2"), false));
}

#[test]
fn a_node_without_the_files_stays_with_the_version_before_says_so_and_takes_them_when_they_come() {
    let dir = folder();
    let chosen = choice(dir.path(), &[promote("2"), promote("3")]);
    let (three, aside) = (dir.path().join("three"), tempfile::tempdir().expect("a folder"));
    fs::rename(&three, aside.path().join("three")).expect("moved");
    let mut store = store(dir.path());
    let (shelf, held) = store.settle(&chosen);
    assert_eq!(judges(&held), (Some("2"), true));
    assert!(shelf.current.stand_in, "what it decides is marked");
    assert_eq!(held.missing.len(), 1);
    assert!(held.missing[0].why.contains("no folder in"), "{:?}", held.missing);
    fs::rename(aside.path().join("three"), &three).expect("moved");
    assert_eq!(judges(&store.settle(&chosen).1), (Some("3"), false));
}

#[test]
fn a_canary_whose_files_are_missing_leaves_its_contacts_to_the_current_version_marked() {
    let dir = folder();
    let chosen = choice(dir.path(), &[promote("2"), Change::Canary { version: "3".into(), percent: 50 }]);
    fs::remove_dir_all(dir.path().join("three")).expect("removed");
    let (shelf, held) = store(dir.path()).settle(&chosen);
    assert_eq!((judges(&held), held.missing.len()), ((Some("2"), false), 1));
    let (answers, _) = shelf.canary.expect("its share is known");
    assert!(answers.stand_in && answers.models.is_some_and(|models| models.version() == "2"));
}

#[test]
fn files_that_are_not_what_was_staged_are_refused() {
    let dir = folder();
    let chosen = choice(dir.path(), &[promote("2"), promote("3")]);
    let manifest = dir.path().join("three/manifest.toml");
    let text = fs::read_to_string(&manifest).expect("a manifest");
    fs::write(&manifest, format!("{text}# changed\n")).expect("written");
    let why = store(dir.path()).settle(&chosen).1.missing[0].why.clone();
    assert!(why.contains("three is version 3 with sha256"), "{why}");
    fs::write(&manifest, text).expect("written");
    let model = dir.path().join("three/language.onnx");
    let mut bytes = fs::read(&model).expect("a model");
    *bytes.last_mut().expect("bytes") ^= 1;
    fs::write(&model, bytes).expect("written");
    let (_, held) = store(dir.path()).settle(&chosen);
    assert!(held.missing[0].why.contains("sha256") && judges(&held) == (Some("2"), true), "{held:?}");
}

#[test]
fn a_node_that_has_no_models_at_all_says_what_it_lacks_and_rules_answer() {
    let dir = folder();
    let mut bare = Store::open(&Ai::default());
    let (shelf, held) = bare.settle(&Choice::default());
    assert!(shelf.current.models.is_none() && held.missing.is_empty(), "nothing was chosen");
    let (shelf, held) = bare.settle(&choice(dir.path(), &[promote("2")]));
    assert!(shelf.current.models.is_none() && shelf.current.stand_in);
    assert_eq!(held.missing, [Missing { version: "2".into(), why: "this node's file names no folder of models".into() }]);
}
