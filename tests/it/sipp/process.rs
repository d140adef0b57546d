//! A SIPp at work: its process, its logs, its verdict, and what is said of a scenario that failed.
//!
//! It does not choose addresses (`lab`) and writes no messages (`script`).

use std::{
    fmt::Write as _,
    fs::{self, File},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long one scenario may take.
const SCENARIO_WITHIN: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(10);
/// How much of each log's end is shown when a scenario failed: a few whole messages.
const SHOWN_BYTES: usize = 4_000;
/// Where SIPp writes its last screens: its steps with their counts, and its statistics.
const SCREEN: &str = "screen.txt";

/// A SIPp process in a directory of its own; killed when it is dropped.
pub(super) struct Sipp {
    child: Child,
    dir: tempfile::TempDir,
}

impl Sipp {
    pub(super) fn start(xml: &str, at: SocketAddr, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("scenario.xml");
        fs::write(&file, xml).expect("written");
        let screen = File::create(dir.path().join(SCREEN)).expect("created");
        let (ip, port) = (at.ip().to_string(), at.port().to_string());
        let mut command = Command::new("sipp");
        command.current_dir(dir.path()).arg("-sf").arg(&file).args(["-i", &ip, "-p", &port, "-nostdin", "-m", "1"]);
        command.args(["-trace_err", "-trace_msg"]).args(arguments);
        let child = command.stdin(Stdio::null()).stdout(screen).stderr(Stdio::null()).spawn().expect("sipp starts");
        Self { child, dir }
    }

    /// Whether this text went over the wire yet.
    pub(super) fn has_seen(&self, text: &str) -> bool {
        self.messages().contains(text)
    }

    /// How often this text went over the wire yet.
    pub(super) fn times_seen(&self, text: &str) -> usize {
        self.messages().matches(text).count()
    }

    /// The call's Call-ID, once it has one.
    pub(super) fn call_id(&self) -> Option<String> {
        self.messages().lines().find_map(|line| line.strip_prefix("Call-ID: ")).map(|id| id.trim().to_owned())
    }

    fn messages(&self) -> String {
        self.file("_messages.log")
    }

    /// The file whose name ends so; empty if there is none.
    fn file(&self, end: &str) -> String {
        let files = fs::read_dir(self.dir.path()).expect("our directory").flatten();
        let file = files.map(|file| file.path()).find(|path| path.to_string_lossy().ends_with(end));
        file.and_then(|path| fs::read(path).ok()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits for the end; the scenario's steps were all met or this fails with what SIPp says of it.
    pub(super) fn passes(mut self) {
        let give_up = Instant::now() + SCENARIO_WITHIN;
        let status = loop {
            match self.child.try_wait().expect("our child") {
                Some(status) => break Some(status),
                None if Instant::now() > give_up => break None,
                None => thread::sleep(POLL),
            }
        };
        assert!(status.is_some_and(|status| status.success()), "{}{}", self.account(status), self.threads());
    }

    /// Where each thread of a process that did not end is held up; nothing of one that did.
    fn threads(&self) -> String {
        let of = |thread: &Path, file: &str| fs::read_to_string(thread.join(file)).unwrap_or_default().trim().to_owned();
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let lines = threads.map(|thread| thread.path()).map(|path| format!("\n{} in {}", of(&path, "comm"), of(&path, "wchan")));
        lines.collect()
    }

    /// What is known of a scenario that failed, the most telling last: that is what a cut report keeps.
    fn account(&self, status: Option<ExitStatus>) -> String {
        let (messages, errors, screen) = (self.messages(), self.file("_errors.log"), self.file(SCREEN));
        let name = self.file("scenario.xml").lines().nth(1).unwrap_or_default().to_owned();
        let mut account = format!("the scenario failed: {name}\n-- end of its messages\n{}\n", end_of(&messages));
        // Steps and counters are lines like `180 <------- 1 0 0 0` and `Failed call | 0 | 1`; zeroes alone tell nothing.
        let told = |line: &&str| line.contains("<--") || line.contains("-->") || line.contains("Pause [") || line.contains("call  ");
        let counts: Vec<_> = screen.lines().filter(told).collect();
        let _ = writeln!(account, "-- its steps\n{}\n-- its errors\n{}", counts.join("\n"), end_of(&errors));
        let _ = writeln!(account, "-- its messages, a line each\n{}", ladder(&messages));
        let _ = write!(account, "-- {}", status.map_or_else(|| format!("no end within {SCENARIO_WITHIN:?}"), |status| status.to_string()));
        account
    }
}

/// The last part of a text, from the beginning of a line.
fn end_of(text: &str) -> &str {
    let Some(mut from) = text.len().checked_sub(SHOWN_BYTES) else { return text };
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text[from..].split_once('\n').map_or(&text[from..], |(_, rest)| rest)
}

/// Each message of SIPp's log as one line: when, which way, its first line and its CSeq.
fn ladder(messages: &str) -> String {
    let mut lines = Vec::<String>::new();
    let mut at = "";
    let mut begins = false;
    for line in messages.lines().map(str::trim_end) {
        if line.starts_with("-----") {
            at = line.rsplit_once(' ').map_or(at, |(_, time)| time);
        } else if line.contains(" message sent") || line.contains(" message received") {
            let way = if line.starts_with("Unexpected") {
                "unexpected"
            } else if line.contains("sent") {
                "sent"
            } else {
                "received"
            };
            lines.push(format!("{at} {way}"));
            begins = true;
        } else if let Some(last) = lines.last_mut() {
            if begins && !line.is_empty() {
                let _ = write!(last, " {line}");
                begins = false;
            } else if let Some(cseq) = line.strip_prefix("CSeq: ") {
                let _ = write!(last, " ({cseq})");
            }
        }
    }
    lines.join("\n")
}

impl Drop for Sipp {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_failed_scenario_is_told_with_its_last_messages_and_a_line_for_each() {
    let head = "----------------------------------------------- 2026-01-01 10:00:00.5\nTCP message";
    let log = format!(
        "{head} sent (9 bytes):\n\nINVITE sip:a SIP/2.0\nCSeq: 1 INVITE\n\n{head} received [9] bytes :\n\nSIP/2.0 200 OK\nCSeq: 1 INVITE\n\n\
         -----------------------------------------------\nUnexpected TCP message received:\n\nSIP/2.0 200 OK\nCSeq: 1 INVITE\n"
    );
    let told = "10:00:00.5 sent INVITE sip:a SIP/2.0 (1 INVITE)\n10:00:00.5 received SIP/2.0 200 OK (1 INVITE)";
    assert!(ladder(&log).starts_with(told), "{}", ladder(&log));
    assert!(ladder(&log).ends_with("unexpected SIP/2.0 200 OK (1 INVITE)"));
    let long = "line\n".repeat(SHOWN_BYTES);
    assert!(end_of(&long).len() < SHOWN_BYTES && end_of(&long).starts_with("line\n"));
}
