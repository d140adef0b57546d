//! Releases of models: staged, tried out, promoted behind a verdict, and taken back.

use proptest::prelude::*;

use crate::core::{
    limits::{CANARY_PERCENT_MAX, MODEL_CHANGES_MAX, MODEL_TEXT_BYTES_MAX, MODELS_BEFORE_MAX, MODELS_STAGED_MAX},
    models::{Canary, Change, Models, Refusal, Scorecard, Scored, Verdict},
    time::WallTime,
};

fn hash(of: &str) -> String {
    of.bytes().cycle().take(32).map(|byte| format!("{byte:02x}")).collect()
}

fn card(sha256: &str, verdicts: &[Option<Verdict>]) -> Scorecard {
    let figures = verdicts.iter().map(|verdict| Scored { metric: "mis-routed".into(), hits: 1, n: 100, verdict: *verdict });
    Scorecard { set: "banking77".into(), sha256: sha256.to_owned(), embedding: None, figures: figures.collect() }
}

/// A version with one figure that comes to this.
fn stage(version: &str, verdict: Option<Verdict>) -> Change {
    Change::Stage { version: version.into(), sha256: hash(version), scorecards: vec![card(&hash(version), &[verdict])] }
}

fn canary(version: &str, percent: u8) -> Change {
    Change::Canary { version: version.into(), percent }
}

fn promote(version: &str) -> Change {
    Change::Promote { version: version.into(), force: false }
}

fn force(version: &str) -> Change {
    Change::Promote { version: version.into(), force: true }
}

fn make(models: &mut Models, change: &Change) -> Result<(), Refusal> {
    models.make(change, "admin-1", "why", WallTime(1))
}

/// The cluster's choice after these changes.
fn after(changes: &[Change]) -> Models {
    let mut models = Models::default();
    for change in changes {
        make(&mut models, change).unwrap();
    }
    models
}

#[test]
fn a_version_is_tried_out_promoted_and_taken_back_step_by_step() {
    let pass = Some(Verdict::Pass);
    let mut models = after(&[stage("2", pass), stage("3", pass), canary("2", 10)]);
    assert_eq!((models.current.clone(), models.canary.clone()), (None, Some(Canary { version: "2".into(), percent: 10 })));
    for (change, current) in [(promote("2"), Some("2")), (promote("3"), Some("3")), (Change::RollBack, Some("2")), (Change::RollBack, None)]
    {
        make(&mut models, &change).unwrap();
        assert_eq!((models.current.as_deref(), models.canary.as_ref()), (current, None), "{change}");
    }
    assert_eq!(make(&mut models, &Change::RollBack), Err(Refusal::NothingBefore));
}

#[test]
fn rolling_back_puts_the_canary_away_first_and_leaves_the_current_version() {
    let pass = Some(Verdict::Pass);
    let mut models = after(&[stage("2", pass), promote("2"), stage("3", pass), canary("3", 5)]);
    make(&mut models, &Change::RollBack).unwrap();
    assert_eq!((models.current.as_deref(), models.canary), (Some("2"), None));
}

#[test]
fn only_a_version_that_passed_is_promoted_unless_somebody_forces_it_and_says_why() {
    for (verdict, name) in [(None, "nothing"), (Some(Verdict::Insufficient), "insufficient"), (Some(Verdict::Fail), "fail")] {
        let mut models = after(&[stage("2", verdict)]);
        let refused = make(&mut models, &promote("2")).unwrap_err();
        assert!(refused.to_string().contains(&format!("says {name}:")), "{refused}");
        assert_eq!(models.make(&force("2"), "admin-1", " ", WallTime(1)), Err(Refusal::NoReason));
        models.make(&force("2"), "admin-7", "the old one misroutes refunds", WallTime(9)).unwrap();
        let made = models.history.back().unwrap();
        assert_eq!((made.by.as_str(), made.what.as_str()), ("admin-7", "promote 2 by force"));
        assert_eq!((made.reason.as_str(), made.at), ("the old one misroutes refunds", WallTime(9)), "the reason is kept");
    }
}

#[test]
fn the_worst_figure_is_the_verdict_and_figures_that_are_only_told_count_for_nothing() {
    let of = |verdicts: &[&[Option<Verdict>]]| {
        let scorecards = verdicts.iter().map(|verdicts| card(&hash("2"), verdicts)).collect();
        after(&[Change::Stage { version: "2".into(), sha256: hash("2"), scorecards }]).staged["2"].verdict()
    };
    let (pass, few, fail) = (Some(Verdict::Pass), Some(Verdict::Insufficient), Some(Verdict::Fail));
    assert_eq!(of(&[]), None);
    assert_eq!(of(&[&[None]]), None);
    assert_eq!(of(&[&[pass, None], &[pass]]), pass);
    assert_eq!(of(&[&[pass], &[few, pass]]), few);
    assert_eq!(of(&[&[fail, few], &[pass]]), fail);
}

