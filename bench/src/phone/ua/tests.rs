//! User agents against each other in virtual time, with a network that can lose what it is told to.

use std::collections::BTreeSet;

use super::*;
use crate::phone::call::Role;

/// Plays a survivor: takes the newest call of `dead` over from another address, as a node does.
pub(crate) fn take_over(survivor: &mut Ua, dead: &Ua, now: Instant) {
    let mut call = dead.calls.last().expect("a call").clone();
    call.local_cseq += 1_000;
    call.unacked = None;
    survivor.calls.push(call);
    let n = survivor.calls.len() - 1;
    survivor.reinvite(now, n, Direction::SendRecv, 0);
}

struct World {
    now: Instant,
    agents: Vec<Ua>,
    /// Agents that neither hear nor say anything.
    dead: BTreeSet<usize>,
    /// How many of the next messages are lost.
    lose: usize,
}

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

impl World {
    fn new() -> Self {
        let agents = (1..=3_u16)
            .map(|n| {
                let addr = |base: u16| SocketAddr::from(([127, 0, 0, 1], base + n));
                let mut options = Options::new(&format!("p{n}"), Transport::Udp, addr(5_000), addr(6_000));
                options.seed = u64::from(n);
                Ua::new(options)
            })
            .collect();
        Self { now: Instant::now(), agents, dead: BTreeSet::new(), lose: 0 }
    }

    fn addr(&self, who: usize) -> SocketAddr {
        self.agents[who].options.addr
    }

    fn act(&mut self, who: usize, act: impl FnOnce(&mut Ua, Instant)) {
        act(&mut self.agents[who], self.now);
        self.settle();
    }

    /// Delivers until nobody says anything more.
    fn settle(&mut self) {
        while let Some((from, sends)) =
            (0..self.agents.len()).map(|n| (n, self.agents[n].take_output())).find(|(_, sends)| !sends.is_empty())
        {
            for send in sends {
                let lost = self.lose > 0 && {
                    self.lose -= 1;
                    true
                };
                let to = (0..self.agents.len()).find(|n| self.addr(*n) == send.to.addr);
                if let Some(to) = to.filter(|to| !lost && !self.dead.contains(to) && !self.dead.contains(&from)) {
                    let source = Hop::to(Transport::Udp, self.addr(from));
                    self.agents[to].received(self.now, source, &send.bytes);
                }
            }
        }
    }

    /// Lets `time` pass, doing what falls due.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.agents.iter().filter_map(Ua::next_due).min().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            for n in 0..self.agents.len() {
                self.agents[n].tick(self.now);
            }
            self.settle();
        }
        self.now = end;
    }

    fn state(&self, who: usize) -> State {
        self.agents[who].call().expect("a call").state
    }

    /// A calls B, who answers.
    fn talk(&mut self) {
        let to = Hop::to(Transport::Udp, self.addr(B));
        self.act(A, |ua, now| {
            ua.dial(now, to, "b");
        });
        self.pass(Duration::from_millis(1));
        assert_eq!((self.state(A), self.state(B)), (State::Up, State::Up));
    }

    fn sent(&self, who: usize, method: Method) -> Vec<SocketAddr> {
        let entries = self.agents[who].journal.entries();
        entries.filter(|e| e.way == Way::Out && e.is_request() && e.method == method).map(|e| e.peer).collect()
    }
}

#[test]
fn a_call_is_answered_acknowledged_and_ended_by_either_side() {
    for who in [A, B] {
        let mut world = World::new();
        world.talk();
        assert!(world.agents[B].calls[0].unacked.is_none(), "the ACK came");
        assert_eq!(world.agents[A].speak().map(|speak| speak.to), Some(world.agents[B].options.media));
        world.act(who, Ua::hang_up);
        let other = A + B - who;
        assert_eq!((world.state(who), world.state(other)), (State::Over(By::Us), State::Over(By::Them)));
        assert_eq!((world.agents[A].speak(), world.agents[B].speak()), (None, None));
    }
}

#[test]
fn what_is_lost_is_sent_again_until_it_arrives() {
    // INVITE; then 100 and 180; then the 200.
    for lose in 1..=4 {
        let mut world = World::new();
        world.lose = lose;
        let to = Hop::to(Transport::Udp, world.addr(B));
        world.act(A, |ua, now| {
            ua.dial(now, to, "b");
        });
        world.pass(Duration::from_secs(15));
        assert_eq!((world.state(A), world.state(B)), (State::Up, State::Up), "{lose} lost");
        assert_eq!(world.agents[B].calls.len(), 1, "a repeated INVITE is no second call");
        world.pass(Duration::from_secs(60));
        assert_eq!(world.state(B), State::Up);
    }
}

#[test]
fn a_caller_that_gives_up_while_it_rings_ends_both() {
    let mut world = World::new();
    world.agents[B].on_ring = OnRing::Ring;
    let to = Hop::to(Transport::Udp, world.addr(B));
    world.act(A, |ua, now| {
        ua.dial(now, to, "b");
    });
    assert_eq!((world.state(A), world.state(B)), (State::Proceeding(180), State::Ringing));
    world.act(A, Ua::hang_up);
    assert_eq!((world.state(A), world.state(B)), (State::Over(By::Us), State::Over(By::Them)));
}

