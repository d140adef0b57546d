//! Callers and phones: SIPp as a child process, open loop, with its per-call times read back.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::error::Error;

/// Longest load, and the longest a caller waits, held and retransmitted.
const FINISH_WITHIN: Duration = Duration::from_secs(240);
const POLL: Duration = Duration::from_millis(20);
/// UDP port of the phones.
pub const PHONE_PORT: u16 = 26_001;

const SDP: &str = "v=0\no=user 1 1 IN IP4 [local_ip]\ns=-\nc=IN IP4 [local_ip]\nt=0 0\nm=audio 6000 RTP/AVP 0\na=rtpmap:0 PCMU/8000\n";

/// A caller that waits for an answer, talks and hangs up; 503 is counted apart, as callers retry elsewhere.
/// Timer 1 runs from INVITE to the first response beyond 100, timer 2 from INVITE to 200.
fn caller(hold_ms: u32) -> String {
    let identity = "From: <sip:5551000@[local_ip]:[local_port]>;tag=[pid]c[call_number]\nTo: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]\nCall-ID: [call_id]\n";
    let via = "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]\n";
    let refusal_ack = format!(
        "ACK sip:[service]@[remote_ip]:[remote_port] SIP/2.0\nVia: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch-1]\n{identity}CSeq: 1 ACK\nMax-Forwards: 70\nContent-Length: 0\n"
    );
    format!(
        r#"<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="caller">
<send retrans="500" start_rtd="1" start_rtd="2"><![CDATA[
INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
{via}From: <sip:5551000@[local_ip]:[local_port]>;tag=[pid]c[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:caller@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

{SDP}]]></send>
<recv response="100" optional="true"/>
<recv response="503" optional="true" rtd="1" counter="refused" next="refused"/>
<recv response="182" optional="true" rtd="1"/>
<recv response="180" optional="true" rtd="1"/>
<recv response="200" rtd="1" rrs="true" timeout="90000"/>
<send><![CDATA[
ACK [next_url] SIP/2.0
{via}[routes]
{identity}CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
<pause milliseconds="{hold_ms}"/>
<send retrans="500"><![CDATA[
BYE [next_url] SIP/2.0
{via}[routes]
{identity}CSeq: 2 BYE
Max-Forwards: 70
Content-Length: 0

]]></send>
<recv response="200" timeout="20000" next="end"/>
<label id="refused"/>
<send><![CDATA[
{refusal_ack}
]]></send>
<label id="end"/>
</scenario>
"#
    )
    .replace(" start_rtd=\"2\"", "")
}

/// A phone that rings, answers at once and waits for the BYE; or hangs up itself after `hang_up_after_ms`.
fn phone() -> String {
    let echo = "[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\n[last_CSeq:]\n";
    let fresh = "[last_Via:]\n[last_From:]\n[last_To:];tag=[pid]p[call_number]\n[last_Call-ID:]\n[last_CSeq:]\nContact: <sip:[local_ip]:[local_port];transport=[transport]>\n";
    format!(
        r#"<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="phone">
<recv request="INVITE"/>
<send><![CDATA[
SIP/2.0 180 Ringing
{fresh}Content-Length: 0

]]></send>
<send retrans="500"><![CDATA[
SIP/2.0 200 OK
{fresh}Content-Type: application/sdp
Content-Length: [len]

{SDP}]]></send>
<recv request="ACK" optional="true"/>
<recv request="CANCEL" optional="true" next="bye"/>
<recv request="BYE"/>
<label id="bye"/>
<send><![CDATA[
SIP/2.0 200 OK
{echo}Content-Length: 0

]]></send>
<timewait milliseconds="1000"/>
</scenario>
"#
    )
}

/// How callers behave.
#[derive(Debug, Clone)]
pub struct Load {
    /// SIP address of the node, `ip:port`.
    pub to: String,
    /// User part of the request-URI.
    pub service: String,
    pub calls_per_s: f64,
    pub calls: u32,
    pub hold_ms: u32,
}

/// What became of the calls of one SIPp process.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub succeeded: u64,
    pub failed: u64,
    /// Refused with 503; a part of `succeeded` in SIPp's count, taken out here.
    pub refused: u64,
    pub retransmissions: u64,
    /// INVITE to the first response beyond 100, milliseconds, one per call that got any.
    pub first_response_ms: Vec<f64>,
}

impl Outcome {
    pub fn add(&mut self, other: Self) {
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.refused += other.refused;
        self.retransmissions += other.retransmissions;
        self.first_response_ms.extend(other.first_response_ms);
    }
}

/// A SIPp child in its own working directory, so that its files are ours alone.
pub struct Sipp {
    child: Child,
    dir: tempfile::TempDir,
}

fn spawn(xml: &str, arguments: &[String]) -> Result<Sipp, Error> {
    let dir = tempfile::tempdir()?;
    let scenario = dir.path().join("scenario.xml");
    fs::write(&scenario, xml)?;
    let child = Command::new("sipp")
        .current_dir(dir.path())
        .arg("-sf")
        .arg(&scenario)
        .args(["-i", "127.0.0.1", "-nostdin", "-max_socket", "5000", "-buff_size", "4194304"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(dir.path().join("stderr.txt"))?)
        .spawn()
        .map_err(|error| Error::Setup(format!("sipp does not start ({error}); Debian: apt-get install sip-tester")))?;
    Ok(Sipp { child, dir })
}

/// Phones for any number of agents on one UDP port; runs until dropped.
pub fn phones(port: u16) -> Result<Sipp, Error> {
    let port = port.to_string();
    let arguments = ["-p", &port, "-l", "60000", "-trace_stat", "-stf", "stat.csv", "-fd", "1"];
    spawn(&phone(), &arguments.map(str::to_owned))
}

/// Callers at a constant rate, whatever the answers do (open loop).
pub fn callers(load: &Load) -> Result<Sipp, Error> {
    let arguments: Vec<String> = [
        load.to.as_str(),
        "-s",
        &load.service,
        "-r",
        &format!("{}", (load.calls_per_s * 10.0).round() as u64),
        "-rp",
        "10000",
        "-m",
        &load.calls.to_string(),
        "-l",
        "60000",
        "-trace_stat",
        "-stf",
        "stat.csv",
        "-fd",
        "1",
        "-trace_rtt",
        "-rtt_freq",
        "1",
        "-timeout",
        "600",
    ]
    .iter()
    .map(|argument| (*argument).to_owned())
    .collect();
    spawn(&caller(load.hold_ms), &arguments)
}

impl Sipp {
    /// Calls that a running process is in, as it wrote down within the last second; none before it wrote anything.
    pub fn busy(&self) -> Option<u64> {
        column(&fs::read_to_string(self.dir.path().join("stat.csv")).ok()?, "CurrentCall")
    }

    /// Waits until every call has ended and reads the counts.
    pub fn finish(mut self) -> Result<Outcome, Error> {
        let start = Instant::now();
        while self.child.try_wait()?.is_none() {
            if start.elapsed() > FINISH_WITHIN {
                return Err(Error::Missed(format!("callers are still at it after {} s: {:?} calls", FINISH_WITHIN.as_secs(), self.busy())));
            }
            thread::sleep(POLL);
        }
        let stat = fs::read_to_string(self.dir.path().join("stat.csv"))?;
        let mut result = read_stat(&stat).ok_or_else(|| Error::Setup("SIPp left no statistics".to_owned()))?;
        result.first_response_ms = read_times(self.dir.path())?;
        Ok(result)
    }
}

impl Drop for Sipp {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The newest value of a column of SIPp's statistics.
fn column(csv: &str, name: &str) -> Option<u64> {
    let mut lines = csv.lines();
    let at = lines.next()?.split(';').position(|column| column == name)?;
    lines.next_back()?.split(';').nth(at)?.parse().ok()
}

fn read_stat(csv: &str) -> Option<Outcome> {
    let value = |name: &str| column(csv, name);
    let refused = value("refused(C)").unwrap_or(0);
    Some(Outcome {
        succeeded: value("SuccessfulCall(C)")?.saturating_sub(refused),
        failed: value("FailedCall(C)")?,
        refused,
        retransmissions: value("Retransmissions(C)").unwrap_or(0),
        first_response_ms: Vec::new(),
    })
}

fn read_times(dir: &Path) -> Result<Vec<f64>, Error> {
    let mut times = Vec::new();
    for path in fs::read_dir(dir)?.flatten().map(|entry| entry.path()).filter(|path: &PathBuf| path.to_string_lossy().ends_with("_rtt.csv"))
    {
        for line in fs::read_to_string(path)?.lines().skip(1) {
            if let Some(ms) = line.split(';').nth(1).and_then(|ms| ms.trim().parse::<f64>().ok()) {
                times.push(ms);
            }
        }
    }
    Ok(times)
}
