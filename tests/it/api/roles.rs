//! Who may do what, with which token.

use serde_json::{Value, json};

use super::{JSON, TOML, problem, shared, token};

#[test]
fn without_a_token_everything_under_api_is_closed_and_the_probes_are_open() {
    let cluster = shared();
    let described = cluster.ask_as("", 1, "GET", "/openapi.json", &[], "").json();
    let paths = described["paths"].as_object().expect("paths");
    for (path, verbs) in paths.iter().filter(|(path, _)| path.starts_with("/api/")) {
        for (verb, described) in verbs.as_object().expect("verbs") {
            let path = path.replace("{id}", "1");
            if described["security"] == json!([]) {
                assert_eq!(path, "/api/v1/tenants/1/chats", "the one thing that anybody may do");
                continue;
            }
            // A body of the right type, so that the token is what is missing.
            let answer = cluster.ask_as("", 1, &verb.to_uppercase(), &path, &[JSON], "{}");
            assert_eq!(answer.status, 401, "{verb} {path}: {}", answer.text);
            if described["security"] == json!([{ "chat": [] }]) {
                // What opens a chat is its secret, and the core's to look at.
                continue;
            }
            assert_eq!(cluster.ask_as("tdm_wrong", 1, &verb.to_uppercase(), &path, &[JSON], "{}").status, 401, "{verb} {path}");
        }
    }
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
        assert_eq!(cluster.ask_as("", 1, "GET", path, &[], "").status, 200, "{path}");
    }
}

