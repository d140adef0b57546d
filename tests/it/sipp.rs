//! Real SIP against real nodes: callers and phones are SIPp processes, the cluster is `tandem dev`.
//!
//! Each scenario is a behaviour, written step by step in `script`. Without `sipp` the tests say so in one line and pass.

mod script;

use std::{
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::harness::{Cluster, Options};
use script::{Script, answered, answers};

/// How long one scenario may take.
const SCENARIO_WITHIN: Duration = Duration::from_secs(45);

const TENANT: &str = r#"
[tenant]
id = "demo"
pass_headers = ["X-Own"]
[[queue]]
id = "support"
strategy = "longest-idle"
service_level = { answer_within_s = 20, target_percent = 80 }
offer_timeout_s = 2
max_wait_s = 600
wrap_up_s = 0
[[route]]
to = "support"
queue = "support"
[[trunk]]
id = "lab"
sources = ["127.0.0.0/8"]
"#;

fn agent(name: &str, port: &str, transport: &str) -> String {
    format!(
        "[[agent]]\nid = \"{name}\"\ncontact = \"sip:{name}@127.0.0.1:{port}{transport}\"\nskills = {{ support = 5 }}\nstate = \"available\"\n"
    )
}

/// A SIPp process in a directory of its own; killed when it is dropped.
struct Sipp {
    child: Child,
    dir: tempfile::TempDir,
}

impl Sipp {
    fn start(script: &Script, tcp: bool, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("scenario.xml");
        fs::write(&file, script.xml()).expect("written");
        let mut command = Command::new("sipp");
        command.current_dir(dir.path()).arg("-sf").arg(&file).args(["-i", "127.0.0.1", "-nostdin", "-m", "1", "-trace_err", "-trace_msg"]);
        command.args(["-t", if tcp { "t1" } else { "u1" }]).args(arguments);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sipp starts");
        Self { child, dir }
    }

    /// Waits for the end; the scenario's steps were all met or this fails with what went over the wire.
    fn passes(mut self) {
        let give_up = Instant::now() + SCENARIO_WITHIN;
        let status = loop {
            match self.child.try_wait().expect("our child") {
                Some(status) => break Some(status),
                None if Instant::now() > give_up => break None,
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        if !status.is_some_and(|status| status.success()) {
            let files = fs::read_dir(self.dir.path()).expect("our directory").flatten();
            let texts = files
                .filter(|file| file.path().extension().is_some_and(|end| end == "log"))
                .map(|file| fs::read_to_string(file.path()).unwrap_or_default());
            panic!("the scenario failed ({status:?}):\n{}", texts.collect::<Vec<_>>().join("\n"));
        }
    }
}

impl Drop for Sipp {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn installed() -> bool {
    let there = Command::new("sipp").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !there {
        println!("skipped: sipp is not installed (Debian: apt-get install sip-tester)");
    }
    there
}

struct Lab {
    cluster: Cluster,
    tcp: bool,
}

impl Lab {
    /// Three nodes and these agents, over UDP or TCP.
    fn new(agents: &[&str], tcp: bool) -> Option<Self> {
        if !installed() {
            return None;
        }
        let transport = if tcp { ";transport=tcp" } else { "" };
        let agents: String = agents.iter().enumerate().map(|(n, name)| agent(name, &format!("{{own{n}}}"), transport)).collect();
        Some(Self { cluster: Options::default().tenant(&format!("{TENANT}{agents}")).start(), tcp })
    }

    /// The phone of the `n`-th agent.
    fn phone(&self, n: u16, script: &Script) -> Sipp {
        Sipp::start(script, self.tcp, &["-p", &self.cluster.ports().own(n).to_string()])
    }

    fn caller(&self, node: u16, script: &Script) -> Sipp {
        let to: SocketAddr = self.cluster.sip(node);
        Sipp::start(script, self.tcp, &[&to.to_string(), "-s", "support"])
    }

    /// The only call's record, once it is there.
    fn record(&self) -> Value {
        self.cluster.eventually("a record", |cluster| cluster.all(2, "/api/v1/cdrs?tenant=demo").first().cloned())
    }
}

fn a_call_is_answered(tcp: bool) {
    let Some(lab) = Lab::new(&["alice"], tcp) else { return };
    let phone = lab.phone(0, &answers("phone"));
    lab.caller(2, &answered("caller", 300)).passes();
    phone.passes();
    let record = lab.record();
    assert_eq!(
        (&record["outcome"], &record["agent"], &record["end_reason"]),
        (&"answered".into(), &"alice".into(), &"caller_hung_up".into())
    );
}

#[test]
fn a_call_is_answered_over_udp() {
    a_call_is_answered(false);
}

#[test]
fn a_call_is_answered_over_tcp() {
    a_call_is_answered(true);
}

#[test]
fn a_busy_agent_makes_room_for_the_next() {
    let Some(lab) = Lab::new(&["alice", "bob"], false) else { return };
    let busy = lab.phone(0, &Script::phone("busy").receive_invite().respond(486, "Busy Here", "", false).receive("ACK"));
    let phone = lab.phone(1, &answers("phone"));
    lab.caller(1, &answered("caller", 100)).passes();
    busy.passes();
    phone.passes();
    assert_eq!(lab.record()["agent"], "bob");
}

#[test]
fn a_phone_that_is_not_answered_is_cancelled_and_the_call_goes_on() {
    let Some(lab) = Lab::new(&["alice", "bob"], false) else { return };
    let silent = Script::phone("silent").receive_invite().respond(180, "Ringing", "", false).receive("CANCEL").ok(false);
    let silent = lab.phone(0, &silent);
    let phone = lab.phone(1, &answers("phone"));
    lab.caller(3, &answered("caller", 100)).passes();
    phone.passes();
    drop(silent);
    assert_eq!(lab.record()["agent"], "bob");
}

#[test]
fn a_waiting_caller_hears_182_and_may_give_up() {
    let Some(lab) = Lab::new(&[], false) else { return };
    let script = Script::caller("gives up").invite().may(100).expect(182).pause_ms(200).cancel().expect(200).expect(487).ack_refusal();
    lab.caller(1, &script).passes();
    assert_eq!(lab.record()["outcome"], "abandoned");
}

#[test]
fn a_late_offer_is_carried_through() {
    let Some(lab) = Lab::new(&["alice"], false) else { return };
    let phone = lab.phone(0, &answers("phone"));
    let caller = Script::caller("late")
        .invite_with("", false)
        .may(100)
        .may(182)
        .may(180)
        .expect(200)
        .ack_with_answer()
        .pause_ms(200)
        .bye()
        .expect(200);
    lab.caller(1, &caller).passes();
    phone.passes();
}

#[test]
fn hops_that_run_out_are_refused() {
    let Some(lab) = Lab::new(&[], false) else { return };
    let script = Script::caller("hops").invite_with("Max-Forwards: 0\n", true).may(100).expect(483).ack_refusal();
    lab.caller(1, &script).passes();
}

/// A request outside every dialog, as a whole message.
fn outside(method: &str, to_tag: &str) -> String {
    format!(
        "{method} sip:[service]@[remote_ip]:[remote_port] SIP/2.0\nVia: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]\nFrom: <sip:a@[local_ip]>;tag=[pid]x\nTo: <sip:[service]@[remote_ip]>{to_tag}\nCall-ID: [call_id]\nCSeq: 7 {method}\nMax-Forwards: 70\nContent-Length: 0\n"
    )
}

#[test]
fn a_request_of_no_known_dialog_is_answered_481_and_health_is_told() {
    let Some(lab) = Lab::new(&[], false) else { return };
    lab.caller(1, &Script::caller("stray").message(true, &outside("BYE", ";tag=none")).expect(481)).passes();
    lab.caller(2, &Script::caller("health").message(true, &outside("OPTIONS", "")).expect_matching(200, "Allow:")).passes();
}

#[test]
fn hold_is_passed_on_and_a_refused_one_leaves_the_call_up() {
    let Some(lab) = Lab::new(&["alice"], false) else { return };
    let phone = Script::phone("held").receive_invite().respond(180, "Ringing", "", false).respond(200, "OK", "", true).receive("ACK");
    let phone = phone.receive_matching("INVITE", "a=sendonly").ok(true).receive("ACK");
    let phone = lab.phone(0, &phone.receive("INVITE").refuse(488, "Not Acceptable Here").receive("ACK").receive("BYE").ok(false));
    let caller = Script::caller("holds").invite().may(100).may(182).may(180).expect(200).ack().pause_ms(200);
    let caller = caller.reinvite("sendonly").may(100).expect(200).ack().pause_ms(200);
    let caller = caller.reinvite("sendrecv").may(100).expect(488).ack_in_transaction().pause_ms(200).bye().expect(200);
    lab.caller(1, &caller).passes();
    phone.passes();
    assert_eq!(lab.record()["outcome"], "answered");
}

#[test]
fn header_fields_of_the_caller_reach_the_agent() {
    let Some(lab) = Lab::new(&["alice"], false) else { return };
    let phone =
        Script::phone("sees").receive_matching("INVITE", "X-Own: 42").respond(200, "OK", "", true).receive("ACK").receive("BYE").ok(false);
    let phone = lab.phone(0, &phone);
    let caller = Script::caller("says")
        .invite_with("X-Own: 42\n", true)
        .may(100)
        .may(182)
        .may(180)
        .expect(200)
        .ack()
        .pause_ms(100)
        .bye()
        .expect(200);
    lab.caller(1, &caller).passes();
    phone.passes();
}
