//! Tenant files, good and bad: what they become, and the one line that says what is wrong with them.

use super::*;
use crate::core::policy::{
    AdoptUnanswered, AgentKind, Callbacks, Channel, Fallback, InitialState, Media, OnClose, Outside, Strategy, Topic, Unanswered,
};

/// The tenant of the README, and all that `tandem apply` needs.
const DEMO: &str = r#"[tenant]
id = "demo"
[[queue]]
id = "support"
strategy = "longest-idle"
service_level = { answer_within_s = 20, target_percent = 80 }
offer_timeout_s = 15
max_wait_s = 600
wrap_up_s = 0
[[agent]]
id = "alice"
contact = "sip:alice@127.0.0.1:6001"
skills = { support = 5 }
state = "available"
[[route]]
to = "support"
queue = "support"
[[trunk]]
id = "lab"
sources = ["127.0.0.0/8"]
"#;

const FULL: &str = r#"[tenant]
id = "full"
realm = "voice.example"
calls_max = 500
pass_headers = ["X-Account"]
[[hours]]
name = "desk"
zone = "Europe/Berlin"
week = { mon = ["09:00-17:00"] }
holidays = ["2026-12-25"]
[[queue]]
id = "gold"
strategy = "highest-skill"
overflow = "silver"
on_full = { reject = 486 }
hours = "desk"
waiting_on_close = "fallback"
waiting_max = 10
require_agents = true
priority = 1
promote_after_s = 60
affinity_s = 20
max_unanswered_s = 0
steps = [{ for_s = 30, require = { de = 4, gold = 3 } }, { for_s = 30, require = { de = 2 } }, { require = {} }]
misses = { max = 2, break_reason = "away", timeout_delay_s = 10, busy_delay_s = 0 }
[[queue]]
id = "silver"
[[agent]]
id = "bob"
password = "correct horse"
skills = { de = 5, gold = 3 }
queues = ["gold"]
capacity = { voice = 2, chat = 5 }
exclusive = ["voice"]
state = "break"
break_reason = "lunch"
[[agent]]
id = "bot"
kind = "ai"
[[route]]
to = "112"
queue = "gold"
priority = 0
emergency = true
[[trunk]]
id = "carrier"
sources = ["192.0.2.7", "2001:db8::/32"]
username = "tandem"
password = "secret"
contacts = ["sip:192.0.2.7:5060"]
auth = { username = "us", password = "them" }
caller_id = "+4930123456"
calls_per_s_max = 50
calls_max = 200
trust_priority = true
[[queue]]
id = "back"
callback = { dials = 2, pause_s = 60, ring_s = 25, max_age_s = 7200 }
[[trunk]]
id = "out"
contacts = ["sip:192.0.2.9"]
prefixes = ["+49", "112"]
[transfer]
numbers = ["+4930", "0800"]
ring_s = 20
"#;