#[test]
fn an_agent_changes_its_own_state_and_nothing_else() {
    let cluster = shared();
    let bob = token(&cluster, &json!({ "role": "agent", "tenant": "acme", "agent": "bob" }));
    let body = r#"{"state":"break","reason":"lunch"}"#;
    let own = cluster.ask_as(&bob, 2, "POST", "/api/v1/agents/bob/state?tenant=acme", &[JSON], body);
    assert_eq!(own.status, 204, "{}", own.text);
    let row = cluster.all(3, "/api/v1/agents?tenant=acme").into_iter().find(|row| row["id"] == "bob").expect("bob");
    assert_eq!((row["state"].as_str(), row["reason"].as_str()), (Some("break"), Some("lunch")));
    problem(&cluster.ask_as(&bob, 2, "POST", "/api/v1/agents/alice/state?tenant=acme", &[JSON], body), 403);
    problem(&cluster.ask_as(&bob, 2, "POST", "/api/v1/agents/bob/state?tenant=acme", &[JSON], r#"{"state":"force_release"}"#), 403);
    problem(&cluster.ask_as(&bob, 2, "GET", "/api/v1/agents", &[], ""), 403);
}

#[test]
fn what_is_said_in_an_agents_calls_is_for_that_agent_alone() {
    let cluster = shared();
    let bob = token(&cluster, &json!({ "role": "agent", "tenant": "acme", "agent": "bob" }));
    let path = "/api/v1/agents/bob/assist?tenant=acme";
    for role in ["admin", "supervisor", "auditor"] {
        let other = token(&cluster, &json!({ "role": role, "tenant": "acme" }));
        problem(&cluster.ask_as(&other, 1, "GET", path, &[], ""), 403);
    }
    problem(&cluster.ask_as(&bob, 1, "GET", "/api/v1/agents/alice/assist?tenant=acme", &[], ""), 403);
    problem(&cluster.ask_as(&bob, 1, "GET", &format!("{path}&last_event_id=7"), &[], ""), 400);
    for k in 1..=3 {
        let open = ureq::get(format!("{}{path}", cluster.server(k))).header("authorization", format!("Bearer {bob}")).call();
        let open = open.expect("a stream at any node");
        assert_eq!(open.headers()["content-type"], "text/event-stream", "node {k}");
    }
    let nobody = token(&cluster, &json!({ "role": "agent", "tenant": "acme", "agent": "nobody" }));
    problem(&cluster.ask_as(&nobody, 1, "GET", "/api/v1/agents/nobody/assist?tenant=acme", &[], ""), 404);
}

#[test]
fn an_auditor_reads_and_a_supervisor_runs_the_floor_but_neither_configures() {
    let cluster = shared();
    let auditor = token(&cluster, &json!({ "role": "auditor" }));
    let supervisor = token(&cluster, &json!({ "role": "supervisor", "tenant": "acme" }));
    for path in ["/api/v1/queues", "/api/v1/calls", "/api/v1/cdrs", "/api/v1/agents"] {
        for token in [&auditor, &supervisor] {
            assert_eq!(cluster.ask_as(token, 1, "GET", path, &[], "").status, 200, "{path}");
        }
    }
    let offline = r#"{"state":"offline"}"#;
    problem(&cluster.ask_as(&auditor, 1, "POST", "/api/v1/agents/carol/state?tenant=acme", &[JSON], offline), 403);
    assert_eq!(cluster.ask_as(&supervisor, 1, "POST", "/api/v1/agents/carol/state?tenant=acme", &[JSON], offline).status, 204);
    for token in [&auditor, &supervisor] {
        problem(&cluster.ask_as(token, 1, "PUT", "/api/v1/tenants/acme", &[TOML], "[tenant]\nid = \"acme\"\n"), 403);
        problem(&cluster.ask_as(token, 1, "POST", "/api/v1/nodes/1/drain", &[], ""), 403);
        problem(&cluster.ask_as(token, 1, "POST", "/api/v1/tokens", &[JSON], r#"{"role":"admin"}"#), 403);
    }
    problem(&cluster.ask_as(&supervisor, 1, "GET", "/api/v1/queues?tenant=other", &[], ""), 403);
}

#[test]
fn drills_are_refused_where_the_node_does_not_allow_them() {
    let cluster = shared();
    let refused = problem(&cluster.ask(1, "POST", "/api/v1/drills", &[JSON], r#"{"kind":"stop-all"}"#), 403);
    assert_eq!(refused["type"], "/problems/drills-off");
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("drills = true")), "{refused}");
    problem(&cluster.ask(1, "POST", "/api/v1/drills", &[JSON], r#"{"kind":"reboot"}"#), 400);
    let supervisor = token(&cluster, &json!({ "role": "supervisor" }));
    let refused = problem(&cluster.ask_as(&supervisor, 1, "POST", "/api/v1/drills", &[JSON], r#"{"kind":"stop-all"}"#), 403);
    assert_eq!(refused["type"], "/problems/forbidden");
}

#[test]
fn a_revoked_token_is_unknown_on_every_node() {
    let cluster = shared();
    let before: Vec<Value> = cluster.all(1, "/api/v1/tokens");
    let made = cluster.cli(1, &["token", "create", "--role", "auditor", "--tenant", "revoked"]);
    assert!(made.status.success());
    let secret = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    cluster.eventually("the token is known", |cluster| {
        (cluster.ask_as(&secret, 3, "GET", "/api/v1/nodes", &[], "").status == 403).then_some(())
    });
    assert!(!before.iter().any(|row| row["tenant"] == "revoked"));
    let row = cluster.all(1, "/api/v1/tokens").into_iter().find(|row| row["tenant"] == "revoked").expect("it is listed");
    assert!(cluster.cli(1, &["token", "revoke", row["id"].as_str().expect("an id")]).status.success());
    for k in 1..=3 {
        cluster.eventually("the token is unknown", |cluster| {
            (cluster.ask_as(&secret, k, "GET", "/api/v1/nodes", &[], "").status == 401).then_some(())
        });
    }
}

#[test]
fn a_token_asked_for_twice_under_one_key_is_one_token() {
    let cluster = shared();
    let ask = || {
        let made = cluster.ask(1, "POST", "/api/v1/tokens", &[JSON, ("idempotency-key", "t-1")], r#"{"role":"auditor","tenant":"twice"}"#);
        assert_eq!(made.status, 201, "{}", made.text);
        made.json()["token"].as_str().expect("a token").to_owned()
    };
    let (first, second) = (ask(), ask());
    cluster.eventually("the first is replaced", |cluster| {
        (cluster.ask_as(&first, 1, "GET", "/api/v1/nodes", &[], "").status == 401).then_some(())
    });
    assert_eq!(cluster.ask_as(&second, 1, "GET", "/api/v1/nodes", &[], "").status, 403);
    assert_eq!(cluster.all(1, "/api/v1/tokens").iter().filter(|row| row["tenant"] == "twice").count(), 1);
}
