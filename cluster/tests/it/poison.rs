//! An entry that ends every node that applies it: real processes, since it is processes that end.
//!
//! Each is this test binary again, told what to do line by line; whoever dies is started again, as by a service manager.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tandem_cluster::{Cluster, PeerSpec, Standing};

use super::register::{Drag, Fleet, GROUPS, POISON, SECOND, eventually, options, rows, start, write};

const DIR: &str = "TANDEM_TEST_POISON_DIR";
const NODE: &str = "TANDEM_TEST_POISON_NODE";
const ADDRS: &str = "TANDEM_TEST_POISON_ADDRS";

/// Not a test: a node that does as its standard input says and answers each line with one.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the child of a_poisoned_entry_is_skipped_and_all_replicas_go_on_alike"]
async fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let me: u64 = std::env::var(NODE).expect("given").parse().expect("a number");
    let addrs = std::env::var(ADDRS).expect("given");
    let peers = addrs.split(',').zip(1..).map(|(addr, id)| PeerSpec { id, addr: addr.parse().expect("an address"), witness: false });
    let peers: Vec<_> = peers.collect();
    let (cluster, seen) = start(options(&PathBuf::from(dir), peers[me as usize - 1].clone(), peers), Drag::default()).await;
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split(' ').collect();
        let group = words[1].parse().expect("a group");
        let answer = match words[0] {
            "write" => {
                let done = cluster.propose(group, Bytes::copy_from_slice(words[2].as_bytes()), 2 * SECOND).await;
                done.map_or_else(|error| error.to_string(), |done| format!("done {}", done.index))
            }
            "skip" => {
                let done = cluster.skip(group, words[2].parse().expect("an index"), 5 * SECOND).await;
                done.map_or_else(|error| error.to_string(), |()| "done".to_owned())
            }
            "poisoned" => format!("{:?}", cluster.groups()[group as usize].poisoned),
            "rows" => {
                let rows = rows(&seen, group).into_iter().map(|row| String::from_utf8(row).expect("text"));
                rows.collect::<Vec<_>>().join(",")
            }
            other => panic!("{other}"),
        };
        println!("\n> {answer}");
    }
}

/// A node as a process, started again whenever it has died.
struct Node {
    me: u64,
    dir: PathBuf,
    addrs: String,
    deaths: u32,
    child: Child,
    answers: Receiver<String>,
}

/// Starts a node; what it answers comes until it ends.
fn spawn(me: u64, dir: &PathBuf, addrs: &str) -> (Child, Receiver<String>) {
    let mut child = Command::new(std::env::current_exe().expect("this is one"))
        .args(["--exact", "poison::child", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .env(NODE, me.to_string())
        .env(ADDRS, addrs)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let (answer, answers) = mpsc::channel();
    std::thread::spawn(move || lines.filter_map(|line| Some(line.strip_prefix("> ")?.to_owned())).try_for_each(|said| answer.send(said)));
    (child, answers)
}

impl Node {
    fn new(me: u64, dir: PathBuf, addrs: String) -> Self {
        let (child, answers) = spawn(me, &dir, &addrs);
        Self { me, dir, addrs, deaths: 0, child, answers }
    }

    fn restart(&mut self) {
        self.child.kill().ok();
        self.child.wait().expect("it is ours");
        (self.child, self.answers) = spawn(self.me, &self.dir, &self.addrs);
    }

    /// The answer to a line; none if the process died over it, which is started again then.
    fn ask(&mut self, line: &str) -> Option<String> {
        let sent = writeln!(self.child.stdin.as_mut().expect("piped"), "{line}");
        let answer = sent.ok().and_then(|()| match self.answers.recv_timeout(60 * SECOND) {
            Err(RecvTimeoutError::Timeout) => panic!("node {} lives and does not answer {line:?}", self.me),
            answer => answer.ok(),
        });
        if answer.is_none() {
            self.deaths += 1;
            self.restart();
        }
        answer
    }

    fn until(&mut self, line: &str, check: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let answer = self.ask(line);
            if let Some(answer) = answer.as_ref().filter(|answer| check(answer)) {
                return answer.clone();
            }
            assert!(begun.elapsed() < 60 * SECOND, "{line:?} of node {} came to {answer:?}", self.me);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn done(answer: &str) -> bool {
    answer.starts_with("done")
}

#[test]
fn a_poisoned_entry_is_skipped_and_all_replicas_go_on_alike() {
    let fleet = Fleet::new(3);
    let addrs: Vec<String> = (1..=3).map(|id| fleet.peer(id).addr).map(|addr: SocketAddr| addr.to_string()).collect();
    let mut nodes: Vec<Node> = (1..=3).map(|me| Node::new(me, fleet.path().to_owned(), addrs.join(","))).collect();
    nodes[0].until("write 1 before", done);
    nodes[1].ask(&format!("write 1 {POISON}"));
    // Every leader that commits it dies, and again once it is started, until enough of them wait to be asked.
    let waits = |answer: &str| answer.starts_with("Some");
    let begun = Instant::now();
    let index = loop {
        let said: Vec<_> = nodes.iter_mut().filter_map(|node| node.ask("poisoned 1")).filter(|answer| waits(answer)).collect();
        if said.len() >= 2 {
            break said[0].trim_start_matches("Some(").trim_end_matches(')').to_owned();
        }
        assert!(begun.elapsed() < 60 * SECOND, "deaths: {:?}", nodes.iter().map(|node| node.deaths).collect::<Vec<_>>());
    };
    assert!(nodes.iter().map(|node| node.deaths).sum::<u32>() >= 4, "a majority died, twice each");
    nodes[0].until("write 2 meanwhile", done);
    assert!(!nodes[0].ask("write 1 early").is_some_and(|answer| done(&answer)), "the group waits");
    nodes[2].until(&format!("skip 1 {index}"), done);
    nodes[1].until("write 1 after", done);
    for n in 0..250 {
        nodes[n % 3].until(&format!("write 1 v{n}"), done);
    }
    let expected = nodes[0].until("rows 1", |rows| rows.contains("v249"));
    assert!(expected.starts_with("before,") && expected.contains("after") && !expected.contains(POISON), "{expected}");
    for node in &mut nodes {
        node.until("rows 1", |rows| rows == expected);
        let deaths = node.deaths;
        // Behind a snapshot by now, or through the entry once more: both must come to the same.
        node.restart();
        node.until("rows 1", |rows| rows == expected);
        assert_eq!(node.deaths, deaths, "nobody dies of it any more");
    }
    nodes[0].until("write 1 last", done);
    for group in 0..=GROUPS {
        assert_eq!(nodes[1].ask(&format!("poisoned {group}")).as_deref(), Some("None"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_applied_what_the_cluster_skips_takes_no_further_part() {
    let fleet = Fleet::new(3);
    let [first, second, third] = fleet.three().await;
    let index = write(&first.0, 1, "applied").await.expect("committed");
    for (cluster, _) in [&second, &third] {
        cluster.read_barrier(1, 5 * SECOND).await.expect("a quorum is there");
    }
    assert!(first.0.skip(0, index, 5 * SECOND).await.is_err(), "the meta group cannot skip an entry of its own");
    first.0.skip(1, index, 5 * SECOND).await.ok();
    // The first to learn of it stops at once, and so does whoever succeeds it; the third has nobody left to hear it from.
    let stopped = |cluster: &Cluster| matches!(&*cluster.standing().borrow(), Standing::Stopped(why) if why.contains("skipped"));
    eventually("a majority stops", || [&first, &second, &third].iter().filter(|(cluster, _)| stopped(cluster)).count() >= 2).await;
}
