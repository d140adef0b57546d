//! An rtpengine beside the nodes, and the proof that its death costs a pause and no call: both parties of every call are told
//! of the next one.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{
    Common, Media,
    judge::{self, Heard},
    stage::{self, Setup, Stage},
};
use crate::{
    error::Error,
    phone::{Phone, Random},
    report::Report,
};

/// Ports of audio of the first daemon, and how many each has; below the range the kernel takes ports from.
const PORTS: (u16, u16) = (25_000, 3_000);
const UP_WITHIN: Duration = Duration::from_secs(10);
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// A daemon without kernel module; killed on drop.
#[derive(Debug)]
pub struct Rtpengine {
    child: Child,
    control: SocketAddr,
}

impl Rtpengine {
    /// Starts the `n`th one, and waits until it answers.
    pub fn start(n: usize, ip: IpAddr) -> Result<Self, Error> {
        let control = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        let first = PORTS.0 + PORTS.1 * u16::try_from(n).map_err(|_| Error::Setup("too many rtpengines".to_owned()))?;
        let child = Command::new("rtpengine")
            .args(["--config-file=none", "--foreground", "--table=-1", "--num-threads=2", "--log-level=1", "--log-stderr"])
            .args([format!("--interface={ip}"), format!("--listen-ng={control}")])
            .args([format!("--port-min={first}"), format!("--port-max={}", first + PORTS.1 - 1)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| Error::Setup(format!("rtpengine does not start ({error}); Debian: apt-get install rtpengine-daemon")))?;
        let this = Self { child, control };
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(control)?;
        socket.set_read_timeout(Some(ANSWER_WITHIN))?;
        let until = Instant::now() + UP_WITHIN;
        let answers = || socket.send(b"bench d7:command4:pinge").and_then(|_| socket.recv(&mut [0; 64])).is_ok();
        while !answers() {
            if Instant::now() >= until {
                return Err(Error::Setup("rtpengine does not come up".to_owned()));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(this)
    }

    /// Where it is told of calls.
    pub const fn control(&self) -> SocketAddr {
        self.control
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<(), Error> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Rtpengine {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.kill();
    }
}

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    #[arg(long, default_value_t = 50)]
    pub calls: usize,
    /// Kills every daemon: then nobody hears anybody, and the calls are to end.
    #[arg(long)]
    pub all: bool,
}

const NODE: u16 = 1;
const PHASE: Duration = Duration::from_secs(1);
/// Pings fail for 1 to 2 s before a daemon counts as dead; then both parties are told.
const P99_MS: f64 = 4_000.0;
const OBSERVED: Duration = Duration::from_secs(7);
const WHOLE_WITHIN: Duration = Duration::from_secs(40);
/// Up to 2 s until the last daemon counts as dead, 8 s in which one may come back, a question under way, and the BYE.
const ENDED_WITHIN: Duration = Duration::from_secs(14);

pub fn run(options: &Options) -> Result<Report, Error> {
    let mut report = Report::new(format!("survival rtpengine: the daemon of {} calls killed", options.calls));
    let common = Common { media: Media::Rtpengine, ..options.common.clone() };
    let mut setup = Setup::pairs(options.calls, &common);
    setup.rtpengines = 2;
    let mut stage = Stage::open(setup, |_| {})?;
    stage.lab.await_whole(&[1, 2, 3], WHOLE_WITHIN)?;
    let pairs = stage.talk(&stage.callers, &stage.agents[0], NODE, "support")?;
    judge::random_phase(&mut Random(common.seed), PHASE);
    let numbers: Vec<String> = (0..options.calls).map(stage::number).collect();
    let killed = Instant::now();
    if options.all {
        for daemon in &mut stage.rtpengines {
            daemon.kill()?;
        }
        let ended = |phone: &Phone| {
            let left = ENDED_WITHIN.saturating_sub(killed.elapsed());
            phone.wait_for(left, |ua| ua.call().is_none_or(|call| call.is_over()))
        };
        let standing = pairs.iter().flat_map(|pair| [&pair.caller, &pair.agent]).filter(|phone| !ended(phone)).count();
        report.figure("the last phone heard of its call's end after", killed.elapsed().as_secs_f64(), "s");
        let bound = format!("0 after {} s", ENDED_WITHIN.as_secs());
        report.bounded("phones still in a call", standing as f64, "phones", bound, standing == 0);
        judge::records(&mut report, &stage, &numbers, options.calls, "")?;
        judge::protocol(&mut report, &stage, "");
        return Ok(report);
    }
    // Calls are spread over both: half of them have to move.
    stage.rtpengines[0].kill()?;
    thread::sleep(OBSERVED);
    let mut heard = Heard::of(&pairs, killed);
    let moved: Vec<f64> = heard.all_ms().into_iter().filter(|ms| *ms > 500.0).collect();
    heard.tell(&mut report, "");
    report.figure("directions that had to move", moved.len() as f64, "");
    let p99 = judge::at(&moved, 99);
    report.bounded("pause of those that moved p99", p99, "ms", format!("≤ {P99_MS}"), p99 <= P99_MS);
    judge::hang_up(&mut report, &pairs, "");
    judge::records(&mut report, &stage, &numbers, options.calls, "")?;
    judge::agents(&mut report, &stage, "")?;
    judge::protocol(&mut report, &stage, "");
    Ok(report)
}
