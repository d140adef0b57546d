//! Language models that answer, call, hang, break and talk nonsense: each is an answer or a named failure, and in time.

use std::time::Duration;

use serde_json::json;

use super::fake::{Fake, Play, calls, says, stream};
use crate::ai::endpoint::{Access, Answer, Error, Failure, LanguageModel, Options, Prompt, Tool};

fn model(fake: &Fake) -> LanguageModel {
    model_with(fake, |_| {})
}

fn model_with(fake: &Fake, change: impl FnOnce(&mut Options)) -> LanguageModel {
    let mut options = Options::new(Access { key: Some("secret".into()), ..Access::open(&fake.base) }, "m");
    // Long enough for a busy machine; what hangs sets its own.
    options.deadline = Duration::from_secs(60);
    change(&mut options);
    LanguageModel::new(options).unwrap()
}

fn prompt() -> Prompt {
    Prompt {
        system: "rules".into(),
        history: vec![(false, "hi".into()), (true, "hello".into())],
        said: "question".into(),
        turn: b"t".to_vec(),
    }
}

async fn failure_of(play: Play) -> Failure {
    model(&Fake::start(vec![play]).await).answer(&prompt()).await.unwrap_err()
}

fn tool(fake: &Fake) -> Tool {
    Tool {
        name: "order_status".into(),
        description: "d".into(),
        parameters: json!({ "type": "object" }),
        url: format!("{}/hook", fake.base),
    }
}

#[tokio::test]
async fn an_answer_in_pieces_is_put_together() {
    let fake = Fake::start(vec![says("您的订单**明天**到。")]).await;
    let answer = model(&fake).answer(&prompt()).await.unwrap();
    assert_eq!(answer, Answer { say: "您的订单明天到。".into(), person: false, tools: vec![] });
    let asked = &fake.asked()[0];
    assert!(asked.head.starts_with("post /v1/chat/completions") && asked.head.contains("authorization: bearer secret"));
    let body = asked.json();
    assert_eq!((&body["model"], &body["stream"], &body["max_tokens"]), (&json!("m"), &json!(true), &json!(300)));
    let roles: Vec<_> = body["messages"].as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user"]);
    assert_eq!(body["tools"][0]["function"]["name"], "hand_over");
}

#[tokio::test]
async fn an_endpoint_that_hangs_is_late_and_left_alone_after_three_times() {
    let fake = Fake::start(vec![Play::Hang]).await;
    let model = model_with(&fake, |options| options.deadline = Duration::from_millis(20));
    for _ in 0..3 {
        assert_eq!(model.answer(&prompt()).await, Err(Failure::Late));
    }
    assert_eq!(model.answer(&prompt()).await, Err(Failure::Resting));
    assert!(fake.asked().len() <= 3, "and is not asked while it rests");
}

#[tokio::test]
async fn an_endpoint_that_recovers_is_asked_again_after_its_rest() {
    let fake = Fake::start(vec![Play::Status(500), says("Back.")]).await;
    let model = model_with(&fake, |options| (options.failures, options.rest) = (1, Duration::from_millis(1)));
    assert_eq!(model.answer(&prompt()).await, Err(Failure::Refused(500)));
    let answer = loop {
        match model.answer(&prompt()).await {
            Err(Failure::Resting) => tokio::task::yield_now().await,
            answer => break answer,
        }
    };
    assert_eq!(answer.unwrap().say, "Back.");
}

#[tokio::test]
async fn nonsense_is_a_failure_with_a_name() {
    let event = |text: &[u8]| Play::Answer("text/event-stream", text.to_vec());
    assert_eq!(failure_of(Play::Status(429)).await, Failure::Refused(429));
    assert_eq!(failure_of(Play::Status(307)).await, Failure::Refused(307), "redirects are not followed");
    assert_eq!(failure_of(event(b"data: {not json}\n\n")).await, Failure::Garbage);
    assert_eq!(failure_of(event(b"data: \xff\xfe\xfd\n\n")).await, Failure::Garbage);
    assert_eq!(failure_of(event(b"data: {\"error\":{\"message\":\"overloaded\"}}\n\n")).await, Failure::Garbage);
    assert_eq!(failure_of(event(b"<html>")).await, Failure::Garbage);
    assert_eq!(failure_of(event(b"")).await, Failure::Garbage);
    assert_eq!(failure_of(says("")).await, Failure::Empty);
    assert_eq!(
        failure_of(stream(&[json!({ "choices": [{ "delta": { "content": "x" }, "finish_reason": "content_filter" }] })])).await,
        Failure::Empty
    );
    let nowhere = LanguageModel::new(Options::new(Access::open("http://127.0.0.1:1/v1"), "m")).unwrap();
    assert_eq!(nowhere.answer(&prompt()).await, Err(Failure::Unreachable));
}

#[tokio::test]
async fn an_answer_that_broke_off_is_none() {
    let half = b"data: {\"choices\":[{\"delta\":{\"content\":\"Do not \"}}]}\n\n".to_vec();
    assert_eq!(failure_of(Play::Break(half.clone())).await, Failure::Unreachable);
    assert_eq!(failure_of(Play::Answer("text/event-stream", half)).await, Failure::Garbage);
}

