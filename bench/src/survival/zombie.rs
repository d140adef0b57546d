//! The node that carries every call is out of the game for much longer than its lease and comes back: it stands still (SIGSTOP,
//! SIGCONT) as a frozen virtual machine does, or its links to its peers are cut, both ways or one way, while it can still
//! reach every phone. Its calls must have one new owner each, and the old one must not meddle. Judged by a packet capture.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    thread,
    time::{Duration, Instant, SystemTime},
};

use rustix::process::Signal;

use super::{
    Common,
    judge::{self, Heard},
    stage::{self, Pair, Setup, Stage},
};
use crate::{
    capture::{self, Capture, Cut, Packet},
    error::Error,
    phone::{Phone, Random},
    report::Report,
};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    #[arg(long, default_value_t = 100)]
    pub calls: usize,
    /// How long the node is out of the game.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// What is done to it; all of them, one after the other, if not said.
    #[arg(long, value_enum)]
    pub fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// SIGSTOP, SIGCONT.
    Stop,
    /// Nothing passes between it and its peers.
    Cut,
    /// Its peers do not hear it; it hears them.
    Mute,
    /// It does not hear its peers; they hear it.
    Deaf,
}

impl Fault {
    const ALL: [Self; 4] = [Self::Stop, Self::Cut, Self::Mute, Self::Deaf];

    const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stands still",
            Self::Cut => "cut off",
            Self::Mute => "mute",
            Self::Deaf => "deaf",
        }
    }
}

const NODE: u16 = 1;
const PEERS: [u16; 2] = [2, 3];
/// What the system call of a node that stood still may still give away, and how long after it goes on.
const STALE_PACKETS_MAX: usize = 64;
const STALE: Duration = Duration::from_millis(5);
/// The capture has some audio of the first owner before the fault: what it sees afterwards is then not for want of looking.
const BEFORE: Duration = Duration::from_millis(200);
const PHASE: Duration = Duration::from_secs(1);
const OBSERVED: Duration = Duration::from_secs(5);
const WHOLE_WITHIN: Duration = Duration::from_secs(40);

pub fn run(options: &Options) -> Result<Report, Error> {
    capture::enter_namespace()?;
    let mut report = Report::new(format!(
        "survival zombie: the node with {} calls is out of the game for {} s and comes back, media {}",
        options.calls,
        options.seconds,
        options.common.media.name()
    ));
    let chosen = options.fault.as_ref().map_or(&Fault::ALL[..], std::slice::from_ref);
    for fault in chosen {
        one(&mut report, options, *fault)?;
    }
    Ok(report)
}

fn one(report: &mut Report, options: &Options, fault: Fault) -> Result<(), Error> {
    let label = format!("{}: ", fault.name());
    let stage = Stage::open(Setup::pairs(options.calls, &options.common), |lab| lab.restart_after_ms = Some(1_000))?;
    stage.lab.await_whole(&[1, 2, 3], WHOLE_WITHIN)?;
    let pairs = stage.talk(&stage.callers, &stage.agents[0], NODE, "support")?;
    let capture = Capture::start("udp and not portrange 13000-13999")?;
    thread::sleep(BEFORE);
    let old = Old { sip: stage.sip(NODE), audio: sources(&pairs) };
    judge::random_phase(&mut Random(options.common.seed), PHASE);
    let since = Instant::now();
    let mut cut = Cut::default();
    match fault {
        Fault::Stop => stage.lab.signal(NODE, Signal::STOP)?,
        Fault::Cut | Fault::Mute | Fault::Deaf => cut = Cut::links(&links(&stage, fault)?)?,
    }
    thread::sleep(Duration::from_secs(options.seconds));
    let mut heard = Heard::of(&pairs, since);
    if options.common.trace {
        judge::trace(&pairs, since);
    }
    // Before the node is let go, so that nothing that follows is taken for earlier.
    let (back, back_at) = (Instant::now(), SystemTime::now());
    drop(cut);
    if fault == Fault::Stop {
        stage.lab.signal(NODE, Signal::CONT)?;
    }
    thread::sleep(OBSERVED);
    heard.tell(report, &label);
    let after = Heard::of(&pairs, back).calls_lost();
    report.bounded(format!("{label}calls lost after it came back"), after as f64, "calls", "= 0", after == 0);
    owners(report, &pairs, &label);
    let packets = capture.finish(&[1, 2, 3].map(|k| stage.sip(k).port()))?;
    let seen = packets.iter().filter(|packet| old.audio.contains(&packet.from)).count();
    report.bounded(format!("{label}audio packets of the first owner in the capture"), seen as f64, "packets", "> 0", seen > 0);
    old_owner(report, &packets, &pairs, &old, &label);
    match fault {
        Fault::Stop => after_standstill(report, &packets, &pairs, &old, back_at, &label),
        Fault::Cut | Fault::Mute | Fault::Deaf => handed_over(report, &packets, &pairs, &old, &label),
    }
    judge::hang_up(report, &pairs, &label);
    let numbers: Vec<String> = (0..options.calls).map(stage::number).collect();
    judge::records(report, &stage, &numbers, options.calls, &label)?;
    judge::agents(report, &stage, &label)?;
    judge::protocol(report, &stage, &label);
    Ok(())
}

