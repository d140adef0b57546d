//! Rules alone: no model, no endpoint, no network.

use crate::ai::{Language, Next, Reason, Sentiment, Text, Triage, Urgency, triage};

fn said(text: &str) -> Triage {
    triage(None, "p", &Text::read(text.as_bytes()))
}

#[test]
fn without_a_model_everything_is_answered_and_says_fallback() {
    for text in ["my card was declined", "我想查话费", "¿cuánto es mi factura?", "Привет", "🙂"] {
        let triage = said(text);
        assert!(triage.fallback && triage.model.is_none() && triage.intent.is_none(), "{text}");
        assert!(matches!(triage.next, Next::Generalist | Next::Clarify), "{text}: no intent is guessed");
    }
    assert_eq!(said("my card was declined").reason, Reason::NoModel);
    assert_eq!((said(" ?! ").next, said(" ?! ").reason), (Next::Clarify, Reason::Empty));
}

#[test]
fn a_person_is_understood_in_chinese_english_and_spanish() {
    for text in [
        "转人工",
        "我要 人 工 客服！",
        "别让机器人跟我说，找个真人",
        "轉人工",
        "A person, please!",
        "let me TALK TO SOMEONE",
        "I want a human",
        "quiero hablar con una persona",
        "Páseme con un agente, por favor",
    ] {
        assert_eq!((said(text).next, said(text).reason), (Next::Person, Reason::AskedForPerson), "{text}");
    }
    for text in ["my personal loan", "the card I ordered in person", "人工智能是什么", "cooperatorx", "soy personal del banco"] {
        assert_ne!(said(text).next, Next::Person, "{text}");
    }
}

#[test]
fn what_cannot_wait_is_heard_in_each_language() {
    for text in ["my wallet was stolen", "this is URGENT", "我的卡被盗刷了", "很急，马上处理", "me robaron la tarjeta", "es urgente"]
    {
        assert_eq!(said(text).urgency.value, Urgency::High, "{text}");
    }
    for text in ["what are your opening hours", "查一下余额", "quiero saber mi saldo", "insurgently"] {
        assert_eq!(said(text).urgency.value, Urgency::Normal, "{text}");
    }
}

#[test]
fn a_complaint_counts_more_than_the_thanks_around_it() {
    assert_eq!(said("excellent, another terrible day with you").sentiment.value, Sentiment::Negative);
    assert_eq!(said("服务太差了，我要投诉").sentiment.value, Sentiment::Negative);
    assert_eq!(said("muchas gracias, excelente").sentiment.value, Sentiment::Positive);
    assert_eq!(said("非常感谢，太好了").sentiment.value, Sentiment::Positive);
    assert_eq!(said("what is my balance").sentiment.value, Sentiment::Neutral);
}

#[test]
fn the_script_tells_the_language_and_words_tell_it_where_the_script_is_shared() {
    for (text, language) in [
        ("我的卡丢了", Language::Zh),
        ("帮我查一下iPhone 15 Pro Max的话费", Language::Zh),
        ("where is my card", Language::En),
        ("¿dónde está mi tarjeta?", Language::Es),
        ("no puedo entrar en la cuenta", Language::Es),
        ("カードをなくしました", Language::Unknown),
        ("я потерял карту", Language::Unknown),
        ("12345", Language::Unknown),
        ("xyzzy", Language::Unknown),
    ] {
        assert_eq!(said(text).language.value, language, "{text}");
    }
}
