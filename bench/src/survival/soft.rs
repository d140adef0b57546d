//! Real softphones as child processes: baresip by its TCP control port, PJSIP by a small script (`bench/softphones/pj.py`).
//! Both speak all the time and answer what rings. Nothing is judged here.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    process::{Child, ChildStdin, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};

use crate::error::Error;

const READY_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);
const PORT_TRIES: usize = 100;
/// The tone that baresip plays: longer than any scenario.
const TONE_S: u32 = 120;
const SAMPLES_PER_S: u32 = 8_000;
const PJ: &str = include_str!("../../softphones/pj.py");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Baresip,
    Pjsip,
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Baresip, Self::Pjsip];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Baresip => "baresip",
            Self::Pjsip => "PJSIP",
        }
    }

    /// How to get it, if it is not here.
    pub(super) fn missing(self) -> Option<&'static str> {
        let (program, arguments, hint): (_, &[&str], _) = match self {
            Self::Baresip => ("baresip", &["-h"], "missing: baresip (Debian: apt-get install baresip-core); its scenarios are skipped"),
            Self::Pjsip => {
                ("python3", &["-c", "import pjsua2"], "missing: PJSIP for Python (pip install pjsua2-python); its scenarios are skipped")
            }
        };
        let quiet = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        match (self, quiet) {
            (Self::Pjsip, Ok(status)) if !status.success() => Some(hint),
            (_, Err(_)) => Some(hint),
            _ => None,
        }
    }
}

/// What a softphone said, and when.
#[derive(Debug, Default)]
struct Heard {
    lines: Mutex<Vec<(Instant, String)>>,
    more: Condvar,
}

impl Heard {
    fn add(&self, line: String) {
        self.lines.lock().push((Instant::now(), line));
        self.more.notify_all();
    }
}

enum Control {
    /// Commands as netstrings of JSON.
    Baresip(TcpStream),
    Lines(ChildStdin),
}

/// A running softphone; killed when dropped.
pub(super) struct Soft {
    child: Child,
    control: Control,
    heard: Arc<Heard>,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Soft {
    pub(super) fn start(kind: Kind) -> Result<Self, Error> {
        let dir = tempfile::tempdir()?;
        let port = free_port()?;
        match kind {
            Kind::Baresip => Self::baresip(dir, port),
            Kind::Pjsip => Self::pjsip(dir, port),
        }
    }

    fn baresip(dir: tempfile::TempDir, port: u16) -> Result<Self, Error> {
        let control = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let media = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port().clamp(1_024, 60_000);
        let path = |name: &str| dir.path().join(name).display().to_string();
        fs::write(dir.path().join("tone.wav"), tone())?;
        fs::write(dir.path().join("accounts"), format!("<sip:soft@127.0.0.1:{port}>;regint=0;answermode=auto;audio_codecs=pcmu/8000\n"))?;
        fs::write(
            dir.path().join("config"),
            format!(
                "sip_listen 127.0.0.1:{port}\nnet_interface 127.0.0.1\ncall_local_timeout 120\ncall_max_calls 4\n\
                 audio_path /usr/share/baresip\naudio_source aufile,{tone}\naudio_player aufile,{out}\naudio_alert aufile,{out}\n\
                 ausrc_srate 8000\nauplay_srate 8000\nausrc_channels 1\nauplay_channels 1\n\
                 rtp_ports {media}-{media_end}\nrtp_timeout 4\nmodule_path /usr/lib/baresip/modules\nmodule g711.so\nmodule aufile.so\n\
                 module_app account.so\nmodule_app menu.so\nmodule ctrl_tcp.so\nctrl_tcp_listen {control}\n",
                tone = path("tone.wav"),
                out = path("out.wav"),
                media_end = media + 40,
            ),
        )?;
        let mut child = Command::new("baresip")
            .arg("-f")
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(fs::File::create(dir.path().join("out.txt"))?)
            .stderr(fs::File::create(dir.path().join("err.txt"))?)
            .spawn()?;
        let start = Instant::now();
        let stream = loop {
            match TcpStream::connect(control) {
                Ok(stream) => break stream,
                Err(_) if start.elapsed() < READY_WITHIN && child.try_wait()?.is_none() => thread::sleep(POLL),
                Err(error) => {
                    child.kill().ok();
                    child.wait().ok();
                    let said = fs::read_to_string(dir.path().join("out.txt")).unwrap_or_default();
                    return Err(Error::Setup(format!("baresip does not start: {error}\n{said}")));
                }
            }
        };
        let heard = Arc::new(Heard::default());
        let (read, to) = (stream.try_clone()?, Arc::clone(&heard));
        thread::spawn(move || netstrings(read, &to));
        Ok(Self { child, control: Control::Baresip(stream), heard, port, _dir: dir })
    }

    fn pjsip(dir: tempfile::TempDir, port: u16) -> Result<Self, Error> {
        let script = dir.path().join("pj.py");
        fs::write(&script, PJ)?;
        let mut child = Command::new("python3")
            .arg(&script)
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(dir.path().join("err.txt"))?)
            .spawn()?;
        let (control, out) = (child.stdin.take().expect("it was piped"), child.stdout.take().expect("it was piped"));
        let heard = Arc::new(Heard::default());
        let to = Arc::clone(&heard);
        thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).for_each(|line| to.add(line)));
        let soft = Self { child, control: Control::Lines(control), heard, port, _dir: dir };
        if soft.wait("ready", Instant::now() - READY_WITHIN, READY_WITHIN).is_none() {
            return Err(Error::Setup("PJSIP does not start".to_owned()));
        }
        Ok(soft)
    }

    /// Where it can be called.
    pub(super) fn uri(&self) -> String {
        format!("sip:soft@127.0.0.1:{}", self.port)
    }

    pub(super) fn call(&mut self, uri: &str) -> Result<(), Error> {
        match &mut self.control {
            Control::Baresip(stream) => command(stream, "dial", uri),
            Control::Lines(stdin) => Ok(writeln!(stdin, "call {uri}")?),
        }
    }

    pub(super) fn hang_up(&mut self) -> Result<(), Error> {
        match &mut self.control {
            Control::Baresip(stream) => command(stream, "hangup", ""),
            Control::Lines(stdin) => Ok(writeln!(stdin, "hangup")?),
        }
    }

    /// Packets it heard so far, where it can say; baresip ends a call in which it hears nothing for 4 s instead.
    pub(super) fn packets(&mut self) -> Option<u64> {
        let asked = Instant::now();
        let Control::Lines(stdin) = &mut self.control else { return None };
        writeln!(stdin, "heard").ok()?;
        self.wait("heard ", asked, Duration::from_secs(2))?.trim_start_matches("heard ").parse().ok()
    }

    /// Waits for a line with this beginning, said after `since`.
    pub(super) fn wait(&self, beginning: &str, since: Instant, within: Duration) -> Option<String> {
        let until = Instant::now() + within;
        let mut lines = self.heard.lines.lock();
        loop {
            let found = lines.iter().find(|(at, line)| *at >= since && line.starts_with(beginning));
            if let Some((_, line)) = found {
                return Some(line.clone());
            }
            if self.heard.more.wait_until(&mut lines, until).timed_out() {
                return None;
            }
        }
    }

    /// True if it said nothing of an end since then.
    pub(super) fn is_talking(&self, since: Instant) -> bool {
        self.wait("closed", since, Duration::ZERO).is_none()
    }
}

