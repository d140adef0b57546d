//! Voice by an endpoint and by a script: audio in pieces, text of an utterance, and failures with a name.

use std::time::Duration;

use futures::{StreamExt as _, stream};

use super::fake::{Fake, Play};
use crate::ai::{
    Language,
    endpoint::{Access, Error, Failure},
    speech::{Endpoint, Heard, Options, Scripted, SpeechEngine, Spoken},
};

fn endpoint(fake: &Fake, deadline: Duration) -> Endpoint {
    Endpoint::new(Options { deadline, ..Options::new(Access::open(&fake.base), "tts", "stt", "v") }).unwrap()
}

const PATIENT: Duration = Duration::from_secs(60);

fn spoken(text: &str) -> Spoken {
    Spoken { text: text.to_owned(), language: Language::Zh, voice: Some("zf_xiaoxiao".into()) }
}

async fn say(engine: &dyn SpeechEngine, text: &str) -> Result<Vec<i16>, Failure> {
    let pieces: Vec<_> = engine.say(spoken(text)).collect().await;
    pieces.into_iter().collect::<Result<Vec<_>, _>>().map(|pieces| pieces.concat())
}

async fn hear(engine: &dyn SpeechEngine, samples: usize) -> Result<Heard, Failure> {
    let audio = stream::iter(vec![vec![1_000; 160]; samples / 160]).boxed();
    let mut events: Vec<_> = engine.hear(audio, Language::Zh).collect().await;
    events.pop().unwrap()
}

/// Raw audio: a second of silence, then half a second of something at 24 kHz.
fn pcm() -> Vec<u8> {
    let samples = std::iter::repeat_n(0_i16, 24_000).chain((0..12_000).map(|at| if at % 24 < 12 { 8_000 } else { -8_000 }));
    samples.flat_map(i16::to_le_bytes).collect()
}

#[tokio::test]
async fn a_text_is_said_at_a_telephones_rate_without_the_silence_before() {
    let fake = Fake::start(vec![Play::Answer("audio/pcm", pcm())]).await;
    let samples = say(&endpoint(&fake, PATIENT), "您好").await.unwrap();
    assert!((3_990..4_200).contains(&samples.len()), "{}", samples.len());
    assert_eq!(
        fake.asked()[0].json(),
        serde_json::json!({ "model": "tts", "input": "您好", "voice": "zf_xiaoxiao", "response_format": "pcm" })
    );
}

#[tokio::test]
async fn an_utterance_is_sent_whole_and_understood() {
    let fake = Fake::start(vec![Play::Answer("application/json", "{\"text\":\" 我想退货。 \",\"more\":1}".into())]).await;
    assert_eq!(hear(&endpoint(&fake, PATIENT), 8_000).await, Ok(Heard::Final("我想退货。".into())));
    let asked = &fake.asked()[0];
    let body = String::from_utf8_lossy(&asked.body);
    assert!(asked.head.starts_with("post /v1/audio/transcriptions") && body.contains("name=\"language\"") && body.contains("RIFF"));
    assert!(asked.body.len() > 16_000);
}

#[tokio::test]
async fn what_goes_wrong_has_a_name_and_is_left_alone_after_three_times() {
    let json = |text: &str| Play::Answer("application/json", text.into());
    for (play, failure) in [
        (Play::Status(500), Failure::Refused(500)),
        (json("{\"text\":\"\"}"), Failure::Empty),
        (json("[]"), Failure::Garbage),
        (Play::Answer("application/json", b"{\"text\":\"\xff\xfe\"}".to_vec()), Failure::Garbage),
        (Play::Answer("application/json", vec![b' '; 1 << 20]), Failure::TooLong),
    ] {
        let fake = Fake::start(vec![play]).await;
        assert_eq!(hear(&endpoint(&fake, PATIENT), 8_000).await, Err(failure));
    }
    let hangs = Fake::start(vec![Play::Hang]).await;
    let engine = endpoint(&hangs, Duration::from_millis(20));
    for _ in 0..3 {
        assert_eq!(say(&engine, "x").await, Err(Failure::Late));
    }
    assert_eq!(say(&engine, "x").await, Err(Failure::Resting));
    assert_eq!(hear(&engine, 8_000).await, Err(Failure::Late), "that it cannot speak says nothing of its ear");
    assert_eq!(hear(&engine, 320).await, Err(Failure::Empty), "a click is no utterance");
}

#[tokio::test]
async fn audio_that_is_none_or_never_ends_is_a_failure() {
    let none = Fake::start(vec![Play::Answer("audio/pcm", vec![])]).await;
    assert_eq!(say(&endpoint(&none, PATIENT), "x").await, Err(Failure::Empty));
    let endless = Fake::start(vec![Play::Endless(vec![0x11; 48_000])]).await;
    assert_eq!(say(&endpoint(&endless, PATIENT), "x").await, Err(Failure::TooLong));
    let broken = Fake::start(vec![Play::Break(pcm())]).await;
    assert_eq!(say(&endpoint(&broken, PATIENT), "x").await, Err(Failure::Unreachable));
}

#[test]
fn a_rate_that_cannot_be_brought_down_is_refused() {
    let options = Options { rate: 44_100, ..Options::new(Access::open("http://h.test/v1"), "a", "b", "c") };
    assert!(matches!(Endpoint::new(options), Err(Error::Rate(44_100))));
}

#[tokio::test]
async fn a_script_says_what_can_be_told_from_its_audio_and_hears_its_lines() {
    let engine = Scripted::hearing([Ok("hello".to_owned()), Err(Failure::Late)]);
    assert_eq!(say(&engine, "ab").await.unwrap(), [vec![97; 160], vec![98; 160]].concat());
    assert_eq!(engine.said(), [spoken("ab")]);
    assert_eq!(hear(&engine, 8_000).await, Ok(Heard::Final("hello".into())));
    assert_eq!((hear(&engine, 8_000).await, hear(&engine, 8_000).await), (Err(Failure::Late), Err(Failure::Empty)));
}
