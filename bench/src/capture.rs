//! Packets as the kernel saw them, not as the programs under test or our phones tell it: dumpcap writes, tshark reads.
//! It runs in a network namespace of its own, in which links between nodes can be cut. What the packets mean is for the proofs.

use std::{
    io::{BufRead, BufReader, Read as _},
    net::{IpAddr, SocketAddr},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, ChildStderr, Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::Error;

/// Says that this process is in its own namespace already.
const INSIDE: &str = "TANDEM_BENCH_NAMESPACE";
/// Room for what dumpcap has not written yet, MiB.
const BUFFER_MIB: &str = "64";

/// Goes on as the same command in a network namespace of its own, unless it is in one. Nothing there is anybody else's.
pub fn enter_namespace() -> Result<(), Error> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(());
    }
    let program = std::env::current_exe()?;
    let script = "ip link set lo up && exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", script]).arg(program).args(std::env::args_os().skip(1)).env(INSIDE, "1");
    Err(Error::Setup(format!("a network namespace of its own needs root and `unshare`: {}", command.exec())))
}

/// Directed links between nodes that lose every packet, until dropped.
#[derive(Debug, Default)]
pub struct Cut(Vec<[String; 2]>);

impl Cut {
    /// Loses UDP from the first to the second address of each link. Both are told apart by their ports: all are on loopback.
    pub fn links(links: &[(SocketAddr, SocketAddr)]) -> Result<Self, Error> {
        let mut cut = Self::default();
        for (from, to) in links {
            let ports = [from.port().to_string(), to.port().to_string()];
            iptables("-A", &ports)?;
            cut.0.push(ports);
        }
        Ok(cut)
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        // The namespace ends with this process, and a rule that stays only with it.
        for ports in &self.0 {
            let _ = iptables("-D", ports);
        }
    }
}

fn iptables(what: &str, [from, to]: &[String; 2]) -> Result<(), Error> {
    let rule = ["INPUT", "-i", "lo", "-p", "udp", "--sport", from, "--dport", to, "-j", "DROP"];
    let done = Command::new("iptables").arg(what).args(rule).status()?;
    if done.success() { Ok(()) } else { Err(Error::Setup("iptables refused a rule".to_owned())) }
}

/// A packet over UDP.
#[derive(Debug, Clone, PartialEq)]
pub struct Packet {
    pub at: SystemTime,
    pub from: SocketAddr,
    pub to: SocketAddr,
    /// Of SIP, the call it belongs to.
    pub call_id: Option<String>,
}

/// A capture of loopback that runs.
pub struct Capture {
    child: Child,
    said: BufReader<ChildStderr>,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

impl Capture {
    /// Captures what `filter` (pcap-filter(7)) lets through; it runs when this returns.
    pub fn start(filter: &str) -> Result<Self, Error> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("lo.pcapng");
        let mut command = Command::new("dumpcap");
        command.args(["-q", "-i", "lo", "-B", BUFFER_MIB, "-f", filter, "-w"]).arg(&file);
        let missing = |error| Error::Setup(format!("dumpcap: {error}; it is in Debian's `tshark`"));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(missing)?;
        let mut said = BufReader::new(child.stderr.take().expect("stderr was piped"));
        let mut line = String::new();
        // Its file is there once the interface is open.
        while !line.starts_with("File:") {
            line.clear();
            if said.read_line(&mut line)? == 0 {
                return Err(Error::Setup("dumpcap ended before it began".to_owned()));
            }
        }
        Ok(Self { child, said, file, _dir: dir })
    }

    /// Ends the capture and reads it. SIP is looked for on `sip` ports. An error if a packet went by unseen.
    pub fn finish(mut self, sip: &[u16]) -> Result<Vec<Packet>, Error> {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            kill_process(pid, Signal::INT).map_err(|error| Error::Setup(format!("dumpcap: {error}")))?;
        }
        let summary = self.said.by_ref().lines().map_while(Result::ok).find(|line| line.contains("received/dropped"));
        self.child.wait()?;
        // "Packets received/dropped on interface 'Loopback: lo': 123/0 (pcap:0/dumpcap:0/flushed:0/ps_ifdrop:0) (100.0%)"
        let dropped = summary.as_deref().and_then(|line| line.rsplit("': ").next()?.split([' ', '/']).nth(1)?.parse::<u64>().ok());
        if dropped != Some(0) {
            return Err(Error::Setup(format!("the capture is not whole: {}", summary.unwrap_or_default())));
        }
        let mut command = Command::new("tshark");
        command.args(["-n", "-r"]).arg(&self.file).args(["-T", "fields"]);
        for port in sip {
            command.arg("-d").arg(format!("udp.port=={port},sip"));
        }
        for field in ["frame.time_epoch", "ip.src", "udp.srcport", "ip.dst", "udp.dstport", "sip.Call-ID"] {
            command.args(["-e", field]);
        }
        let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(packet).collect())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // It is over already, unless the proof failed before it was read.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line of tshark's fields.
fn packet(line: &str) -> Option<Packet> {
    let mut fields = line.split('\t');
    let at = UNIX_EPOCH + Duration::try_from_secs_f64(fields.next()?.parse().ok()?).ok()?;
    let mut addr = || Some(SocketAddr::new(fields.next()?.parse::<IpAddr>().ok()?, fields.next()?.parse().ok()?));
    let (from, to) = (addr()?, addr()?);
    let call_id = fields.next().filter(|text| !text.is_empty()).map(str::to_owned);
    Some(Packet { at, from, to, call_id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_fields_is_a_packet_and_anything_else_is_none() {
        let sip = packet("1764003600.250000000\t127.0.0.1\t10000\t127.0.0.1\t40001\tabc@host").unwrap();
        assert_eq!(sip.at, UNIX_EPOCH + Duration::from_millis(1_764_003_600_250));
        assert_eq!((sip.from.port(), sip.to.port(), sip.call_id.as_deref()), (10_000, 40_001, Some("abc@host")));
        assert_eq!(packet("1.5\t127.0.0.1\t1\t127.0.0.1\t2\t").unwrap().call_id, None);
        assert_eq!(packet("1.5\t127.0.0.1\t\t127.0.0.1\t\t"), None, "not UDP");
        assert_eq!(packet(""), None);
    }
}
