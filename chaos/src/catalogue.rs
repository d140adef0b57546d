//! What every fault does, how it is made here, and how the tool makes sure that it was. For `list`, `explain` and `doctor`.

use std::process::Command;

use crate::{experiment::Kind, ram};

/// A fault in words.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub kind: Kind,
    pub what: &'static str,
    pub how: &'static str,
    pub injected_when: &'static str,
    pub healed_when: &'static str,
}

pub const FAULTS: &[Entry] = &[
    Entry {
        kind: Kind::Kill,
        what: "a node's process dies at once",
        how: "SIGKILL to the node; its supervisor starts it again once it is let go",
        injected_when: "the process is gone and the node's API refuses connections",
        healed_when: "a new process is ready: it leads or follows every partition and holds its lease",
    },
    Entry {
        kind: Kind::CrashLoop,
        what: "a node dies again as soon as it is back",
        how: "SIGKILL to every new process of the node while the fault lasts",
        injected_when: "at least two processes of it were killed",
        healed_when: "a process that is not killed is ready",
    },
    Entry {
        kind: Kind::Pause,
        what: "a node stands still and does not know it (a stopped virtual machine, a long collection)",
        how: "SIGSTOP, later SIGCONT",
        injected_when: "the kernel shows the process as stopped",
        healed_when: "the kernel shows it running and the node is ready, possibly in a new life",
    },
    Entry {
        kind: Kind::Partition,
        what: "nodes do not hear each other: isolate, out (nobody hears it), in (it hears nobody), bridge (the others only reach it)",
        how: "the relay between the nodes drops every packet of the directed links concerned",
        injected_when: "every one of these links dropped a packet and passed none",
        healed_when: "every one of these links passes packets again and the members are ready",
    },
    Entry {
        kind: Kind::Link,
        what: "links are slow, jittery, lossy, double, reorder or damage packets",
        how: "the relay does it to packets from and to the target, each by seeded chance",
        injected_when: "the relay counted packets to which each of these things was done",
        healed_when: "packets pass and none is touched",
    },
    Entry {
        kind: Kind::Wipe,
        what: "a node loses its disk and comes back under its old name, which must not vote again",
        how: "SIGKILL, its data directory is removed, it is started; healed by removing it from the cluster and joining a spare",
        injected_when: "it refuses to start and says that it has lived before",
        healed_when: "the cluster has dropped it and the spare votes in every partition",
    },
    Entry {
        kind: Kind::TornTail,
        what: "power fails in the middle of a write to the log",
        how: "SIGKILL, half of the last record is put behind the end of the log, as a torn write would leave it",
        injected_when: "the restarted node says that it cut a torn tail",
        healed_when: "the node is ready",
    },
    Entry {
        kind: Kind::BitFlip,
        what: "a byte of the log rots at rest",
        how: "SIGKILL, one byte in the middle of the log is flipped, it is started; healed by putting the byte back",
        injected_when: "the node refuses to start and names the damage",
        healed_when: "with the byte back it is ready",
    },
    Entry {
        kind: Kind::RollingRestart,
        what: "each node is ended politely in turn, as an upgrade does",
        how: "SIGTERM: the node drains and ends with 0; the next follows when it is ready again",
        injected_when: "each process ended by itself",
        healed_when: "every node has a new process and is ready",
    },
    Entry {
        kind: Kind::Membership,
        what: "spares join and old members leave under load",
        how: "`tandem join` of every spare, then `tandem leave` of as many of the others",
        injected_when: "the spares vote in every partition",
        healed_when: "exactly the new members vote in every partition",
    },
    Entry {
        kind: Kind::Carrier,
        what: "the way to the tagged tenant's agents answers 503, late, twice or never",
        how: "the agents' phones do so; `twice` doubles every response, and the 200 comes from a second device as well",
        injected_when: "such phones were called while the fault lasted; with `twice`, the cluster ended a second answer",
        healed_when: "they answer as before",
    },
    Entry {
        kind: Kind::Overload,
        what: "many times more callers than usual",
        how: "the callers come faster",
        injected_when: "at least half as many came as were meant to",
        healed_when: "callers come at their usual rate",
    },
    Entry {
        kind: Kind::ActorCrash,
        what: "the tagged tenant's actors of one kind panic",
        how: "`POST /api/v1/drills` at every node, for this tenant only",
        injected_when: "the nodes say that they hit at least one",
        healed_when: "every node is ready",
    },
    Entry {
        kind: Kind::StuckActor,
        what: "the tagged tenant's actors of one kind (call, agent, queue) take no message any more",
        how: "`POST /api/v1/drills` at every node, for this tenant only: they hang over the next message for five minutes",
        injected_when: "the nodes count as many actors that they found hanging and replaced",
        healed_when: "all were replaced, and every node is ready",
    },
    Entry {
        kind: Kind::DiskFull,
        what: "a node's disk has not a byte left",
        how: "each node has a small disk of its own in memory (needs root), and a file takes all that is left of it",
        injected_when: "the node says that it met \"No space left on device\"",
        healed_when: "with the file removed the node is ready",
    },
    Entry {
        kind: Kind::FsyncError,
        what: "a disk breaks: an fsync says EIO",
        how: "a drill in the node's own log, whose next sync fails; the node is kept down for the fault's time",
        injected_when: "its process ended by itself and its last words name the error",
        healed_when: "a new process is ready",
    },
    Entry {
        kind: Kind::SlowDisk,
        what: "each fsync of a node takes longer",
        how: "a drill in the node's own log waits before each sync",
        injected_when: "the node's own metric of its syncs shows nine tenths of the wait",
        healed_when: "the metric shows less than half of it, and the members are ready",
    },
    Entry {
        kind: Kind::Clock,
        what: "a node's wall clock jumps ahead or back, and later to where it should be",
        how: "a drill adds to every reading of it; monotonic time goes on, as it does in a machine whose clock is set",
        injected_when: "the time of day that the node tells by its API is as far from ours",
        healed_when: "it tells our time, and the members are ready",
    },
    Entry {
        kind: Kind::MixedVersions,
        what: "nodes of an older feature level serve among newer ones and are upgraded; then the cluster's level is raised",
        how: "the nodes are restarted politely with a file in which they claim an older level, later without it",
        injected_when: "the others see the older level, and raising the cluster's is refused while it is there",
        healed_when: "every member says that the cluster behaves as of the new level",
    },
    Entry {
        kind: Kind::Random,
        what: "kill, pause, partition, link and actor-crash, drawn by the seed",
        how: "as each of them",
        injected_when: "as each of them",
        healed_when: "as each of them",
    },
];