#[test]
fn figures_of_other_models_and_other_files_under_a_known_name_are_refused() {
    let mut models = after(&[stage("2", Some(Verdict::Pass))]);
    let other = Change::Stage { version: "3".into(), sha256: hash("3"), scorecards: vec![card(&hash("2"), &[])] };
    assert_eq!(make(&mut models, &other), Err(Refusal::OtherScorecard("banking77".into())));
    let other = Change::Stage { version: "2".into(), sha256: hash("9"), scorecards: Vec::new() };
    assert_eq!(make(&mut models, &other), Err(Refusal::OtherFiles("2".into())));
    make(&mut models, &stage("2", Some(Verdict::Fail))).expect("better figures of the same files are taken");
    assert_eq!(models.staged["2"].verdict(), Some(Verdict::Fail));
}

#[test]
fn what_judges_contacts_is_not_forgotten_and_what_is_forgotten_is_not_gone_back_to() {
    let pass = Some(Verdict::Pass);
    let mut models = after(&[stage("1", pass), stage("2", pass), stage("3", pass), promote("1"), promote("2"), canary("3", 1)]);
    let remove = |version: &str| Change::Remove { version: version.into() };
    for version in ["2", "3"] {
        assert_eq!(make(&mut models, &remove(version)), Err(Refusal::InUse(version.into())));
    }
    make(&mut models, &remove("1")).unwrap();
    for _ in 0..2 {
        make(&mut models, &Change::RollBack).unwrap();
    }
    assert_eq!(models.current, None, "version 1 is passed over");
}

#[test]
fn nonsense_is_told_from_what_the_choice_does_not_allow_now() {
    let mut models = after(&[stage("2", Some(Verdict::Pass)), promote("2")]);
    for (change, refusal, nonsense) in [
        (stage("rollback", None), Refusal::Name("rollback".into()), true),
        (stage("a b", None), Refusal::Name("a b".into()), true),
        (Change::Stage { version: "3".into(), sha256: "ABC".into(), scorecards: Vec::new() }, Refusal::Hash, true),
        (canary("2", 0), Refusal::Percent, true),
        (canary("2", CANARY_PERCENT_MAX + 1), Refusal::Percent, true),
        (canary("2", 5), Refusal::Current("2".into()), false),
        (promote("2"), Refusal::Current("2".into()), false),
        (promote("9"), Refusal::Unknown("9".into()), false),
    ] {
        let before = models.clone();
        assert_eq!(make(&mut models, &change), Err(refusal.clone()), "{change}");
        assert_eq!(refusal.is_nonsense(), nonsense, "{change}");
        assert_eq!(models, before, "a refusal changes nothing");
    }
    let long = "x".repeat(MODEL_TEXT_BYTES_MAX + 1);
    assert_eq!(models.make(&Change::RollBack, "admin-1", &long, WallTime(1)), Err(Refusal::TooLarge));
}

fn any_change() -> impl Strategy<Value = Change> {
    let version = || (0_u8..20).prop_map(|n| n.to_string());
    let verdict = prop_oneof![Just(None), Just(Some(Verdict::Pass)), Just(Some(Verdict::Insufficient)), Just(Some(Verdict::Fail))];
    prop_oneof![
        (version(), verdict).prop_map(|(version, verdict)| stage(&version, verdict)),
        version().prop_map(|version| Change::Remove { version }),
        (version(), 0_u8..60).prop_map(|(version, percent)| canary(&version, percent)),
        (version(), any::<bool>()).prop_map(|(version, force)| Change::Promote { version, force }),
        Just(Change::RollBack),
    ]
}

proptest! {
    #[test]
    fn whatever_is_done_versions_that_judge_are_staged_and_all_is_bounded(changes in prop::collection::vec(any_change(), 0..400)) {
        let mut models = Models::default();
        for change in &changes {
            let before = models.clone();
            match make(&mut models, change) {
                Ok(()) => {
                    prop_assert_eq!(models.revision, before.revision + 1);
                    let unforced = matches!(change, Change::Promote { force: false, .. });
                    let verdict = models.current.as_ref().map(|current| models.staged[current].verdict());
                    prop_assert!(!unforced || verdict == Some(Some(Verdict::Pass)));
                }
                Err(_) => prop_assert_eq!(&models, &before),
            }
            let mut named = models.current.iter().chain(models.canary.iter().map(|canary| &canary.version)).chain(models.before.iter().flatten());
            prop_assert!(named.all(|version| models.staged.contains_key(version)));
            prop_assert!(models.canary.as_ref().is_none_or(|canary| models.current.as_ref() != Some(&canary.version)));
            prop_assert!(models.staged.len() <= MODELS_STAGED_MAX && models.before.len() <= MODELS_BEFORE_MAX);
            prop_assert!(models.history.len() <= MODEL_CHANGES_MAX);
        }
    }
}
