//! A tenant's words, and what they may not do.

use std::path::Path;

use crate::ai::{
    Language,
    persona::{Persona, Phrase},
};

const BABY: &str = r#"
name = "baby"
version = 3
language = "zh"
jurisdiction = "cn"
style = "warm, short sentences"

[zh]
voice = "zf_xiaoxiao"
address = "宝子"
greeting = "{address}，今天想问点什么？"
clarify = ["{address}，能再说一遍吗？"]
"#;

fn parse(text: &str) -> Result<Persona, String> {
    Persona::parse(Path::new("p.toml"), text).map_err(|error| error.to_string())
}

#[test]
fn a_persona_speaks_in_its_own_words_and_in_shipped_ones_where_it_has_none() {
    let persona = parse(BABY).unwrap();
    assert_eq!(persona.say(Language::Unknown, Phrase::Greeting), "宝子，今天想问点什么？");
    assert_eq!(persona.say(Language::Zh, Phrase::Clarify(1)), "宝子，能再说一遍吗？", "its last question is asked again");
    assert_eq!(persona.say(Language::Zh, Phrase::Goodbye), "感谢您的来电，再见。");
    assert_eq!(persona.say(Language::En, Phrase::Greeting), "How can I help you?");
    assert_eq!((persona.voice(Language::Zh), persona.form_of_address(Language::En)), (Some("zf_xiaoxiao"), None));
    assert_eq!((persona.name.as_str(), persona.version, persona.disclosure(Language::Zh).id.as_str()), ("baby", 3, "cn/zh/1"));
}

#[test]
fn a_disclosure_of_its_own_has_an_id_of_its_own_and_must_disclose() {
    let persona = parse(&format!("{BABY}disclosure = \"{{address}}好，我是智能客服小贝。\"")).unwrap();
    let disclosure = persona.disclosure(Language::Zh);
    assert_eq!((disclosure.id.as_str(), disclosure.text.as_str()), ("baby-3/zh", "宝子好，我是智能客服小贝。"));
    let refused = parse(&format!("{BABY}disclosure = \"你好，我是小贝。\"")).err().unwrap();
    assert!(refused.contains("zh.disclosure does not say that a machine speaks"), "{refused}");
}

#[test]
fn a_bad_persona_is_refused_with_what_is_wrong() {
    for (text, told) in [
        ("name = \"p\"\nversion = \"x\"", "p.toml:2: "),
        ("version = 1", "p.toml:1: missing field `name`"),
        ("name = \"p\"\nversion = 1\n[fr]\n", "p.toml:3: unknown field `fr`"),
        ("name = \"p\"\nversion = 1\nlanguage = \"fr\"", "p.toml: language `fr`"),
        ("name = \"p\"\nversion = 1\n[en]\nvoyce = \"a\"", "p.toml:"),
        ("name = \"p\"\nversion = 1\n[en]\ngreeting = \"Hi, I'm a human!\"", "p.toml: `Hi, I'm a human!` says what"),
        ("name = \"p\"\nversion = 1\n[en]\nclarify = [\"a\", \"b\", \"c\"]", "p.toml: en.clarify has more than 2"),
    ] {
        let refused = parse(text).err().unwrap_or_default();
        assert!(refused.starts_with(told), "{told}: {refused}");
    }
    assert!(parse(&format!("name = \"p\"\nversion = 1\n[en]\ngreeting = \"{}\"", "a".repeat(501))).is_err());
}

#[test]
fn another_text_is_another_hash() {
    assert_ne!(parse(BABY).unwrap().hash, parse(&BABY.replace('3', "4")).unwrap().hash);
}
