//! The nemesis: what befalls the nodes and the ways between them, by the seed, and whether it was felt.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};
use tandem_cluster::NodeId;
use tokio::time::{Instant, sleep};

use super::{
    judge::Judge,
    laws::{Law, Laws},
    stage::{NODES, Stage},
};

/// A process that does not come up at once is tried again after this.
const START_AGAIN: Duration = Duration::from_millis(500);
const STARTS_MAX: usize = 20;
/// How long a crash waits for a write that it can tear.
const AIM_MS_MAX: u64 = 1_500;
/// How long a mark of draining may take to be committed.
const DRAIN_WITHIN: Duration = Duration::from_secs(3);

/// How long a contested election waits for a voter's word.
const VOTE_MS_MAX: u64 = 5_000;

/// Kinds of faults, the last two of which are outages and contested elections.
const KINDS: u32 = 13;

/// Faults by name: injected, and felt.
pub(super) type Counts = BTreeMap<&'static str, (u64, u64)>;

pub(super) struct Nemesis {
    rng: StdRng,
    laws: Laws,
    judge: Judge,
    stage: Arc<Stage>,
    kinds: u32,
    counts: Counts,
}

impl Nemesis {
    /// One of several, whose faults overlap.
    pub(super) fn new(seed: u64, lane: u64, laws: Laws, judge: Judge, stage: Arc<Stage>) -> Self {
        Self { rng: StdRng::seed_from_u64(seed ^ 0x6661_756C ^ (lane << 56)), laws, judge, stage, kinds: KINDS, counts: Counts::new() }
    }

    pub(super) fn without_outages(self) -> Self {
        Self { kinds: KINDS - 2, ..self }
    }

    /// One fault after the other until the time is up. Heals nothing but what each fault heals itself.
    pub(super) async fn run(mut self, until: Instant) -> Counts {
        while Instant::now() < until {
            let calm = self.ms(300, 4_000);
            sleep(calm).await;
            let before = self.laws.clone();
            let (name, felt) = match self.rng.random_range(0..self.kinds) {
                0 => self.isolate().await,
                1 => self.one_way().await,
                2 => self.link().await,
                3 | 4 => self.crash().await,
                5 => self.weather("loss", Law::Loss, (150, 0, 0)).await,
                6 => self.weather("delay", Law::Delay, (0, 400, 0)).await,
                7 => self.weather("duplicates", Law::Twice, (0, 0, 200)).await,
                8 => self.slow_disk().await,
                9 => self.clock().await,
                10 => self.peaceful().await,
                11 => self.outage().await,
                _ => self.contested().await,
            };
            let row = self.counts.entry(name).or_default();
            row.0 += 1;
            row.1 += u64::from(felt);
            before.note(format_args!("fault {name} felt {felt}"));
        }
        self.counts
    }

    fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(from..to))
    }

    fn node(&mut self) -> NodeId {
        NODES[self.rng.random_range(0..NODES.len())]
    }

    /// A law is bent for a while; felt if anything came under it.
    async fn bend(&mut self, law: Law, name: &'static str, ways: &[(NodeId, NodeId)]) -> (&'static str, bool) {
        let before = self.laws.felt(law);
        self.laws.shut(ways);
        let while_ = self.ms(200, 5_000);
        sleep(while_).await;
        self.laws.reopen(ways);
        (name, self.laws.felt(law) > before)
    }

    async fn isolate(&mut self) -> (&'static str, bool) {
        let node = self.node();
        self.bend(Law::Cut, "isolated", &around(node)).await
    }

    async fn one_way(&mut self) -> (&'static str, bool) {
        let (node, out) = (self.node(), self.rng.random());
        let others = NODES.iter().filter(|other| **other != node);
        let ways: Vec<_> = others.map(|other| if out { (node, *other) } else { (*other, node) }).collect();
        self.bend(Law::Cut, if out { "dumb" } else { "deaf" }, &ways).await
    }

    async fn link(&mut self) -> (&'static str, bool) {
        let from = self.node();
        let to = NODES[(from as usize + self.rng.random_range(0..2)) % NODES.len()];
        let ways = if self.rng.random() { vec![(from, to)] } else { vec![(from, to), (to, from)] };
        self.bend(Law::Cut, "link", &ways).await
    }

    async fn weather(&mut self, name: &'static str, law: Law, (loss, late, twice): (u32, u32, u32)) -> (&'static str, bool) {
        let before = self.laws.felt(law);
        self.laws.weather(loss, late, twice);
        let while_ = self.ms(500, 4_000);
        sleep(while_).await;
        self.laws.weather(0, 0, 0);
        (name, self.laws.felt(law) > before)
    }

    async fn slow_disk(&mut self) -> (&'static str, bool) {
        let node = self.node();
        let before = self.laws.felt(Law::SlowDisk);
        let ms = self.rng.random_range(20..400);
        self.laws.slow_disk(node, ms);
        let while_ = self.ms(500, 5_000);
        sleep(while_).await;
        self.laws.slow_disk(node, 0);
        ("slow disk", self.laws.felt(Law::SlowDisk) > before)
    }

    /// A wall clock jumps by up to a day, either way, and stays there.
    async fn clock(&mut self) -> (&'static str, bool) {
        let node = self.node();
        let before = self.laws.felt(Law::WallClock);
        let ms = self.rng.random_range(-86_400_000..86_400_000);
        self.laws.jump(node, ms);
        let while_ = self.ms(200, 2_000);
        sleep(while_).await;
        ("wall clock", self.laws.felt(Law::WallClock) > before)
    }

    async fn crash(&mut self) -> (&'static str, bool) {
        let (node, told) = (self.node(), self.rng.random());
        let torn = self.rng.random_range(0..3);
        if self.rng.random_range(0..100) < 70 {
            self.aim(node).await;
        }
        let Some(lost) = self.cut_torn(node, told, torn) else { return ("crash", false) };
        let down = self.ms(50, 4_000);
        sleep(down).await;
        self.start(node).await;
        (if lost > 0 { "crash, write torn" } else { "crash" }, true)
    }

    /// Cuts a node's power with any fate of its last write. Returns how many sectors were lost, if it ran.
    fn cut(&mut self, node: NodeId, told: bool) -> Option<usize> {
        let torn = self.rng.random_range(0..3);
        self.cut_torn(node, told, torn)
    }

    /// Of the last write all is lost, all survives, or each sector as it comes.
    fn cut_torn(&mut self, node: NodeId, told: bool, torn: u32) -> Option<usize> {
        let rng = &mut self.rng;
        self.stage.crash(node, told, || torn == 1 || (torn == 2 && rng.random())).unwrap_or_else(|error| {
            self.judge.violated(format!("the simulator's own disk failed: {error}"));
            None
        })
    }

    /// Waits for a moment in which the node's log has a write in doubt. Its disk is slow meanwhile, or there would be few.
    async fn aim(&mut self, node: NodeId) {
        let ms = self.rng.random_range(20..150);
        self.laws.slow_disk(node, ms);
        for _ in 0..AIM_MS_MAX {
            if self.stage.in_doubt(node) {
                break;
            }
            sleep(Duration::from_millis(1)).await;
        }
        let within = Duration::from_millis(self.rng.random_range(0..ms / 2));
        sleep(within).await;
        self.laws.slow_disk(node, 0);
    }

    /// The site loses its power, every node at once; two times of three amid an election, whose votes are in doubt.
    async fn outage(&mut self) -> (&'static str, bool) {
        let ms = self.rng.random_range(20..150);
        NODES.iter().for_each(|node| self.laws.slow_disk(*node, ms));
        if self.rng.random_range(0..3) > 0
            && let Some(leader) = self.stage.leader()
        {
            self.cut(leader, true);
        }
        for _ in 0..AIM_MS_MAX {
            if NODES.iter().any(|node| self.stage.in_doubt(*node)) {
                break;
            }
            sleep(Duration::from_millis(1)).await;
        }
        let within = Duration::from_millis(self.rng.random_range(0..ms / 2));
        sleep(within).await;
        let fell = NODES.iter().filter(|node| self.cut(**node, false).is_some()).count();
        NODES.iter().for_each(|node| self.laws.slow_disk(*node, 0));
        let down = NODES.map(|_| self.ms(50, 2_000));
        let back = |n: usize| {
            let this = &*self;
            async move {
                sleep(down[n]).await;
                this.start(NODES[n]).await;
            }
        };
        tokio::join!(back(0), back(1), back(2));
        ("outage", fell > 1)
    }

    /// The leader is cut off. Another node loses its power while its word in the election is in doubt, and the cut moves to the third,
    /// whom it may have voted for: when it is back it meets the old leader, and whatever the third was made stays alone for a while.
    async fn contested(&mut self) -> (&'static str, bool) {
        const NAME: &str = "contested election";
        let Some(leader) = self.stage.leader() else { return (NAME, false) };
        let others: Vec<_> = NODES.into_iter().filter(|node| *node != leader).collect();
        let (voter, told) = (others[self.rng.random_range(0..others.len())], self.rng.random());
        let third = others.into_iter().find(|node| *node != voter).unwrap_or(leader);
        let ms = self.rng.random_range(20..150);
        self.laws.shut(&around(leader));
        self.laws.slow_disk(voter, ms);
        for _ in 0..VOTE_MS_MAX {
            if self.stage.in_doubt(voter) && self.stage.leader_of(voter).is_none() {
                break;
            }
            sleep(Duration::from_millis(1)).await;
        }
        let within = Duration::from_millis(self.rng.random_range(0..ms / 2));
        sleep(within).await;
        let fell = self.cut(voter, told).is_some();
        self.laws.slow_disk(voter, 0);
        self.laws.reopen(&around(leader));
        let before = self.laws.felt(Law::Cut);
        self.laws.shut(&around(third));
        let (down, alone) = (self.ms(20, 1_000), self.ms(500, 5_000));
        sleep(down).await;
        self.start(voter).await;
        sleep(alone).await;
        self.laws.reopen(&around(third));
        (NAME, fell && self.laws.felt(Law::Cut) > before)
    }

    /// A node leaves in peace: marked as draining, then stopped, then back.
    async fn peaceful(&mut self) -> (&'static str, bool) {
        let node = self.node();
        let Some(running) = self.stage.running(node) else { return ("drain", false) };
        let marked = running.handle.cluster().set_draining(node, true, DRAIN_WITHIN).await.is_ok();
        if marked {
            let while_ = self.ms(500, 5_000);
            sleep(while_).await;
        }
        if self.rng.random() {
            drop(running);
            if let Err(error) = self.stage.stop(node).await {
                self.judge.violated(format!("the simulator's own disk failed: {error}"));
            }
            let down = self.ms(50, 2_000);
            sleep(down).await;
            self.start(node).await;
        }
        self.undrain(node).await;
        ("drain", marked)
    }

    async fn undrain(&self, node: NodeId) {
        for _ in 0..STARTS_MAX {
            let Some((_, running)) = self.stage.all().into_iter().next() else { return };
            if running.handle.cluster().set_draining(node, false, DRAIN_WITHIN).await.is_ok() {
                return;
            }
            sleep(START_AGAIN).await;
        }
    }

    async fn start(&self, node: NodeId) {
        for _ in 0..STARTS_MAX {
            match self.stage.start(node).await {
                Ok(()) => return,
                Err(error) => self.laws.note(format_args!("n{node} does not start: {error}")),
            }
            sleep(START_AGAIN).await;
        }
        self.judge.violated(format!("L1: node {node} does not start again"));
    }
}

/// Every way to and from a node.
fn around(node: NodeId) -> Vec<(NodeId, NodeId)> {
    NODES.iter().filter(|other| **other != node).flat_map(|other| [(node, *other), (*other, node)]).collect()
}