fn parsed(text: &str) -> Tenant {
    parse_toml("tenant.toml", text).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn the_smallest_useful_file_is_enough() {
    let tenant = parsed(DEMO);
    assert_eq!(tenant.id.as_str(), "demo");
    let queue = &tenant.policy.queues["support"];
    assert_eq!((queue.strategy, queue.offer_timeout_ms, queue.max_wait_ms, queue.wrap_up_ms), (Strategy::LongestIdle, 15_000, 600_000, 0));
    assert_eq!((queue.priority, queue.misses.max, queue.max_unanswered_ms), (5, 3, 150_000));
    let alice = &tenant.policy.agents["alice"];
    assert_eq!((alice.initial.clone(), alice.capacity[&Channel::Voice]), (InitialState::Available, 1));
    assert_eq!(tenant.policy.trunks["lab"].sources, ["127.0.0.0/8"]);
}

#[test]
fn every_key_arrives_in_the_policy() {
    let policy = parsed(FULL).policy;
    let gold = &policy.queues["gold"];
    assert_eq!(gold.on_max_wait, Fallback::Queue("silver".into()));
    assert_eq!(gold.on_full, Fallback::Reject { status: 486 });
    assert_eq!((gold.steps.len(), gold.steps[1].for_ms, gold.steps[2].require.len()), (3, 30_000, 0));
    assert_eq!((gold.misses.timeout_delay_ms, gold.misses.busy_delay_ms, gold.misses.reject_delay_ms), (10_000, 0, 5_000));
    assert_eq!((gold.waiting_on_close.clone(), gold.hours.as_deref()), (OnClose::Fallback, Some("desk")));
    assert_eq!((gold.promote_after_ms, gold.affinity_ms, gold.max_unanswered_ms, gold.waiting_max), (60_000, 20_000, 0, 10));
    let rules = Callbacks { dials_max: 2, pause_ms: 60_000, ring_ms: 25_000, max_age_ms: 7_200_000 };
    assert_eq!((policy.queues["back"].callback, gold.callback), (rules, Callbacks::default()));
    assert_eq!(policy.agents["bot"].kind, AgentKind::Ai);
    assert_eq!(policy.agents["bob"].initial, InitialState::Break("lunch".into()));
    assert_eq!((policy.agents["bob"].capacity[&Channel::Voice], policy.agents["bob"].capacity[&Channel::Chat]), (2, 5));
    assert!(policy.routes["112"].emergency && policy.routes["112"].priority == Some(0));
    let carrier = &policy.trunks["carrier"];
    assert_eq!(carrier.sources, ["192.0.2.7/32", "2001:db8::/32"]);
    assert_eq!(policy.trunks["out"].prefixes, ["+49", "112"]);
    assert_eq!(policy.outside, Outside { numbers: vec!["+4930".into(), "0800".into()], ring_ms: 20_000 });
    assert_eq!(parsed(DEMO).policy.outside.numbers, [] as [String; 0], "no number is called that the file does not name");
    assert_eq!((carrier.calls_per_s_max, carrier.calls_max, carrier.trust_priority), (50, 200, true));
    assert_eq!((policy.calls_max, policy.pass_headers.clone()), (500, vec!["X-Account".to_owned()]));
    assert!(policy.hours["desk"].utc_offsets.len() > 15, "ten years of summer time");
}

#[test]
fn records_are_kept_for_good_unless_the_file_says_for_how_long() {
    assert_eq!((parsed(DEMO).policy.retention_days, parsed(DEMO).policy.reopen_within_ms), (0, 72 * 3_600_000));
    let file = DEMO.replace("id = \"demo\"", "id = \"demo\"\nretention_days = 90");
    assert_eq!(parsed(&file).policy.retention_days, 90);
}

#[test]
fn a_password_is_kept_as_ha1_only() {
    let policy = parsed(FULL).policy;
    let bob = policy.agents["bob"].ha1.as_ref().expect("bob has a password");
    assert_eq!(bob.realm, "voice.example");
    assert_eq!(bob.md5.len(), 32);
    assert_eq!(bob.sha256.len(), 64);
    assert!(!format!("{policy:?}").contains("correct horse"));
    // The example of RFC 7616 §3.9.1 fixes the form of HA1.
    let text = DEMO.replace("id = \"demo\"", "id = \"demo\"\nrealm = \"http-auth@example.org\"");
    let text = text
        .replace("id = \"alice\"", "id = \"Mufasa\"")
        .replace("contact = \"sip:alice@127.0.0.1:6001\"", "password = \"Circle of Life\"");
    let ha1 = parsed(&text).policy.agents["Mufasa"].ha1.clone().expect("has a password");
    assert_eq!(ha1.md5, "3d78807defe7de2157e2b0b6573a855f");
    assert_eq!(ha1.sha256, "7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232");
}

#[test]
fn json_is_the_same_file_in_other_brackets() {
    let value: serde_json::Value = serde_json::to_value(toml::from_str::<toml::Table>(FULL).expect("sound")).expect("plain data");
    let mut value = value;
    value["queue"][1]["strategy"] = serde_json::Value::Null;
    assert_eq!(parse_json("tenant.json", &value.to_string()), Ok(parsed(FULL)));
    value["route"][0]["queue"] = "nowhere".into();
    let told = parse_json("tenant.json", &value.to_string()).expect_err("no such queue").to_string();
    assert_eq!(told, "tenant.json: route.queue: there is no queue \"nowhere\"");
    assert_eq!(parse_json("tenant.json", "{\n\"tenant\": }").expect_err("no JSON").line, Some(2));
}

/// What is told about the demo file after a change; the change must hit.
fn told(from: &str, to: &str) -> String {
    told_of(DEMO, from, to)
}

fn told_of(text: &str, from: &str, to: &str) -> String {
    let changed = text.replacen(from, to, 1);
    assert_ne!(changed, text, "{from:?} is in the file");
    parse_toml("t.toml", &changed).expect_err(&changed).to_string()
}

#[test]
fn a_mistake_is_told_with_file_line_and_key() {
    for (from, to, expected) in [
        ("wrap_up_s = 0", "wrapup_s = 0", "t.toml:9: unknown field `wrapup_s`"),
        ("queue = \"support\"", "queue = \"sales\"", "t.toml:17: route.queue: there is no queue \"sales\""),
        (
            "[[route]]",
            "[[agent]]\nid = \"alice\"\ncontact = \"sip:a@b\"\n[[route]]",
            "t.toml:16: agent.id: \"alice\" is taken already, on line 11",
        ),
        ("[[route]]", "[[queue]]\nid = \"support\"\n[[route]]", "t.toml:16: queue.id: \"support\" is taken already, on line 4"),
        ("127.0.0.0/8", "127.0.0.0/33", "t.toml:20: trunk.sources: \"127.0.0.0/33\" is no network such as 192.0.2.0/24"),
        ("target_percent = 80", "target_percent = 101", "t.toml:6: queue.service_level.target_percent: must be between 1 and 100"),
        ("offer_timeout_s = 15", "offer_timeout_s = 0", "t.toml:7: queue.offer_timeout_s: must be at least 1"),
        ("max_wait_s = 600", "max_wait_s = 9999999", "t.toml:8: queue.max_wait_s: 9999999 s is longer than 604800 s"),
        ("max_wait_s = 600", "max_wait_s = \"long\"", "t.toml:8: max_wait_s: invalid type: string \"long\", expected u64"),
        ("\"longest-idle\"", "\"random\"", "t.toml:5: strategy: unknown variant `random`"),
        ("state = \"available\"", "state = \"asleep\"", "t.toml:14: state: unknown variant `asleep`"),
        ("sip:alice@127.0.0.1:6001", "alice", "t.toml:12: agent.contact: \"alice\" is no SIP URI"),
        ("contact = \"sip:alice@127.0.0.1:6001\"\n", "", "t.toml:11: agent.contact: an agent needs a `contact`"),
        ("support = 5 }", "support = 0 }", "t.toml:13: agent.skills: support has level 0"),
        ("id = \"demo\"", "id = \"de mo\"", "t.toml:2: tenant.id: \"de mo\" is no name"),
        ("id = \"demo\"\n", "", "t.toml:1: missing field `id`"),
        ("id = \"demo\"", "id = \"demo\"\nreopen_within_h = 745", "t.toml:3: tenant.reopen_within_h: must be 0 to 744"),
        ("id = \"demo\"", "id = \"demo\"\nretention_days = 0", "t.toml:3: tenant.retention_days: must be 1 to 3650"),
        ("[[route]]", "[[route]", "t.toml:15: "),
    ] {
        let told = told(from, to);
        assert!(told.starts_with(expected), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[test]
fn a_rule_that_cannot_work_is_told_where_it_is_written() {
    for (from, to, expected) in [
        ("require = { de = 2 }", "require = { de = 5 }", "t.toml:24: queue.steps.require: asks for more \"de\" than the step before"),
        ("require = { de = 2 }", "require = { en = 2 }", "t.toml:24: queue.steps.require: unknown skill \"en\": no agent has it"),
        ("{ require = {} }", "{ for_s = 5, require = {} }", "t.toml:24: queue.steps.for_s: every step but the last"),
        ("on_full = { reject = 486 }", "on_full = { reject = 200 }", "t.toml:15: queue.on_full: 200 is no SIP status"),
        ("on_full = { reject = 486 }", "on_full = {}", "t.toml:15: queue.on_full: needs either `reject` or `queue`"),
        ("overflow = \"silver\"", "overflow = \"lead\"", "t.toml:14: queue.overflow: there is no queue \"lead\""),
        ("overflow = \"silver\"", "overflow = \"gold\"", "t.toml:12: queue.overflow: gold leads back to itself"),
        (
            "id = \"silver\"",
            "id = \"silver\"\noverflow = \"gold\"",
            "t.toml:12: queue.overflow: gold leads back to itself by way of silver",
        ),
        ("hours = \"desk\"", "hours = \"night\"", "t.toml:16: queue.hours: there are no hours \"night\""),
        ("Europe/Berlin", "Europe/Bärlin", "t.toml:8: hours.zone: unknown time zone"),
        ("09:00-17:00", "9-17", "t.toml:9: hours.week.mon: \"9-17\" is no span"),
        ("2026-12-25", "2026-13-25", "t.toml:10: hours.holidays: \"2026-13-25\" is no date"),
        ("queues = [\"gold\"]", "queues = [\"gold\", \"lead\"]", "t.toml:32: agent.queues: there is no queue \"lead\""),
        ("break_reason = \"lunch\"", "break_reason = 7", "t.toml:36: break_reason: invalid type"),
        ("state = \"break\"\n", "", "t.toml:35: agent.break_reason: only with state = \"break\""),
        ("dials = 2", "dials = 11", "t.toml:58: queue.callback.dials: must be between 1 and 10"),
        ("pause_s = 60", "pause_s = 0", "t.toml:58: queue.callback.pause_s: must be at least 1"),
        ("\"+49\"", "\"49x\"", "t.toml:62: trunk.prefixes: \"49x\" begins no number"),
        ("\"+4930\"", "\"\"", "t.toml:64: transfer.numbers: \"\" begins no number"),
        ("ring_s = 20", "ring_s = 0", "t.toml:65: transfer.ring_s: must be at least 1"),
        ("password = \"secret\"\n", "", "t.toml:48: trunk.username: a credential needs both"),
    ] {
        let told = told_of(FULL, from, to);
        assert!(told.starts_with(expected), "{told}");
    }
}

#[test]
fn what_waiting_callers_hear_and_who_carries_it_is_read() {
    let tenant = DEMO.replace("id = \"demo\"", "id = \"demo\"\nmedia = \"direct\"\nadopt_unanswered = \"keep\"");
    let queue = "wrap_up_s = 0\nanswer = \"on-queue\"\ngreeting = \"welcome\"\nmusic = \"waltz\"\nannounce_every_s = 30";
    let policy = parse_toml("t.toml", &tenant.replace("wrap_up_s = 0", queue)).expect("good").policy;
    assert_eq!((policy.media, policy.adopt_unanswered), (Media::Direct, AdoptUnanswered::Keep));
    let treatment = &policy.queues["support"].treatment;
    assert_eq!((treatment.answer_waiting, treatment.announce_every_ms), (true, 30_000));
    assert_eq!((treatment.greeting.as_deref(), treatment.music.as_deref()), (Some("welcome"), Some("waltz")));
}

const AI: &str = r#"
[tenant]
id = "demo"
[[queue]]
id = "support"
ai = { first = false, people = "people", priority = 2, within_s = 30, unanswered = "rollback", failures_max = 2 }
[[queue]]
id = "people"
assist = { transcript = true, suggest = true, language = "es", knowledge = "bank" }
[[agent]]
id = "ada"
kind = "ai"
skills = { support = 5 }
capacity = { voice = 50 }
assistant = { language = "es", greeting = { text = "Hola", prompt = "hola" }, keys = { 0 = "una persona" }, knowledge = "bank" }
"#;

#[test]
fn an_ai_agent_is_there_from_the_start_and_says_what_it_is_in_its_language() {
    let policy = parsed(AI).policy;
    let agent = &policy.agents["ada"];
    let assistant = agent.assistant.as_deref().unwrap();
    assert_eq!((agent.kind, &agent.initial), (AgentKind::Ai, &InitialState::Available));
    assert!(assistant.language == "es" && assistant.disclosure.is_empty(), "what is shipped for its language is said");
    assert_eq!((assistant.greeting.prompt.as_deref(), assistant.keys[&'0'].as_str()), (Some("hola"), "una persona"));
    let sharing = &policy.queues["support"].sharing;
    assert_eq!((sharing.ai_first, sharing.people.as_ref().map(|queue| queue.as_str()), sharing.within_ms), (false, Some("people"), 30_000));
    assert_eq!((sharing.unanswered, sharing.failures_max), (Unanswered::Rollback, 2));
}

#[test]
fn what_an_ai_agent_may_not_be_is_refused_at_its_line() {
    for (good, bad, told) in [
        ("language = \"es\"", "language = \"tlh\"", "none of en, es, zh"),
        ("keys = { 0", "keys = { A0", "no key of a phone"),
        ("kind = \"ai\"", "contact = \"sip:a@127.0.0.1\"", "only with kind = \"ai\""),
        ("greeting = {", "disclosure = \"\", greeting = {", "must be told that no person speaks"),
        ("people = \"people\"", "people = \"nobody\"", "nobody"),
    ] {
        let error = told_of(AI, good, bad);
        assert!(error.contains(told) && error.contains(".toml:"), "{error}");
    }
}

#[test]
fn people_are_assisted_only_where_their_tenant_says_so_and_in_what_it_says() {
    let queues = parsed(AI).policy.queues;
    let aid = queues["people"].aid.as_deref().expect("wanted there");
    assert_eq!((aid.suggest, aid.agents, aid.language.as_str(), aid.knowledge.as_str()), (true, false, "es", "bank"));
    assert_eq!(queues["support"].aid, None);
    let off = AI.replace("transcript = true, suggest = true", "transcript = false");
    assert_eq!(parsed(&off).policy.queues["people"].aid, None);
    let direct = format!("{}\n", AI.replace("id = \"demo\"", "id = \"demo\"\nmedia = \"direct\""));
    assert!(parse_toml("t.toml", &direct).expect_err("refused").to_string().contains("queue.assist: only with media"));
    for (good, bad, told) in [
        ("transcript = true, ", "", "queue.assist.transcript"),
        (", knowledge = \"bank\" }\n[[agent]]", " }\n[[agent]]", "needs `knowledge`"),
        ("suggest = true, language = \"es\"", "suggest = true, language = \"tlh\"", "none of en, es, zh"),
    ] {
        let error = told_of(AI, good, bad);
        assert!(error.contains(told) && error.contains(".toml:"), "{error}");
    }
}

#[test]
fn a_tenant_leaves_matters_of_its_own_to_people_by_phrases_of_any_language() {
    let with = |topics: &str| parse_toml("t.toml", &format!("{AI}{topics}"));
    let funds = "[[topic]]\nname = \"funds\"\nen = [\"which fund\"]\nzh = [\"推荐基金\"]\n";
    let agents = with(funds).expect("good").policy.agents;
    let topics: Vec<_> = agents.values().filter_map(|agent| agent.assistant.as_ref()).map(|assistant| &assistant.topics[..]).collect();
    let phrases = vec!["which fund".to_owned(), "推荐基金".to_owned()];
    assert_eq!(topics, [[Topic { name: "funds".into(), phrases }]], "people have no use for it");
    for (topics, told) in [
        ("[[topic]]\nname = \"x\"\n".to_owned(), "topic: needs phrases"),
        (format!("{funds}{funds}"), "topic.name: \"funds\" is taken already"),
        (funds.replace("推荐基金", "……"), "topic.zh: \"……\" has no word in it"),
        (funds.replace("which fund", &"a".repeat(61)), "topic.en: a phrase is longer than 60"),
        (funds.replace("zh =", "fr ="), "unknown field `fr`"),
        (format!("[[topic]]\nname = \"x\"\nes = [{}]\n", "\"a\", ".repeat(201)), "more than 200 phrases"),
        ((0..33).map(|n| funds.replace("funds", &format!("t{n}"))).collect(), "more than 32 topics"),
    ] {
        let error = with(&topics).expect_err("refused").to_string();
        assert!(error.contains(told) && error.starts_with("t.toml:"), "{error}");
    }
}

#[test]
fn what_is_played_or_recorded_at_the_node_is_refused_of_calls_that_rtpengine_carries() {
    let tenant = DEMO.replace("id = \"demo\"", "id = \"demo\"\nmedia = \"rtpengine\"");
    assert_eq!(parse_toml("t.toml", &tenant).expect("good").policy.media, Media::Rtpengine);
    let with = |queue: &str| parse_toml("t.toml", &tenant.replace("wrap_up_s = 0", &format!("wrap_up_s = 0\n{queue}")));
    assert!(with("answer = \"on-offer\"\nrecord = \"off\"").is_ok());
    for (queue, key) in [("answer = \"on-queue\"", "queue.answer"), ("record = \"all\"", "queue.record")] {
        let told = with(queue).expect_err("refused").to_string();
        assert!(told.contains(&format!("{key}: not with media = \"rtpengine\"")), "{told}");
    }
}