pub fn explain(kind: &str) -> Option<&'static Entry> {
    FAULTS.iter().find(|entry| crate::plan::name(entry.kind) == kind)
}

/// Faults of the brief that this tool does not make yet, and what they would need.
pub const NOT_BUILT: &[(&str, &str)] = &[
    ("ai-worker-lost", "an AI worker: triage runs inside a node and is on no call's path yet"),
    ("another binary", "a second build; mixed-versions claims an older level with the binary that is there"),
    ("partition's actor stuck", "somebody who would replace it; `actor-crash` lets it panic"),
    ("netns partitions", "root; the relay cuts the same packets, `tandem-bench survival zombie` cuts a whole machine with iptables"),
];

/// What this machine can do, line by line; false where a fault of the catalogue would have to be skipped.
pub fn doctor() -> Vec<(bool, String)> {
    let program = std::env::current_exe().ok().map(|path| path.with_file_name("tandem"));
    let tandem = program.as_ref().is_some_and(|path| path.exists());
    let said = |ok: bool, yes: &str, no: &str| (ok, if ok { yes.to_owned() } else { no.to_owned() });
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").is_ok();
    let netem = Command::new("tc").args(["qdisc", "help"]).output().is_ok();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    vec![
        said(tandem, "the program under test is beside this one", "`tandem` is not beside this program: cargo build"),
        said(udp, "UDP on loopback: every link fault goes through our own relay", "no UDP on loopback: no link fault can be made"),
        said(ram::can_mount(), "small disks can be mounted: disk-full is really full", "no right to mount: disk-full will be skipped"),
        said(cores >= 2, &format!("{cores} cores"), "one core: times will be long"),
        (true, format!("tc {}: not needed, the relay does what netem does", if netem { "is here" } else { "is not here" })),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::{Experiment, SHIPPED};

    #[test]
    fn every_fault_is_explained_under_the_name_its_file_uses() {
        for name in ["kill", "crash-loop", "pause", "partition", "link", "wipe", "torn-tail", "bit-flip", "rolling-restart", "membership"] {
            assert!(explain(name).is_some(), "{name}");
        }
        let shipped = SHIPPED.iter().flat_map(|(name, _)| Experiment::load(name).unwrap().faults);
        for fault in shipped {
            let name = crate::plan::name(fault.kind);
            assert!(explain(&name).is_some(), "{name} ships in an experiment and is not explained");
        }
        assert!(explain("earthquake").is_none());
    }
}
