//! What every survival proof stands on: a cluster, callers and agents' phones, and calls between them. It judges nothing.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::Range,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{Common, Media, rtpengine::Rtpengine};
use crate::{
    error::Error,
    lab::{self, Lab},
    phone::{By, Credentials, Exchange, OnRing, Options as PhoneOptions, Phone, State, Transport},
    tenant::TENANT,
};

/// Calls come in at this rate while a proof is set up.
const CALLS_PER_S: f64 = 100.0;
/// A call is answered, and heard, within this when nothing is wrong.
pub const SETUP_WITHIN: Duration = Duration::from_secs(60);
/// The password of every agent whose phone registers.
const PASSWORD: &str = "only-a-lab";
const EXPIRES_S: u32 = 600;
/// A caller that was told to come later does.
const AGAIN: Duration = Duration::from_millis(200);
/// Frames heard before a call counts as talking.
const FRAMES_BEFORE: u64 = 5;
const POLL: Duration = Duration::from_millis(10);

/// A queue and its agents.
#[derive(Debug, Clone)]
pub struct Group {
    pub queue: &'static str,
    pub agents: usize,
    pub on_ring: OnRing,
    /// Agents take calls from the start.
    pub available: bool,
    pub wrap_up_s: u32,
    /// Further keys of the queue.
    pub further: &'static str,
}

impl Group {
    /// Agents that answer at once.
    pub const fn answering(queue: &'static str, agents: usize) -> Self {
        Self { queue, agents, on_ring: OnRing::Answer { after_ms: 0 }, available: true, wrap_up_s: 0, further: "" }
    }
}

/// What a stage is made of.
#[derive(Debug, Clone)]
pub struct Setup {
    pub callers: usize,
    pub groups: Vec<Group>,
    /// Further keys of the tenant.
    pub tenant: String,
    /// How many rtpengines are started beside the nodes.
    pub rtpengines: usize,
    pub transport: Transport,
    pub ip: IpAddr,
    pub ptime: Duration,
    pub seed: u64,
    /// See [`PhoneOptions::reinvite_delay`].
    pub reinvite_delay: Duration,
    /// Further rows of the tenant file.
    pub further: String,
    /// Agents' phones register; otherwise the tenant file says where they are.
    pub registered: bool,
    /// Calls an agent's phone takes at once. With more than one it shows a double booking instead of being busy.
    pub lines: usize,
    /// Callers who can be called as well, each over a trunk of its own.
    pub reached: Range<usize>,
}

impl Setup {
    /// As many agents as callers, over UDP and IPv4.
    pub fn pairs(calls: usize, common: &Common) -> Self {
        Self {
            callers: calls,
            groups: vec![Group::answering("support", calls)],
            tenant: common.lines(),
            rtpengines: usize::from(common.media == Media::Rtpengine),
            transport: Transport::Udp,
            ip: Ipv4Addr::LOCALHOST.into(),
            ptime: Duration::from_millis(20),
            seed: common.seed,
            reinvite_delay: Duration::ZERO,
            further: String::new(),
            registered: false,
            lines: 1,
            reached: 0..0,
        }
    }
}

/// A caller and the agent it talks with.
#[derive(Debug, Clone)]
pub struct Pair {
    pub caller: Phone,
    pub agent: Phone,
}

/// A cluster and its phones. The cluster goes first when it ends, while the phones still answer.
pub struct Stage {
    pub lab: Lab,
    pub callers: Vec<Phone>,
    /// The agents of each group.
    pub agents: Vec<Vec<Phone>>,
    pub exchange: Exchange,
    /// They outlive the nodes.
    pub rtpengines: Vec<Rtpengine>,
    setup: Setup,
}

impl Stage {
    /// Phones first, since their addresses are in the tenant file; then the cluster.
    pub fn open(setup: Setup, options: impl FnOnce(&mut lab::Options)) -> Result<Self, Error> {
        Self::open_in(setup, None, options)
    }

