//! Memory per waiting call: callers that send an INVITE and wait, without SIPp, and what that adds to each node.
//!
//! A first crowd is there before the first reading, so that what a node needs once is not counted; then many more come.
//! What counts is anonymous memory as the kernel sees it, log entries not yet in a snapshot included.

use std::{
    fs,
    net::UdpSocket,
    thread,
    time::{Duration, Instant},
};

use crate::{
    error::Error,
    lab::{Lab, Options as LabOptions},
    report::Report,
    tenant,
};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Callers that wait when memory is read for the second time, beyond the first crowd.
    #[arg(long, default_value_t = 20_000)]
    pub callers: u32,
    /// Callers that wait when it is read for the first time.
    #[arg(long, default_value_t = 5_000)]
    pub crowd: u32,
}

/// Callers sent in one go, and the pause behind them: about a thousand a second.
const BURST: u32 = 20;
const PAUSE: Duration = Duration::from_millis(20);
const ALL_WAIT_WITHIN: Duration = Duration::from_secs(120);
/// Buffers of the arrivals are given back, logs are written.
const SETTLE: Duration = Duration::from_secs(5);
/// Targets for the node that carries the calls and leads their partition, and for the others.
const LEADER_KB_MAX: f64 = 24.0;
const STANDBY_KB_MAX: f64 = 3.0;
const NODES: u16 = 3;

pub fn run(options: &Options) -> Result<Report, Error> {
    // One agent that is away: everybody waits, unanswered.
    let tenant = tenant::waiting_for_ever(1).replace("state = \"available\"", "state = \"offline\"");
    let lab = Lab::start(&LabOptions::new(tenant.replace("wrap_up_s = 0", "wrap_up_s = 0\nmax_unanswered_s = 0")))?;
    let leader = lab.leader(1).ok_or_else(|| Error::Setup("the partition has no leader".to_owned()))?;
    let mut crowd = Crowd::new(&lab, leader)?;
    crowd.grow_to(options.crowd)?;
    let before = anonymous_kb(&lab)?;
    crowd.grow_to(options.crowd + options.callers)?;
    let after = anonymous_kb(&lab)?;
    if lab.leader(1) != Some(leader) {
        return Err(Error::Missed("the leadership moved meanwhile: the figures would mean nothing".to_owned()));
    }
    let each = |k: u16| (after[usize::from(k) - 1] - before[usize::from(k) - 1]) / f64::from(options.callers);
    let standby = (1..=NODES).filter(|k| *k != leader).map(each).fold(0.0, f64::max);
    let mut report = Report::new(format!("memory: {} callers wait beside {} others", options.callers, options.crowd));
    report.bounded("edge and leader, per waiting call", each(leader), "KB", format!("≤ {LEADER_KB_MAX}"), each(leader) <= LEADER_KB_MAX);
    report.bounded("standby, per waiting call, the larger", standby, "KB", format!("≤ {STANDBY_KB_MAX}"), standby <= STANDBY_KB_MAX);
    report.figure("edge and leader in all", after[usize::from(leader) - 1] / 1024.0, "MB");
    report.figure("INVITEs sent", f64::from(crowd.sent), "messages");
    Ok(report)
}

/// Anonymous memory of each node, KB.
fn anonymous_kb(lab: &Lab) -> Result<Vec<f64>, Error> {
    (1..=NODES).map(|k| lab.pid(k).and_then(anonymous).ok_or_else(|| Error::Missed(format!("node {k} is gone")))).collect()
}

fn anonymous(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Anonymous:")?.trim().strip_suffix(" kB")?.parse().ok())
}

/// Callers behind one socket, all at one node.
struct Crowd<'a> {
    lab: &'a Lab,
    node: u16,
    socket: UdpSocket,
    sent: u32,
}

impl<'a> Crowd<'a> {
    fn new(lab: &'a Lab, node: u16) -> Result<Self, Error> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(lab.sip(node))?;
        socket.set_nonblocking(true)?;
        Ok(Self { lab, node, socket, sent: 0 })
    }

    fn waiting(&self) -> Result<u32, Error> {
        let queues = self.lab.get(self.node, "/api/v1/queues")?;
        Ok(queues["items"][0]["waiting"].as_u64().unwrap_or_default() as u32)
    }

    /// Sends until so many wait; one that is refused or lost is made up for by another.
    fn grow_to(&mut self, wanted: u32) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            let waiting = self.waiting()?;
            if waiting >= wanted {
                thread::sleep(SETTLE);
                return Ok(());
            }
            if start.elapsed() > ALL_WAIT_WITHIN {
                return Err(Error::Missed(format!("only {waiting} of {wanted} callers wait")));
            }
            for _ in 0..(wanted - waiting).div_ceil(BURST).min(50) {
                for _ in 0..BURST.min(wanted - waiting) {
                    self.invite()?;
                }
                self.listen();
                thread::sleep(PAUSE);
            }
            thread::sleep(10 * PAUSE);
        }
    }

    fn invite(&mut self) -> Result<(), Error> {
        self.sent += 1;
        let (me, to, n) = (self.socket.local_addr()?, self.lab.sip(self.node), self.sent);
        let sdp = format!(
            "v=0\r\no=- {n} 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0 8 101\r\na=sendrecv\r\n"
        );
        let invite = format!(
            "INVITE sip:{}@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bKmemory{n};rport\r\nMax-Forwards: 70\r\nFrom: \
             \"Caller {n}\" <sip:+4930{n:07}@{me}>;tag=t{n}\r\nTo: <sip:{}@{to}>\r\nCall-ID: memory-{n}@127.0.0.1\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:+4930{n:07}@{me}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
            tenant::QUEUE,
            tenant::QUEUE,
            sdp.len()
        );
        self.socket.send(invite.as_bytes())?;
        Ok(())
    }

    /// Answers are of no interest, but their place in the socket is needed.
    fn listen(&self) {
        let mut buffer = [0; 2048];
        while self.socket.recv(&mut buffer).is_ok() {}
    }
}