impl Drop for Soft {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A port that nobody has, for UDP or for TCP: a softphone binds both.
fn free_port() -> Result<u16, Error> {
    for _ in 0..PORT_TRIES {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let port = socket.local_addr()?.port();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(Error::Setup("no port is free for both UDP and TCP".to_owned()))
}

fn command(stream: &mut TcpStream, name: &str, parameters: &str) -> Result<(), Error> {
    let text = json!({ "command": name, "params": parameters, "token": name }).to_string();
    Ok(stream.write_all(format!("{}:{text},", text.len()).as_bytes())?)
}

/// Reads baresip's events until it ends, and tells them in the words of the other softphone.
fn netstrings(stream: TcpStream, to: &Heard) {
    let mut stream = BufReader::new(stream);
    let mut length = Vec::new();
    while matches!(stream.read_until(b':', &mut length), Ok(read) if read > 0) {
        let digits = String::from_utf8_lossy(&length).trim_matches(|c| ":, ".contains(c)).parse::<usize>();
        length.clear();
        let Ok(bytes) = digits else { return };
        // The comma behind it is read along.
        let mut body = vec![0; bytes + 1];
        if stream.read_exact(&mut body).is_err() {
            return;
        }
        let event: Value = serde_json::from_slice(&body[..bytes]).unwrap_or_default();
        match event["type"].as_str() {
            Some("CALL_ESTABLISHED") => to.add("established".to_owned()),
            Some("CALL_CLOSED") => to.add(format!("closed {}", event["param"].as_str().unwrap_or_default())),
            Some(other) => to.add(other.to_lowercase()),
            None => {}
        }
    }
}

/// A WAV file with a tone of 440 Hz.
fn tone() -> Vec<u8> {
    let data = 2 * TONE_S * SAMPLES_PER_S;
    let mut wav = Vec::with_capacity(44 + data as usize);
    wav.extend_from_slice(b"RIFF");
    wav.extend_from_slice(&(36 + data).to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend_from_slice(&SAMPLES_PER_S.to_le_bytes());
    wav.extend_from_slice(&(2 * SAMPLES_PER_S).to_le_bytes());
    wav.extend_from_slice(b"\x02\0\x10\0data");
    wav.extend_from_slice(&data.to_le_bytes());
    for n in 0..TONE_S * SAMPLES_PER_S {
        let phase = f64::from(n) * 440.0 * std::f64::consts::TAU / f64::from(SAMPLES_PER_S);
        wav.extend_from_slice(&((phase.sin() * 8_000.0) as i16).to_le_bytes());
    }
    wav
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tone_says_its_own_length() {
        let wav = super::tone();
        assert_eq!(u32::from_le_bytes([wav[4], wav[5], wav[6], wav[7]]) as usize + 8, wav.len());
        assert_eq!(u32::from_le_bytes([wav[40], wav[41], wav[42], wav[43]]) as usize + 44, wav.len());
    }
}