#[test]
fn a_cancel_that_is_lost_meets_the_answer_with_ack_and_bye() {
    let mut world = World::new();
    world.agents[B].on_ring = OnRing::Ring;
    let to = Hop::to(Transport::Udp, world.addr(B));
    world.act(A, |ua, now| {
        ua.dial(now, to, "b");
    });
    world.lose = 1;
    world.act(A, Ua::hang_up);
    world.act(B, Ua::answer);
    assert_eq!(world.state(B), State::Over(By::Them));
    assert_eq!((world.sent(A, Method::Ack).len(), world.sent(A, Method::Bye).len()), (1, 1));
}

#[test]
fn a_refusal_is_acknowledged_and_no_answer_ends_after_its_time() {
    let mut world = World::new();
    world.agents[B].on_ring = OnRing::Refuse(486);
    let to = Hop::to(Transport::Udp, world.addr(B));
    world.act(A, |ua, now| {
        ua.dial(now, to, "b");
    });
    assert_eq!((world.state(A), world.sent(A, Method::Ack).len()), (State::Over(By::Refused(486)), 1));
    let mut world = World::new();
    world.agents[B].on_ring = OnRing::Ignore;
    world.act(A, |ua, now| {
        ua.dial(now, to, "b");
    });
    world.pass(Duration::from_secs(33));
    assert_eq!((world.state(A), world.sent(A, Method::Invite).len()), (State::Over(By::Nobody), 7));
}

#[test]
fn a_new_owner_of_the_other_end_is_followed_by_audio_and_requests() {
    for role in [Role::Caller, Role::Callee] {
        let mut world = World::new();
        world.talk();
        let (phone, dead) = if role == Role::Caller { (A, B) } else { (B, A) };
        world.dead.insert(dead);
        let copy = world.agents[dead].calls.clone();
        let mut of_dead = Ua::new(world.agents[dead].options.clone());
        of_dead.calls = copy;
        world.act(C, |ua, now| take_over(ua, &of_dead, now));
        let call = world.agents[phone].call().unwrap();
        assert_eq!((call.new_owners(), call.state), (1, State::Up));
        assert_eq!(world.agents[phone].speak().map(|speak| speak.to), Some(world.agents[C].options.media));
        world.act(phone, Ua::hang_up);
        assert_eq!(world.sent(phone, Method::Bye), [world.addr(C)]);
        assert_eq!(world.state(C), State::Over(By::Them));
    }
}

#[test]
fn an_old_cseq_is_refused_with_500_and_counted_and_the_owner_stays() {
    let mut world = World::new();
    world.talk();
    let mut of_dead = Ua::new(world.agents[B].options.clone());
    of_dead.calls = world.agents[B].calls.clone();
    world.act(C, |ua, now| take_over(ua, &of_dead, now));
    // The old owner comes back and knows nothing of it.
    world.act(B, |ua, now| ua.direct(now, Direction::SendOnly));
    let phone = &world.agents[A];
    assert_eq!((phone.faults.stale_cseq, phone.call().unwrap().new_owners()), (1, 1));
    let refused = phone.journal.entries().filter(|e| e.way == Way::Out && e.status == 500).count();
    assert_eq!(refused, 1);
}

#[test]
fn an_answer_from_another_address_is_taken_with_either_tag() {
    for new_tag in [false, true] {
        let mut world = World::new();
        world.agents[B].on_ring = OnRing::Ring;
        let to = Hop::to(Transport::Udp, world.addr(B));
        world.act(A, |ua, now| {
            ua.dial(now, to, "b");
        });
        world.dead.insert(B);
        // C answers the very INVITE that B had.
        let entry = world.agents[B].journal.entries().next().unwrap().clone();
        let tag = world.agents[B].calls[0].local_tag.clone();
        let source = Hop::to(Transport::Udp, world.addr(A));
        world.agents[C].on_ring = OnRing::Ring;
        world.act(C, |ua, now| ua.received(now, source, &entry.bytes));
        if !new_tag {
            world.agents[C].calls[0].local_tag = tag;
        }
        world.act(C, Ua::answer);
        assert_eq!((world.state(A), world.state(C)), (State::Up, State::Up));
        assert_eq!(world.sent(A, Method::Ack), [world.addr(C)]);
        world.act(A, Ua::hang_up);
        assert_eq!(world.state(C), State::Over(By::Them));
    }
}

#[test]
fn a_second_fork_that_answers_is_acknowledged_and_ended_and_the_first_stays() {
    let mut world = World::new();
    world.talk();
    let invite = world.agents[B].journal.entries().next().unwrap().bytes.clone();
    let source = Hop::to(Transport::Udp, world.addr(A));
    world.act(C, |ua, now| ua.received(now, source, &invite));
    world.pass(Duration::from_millis(1));
    assert_eq!((world.state(A), world.state(B), world.state(C)), (State::Up, State::Up, State::Over(By::Them)));
}