/// The links that lose everything, each with its direction.
fn links(stage: &Stage, fault: Fault) -> Result<Vec<(SocketAddr, SocketAddr)>, Error> {
    let addr = |k| stage.lab.cluster(k).parse().map_err(|_| Error::Setup("a node without an address".to_owned()));
    let node: SocketAddr = addr(NODE)?;
    let mut links = Vec::new();
    for peer in PEERS {
        let peer: SocketAddr = addr(peer)?;
        if fault != Fault::Deaf {
            links.push((node, peer));
        }
        if fault != Fault::Mute {
            links.push((peer, node));
        }
    }
    Ok(links)
}

/// From where the first owner speaks.
struct Old {
    sip: SocketAddr,
    audio: BTreeSet<SocketAddr>,
}

fn phones(pairs: &[Pair]) -> impl Iterator<Item = &Phone> {
    pairs.iter().flat_map(|pair| [&pair.caller, &pair.agent])
}

fn audio_of(phone: &Phone) -> SocketAddr {
    phone.look(|ua| ua.options.media)
}

/// Where the audio of all calls came from, phones aside.
fn sources(pairs: &[Pair]) -> BTreeSet<SocketAddr> {
    let own: BTreeSet<SocketAddr> = phones(pairs).map(audio_of).collect();
    let heard = phones(pairs).flat_map(|phone| phone.heard(|heard| heard.sources.clone()));
    heard.map(|(_, source)| source).filter(|source| !own.contains(source)).collect()
}

/// Every phone saw exactly one new owner.
fn owners(report: &mut Report, pairs: &[Pair], label: &str) {
    let counts: Vec<usize> = phones(pairs).map(|phone| phone.look(|ua| ua.call().map_or(0, |call| call.new_owners()))).collect();
    let one = counts.iter().filter(|count| **count == 1).count();
    let more = counts.iter().filter(|count| **count > 1).count();
    report.bounded(
        format!("{label}phones that saw one new owner"),
        one as f64,
        "phones",
        format!("= {}", counts.len()),
        one == counts.len(),
    );
    report.bounded(format!("{label}phones that saw more than one"), more as f64, "phones", "= 0", more == 0);
}

/// What the old owner said in calls in which the new one had spoken, from the fault on until the end.
fn old_owner(report: &mut Report, packets: &[Packet], pairs: &[Pair], old: &Old, label: &str) {
    let calls: BTreeSet<String> = phones(pairs).filter_map(|phone| phone.look(|ua| Some(ua.calls.first()?.call_id.clone()))).collect();
    let of_calls = packets.iter().filter_map(|packet| Some((packet, packet.call_id.as_ref().filter(|id| calls.contains(*id))?)));
    let (mut taken, mut stale) = (BTreeSet::new(), 0);
    for (packet, call) in of_calls {
        if packet.from == old.sip {
            stale += usize::from(taken.contains(call));
        } else if packet.to != old.sip {
            taken.insert(call);
        }
    }
    let all = calls.len();
    report.bounded(
        format!("{label}dialogs with SIP of a new owner in the capture"),
        taken.len() as f64,
        "dialogs",
        format!("= {all}"),
        taken.len() == all,
    );
    report.bounded(format!("{label}SIP messages of the old owner after that"), stale as f64, "messages", "= 0", stale == 0);
}

/// Packets that the old owner still passes on after a standstill.
fn after_standstill(report: &mut Report, packets: &[Packet], pairs: &[Pair], old: &Old, back: SystemTime, label: &str) {
    let listening: BTreeSet<SocketAddr> = phones(pairs).map(audio_of).collect();
    let stale = packets.iter().filter(|packet| old.audio.contains(&packet.from) && listening.contains(&packet.to));
    let late: Vec<Duration> = stale.filter_map(|packet| packet.at.duration_since(back).ok()).collect();
    let last = late.iter().max().copied().unwrap_or_default();
    let (few, soon) = (late.len() <= STALE_PACKETS_MAX, last <= STALE);
    report.bounded(format!("{label}stale audio packets"), late.len() as f64, "packets", format!("≤ {STALE_PACKETS_MAX}"), few);
    let bound = format!("≤ {}", STALE.as_millis());
    report.bounded(format!("{label}the last of them, after it went on"), last.as_secs_f64() * 1000.0, "ms", bound, soon);
}

/// The old owner must be silent at every phone before the new one speaks to it, and stay so.
fn handed_over(report: &mut Report, packets: &[Packet], pairs: &[Pair], old: &Old, label: &str) {
    let listening: BTreeSet<SocketAddr> = phones(pairs).map(audio_of).collect();
    let (mut last_old, mut first_new) = (BTreeMap::new(), BTreeMap::new());
    let to_phones = packets.iter().filter(|packet| listening.contains(&packet.to) && !listening.contains(&packet.from));
    for packet in to_phones {
        if old.audio.contains(&packet.from) {
            last_old.insert(packet.to, packet.at);
        } else {
            first_new.entry(packet.to).or_insert(packet.at);
        }
    }
    let mut silent_ms: Vec<f64> = Vec::new();
    let mut both = 0;
    for (phone, first) in &first_new {
        match last_old.get(phone).map(|last| first.duration_since(*last)) {
            Some(Ok(silent)) => silent_ms.push(silent.as_secs_f64() * 1000.0),
            Some(Err(_)) => both += 1,
            None => {}
        }
    }
    let all = listening.len();
    report.bounded(
        format!("{label}phones with audio of a new owner"),
        first_new.len() as f64,
        "phones",
        format!("= {all}"),
        first_new.len() == all,
    );
    report.bounded(format!("{label}phones with audio of the old one after that"), f64::from(both), "phones", "= 0", both == 0);
    report.quantiles(&format!("{label}old owner's last → new owner's first packet"), &mut silent_ms, "ms");
}
