//! What is judged of what was sent.

use crate::ai::{Text, features};

#[test]
fn invalid_bytes_and_control_characters_become_no_word() {
    let text = Text::read(b"help\xff\xfe me\x00\x07now\xc3");
    assert_eq!(text.as_str(), "help\u{fffd}\u{fffd} me now\u{fffd}");
    assert_eq!(text.words().collect::<Vec<_>>(), ["help", "me", "now"]);
}

#[test]
fn a_megabyte_is_cut_to_what_is_judged_and_the_cut_is_told() {
    let text = Text::read("转人工 ".repeat(1 << 17).as_bytes());
    assert!(text.truncated() && text.as_str().chars().count() <= 2_000);
    let garbage = Text::read(&vec![0xff; 3 << 20]);
    assert!(garbage.truncated() && garbage.words().next().is_none());
    let spaces = Text::read(&vec![b' '; 3 << 20]);
    assert!(spaces.truncated() && spaces.as_str().is_empty(), "words may stand behind a megabyte of spaces");
    assert!(!Text::read(b"short").truncated());
}

#[test]
fn width_case_and_spaces_do_not_matter() {
    assert_eq!(Text::read("　ＡＢＣ  Card\r\n\tLOST ".as_bytes()), Text::read(b"abc card lost"));
    assert_eq!(Text::read("人\u{200b}工".as_bytes()).as_str(), "人工", "what is not seen hides nothing");
}

#[test]
fn chinese_and_latin_words_stand_apart_without_a_space() {
    assert_eq!(Text::read("我的iPhone15坏了。Don’t!".as_bytes()).words().collect::<Vec<_>>(), ["我的", "iphone15", "坏了", "don't"]);
}

#[test]
fn features_are_those_the_models_learnt_from() {
    for (number, line) in include_str!("golden.tsv").lines().enumerate() {
        let columns: Vec<_> = line.split('\t').collect();
        let (said, folded): (String, String) = (serde_json::from_str(columns[0]).unwrap(), serde_json::from_str(columns[1]).unwrap());
        let text = Text::read(said.as_bytes());
        assert_eq!(text.as_str(), folded, "line {number}");
        let found = features::of(&text, 14);
        let rows = found.rows.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        assert_eq!(rows, columns[2], "line {number}");
        let sum: f64 = found.weights.iter().copied().map(f64::from).sum();
        assert!((sum - columns[3].parse::<f64>().unwrap()).abs() < 0.01, "line {number}: {sum}");
    }
}

#[test]
fn however_long_the_text_its_features_are_bounded() {
    let long: String = (0..2_000).filter_map(|n| char::from_u32(0x4e00 + n)).collect();
    assert_eq!(features::of(&Text::read(long.as_bytes()), 20).rows.len(), 1_024);
}