    /// As [`Self::open`], the nodes' files in `dir`, where they stay.
    pub fn open_in(setup: Setup, dir: Option<&Path>, options: impl FnOnce(&mut lab::Options)) -> Result<Self, Error> {
        let exchange = Exchange::start(setup.ptime, setup.seed)?;
        let change = |options: &mut PhoneOptions| {
            options.reinvite_delay = setup.reinvite_delay;
            options.lines = setup.lines;
            options.credentials = Some(Credentials { user: options.user.clone(), password: PASSWORD.to_owned() });
        };
        let phone = |user: &str| exchange.phone(user, setup.transport, setup.ip, change);
        let callers = (0..setup.callers).map(|n| phone(&number(n))).collect::<Result<Vec<_>, _>>()?;
        let mut agents = Vec::new();
        for group in &setup.groups {
            let first = agents.iter().map(Vec::len).sum::<usize>();
            let of_group = (first..first + group.agents).map(|n| phone(&format!("a{n}"))).collect::<Result<Vec<_>, _>>()?;
            of_group.iter().for_each(|phone| phone.on_ring(group.on_ring));
            agents.push(of_group);
        }
        let rtpengines = (0..setup.rtpengines).map(|n| Rtpengine::start(n, setup.ip)).collect::<Result<Vec<_>, _>>()?;
        let mut of_lab = lab::Options::new(tenant(&setup, &callers, &agents));
        of_lab.rtpengines = rtpengines.iter().map(Rtpengine::control).collect();
        of_lab.ip = setup.ip;
        options(&mut of_lab);
        let lab = dir.map_or_else(|| Lab::start(&of_lab), |dir| Lab::start_in(&of_lab, dir))?;
        Ok(Self { lab, callers, agents, exchange, rtpengines, setup })
    }

    /// Where node `k` takes calls of these phones.
    pub fn sip(&self, k: u16) -> SocketAddr {
        self.lab.sip_addr(k, self.setup.transport == Transport::Tls)
    }

    pub fn phones(&self) -> impl Iterator<Item = &Phone> {
        self.callers.iter().chain(self.agents.iter().flatten())
    }

    /// Registers the agents' phones at node `first`, the others next in turn, and waits until all are.
    pub fn register(&self, first: u16) -> Result<(), Error> {
        let registrars: Vec<SocketAddr> = (0..3).map(|n| self.sip((first - 1 + n) % 3 + 1)).collect();
        self.agents.iter().flatten().for_each(|agent| agent.register(&registrars, EXPIRES_S));
        let is_registered = |agent: &Phone| agent.wait_for(SETUP_WITHIN, |ua| ua.registration.as_ref().is_some_and(|r| r.since.is_some()));
        if self.agents.iter().flatten().all(is_registered) { Ok(()) } else { Err(Error::Setup("a phone cannot register".to_owned())) }
    }

    /// Lets `callers` call `queue` at node `k`, a few at a time.
    pub fn call(&self, callers: &[Phone], k: u16, queue: &str) {
        let (to, start) = (self.sip(k), Instant::now());
        for (n, caller) in callers.iter().enumerate() {
            let due = start + Duration::from_secs_f64(n as f64 / CALLS_PER_S);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            caller.call(to, queue);
        }
    }

