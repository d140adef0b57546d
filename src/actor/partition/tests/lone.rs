//! A lone node that leads its one group: what its actors bring to the log, and in which order.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tandem_cluster::{Cluster, Entry, GroupId, Machine, MachineFactory, Options, PeerSpec, Service, Timing, Token, codec, pki};

use crate::{
    actor::{Drill, Edge, Handle, Hurt, Kind, Prepared, Whom},
    core::{
        Command, Outcome,
        cdr::ClosedCall,
        command::{Arrive, Envelope, HangUpCause, LegEvent, LegReport},
        effect::{Action, Order},
        id::{self, CallId, DomainId, LegId, NodeId},
        party::{Dialog, Party, Sdp},
        policy::Strategy,
        tests::World,
    },
};

const SOON: Duration = Duration::from_secs(20);

/// What reached the log, by kind of command, in order.
type Log = Arc<Mutex<Vec<&'static str>>>;

/// The node's machines, with an ear on what is applied.
struct Recorder {
    prepared: Arc<Prepared>,
    log: Log,
}

struct Recording {
    machine: Box<dyn Machine>,
    log: Log,
}

impl MachineFactory for Recorder {
    fn open(&self, group: GroupId) -> Box<dyn Machine> {
        Box::new(Recording { machine: self.prepared.open(group), log: Arc::clone(&self.log) })
    }
}

impl Machine for Recording {
    fn apply(&mut self, entry: &Entry<'_>) -> Vec<Bytes> {
        for command in entry.commands {
            let envelope: Envelope = codec::decode(command).unwrap();
            self.log.lock().push(match envelope.command {
                Command::Lead { .. } => "lead",
                Command::FireTimers { .. } => "fire",
                Command::Arrive(_) => "arrive",
                _ => "other",
            });
        }
        self.machine.apply(entry)
    }

    fn skip(&mut self, entry: &Entry<'_>) -> Vec<Bytes> {
        self.machine.skip(entry)
    }

    fn snapshot(&mut self) -> io::Result<Vec<u8>> {
        self.machine.snapshot()
    }

    fn restore(&mut self, snapshot: &[u8]) -> io::Result<()> {
        self.machine.restore(snapshot)
    }

    fn role(&mut self, leading: Option<Token>) {
        self.machine.role(leading);
    }
}

/// An edge that takes every order and does nothing.
#[derive(Default)]
struct Silent(Mutex<Vec<Order>>);

impl Edge for Silent {
    fn perform(&self, orders: Vec<Order>) {
        self.0.lock().extend(orders);
    }

    fn tunnelled(&self, _: NodeId, _: Bytes) {}
}

struct Lone {
    live: Handle,
    edge: Arc<Silent>,
    log: Log,
    _dir: tempfile::TempDir,
}