#[tokio::test]
async fn a_stream_without_end_is_cut_where_nobody_listens_any_more() {
    let talk = Play::Endless(b"data: {\"choices\":[{\"delta\":{\"content\":\"On and on. \"}}]}\n\n".to_vec());
    let answer = model(&Fake::start(vec![talk]).await).answer(&prompt()).await.unwrap();
    assert!(answer.say.ends_with("On and on.") && answer.say.chars().count() <= 600);
    assert_eq!(failure_of(Play::Endless(b": alive\n\n".to_vec())).await, Failure::TooLong);
    assert_eq!(failure_of(Play::Endless(vec![b'x'; 1_000])).await, Failure::TooLong);
    let megabyte = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "a".repeat(1 << 20));
    assert_eq!(failure_of(Play::Answer("text/event-stream", megabyte.into_bytes())).await, Failure::TooLong);
}

#[tokio::test]
async fn a_tool_on_the_list_is_called_and_its_result_goes_back() {
    let hook = Fake::start(vec![Play::Answer("application/json", b"{\"status\":\"on its way\"}".to_vec())]).await;
    let fake = Fake::start(vec![calls("order_status", "{\"order\":\"10482233\"}"), says("It is on its way.")]).await;
    let model = model_with(&fake, |options| options.tools = vec![tool(&hook)]);
    let answer = model.answer(&prompt()).await.unwrap();
    assert_eq!((answer.say.as_str(), &answer.tools[..]), ("It is on its way.", &["order_status".to_owned()][..]));
    let asked = &hook.asked()[0];
    assert_eq!(asked.json(), json!({ "tool": "order_status", "arguments": { "order": "10482233" } }));
    assert!(asked.head.contains("idempotency-key: ") && !asked.head.contains("secret"), "the model's key is not the webhook's");
    let messages = fake.asked()[1].json()["messages"].clone();
    assert_eq!(messages[5], json!({ "role": "tool", "tool_call_id": "c1", "content": "{\"status\":\"on its way\"}" }));
    let again = Fake::start(vec![calls("order_status", "{\"order\":\"10482233\"}"), says("x")]).await;
    model_with(&again, |options| options.tools = vec![tool(&hook)]).answer(&prompt()).await.unwrap();
    let key = |at: usize| hook.asked()[at].head.lines().find(|line| line.starts_with("idempotency-key")).unwrap().to_owned();
    assert_eq!(key(0), key(1), "the same turn asked again is the same call");
}

#[tokio::test]
async fn what_is_not_on_the_list_is_not_called_and_the_model_is_told() {
    let hook = Fake::start(vec![Play::Answer("application/json", b"{}".to_vec())]).await;
    for (call, told) in [
        (calls("refund_everything", "{}"), "no such tool"),
        (calls("order_status", "[1]"), "no JSON object"),
        (calls("order_status", "{broken"), "no JSON object"),
    ] {
        let fake = Fake::start(vec![call, says("I cannot.")]).await;
        model_with(&fake, |options| options.tools = vec![tool(&hook)]).answer(&prompt()).await.unwrap();
        let result = fake.asked()[1].json()["messages"][5]["content"].as_str().unwrap().to_owned();
        assert!(result.contains(told), "{result}");
    }
    assert_eq!(hook.asked().len(), 0);
}

#[tokio::test]
async fn a_webhook_that_fails_is_told_to_the_model() {
    for (play, told) in [
        (Play::Status(500), "HTTP 500"),
        (Play::Answer("text/plain", b"\xffno json".to_vec()), "JSON"),
        (Play::Answer("application/json", vec![b'1'; 1 << 20]), "longer than its bound"),
    ] {
        let hook = Fake::start(vec![play]).await;
        let fake = Fake::start(vec![calls("order_status", "{}"), says("Sorry.")]).await;
        model_with(&fake, |options| options.tools = vec![tool(&hook)]).answer(&prompt()).await.unwrap();
        let result = fake.asked()[1].json()["messages"][5]["content"].as_str().unwrap().to_owned();
        assert!(result.contains(told), "{result}");
    }
}

#[tokio::test]
async fn a_model_that_only_calls_is_stopped_and_one_may_hand_over() {
    let hook = Fake::start(vec![Play::Answer("application/json", b"{}".to_vec())]).await;
    let fake = Fake::start(vec![calls("order_status", "{}")]).await;
    let model = model_with(&fake, |options| options.tools = vec![tool(&hook)]);
    assert_eq!(model.answer(&prompt()).await, Err(Failure::Empty));
    assert_eq!((fake.asked().len(), hook.asked().len()), (4, 3));
    let fake = Fake::start(vec![calls("hand_over", "{\"reason\":\"x\"}")]).await;
    assert!(self::model(&fake).answer(&prompt()).await.unwrap().person);
}

#[test]
fn bad_options_are_refused_and_a_key_is_not_shown() {
    for base in ["ftp://x/v1", "not an address", "file:///etc/passwd"] {
        assert!(matches!(LanguageModel::new(Options::new(Access::open(base), "m")), Err(Error::Address(_))), "{base}");
    }
    let named = |name: &str| Tool { name: name.into(), description: String::new(), parameters: json!({}), url: "http://h.test/x".into() };
    for tools in
        [vec![named("hand_over")], vec![named("a b")], vec![named("a"), named("a")], (0..40).map(|n| named(&format!("t{n}"))).collect()]
    {
        let options = Options { tools, ..Options::new(Access::open("http://h.test/v1"), "m") };
        assert!(matches!(LanguageModel::new(options), Err(Error::Tool(_))));
    }
    let options = Options::new(Access { key: Some("secret".into()), ..Access::open("http://h.test/v1") }, "m");
    assert!(!format!("{options:?}").contains("secret"));
}
