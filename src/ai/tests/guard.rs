//! What an assistant is kept from: storing personal data, matters of people, and hiding what it is.

use proptest::prelude::*;

use crate::ai::{
    Language, Text,
    guard::{Disclosure, Jurisdiction, Topic, Topics, discloses, mask, mask_for_model},
};

fn asked(said: &str) -> Option<String> {
    Topics::default().asked(&Text::read(said.as_bytes())).map(|Topic(name)| name)
}

fn said(say: &str) -> Option<String> {
    Topics::default().said(&Text::read(say.as_bytes())).map(|Topic(name)| name)
}

#[test]
fn each_kind_of_personal_data_is_replaced_by_its_name() {
    for (text, masked) in [
        ("card 4111 1111 1111 1111, thanks", "card [card], thanks"),
        ("4111-1111-1111-1111 12/27 123", "[card]"),
        ("卡号４１１１１１１１１１１１１１１１对吗", "卡号[card]对吗"),
        ("身份证11010519491231002X。", "身份证[id]。"),
        ("身份证号 110105 19491231 002x", "身份证号 [id]"),
        ("我的手机是13800138000", "我的手机是[phone]"),
        ("一三八零零一三八零零零", "[phone]"),
        ("it is one three eight oh oh one three eight oh oh oh", "it is [phone]"),
        ("mi número es seis uno dos tres cuatro cinco seis siete ocho", "mi número es [phone]"),
        ("call +1 (415) 555-0123 now", "call [phone] now"),
        ("邮箱是wang.li+x@mail.example.cn。", "邮箱是[email]。"),
        ("IBAN DE89 3704 0044 0532 0130 00, please", "IBAN [iban], please"),
        ("order 10482233", "order [number]"),
        ("13\u{200b}800\u{200b}138000", "[phone]"),
    ] {
        assert_eq!(mask(text), masked, "{text}");
    }
}

#[test]
fn dates_amounts_times_and_short_numbers_stay() {
    for text in [
        "2026-11-28 12:14",
        "28/11/2026",
        "on 28.11.2026 at 9",
        "1,234,567 euros",
        "1.234.567,89",
        "2026年11月28日",
        "order 482233",
        "room 101, floor 12",
        "one or two of the three",
        "三十五万四千",
        "10086",
        "user@localhost",
        "@home",
    ] {
        assert_eq!(mask(text), text);
    }
}

#[test]
fn a_model_sees_an_order_number_and_no_card() {
    assert_eq!(mask_for_model("order 10482233, card 4111111111111111"), "order 10482233, card [card]");
}

#[test]
fn a_megabyte_of_digits_is_masked_without_effort_and_the_rest_is_cut() {
    assert_eq!(mask(&"4".repeat(3 << 20)), "[card]");
    let han = "好".repeat(1 << 20);
    assert_eq!(mask(&han).len(), (1 << 20) / 3 * 3, "cut between characters");
}

/// Digits with a last one by which the card's checksum holds.
fn card(mut digits: Vec<u8>) -> String {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, d)| (u32::from(*d) * (2 - at as u32 % 2)) / 10 + (u32::from(*d) * (2 - at as u32 % 2)) % 10)
        .sum();
    digits.push(((10 - sum % 10) % 10) as u8);
    digits.iter().map(|d| char::from(b'0' + d)).collect()
}

fn grouped(number: &str, group: usize, separator: &str) -> String {
    number.as_bytes().chunks(group).map(|chunk| std::str::from_utf8(chunk).unwrap()).collect::<Vec<_>>().join(separator)
}

proptest! {
    #[test]
    fn no_card_survives_in_any_text_and_grouping(
        before in "\\PC{0,20}", after in "\\PC{0,20}",
        digits in prop::collection::vec(0_u8..10, 12..=18), group in 3_usize..=6, separator in "[ .-]?",
    ) {
        prop_assume!(digits.iter().any(|digit| *digit != 0));
        let written = grouped(&card(digits), group, &separator);
        let masked = mask(&format!("{before}{written}{after}"));
        prop_assert!(!masked.contains(&written), "{masked}");
    }

    #[test]
    fn no_telephone_number_or_address_survives(before in "\\PC{0,20}", number in "[1-9][0-9]{9,12}", user in "[a-z]{1,8}", host in "[a-z]{1,8}\\.[a-z]{2,5}") {
        let masked = mask(&format!("{before} +{number} 或 {user}@{host}"));
        prop_assert!(!masked.contains(&number), "{masked}");
        let address = format!("{user}@{host}");
        prop_assert!(!masked.contains(&address), "{masked}");
    }

    #[test]
    fn masking_twice_changes_nothing_more(text in "[ -~零一二三四五六七八九〇幺０-９@\u{200b}好]{0,80}") {
        let once = mask(&text);
        prop_assert_eq!(mask(&once), once);
    }

    #[test]
    fn any_text_can_be_masked(text in "\\PC{0,200}") {
        prop_assert!(mask(&text).len() <= mask_for_model(&text).len() + 8 * text.len());
    }
}

#[test]
fn matters_of_people_are_found_in_three_languages() {
    for (text, topic) in [
        ("what dose should I give my baby", "medical"),
        ("这个药的副作用大吗", "medical"),
        ("¿Qué dosis tomo?", "medical"),
        ("Can I sue you for this?", "legal"),
        ("我要起诉你们", "legal"),
        ("should i invest in your fund", "financial"),
        ("这个理财保本吗", "financial"),
        ("I want to kill myself", "danger"),
    ] {
        assert_eq!(asked(text).as_deref(), Some(topic), "{text}");
    }
    for text in [
        "where is my order",
        "我想退货",
        "quiero devolver un pedido",
        "how do I issue a refund",
        "run a diagnosis of my router",
        "帮我诊断一下网络",
    ] {
        assert_eq!(asked(text), None, "{text}");
    }
}

#[test]
fn an_assistant_neither_promises_nor_claims_to_be_a_person() {
    assert_eq!(said("Of course, I am a human!").as_deref(), Some("claims-to-be-a-person"));
    assert_eq!(said("我保证明天到").as_deref(), Some("promise"));
    assert_eq!(said("Le garantizo el reembolso").as_deref(), Some("promise"));
    assert_eq!(said("Returns are free within 30 days."), None);
}

#[test]
fn a_tenant_adds_matters_of_its_own_within_bounds() {
    let mut topics = Topics::default();
    topics.add("recall", ["Model X-200", "召回"]).unwrap();
    assert_eq!(topics.asked(&Text::read("is my model x-200 safe?".as_bytes())), Some(Topic("recall".into())));
    assert_eq!(topics.asked(&Text::read("我的车要召 回吗".as_bytes())), Some(Topic("recall".into())));
    assert_eq!(topics.add("empty", ["?!"]), Err("?!".into()));
    assert!(topics.add("many", std::iter::repeat_n("phrase", 2_000)).is_err());
}

#[test]
fn every_shipped_disclosure_discloses() {
    for jurisdiction in [Jurisdiction::Eu, Jurisdiction::Us, Jurisdiction::Cn, Jurisdiction::Other] {
        for language in [Language::En, Language::Zh, Language::Es, Language::Unknown] {
            let disclosure = Disclosure::shipped(jurisdiction, language);
            assert!(discloses(disclosure.language, &disclosure.text), "{disclosure:?}");
        }
    }
    assert!(!discloses(Language::En, "Hello, this is Ana speaking."));
    assert_eq!(Disclosure::shipped(Jurisdiction::Eu, Language::Unknown).id, "eu/en/1");
}