impl Lone {
    /// A node of one group with a domain of one queue and one agent, who is given a second to answer.
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        pki::init(dir.path()).unwrap();
        pki::issue(dir.path(), 1, &[]).unwrap();
        let addr = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let options = Options {
            node: 1,
            listen: addr,
            advertise: addr,
            data_dir: dir.path().join("data"),
            ca: dir.path().join("ca.pem"),
            cert: dir.path().join("node1.pem"),
            key: dir.path().join("node1.key"),
            witness: false,
            groups: 1,
            bootstrap: vec![PeerSpec { id: 1, addr, witness: false }],
            attributes: std::collections::BTreeMap::new(),
            feature_level: 1,
            timing: Timing::default(),
            wal_segment_bytes: 1 << 20,
            snapshot_every: 1_000,
            disk_faults: Arc::default(),
        };
        let (prepared, log) = (Prepared::new(dir.path().join("data")), Log::default());
        let machines = Recorder { prepared: Arc::clone(&prepared), log: Arc::clone(&log) };
        let cluster = Cluster::start(options, Arc::new(machines), Arc::clone(&prepared) as Arc<dyn Service>).await.unwrap();
        let edge = Arc::new(Silent::default());
        let live = Handle::start(cluster, &prepared, Arc::clone(&edge) as Arc<dyn Edge>).await;
        let lone = Self { live, edge, log, _dir: dir };
        lone.eventually("it leads", |lone| lone.live.cluster().leads(1).is_some()).await;
        lone.live.cluster().assign_domain(domain().as_str(), SOON).await.unwrap();
        let mut policy = World::new(Strategy::LongestIdle, &["a"]).policy;
        policy.queues.get_mut("support").unwrap().offer_timeout_ms = 1_000;
        let publish = Command::PublishPolicy { domain: domain(), expect: None, policy: Box::new(policy), entropy: [7; 32] };
        let outcome = lone.live.command(&domain(), Envelope { request: None, command: publish }, SOON).await.unwrap();
        assert_eq!(outcome, Outcome::Published { version: 1 });
        lone
    }

    async fn eventually(&self, what: &str, check: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !check(self) {
            assert!(begun.elapsed() < SOON, "{what}: not within {SOON:?}; the log: {:?}", self.log.lock());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn arrive(&self, n: u64) {
        self.arrive_at(n, self.live.edge()).await;
    }

    async fn arrive_at(&self, n: u64, edge: id::Edge) {
        let arrive = Arrive {
            domain: domain(),
            call: call(n),
            edge,
            trunk: None,
            to_user: "support".into(),
            from: Party { user: "5551000".into(), display: String::new(), uri: "sip:5551000@x".into() },
            dialog: Dialog::default(),
            sdp: Some(Sdp::from(b"v=0".to_vec())),
            headers: Vec::new(),
            priority: None,
            skills: Vec::new(),
            prefer: None,
            anchored: false,
        };
        assert!(self.live.arrive(arrive, SOON).await.unwrap().is_accepted());
    }

    /// What an edge saw of a leg, past the actor of its call.
    async fn report(&self, leg: LegId, edge: id::Edge, seq: u32, event: LegEvent) {
        let report = LegReport { domain: domain(), leg, edge, seq, event };
        assert!(self.live.inner.shared.propose(1, Command::Leg(Box::new(report))).await, "it is committed");
    }

    /// The leg that agent `a` is booked for.
    fn contact(&self) -> Option<LegId> {
        let replica = self.live.inner.shared.replicas.get(1)?;
        let state = replica.state.read();
        let agent = state.domains().get(&domain())?.agents().iter().find(|(id, _)| id.as_str() == "a")?.1;
        agent.contacts.first().map(|(call, n)| LegId { call: *call, n: *n })
    }

    fn ringing(&self, n: u64) -> usize {
        let rings = |order: &&Order| order.leg.call == call(n) && matches!(order.action, Action::Ring(_));
        self.edge.0.lock().iter().filter(rings).count()
    }

    fn due(&self) -> bool {
        let replica = self.live.inner.shared.replicas.get(1).unwrap();
        let state = replica.state.read();
        state.next_deadline().is_some_and(|deadline| deadline <= replica.now())
    }
}

fn domain() -> DomainId {
    World::domain()
}

fn call(n: u64) -> CallId {
    World::call(n)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_begins_to_lead_says_so_before_it_fires_what_is_due() {
    let lone = Lone::start().await;
    lone.arrive(1).await;
    lone.live.set_respawn(false);
    assert!(lone.live.drill(Drill::StopAll).await > 0);
    // Nobody fires the ring's timer while the partition has no actor.
    lone.eventually("the ring is overdue", Lone::due).await;
    let before = lone.log.lock().len();
    lone.live.set_respawn(true);
    lone.eventually("the timer fires", |lone| lone.log.lock()[before..].contains(&"fire")).await;
    assert_eq!(lone.log.lock()[before], "lead");
}

#[tokio::test(flavor = "multi_thread")]
async fn actors_that_are_spawned_again_perform_what_is_open_once_more() {
    let lone = Lone::start().await;
    lone.arrive(1).await;
    lone.eventually("the agent is rung", |lone| lone.ringing(1) == 1).await;
    lone.live.drill(Drill::StopAll).await;
    // No phone has said anything, so the order is still a row of the outbox.
    lone.eventually("the agent is rung again", |lone| lone.ringing(1) >= 2).await;
    let orders = lone.edge.0.lock();
    let rings: Vec<_> = orders.iter().filter(|order| matches!(order.action, Action::Ring(_))).collect();
    assert!(rings.iter().all(|ring| ring.id == rings[0].id && ring.leg == rings[0].leg), "a repeat is the same order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_call_actor_is_not_spawned_for_a_new_message_while_respawn_is_off() {
    let lone = Lone::start().await;
    lone.arrive(1).await;
    lone.eventually("the agent is rung", |lone| lone.ringing(1) == 1).await;
    lone.live.set_respawn(false);
    assert_eq!(lone.live.drill(Drill::StopCall(call(1))).await, 1);
    let hang_up = || Envelope {
        request: None,
        command: Command::HangUp { domain: domain(), call: call(1), by: crate::core::command::Actor::System },
    };
    assert!(lone.live.command(&domain(), hang_up(), Duration::from_secs(1)).await.is_err());
    lone.arrive(2).await;
    lone.live.set_respawn(true);
    // The offer may have run out meanwhile; the call itself is there until it is ended.
    let ended = lone.live.command(&domain(), hang_up(), SOON).await.unwrap();
    assert_eq!(ended, Outcome::Accepted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_call_is_found_by_its_id_and_an_unknown_one_is_not() {
    let lone = Lone::start().await;
    for n in 1..=5 {
        lone.arrive(n).await;
        let by = crate::core::command::Actor::System;
        let hang_up = Envelope { request: None, command: Command::HangUp { domain: domain(), call: call(n), by } };
        assert_eq!(lone.live.command(&domain(), hang_up, SOON).await.unwrap(), Outcome::Accepted);
    }
    for n in [3, 1, 5] {
        let record = lone.live.cdr(1, call(n)).await.unwrap().expect("it closed");
        assert_eq!(ClosedCall::decode(&record).unwrap().call_id, call(n));
    }
    assert_eq!(lone.live.cdr(1, call(9)).await.unwrap(), None);
    // As if they had closed too long ago to be remembered: found by when they closed.
    let found = lone.live.inner.shared.search(1, call(4)).await.unwrap().expect("it closed");
    assert_eq!(ClosedCall::decode(&found).unwrap().call_id, call(4));
    assert_eq!(lone.live.inner.shared.search(1, call(9)).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_hangs_is_replaced_and_who_waited_learns_that_nothing_is_known() {
    let lone = Lone::start().await;
    lone.arrive(1).await;
    lone.eventually("the agent is rung", |lone| lone.ringing(1) == 1).await;
    let whom = |tenant: &str| Whom { kind: Kind::Call, every: true, tenant: Some(DomainId::new(tenant)) };
    let hang = Hurt::Hang { for_ms: 600_000 };
    assert_eq!(lone.live.drill(Drill::Hurt(whom("somebody-else"), hang)).await, 0, "another tenant's drill hits nobody here");
    assert_eq!(lone.live.drill(Drill::Hurt(whom(domain().as_str()), hang)).await, 1);
    let hang_up = || Envelope {
        request: None,
        command: Command::HangUp { domain: domain(), call: call(1), by: crate::core::command::Actor::System },
    };
    assert!(lone.live.command(&domain(), hang_up(), SOON).await.is_err(), "it waited behind what the actor hung over");
    lone.eventually("it is replaced", |lone| lone.live.census()["call"].restarts == 1).await;
    assert_eq!(lone.live.command(&domain(), hang_up(), SOON).await.unwrap(), Outcome::Accepted, "the successor takes it");
}

/// Agent `a` talks in call 1, which `edge` carries, and call 2 waits for the same agent at this node's edge.
async fn one_talks_and_one_waits(lone: &Lone, edge: id::Edge) -> LegId {
    lone.arrive_at(1, edge).await;
    let leg = LegId { call: call(1), n: 1 };
    lone.eventually("it is offered", |lone| lone.contact() == Some(leg)).await;
    lone.report(leg, edge, 1, LegEvent::Answered { dialog: Dialog::default(), sdp: Sdp::default() }).await;
    lone.arrive(2).await;
    leg
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_is_not_rung_before_an_edge_has_the_farewell_of_its_last_call() {
    let lone = Lone::start().await;
    // A life of this node that has not begun: it can be given nothing, and is not lost either.
    let me = lone.live.edge();
    let out_of_reach = id::Edge { incarnation: me.incarnation + 1, ..me };
    let leg = one_talks_and_one_waits(&lone, out_of_reach).await;
    lone.report(LegId::caller(call(1)), out_of_reach, 1, LegEvent::HungUp { cause: HangUpCause::Bye }).await;
    lone.eventually("the agent is offered the next call", |lone| lone.contact().is_some_and(|leg| leg.call == call(2))).await;
    // Longer than it takes an order to reach an edge here, and shorter than an offer stands.
    let until = Instant::now() + Duration::from_millis(400);
    while Instant::now() < until {
        assert_eq!(lone.ringing(2), 0, "its last call has not been ended yet");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    lone.report(leg, out_of_reach, 2, LegEvent::Ended).await;
    lone.eventually("it is rung", |lone| lone.ringing(2) == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_is_let_go_and_rung_anew_though_the_actor_of_its_last_call_hangs() {
    let lone = Lone::start().await;
    let me = lone.live.edge();
    lone.arrive_at(1, me).await;
    let leg = LegId { call: call(1), n: 1 };
    lone.eventually("it is offered", |lone| lone.ringing(1) == 1).await;
    lone.report(leg, me, 1, LegEvent::Answered { dialog: Dialog::default(), sdp: Sdp::default() }).await;
    let whom = Whom { kind: Kind::Call, every: true, tenant: None };
    assert_eq!(lone.live.drill(Drill::Hurt(whom, Hurt::Hang { for_ms: 600_000 })).await, 1);
    lone.arrive(2).await;
    lone.report(LegId::caller(call(1)), me, 1, LegEvent::HungUp { cause: HangUpCause::Bye }).await;
    lone.eventually("it is rung", |lone| lone.ringing(2) == 1).await;
    let orders = lone.edge.0.lock();
    let at = |what: &dyn Fn(&Order) -> bool| orders.iter().position(what);
    let farewell = at(&|order| order.leg == leg && matches!(order.action, Action::HangUp { .. })).expect("it was let go");
    let ring = at(&|order| order.leg.call == call(2) && matches!(order.action, Action::Ring(_))).expect("it was rung");
    assert!(farewell < ring, "first let go, then rung: {orders:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn once_an_upgrade_is_ended_every_partition_knows_its_level() {
    let lone = Lone::start().await;
    let level = |lone: &Lone| lone.live.inner.shared.replicas.get(1).unwrap().state.read().level();
    assert_eq!(level(&lone), 0, "nobody ended an upgrade yet");
    lone.live.cluster().raise_feature_level(1, SOON).await.unwrap();
    lone.eventually("its state knows", |lone| level(lone) == 1).await;
}
