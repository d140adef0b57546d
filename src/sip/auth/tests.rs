//! Digest against the vectors of RFC 7616, and nonces any node can check.

use super::*;

const NONCE: &str = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
const CNONCE: &str = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";

#[test]
fn the_examples_of_rfc_7616_come_out() {
    let response = |a: Algorithm| {
        let ha1 = a.ha1("Mufasa", "http-auth@example.org", "Circle of Life");
        a.response(&ha1, NONCE, "00000001", CNONCE, "GET", "/dir/index.html")
    };
    assert_eq!(response(Algorithm::Md5), "8ca523f5e9506fed4657c9700eebdbec");
    assert_eq!(response(Algorithm::Sha256), "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1");
}

const MINUTE_MS: i64 = 60_000;

fn account() -> Ha1 {
    let of = |a: Algorithm| a.ha1("alice", "demo", "secret");
    Ha1 { realm: "demo".into(), md5: of(Algorithm::Md5), sha256: of(Algorithm::Sha256) }
}

fn server() -> Server {
    Server::new([7; 32])
}

fn credentials(challenge: &str, password: &str) -> Credentials {
    let value = answer([challenge].into_iter(), "REGISTER", "sip:demo", ("alice", password), 42).unwrap();
    Credentials::parse(&value).unwrap()
}

fn counted(from: &Credentials, nc: u32) -> Credentials {
    let nc = format!("{nc:08x}");
    let a = from.algorithm;
    let response = a.response(&a.ha1("alice", "demo", "secret"), &from.nonce, &nc, &from.cnonce, "REGISTER", &from.uri);
    Credentials { nc, response, ..from.clone() }
}

#[test]
fn any_node_accepts_the_nonce_of_another() {
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        let challenge = server().challenge(MINUTE_MS, 9, "demo", algorithm, false);
        assert_eq!(server().check(2 * MINUTE_MS, &credentials(&challenge, "secret"), "REGISTER", &account()), Verdict::Genuine);
        assert_eq!(server().check(2 * MINUTE_MS, &credentials(&challenge, "guess"), "REGISTER", &account()), Verdict::Wrong);
        let stranger = Server::new([8; 32]).challenge(MINUTE_MS, 9, "demo", algorithm, false);
        assert_eq!(server().check(2 * MINUTE_MS, &credentials(&stranger, "secret"), "REGISTER", &account()), Verdict::Stale);
        assert_eq!(server().check(2 * MINUTE_MS, &credentials(&stranger, "guess"), "REGISTER", &account()), Verdict::Wrong);
    }
}

#[test]
fn an_old_nonce_is_stale_and_not_wrong() {
    let c = credentials(&server().challenge(0, 9, "demo", Algorithm::Md5, false), "secret");
    assert_eq!(server().check(10 * MINUTE_MS, &c, "REGISTER", &account()), Verdict::Stale);
}

#[test]
fn a_replayed_nonce_count_is_refused_and_a_late_one_within_the_window_is_not() {
    let mut server = server();
    let first = credentials(&server.challenge(0, 9, "demo", Algorithm::Sha256, false), "secret");
    let mut check = |nc: u32| server.check(MINUTE_MS, &counted(&first, nc), "REGISTER", &account());
    assert_eq!([check(1), check(1)], [Verdict::Genuine, Verdict::Stale]);
    assert_eq!([check(5), check(3), check(3), check(5)], [Verdict::Genuine, Verdict::Genuine, Verdict::Stale, Verdict::Stale]);
    assert_eq!([check(500), check(499), check(5)], [Verdict::Genuine, Verdict::Genuine, Verdict::Stale]);
    assert_eq!(check(u32::MAX), Verdict::Genuine);
}

#[test]
fn forgotten_counts_make_their_nonces_stale() {
    let mut server = server();
    let old = credentials(&server.challenge(0, 1, "demo", Algorithm::Md5, false), "secret");
    assert_eq!(server.check(0, &old, "REGISTER", &account()), Verdict::Genuine);
    server.forget(1);
    assert_eq!(server.check(1, &counted(&old, 2), "REGISTER", &account()), Verdict::Stale);
}

#[test]
fn a_client_answers_the_strongest_challenge_it_knows() {
    let challenges = [
        "Digest realm=\"r\", nonce=\"n\", algorithm=AKAv1-MD5, qop=\"auth\"",
        "Digest realm=\"r\", nonce=\"n\", algorithm=MD5, qop=\"auth,auth-int\"",
        "Digest realm=\"r \\\"x\\\"\", nonce=\"n\", opaque=\"o\", algorithm=SHA-256, qop=\"auth\"",
    ];
    let value = answer(challenges.into_iter(), "INVITE", "sip:b", ("u", "p"), 1).unwrap();
    assert!(value.contains("algorithm=SHA-256") && value.contains("opaque=\"o\"") && value.contains("realm=\"r \\\"x\\\"\""), "{value}");
    assert!(answer(["Basic realm=\"r\""].into_iter(), "INVITE", "sip:b", ("u", "p"), 1).is_none());
    assert!(answer(["Digest realm=\"r\", nonce=\"n\""].into_iter(), "INVITE", "sip:b", ("u", "p"), 1).is_some());
}

proptest::proptest! {
    #[test]
    fn odd_authorization_values_never_panic(value in ".{0,200}") {
        let _ = Credentials::parse(&value);
        let _ = Credentials::parse(&format!("Digest {value}"));
        let _ = answer([value.as_str()].into_iter(), "INVITE", "sip:b", ("u", "p"), 1);
    }
}