#[test]
fn hold_and_resume_turn_one_direction_off_and_on() {
    let mut world = World::new();
    world.talk();
    world.act(A, |ua, now| ua.direct(now, Direction::SendOnly));
    assert!(world.agents[A].speak().is_some() && world.agents[B].speak().is_none());
    // Who holds stays the one who holds when a new owner asks for both directions.
    let of_dead = {
        let mut ua = Ua::new(world.agents[B].options.clone());
        ua.calls = world.agents[B].calls.clone();
        ua
    };
    world.dead.insert(B);
    world.act(C, |ua, now| take_over(ua, &of_dead, now));
    assert_eq!(world.agents[A].call().unwrap().wish, Direction::SendOnly);
    assert!(world.agents[C].speak().is_none());
    world.act(A, |ua, now| ua.direct(now, Direction::SendRecv));
    assert!(world.agents[A].speak().is_some() && world.agents[C].speak().is_some());
}

#[test]
fn two_that_hold_at_once_both_succeed_after_a_glare() {
    let mut world = World::new();
    world.talk();
    // Both ask before either hears the other.
    let now = world.now;
    world.agents[A].direct(now, Direction::SendOnly);
    world.agents[B].direct(now, Direction::SendOnly);
    world.settle();
    let refused = |who: usize| world.agents[who].journal.entries().filter(|e| e.way == Way::In && e.status == 491).count();
    assert_eq!((refused(A), refused(B)), (1, 1));
    world.pass(Duration::from_secs(5));
    let wish = |who: usize| world.agents[who].call().unwrap().wish;
    assert_eq!((wish(A), wish(B)), (Direction::SendOnly, Direction::SendOnly));
    assert_eq!((world.state(A), world.state(B)), (State::Up, State::Up));
}

#[test]
fn a_session_timer_is_refreshed_by_whoever_must_and_ends_the_call_when_nobody_does() {
    let mut world = World::new();
    world.agents[A].options.session_s = Some(90);
    world.talk();
    let session = |world: &World, who: usize| world.agents[who].call().unwrap().session.map(|s| (s.interval_s, s.we_refresh));
    assert_eq!((session(&world, A), session(&world, B)), (Some((90, true)), Some((90, false))));
    world.pass(Duration::from_secs(300));
    assert_eq!(world.state(B), State::Up);
    assert!(world.sent(A, Method::Invite).len() > 5);
    world.dead.insert(A);
    world.pass(Duration::from_secs(90));
    assert_eq!(world.state(B), State::Over(By::Us));
}

#[test]
fn a_second_call_is_busy_and_the_same_invite_by_another_way_a_loop() {
    let mut world = World::new();
    world.talk();
    let to = Hop::to(Transport::Udp, world.addr(B));
    world.act(C, |ua, now| {
        ua.dial(now, to, "b");
    });
    assert_eq!((world.state(C), world.agents[B].faults.busy), (State::Over(By::Refused(486)), 1));
    let invite = world.agents[B].journal.entries().next().unwrap().bytes.clone();
    let moved = String::from_utf8(invite.to_vec()).unwrap().replace("branch=z9hG4bK", "branch=z9hG4bKother");
    let source = Hop::to(Transport::Udp, world.addr(C));
    world.act(B, |ua, now| ua.received(now, source, &moved.into()));
    let last = world.agents[B].journal.entries().next_back().unwrap().status;
    assert_eq!(last, 482);
}

#[test]
fn a_phone_registers_with_digest_and_goes_to_the_next_registrar_when_its_flow_breaks() {
    let mut ua = Ua::new(Options::new("a1", Transport::Tcp, "127.0.0.1:7000".parse().unwrap(), "127.0.0.1:7001".parse().unwrap()));
    ua.options.credentials = Some(Credentials { user: "a1".into(), password: "secret".into() });
    let hop = |port: u16| Hop::to(Transport::Tcp, SocketAddr::from(([127, 0, 0, 1], port)));
    let now = Instant::now();
    let answer = |ua: &mut Ua, status: u16, field: (&str, &str)| {
        let send = ua.take_output().pop().expect("a REGISTER");
        let request = parse(&send.bytes).unwrap();
        let response = super::super::text::Draft::response(&request, send.to, status, "t").field(field.0, field.1).end(None);
        ua.received(now, send.to, &response);
        (request, send.to.addr.port())
    };
    ua.register(now, vec![hop(5060), hop(5062)], 600);
    answer(&mut ua, 401, ("WWW-Authenticate", "Digest realm=\"r\", nonce=\"n\", qop=\"auth\""));
    let (request, _) = answer(&mut ua, 200, ("Expires", "600"));
    assert!(request.text(tandem::sip::message::Name::Authorization).contains("username=\"a1\""));
    let registration = ua.registration.as_ref().unwrap();
    assert_eq!((registration.since, registration.due), (Some(now), Some(now + Duration::from_secs(300))));
    ua.connection_lost(now, hop(5060).addr);
    ua.tick(now);
    let (_, port) = answer(&mut ua, 200, ("Expires", "600"));
    assert_eq!(port, 5062);
}
