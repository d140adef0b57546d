//! The heads in `models/`, as they are shipped, on the pure-Rust backend.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use crate::{
    ai::{
        Embedding, Language, Models, Next, Reason, Sentiment, Text, Triage, Urgency,
        scorecard::{self, Set},
        triage,
    },
    core::models::Verdict,
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

/// Published data, where it is there.
fn published() -> Option<PathBuf> {
    let shared = std::env::var_os("TANDEM_SHARED").map_or_else(|| "../shared".into(), PathBuf::from).join("data");
    if !shared.join("clinc150").exists() {
        println!("skipped: no clinc150 and banking77 in {} (TANDEM_SHARED names the folder)", shared.display());
        return None;
    }
    Some(shared)
}

/// The shipped models with the embedding that their refined heads belong to, where it was fetched.
fn embedded() -> Option<Models> {
    let Some(folder) = std::env::var_os("TANDEM_EMBEDDING") else {
        println!("skipped: TANDEM_EMBEDDING names no folder (make embeddings)");
        return None;
    };
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let mut models = Models::load(&dir).expect("the shipped models load");
    let embedding = Embedding::load(Path::new(&folder)).expect("the embedding loads");
    assert!(models.embed(&dir, Arc::new(embedding)).expect("its heads load"), "the shipped heads belong to it");
    Some(models)
}

fn keeps_its_promises(models: &Models, shared: &Path) {
    for set in [Set::Clinc150, Set::Banking77] {
        for figure in scorecard::run(Some(models), set, shared, Path::new("unused")).unwrap() {
            assert_ne!(figure.verdict(), Some(Verdict::Fail), "{set:?}: {figure}");
        }
    }
}

#[test]
fn what_the_documents_promise_is_reached_on_published_data() {
    if let Some(shared) = published() {
        keeps_its_promises(&SHIPPED, &shared);
    }
}

#[test]
fn with_an_embedding_what_the_documents_promise_of_it_is_reached_too() {
    if let (Some(models), Some(shared)) = (embedded(), published()) {
        keeps_its_promises(&models, &shared);
    }
}

#[test]
fn an_embedding_takes_whatever_is_said() {
    let Some(models) = embedded() else { return };
    let judged = |text: &str| triage(Some(&models), "banking77", &Text::read(text.as_bytes()));
    for text in ["where is my new card?", "请帮我查一下余额", "🙂", &"word ".repeat(500), &"x".repeat(3_000)] {
        let triage = judged(text);
        assert!(triage.embedding.is_some() && !triage.fallback, "{text}");
    }
}