    /// Calls `queue` at node `k` from all of `callers` and waits until each talks with an agent of `agents`.
    pub fn talk(&self, callers: &[Phone], agents: &[Phone], k: u16, queue: &str) -> Result<Vec<Pair>, Error> {
        self.call(callers, k, queue);
        let until = Instant::now() + SETUP_WITHIN;
        for caller in callers {
            let answered = |caller: &Phone| {
                caller.wait_for(until.saturating_duration_since(Instant::now()), |ua| {
                    ua.call().is_some_and(|call| call.is_up() || call.is_over())
                })
            };
            // A node that is asked too much at once says so, and a caller calls again.
            while answered(caller) && caller.state() == Some(State::Over(By::Refused(503))) && Instant::now() < until {
                thread::sleep(AGAIN);
                caller.call(self.sip(k), queue);
            }
            if caller.state() != Some(State::Up) {
                return Err(Error::Setup(format!("a caller got no answer: {:?}", caller.state())));
            }
        }
        let pairs = pairs(callers, agents)?;
        // Packets of one do not arrive before the other has said where to.
        for pair in &pairs {
            for phone in [&pair.caller, &pair.agent] {
                await_that(until, || phone.heard(|heard| heard.voiced) >= FRAMES_BEFORE)
                    .ok_or_else(|| Error::Setup("a call is up and nothing is heard".to_owned()))?;
            }
        }
        for phone in pairs.iter().flat_map(|pair| [&pair.caller, &pair.agent]) {
            phone.listen_anew();
        }
        eprintln!("{} calls talk on node {k}", pairs.len());
        Ok(pairs)
    }
}

/// The number of the `n`th caller.
pub fn number(n: usize) -> String {
    format!("4930{n:05}")
}

/// Polls until `check` holds.
pub fn await_that(until: Instant, check: impl Fn() -> bool) -> Option<()> {
    while !check() {
        if Instant::now() >= until {
            return None;
        }
        thread::sleep(POLL);
    }
    Some(())
}

/// Who talks with whom: an agent's phone sees the caller's number.
pub fn pairs(callers: &[Phone], agents: &[Phone]) -> Result<Vec<Pair>, Error> {
    let of_agent = |agent: &Phone| agent.look(|ua| ua.live().last().map(|call| call.peer().to_owned()));
    let mut by_number: BTreeMap<String, Phone> = agents.iter().filter_map(|agent| Some((of_agent(agent)?, agent.clone()))).collect();
    callers
        .iter()
        .map(|caller| {
            let user = caller.look(|ua| ua.options.user.clone());
            let agent = by_number.remove(&user).ok_or_else(|| Error::Setup(format!("no agent has the call of {user}")))?;
            Ok(Pair { caller: caller.clone(), agent })
        })
        .collect()
}

fn tenant(setup: &Setup, callers: &[Phone], agents: &[Vec<Phone>]) -> String {
    let mut toml = format!("[tenant]\nid = \"{TENANT}\"\n{}", setup.tenant);
    for group in &setup.groups {
        let (id, wrap_up_s, further) = (group.queue, group.wrap_up_s, group.further);
        write!(
            toml,
            "[[queue]]\nid = \"{id}\"\nstrategy = \"longest-idle\"\noffer_timeout_s = 60\nmax_wait_s = 600\nwrap_up_s = {wrap_up_s}\n{further}[[route]]\nto = \"{id}\"\nqueue = \"{id}\"\n"
        )
        .expect("a string takes everything");
    }
    for caller in &callers[setup.reached.clone()] {
        let (user, uri) = (caller.look(|ua| ua.options.user.clone()), caller.uri());
        writeln!(toml, "[[trunk]]\nid = \"to-{user}\"\ncontacts = [\"{uri}\"]\nprefixes = [\"{user}\"]")
            .expect("a string takes everything");
    }
    toml.push_str("[[trunk]]\nid = \"lab\"\nsources = [\"127.0.0.0/8\", \"::1/128\"]\n");
    for (group, phones) in setup.groups.iter().zip(agents) {
        for phone in phones {
            let id = phone.look(|ua| ua.options.user.clone());
            let way = if setup.registered { format!("password = \"{PASSWORD}\"") } else { format!("contact = \"{}\"", phone.uri()) };
            let state = if group.available { "available" } else { "offline" };
            writeln!(toml, "[[agent]]\nid = \"{id}\"\n{way}\nskills = {{ {} = 5 }}\nstate = \"{state}\"", group.queue)
                .expect("a string takes everything");
        }
    }
    toml.push_str(&setup.further);
    toml
}
