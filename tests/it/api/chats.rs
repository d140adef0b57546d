//! Chats over HTTP: a customer and an agent write, AI answers and gives over, a stream outlives the node it came from, and the phone takes over.

use std::io::{BufRead as _, BufReader};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{JSON, problem, token};
use crate::harness::{Answer, Cluster, Options};

const TENANT: &str = r#"
[tenant]
id = "acme"
chats_max = 4
[[queue]]
id = "support"
[[queue]]
id = "help"
[[agent]]
id = "bob"
queues = ["support", "help"]
capacity = { voice = 0, chat = 3 }
state = "available"
[[agent]]
id = "ada"
kind = "ai"
queues = ["help"]
capacity = { voice = 0, chat = 2 }
[[route]]
to = "help"
queue = "help"
[[trunk]]
id = "out"
contacts = ["sip:gw@127.0.0.1:{own1}"]
[transfer]
numbers = ["+4930"]
"#;

const CHATS: &str = "/api/v1/tenants/acme/chats";

/// A chat as its customer has it.
struct Chat {
    id: String,
    secret: String,
}

/// Asks again as a client should while the cluster says that it cannot tell, or cannot do it now.
fn settled(cluster: &Cluster, mut ask: impl FnMut(&Cluster) -> Answer) -> Answer {
    cluster.eventually("the cluster answers", |cluster| Some(ask(cluster)).filter(|answer| answer.status < 500))
}

fn open(cluster: &Cluster, k: u16, to: &str, text: &str) -> Chat {
    let body = json!({ "to": to, "text": text, "customer": "anna" }).to_string();
    let answer = settled(cluster, |cluster| cluster.ask_as("", k, "POST", CHATS, &[JSON], &body));
    assert_eq!(answer.status, 201, "{}", answer.text);
    let opened = answer.json();
    let field = |name: &str| opened[name].as_str().expect("it is told").to_owned();
    Chat { id: field("chat"), secret: field("secret") }
}

impl Chat {
    fn path(&self, what: &str) -> String {
        format!("{CHATS}/{}{what}", self.id)
    }

    fn say(&self, cluster: &Cluster, k: u16, text: &str, key: &str) -> Answer {
        let (headers, body) = ([JSON, ("idempotency-key", key)], json!({ "text": text }).to_string());
        settled(cluster, |cluster| cluster.ask_as(&self.secret, k, "POST", &self.path("/lines"), &headers, &body))
    }

    /// The events of the chat from node `k`, after line `seen`.
    fn follow<'a>(&'a self, cluster: &'a Cluster, k: u16, seen: u64) -> Stream<'a> {
        Stream { cluster, chat: self, k, seen, rows: None, over: false }
    }
}

type Rows = Box<dyn Iterator<Item = (String, Value)>>;

/// A stream as (kind, data), which is taken up again at its node where it breaks.
struct Stream<'a> {
    cluster: &'a Cluster,
    chat: &'a Chat,
    k: u16,
    seen: u64,
    rows: Option<Rows>,
    over: bool,
}

impl Stream<'_> {
    fn connect(&self) -> Rows {
        let url = format!("{}{}", self.cluster.server(self.k), self.chat.path("/events"));
        let answer = self.cluster.eventually("there is a stream", |_| {
            let request = ureq::get(&url).header("authorization", format!("Bearer {}", self.chat.secret));
            request.header("last-event-id", self.seen.to_string()).call().ok()
        });
        let mut kind = String::new();
        Box::new(BufReader::new(answer.into_body().into_reader()).lines().map_while(Result::ok).filter_map(move |line| {
            if let Some(name) = line.strip_prefix("event:") {
                name.trim().clone_into(&mut kind);
            }
            let data = line.strip_prefix("data:")?;
            Some((kind.clone(), serde_json::from_str(data.trim()).expect("JSON")))
        }))
    }
}

impl Iterator for Stream<'_> {
    type Item = (String, Value);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.over {
            let mut rows = self.rows.take().unwrap_or_else(|| self.connect());
            let Some((kind, data)) = rows.next() else { continue };
            self.rows = Some(rows);
            self.seen = data["line"].as_u64().unwrap_or(self.seen);
            self.over = kind == "end";
            return Some((kind, data));
        }
        None
    }
}

/// The next `n` lines of a stream, as "number who: text".
fn lines(stream: &mut Stream<'_>, n: usize) -> Vec<String> {
    let lines = stream.filter(|(kind, _)| kind == "line").take(n);
    lines.map(|(_, line)| format!("{} {}: {}", line["line"], line["who"].as_str().unwrap(), line["text"].as_str().unwrap())).collect()
}

