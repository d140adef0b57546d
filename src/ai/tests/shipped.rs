//! The heads in `models/`, as they are shipped, on the pure-Rust backend.

use std::{path::Path, sync::LazyLock};

use crate::ai::{
    Language, Models, Next, Reason, Sentiment, Text, Triage, Urgency,
    scorecard::{self, Set},
    triage,
};

static SHIPPED: LazyLock<Models> =
    LazyLock::new(|| Models::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models")).expect("the shipped models load"));

fn said(pack: &str, text: &str) -> Triage {
    triage(Some(&SHIPPED), pack, &Text::read(text.as_bytes()))
}

#[test]
fn plain_wishes_are_routed_and_cite_the_models() {
    for (pack, text, intent) in [
        ("banking77", "I still have not received my new card, when will it arrive?", "card_arrival"),
        ("banking77", "How do I change my PIN?", "change_pin"),
        ("clinc150", "please tell me the balance in my checking account", "balance"),
        ("clinc150", "set an alarm for seven am", "alarm"),
    ] {
        let triage = said(pack, text);
        assert_eq!((triage.next, triage.reason), (Next::Route(intent.into()), Reason::Sure), "{text}");
        assert_eq!(triage.model, Some(SHIPPED.hash()));
    }
}

#[test]
fn what_no_intent_covers_is_not_routed() {
    for pack in ["banking77", "clinc150", "service"] {
        for text in ["how tall is the tallest giraffe in the zoo of berlin", "帮我写一首关于春天的诗", "asdf qwer zxcv", "a", "🙂🙂"]
        {
            assert!(!matches!(said(pack, text).next, Next::Route(_)), "{pack}: {text}");
        }
    }
}

#[test]
fn chinese_is_understood_as_english_is() {
    let urgent = said("service", "我的银行卡被偷了，赶紧帮我挂失");
    assert_eq!((urgent.language.value, urgent.urgency.value), (Language::Zh, Urgency::High));
    assert_eq!(urgent.intent.map(|intent| intent.value).as_deref(), Some("card_lost"));
    assert_eq!(said("service", "帮我查一下账户余额").intent.map(|intent| intent.value).as_deref(), Some("balance"));
    assert_eq!(said("service", "你们服务太差了，我要投诉").sentiment.value, Sentiment::Negative);
    assert_eq!(said("service", "please check my account balance").intent.map(|intent| intent.value).as_deref(), Some("balance"));
    assert_eq!(said("service", "转人工").next, Next::Person);
}

#[test]
fn a_megabyte_and_garbage_are_judged_like_anything_else() {
    let letter = "I want my money back. ".repeat(60_000);
    let triage = said("clinc150", &letter);
    assert!(triage.truncated && !triage.fallback);
    let garbage: Vec<u8> = (0..1_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let triage = crate::ai::triage(Some(&SHIPPED), "clinc150", &Text::read(&garbage));
    assert!(!matches!(triage.next, Next::Route(_)), "garbage is routed nowhere");
}

#[test]
fn the_same_text_is_judged_the_same_from_every_thread() {
    let alone = said("clinc150", "transfer a hundred dollars to my savings");
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| said("clinc150", "transfer a hundred dollars to my savings"))).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), alone);
        }
    });
}

#[test]
fn the_seeds_that_were_kept_apart_are_mostly_understood() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/train/seeds");
    let figures = scorecard::run(Some(&SHIPPED), Set::Seeds, Path::new("unused"), &seeds).unwrap();
    let share = |metric: &str| figures.iter().find(|figure| figure.metric == metric).map(|figure| figure.hits * 100 / figure.n).unwrap();
    for language in ["zh", "en", "es"] {
        assert!(share(&format!("{language}: language right")) >= 95);
        assert!(share(&format!("{language}: wish for a person found")) >= 60);
        assert!(share(&format!("{language}: no person where none was asked for")) >= 95);
    }
}

/// The promise of the shipped heads, where the published data is there.
#[test]
fn what_the_documents_promise_is_reached_on_published_data() {
    let shared = std::env::var_os("TANDEM_SHARED").map_or_else(|| "../shared".into(), std::path::PathBuf::from).join("data");
    if !shared.join("clinc150").exists() {
        println!("skipped: no clinc150 and banking77 in {} (TANDEM_SHARED names the folder)", shared.display());
        return;
    }
    for set in [Set::Clinc150, Set::Banking77] {
        for figure in scorecard::run(Some(&SHIPPED), set, &shared, Path::new("unused")).unwrap() {
            assert_ne!(figure.verdict(), Some(scorecard::Verdict::Fail), "{set:?}: {figure}");
        }
    }
}
