//! Callers and phones in numbers: one SIPp process plays all callers, another every agent's phone.
//!
//! A caller that a busy node refuses with 503 gives up: the test counts those apart.

use std::{
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long a load may take.
const LOAD_WITHIN: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

const CALLER: &str = r#"<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="caller">
<send retrans="500"><![CDATA[
INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:5551000@[local_ip]:[local_port]>;tag=[pid]c[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:caller@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

v=0
o=caller 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio 6000 RTP/AVP 0
]]></send>
<recv response="503" optional="true" next="1"/>
<recv response="100" optional="true"/>
<recv response="182" optional="true"/>
<recv response="180" optional="true"/>
<recv response="200" rrs="true" timeout="60000"/>
<send><![CDATA[
ACK [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
[routes]
From: <sip:5551000@[local_ip]:[local_port]>;tag=[pid]c[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
<pause/>
<send retrans="500"><![CDATA[
BYE [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
[routes]
From: <sip:5551000@[local_ip]:[local_port]>;tag=[pid]c[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 2 BYE
Max-Forwards: 70
Content-Length: 0

]]></send>
<recv response="200" timeout="20000" next="2"/>
<label id="1"/>
<send><![CDATA[
ACK sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:5551000@[local_ip]:[local_port]>;tag=[pid]c[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
<label id="2"/>
</scenario>
"#;

/// True when SIPp is there; else says in one line what is missing.
pub(super) fn can_run() -> bool {
    let there = Command::new("sipp").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !there {
        println!("skipped: sipp is not installed (Debian: apt-get install sip-tester)");
    }
    there
}

/// A SIPp process; killed when dropped.
pub(super) struct Sipp {
    child: Child,
    dir: tempfile::TempDir,
}

impl Sipp {
    /// Callers of `support` at a node: so many, so many a second, each talking so long.
    pub(super) fn callers(node: SocketAddr, count: u32, per_s: u32, talk_ms: u32) -> Self {
        let numbers = [count, per_s, talk_ms].map(|n| n.to_string());
        Self::start(CALLER, &[&node.to_string(), "-s", "support", "-m", &numbers[0], "-r", &numbers[1], "-d", &numbers[2]])
    }

    /// A phone at a port that answers every call until it is dropped.
    pub(super) fn phones(port: u16) -> Self {
        Self::start("", &["-sn", "uas", "-p", &port.to_string()])
    }

    fn start(scenario: &str, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new("sipp");
        command.current_dir(dir.path()).args(["-i", "127.0.0.1", "-nostdin", "-trace_err"]).args(arguments);
        if !scenario.is_empty() {
            let file = dir.path().join("scenario.xml");
            fs::write(&file, scenario).expect("the folder is writable");
            command.arg("-sf").arg(file);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sipp starts");
        Self { child, dir }
    }

    pub(super) fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("our child").is_some()
    }

    /// Waits for the end: every caller was answered or refused with 503, or this fails with what SIPp complained of.
    pub(super) fn passes(mut self) {
        let begun = Instant::now();
        while !self.is_over() && begun.elapsed() < LOAD_WITHIN {
            thread::sleep(POLL);
        }
        let status = self.child.try_wait().expect("our child");
        if !status.is_some_and(|status| status.success()) {
            let files = fs::read_dir(self.dir.path()).expect("our folder").flatten().map(|file| file.path());
            let logs = files.filter(|file| file.extension().is_some_and(|end| end == "log"));
            let text: String = logs.map(|file| fs::read_to_string(file).unwrap_or_default()).collect();
            panic!("the callers did not all succeed ({status:?}):\n{}", text.chars().take(6_000).collect::<String>());
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