fn agent(cluster: &Cluster, name: &str) -> String {
    token(cluster, &json!({ "role": "agent", "tenant": "acme", "agent": name }))
}

/// The agent is offered the chat, and takes it.
fn accept(cluster: &Cluster, bob: &str, chat: &Chat) {
    cluster.eventually("the chat is offered", |cluster| {
        let held = cluster.ask_as(bob, 3, "GET", "/api/v1/chats", &[], "").json();
        let offered = |row: &Value| row["chat"] == chat.id.as_str() && row["offered"] == true;
        held["items"].as_array().is_some_and(|rows| rows.iter().any(offered)).then_some(())
    });
    let taken = settled(cluster, |cluster| cluster.ask_as(bob, 2, "POST", &format!("/api/v1/chats/{}/accept", chat.id), &[], ""));
    assert_eq!(taken.status, 204, "{}", taken.text);
}

fn record(cluster: &Cluster, id: &str) -> Value {
    cluster
        .eventually("there is a record", |cluster| cluster.all(1, "/api/v1/cdrs?tenant=acme").into_iter().find(|row| row["call_id"] == id))
}

#[test]
fn a_customer_and_an_agent_write_at_different_nodes_and_only_they_do() {
    let cluster = Options::default().open_tenant(TENANT).start();
    let bob = agent(&cluster, "bob");
    let chat = open(&cluster, 1, "support", "hello, my card is 4111 1111 1111 1111");
    accept(&cluster, &bob, &chat);
    let line = format!("/api/v1/chats/{}/lines", chat.id);
    let said = |cluster: &Cluster| cluster.ask_as(&bob, 3, "POST", &line, &[JSON, ("idempotency-key", "b1")], r#"{"text":"good day"}"#);
    assert_eq!(settled(&cluster, said).json()["line"], 2);
    assert_eq!(chat.say(&cluster, 2, "order 12345678", "k1").json()["line"], 3);
    assert_eq!(chat.say(&cluster, 3, "order 12345678", "k1").json()["line"], 3, "once under one key, at any node");
    let mut stream = chat.follow(&cluster, 2, 0);
    let seen = lines(&mut stream, 3);
    assert!(!seen[0].contains("4111"), "{seen:?}");
    assert_eq!(seen[1..], ["2 person: good day", "3 customer: order 12345678"]);
    let stranger = Chat { id: chat.id.clone(), secret: "guessed".to_owned() };
    problem(&stranger.say(&cluster, 1, "me", "k2"), 403);
    problem(&settled(&cluster, |cluster| cluster.ask_as(&stranger.secret, 1, "GET", &chat.path("/events"), &[], "")), 404);
    problem(&cluster.ask_as("", 1, "DELETE", &chat.path(""), &[], ""), 401);
    problem(&cluster.ask(1, "POST", &line, &[JSON], r#"{"text":"the administrator"}"#), 403);
    let end = |cluster: &Cluster| cluster.ask_as(&chat.secret, 3, "DELETE", &chat.path(""), &[("idempotency-key", "end")], "");
    assert_eq!(settled(&cluster, end).status, 204);
    assert!(stream.any(|(kind, _)| kind == "end"), "the stream says that it is over");
    let record = record(&cluster, &chat.id);
    assert_eq!((&record["channel"], &record["end_reason"], &record["agent"]), (&json!("chat"), &json!("customer_ended"), &json!("bob")));
    assert_eq!(record["chat"]["transcript"][2]["text"], "order 12345678");
}

#[test]
fn what_is_too_long_too_much_or_no_text_is_refused_and_loses_nothing() {
    let cluster = Options::default().nodes(1).open_tenant(TENANT).start();
    let chat = open(&cluster, 1, "support", "hello");
    problem(&chat.say(&cluster, 1, &"好".repeat(4_001), "long"), 422);
    problem(&chat.say(&cluster, 1, " \n", "blank"), 422);
    problem(&chat.say(&cluster, 1, &"x".repeat(1 << 20), "huge"), 413);
    let garbled = ureq::post(format!("{}{}", cluster.server(1), chat.path("/lines")))
        .config()
        .http_status_as_error(false)
        .build()
        .header("authorization", format!("Bearer {}", chat.secret))
        .header("content-type", "application/json")
        .send(&b"{\"text\":\"\xff\xfe\"}"[..])
        .expect("an answer");
    assert_eq!(garbled.status(), 400);
    let refused = (0..20).filter(|n| chat.say(&cluster, 1, "spam", &format!("spam{n}")).status == 429).count();
    assert!(refused > 0, "a flood is held up");
    cluster.eventually("what was held up is taken later", |cluster| (chat.say(cluster, 1, "spam", "spam19").status == 201).then_some(()));
    assert_eq!(lines(&mut chat.follow(&cluster, 1, 0), 2), ["1 customer: hello", "2 customer: spam"]);
    for _ in 0..3 {
        open(&cluster, 1, "support", "hello");
    }
    problem(&cluster.ask_as("", 1, "POST", CHATS, &[JSON], r#"{"to":"support"}"#), 429);
    problem(&cluster.ask_as("", 1, "POST", CHATS, &[JSON], r#"{"to":"nowhere"}"#), 404);
    let page = cluster.ask_as("", 1, "GET", "/chat/acme", &[], "");
    assert!(page.status == 200 && page.header("content-security-policy").starts_with("default-src 'none'"), "{}", page.text);
}

#[test]
fn ai_says_what_it_is_answers_and_gives_over_to_a_person_who_is_asked_for() {
    let cluster = Options::default().open_tenant(TENANT).start();
    let bob = agent(&cluster, "bob");
    let chat = open(&cluster, 2, "help", "my thing is odd");
    let mut stream = chat.follow(&cluster, 1, 0);
    let seen = lines(&mut stream, 3);
    assert_eq!(seen[0], "1 customer: my thing is odd");
    assert!(seen[1].starts_with("2 assistant: ") && seen[2].starts_with("3 assistant: "), "{seen:?}");
    chat.say(&cluster, 3, "a person, please", "k1");
    accept(&cluster, &bob, &chat);
    assert!(stream.any(|(kind, data)| kind == "state" && data["state"] == "person"));
    let row = settled(&cluster, |cluster| cluster.get(1, &format!("/api/v1/calls/{}", chat.id))).json();
    assert_eq!(
        (&row["channel"], &row["ai"]["asked"], &row["ai"]["takeovers"][0]["result"]),
        (&json!("chat"), &json!(true), &json!("accepted"))
    );
}

#[test]
fn a_stream_goes_on_at_another_node_when_its_own_dies_with_no_line_lost_or_doubled() {
    let cluster = Options::default().open_tenant(TENANT).start();
    let chat = open(&cluster, 1, "support", "1");
    let mut seen = lines(&mut chat.follow(&cluster, 2, 0), 1);
    let mut stream = chat.follow(&cluster, 2, 1);
    for n in 2..=4 {
        assert_eq!(chat.say(&cluster, 1, &n.to_string(), &format!("k{n}")).status, 201);
    }
    seen.extend(lines(&mut stream, 2));
    cluster.signal(2, Signal::KILL);
    for n in 5..=7 {
        // Whoever led may have died: the line is sent again until its fate is known.
        assert_eq!(chat.say(&cluster, 1, &n.to_string(), &format!("k{n}")).status, 201);
    }
    let mut stream = chat.follow(&cluster, 3, 3);
    seen.extend(lines(&mut stream, 4));
    let expected: Vec<_> = (1..=7).map(|n| format!("{n} customer: {n}")).collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_chat_goes_on_by_phone_and_the_records_name_each_other() {
    let cluster = Options::default().open_tenant(TENANT).start();
    let chat = open(&cluster, 1, "support", "call me, please");
    let phone = |number: &str| {
        let body = json!({ "number": number }).to_string();
        settled(&cluster, |cluster| {
            cluster.ask_as(&chat.secret, 2, "POST", &chat.path("/phone"), &[JSON, ("idempotency-key", number)], &body)
        })
    };
    assert!(phone("anna").status >= 400, "nothing is lost by a bad number");
    let made = phone("+4930123456");
    assert_eq!(made.status, 201, "{}", made.text);
    let call = made.json()["call_id"].as_str().expect("a call").to_owned();
    assert_eq!(phone("+4930123456").json()["call_id"], call.as_str(), "once under one key");
    let row = settled(&cluster, |cluster| cluster.get(3, &format!("/api/v1/calls/{call}"))).json();
    assert_eq!((&row["channel"], &row["queue"]), (&json!("voice"), &json!("support")));
    let said = settled(&cluster, |cluster| cluster.get(1, &format!("/api/v1/calls/{call}/transcript"))).json();
    assert_eq!(said[0]["text"], "call me, please");
    assert_eq!(record(&cluster, &chat.id)["continued_as"], call.as_str());
    settled(&cluster, |cluster| cluster.ask(1, "DELETE", &format!("/api/v1/calls/{call}"), &[], ""));
    assert_eq!(record(&cluster, &call)["continues"], chat.id.as_str());
}
