//! Agents and trunks of a tenant file: who may call and be called, by which address or secret.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use md5::Md5;
use sha2::{Digest, Sha256};
use toml::Spanned;

use super::{
    Error, Source,
    assistants::assistant,
    file::{AgentRow, ChannelName, KindName, QueueRow, StateName, Text, TransferRow, TrunkRow},
    queues::positive,
};
use crate::core::{
    id::{AgentId, QueueId, TrunkId},
    limits::NUMBER_DIGITS_MAX,
    policy::{Agent, AgentKind, Channel, Ha1, InitialState, Outside, Topic, Trunk},
};

/// Best level of a skill.
const SKILL_LEVEL_MAX: u8 = 100;

/// Reads every agent; `topics` are what their tenant leaves to people.
pub(super) fn agents(
    source: &Source<'_>,
    realm: &str,
    queues: &[QueueRow],
    topics: &Arc<Vec<Topic>>,
    rows: &[AgentRow],
) -> Result<BTreeMap<AgentId, Agent>, Error> {
    let known: BTreeSet<&str> = queues.iter().map(|queue| queue.id.get_ref().as_str()).collect();
    let (mut agents, mut seen) = (BTreeMap::new(), BTreeMap::new());
    for row in rows {
        let id = source.name("agent.id", &row.id)?;
        source.fresh("agent.id", &mut seen, &row.id)?;
        let mut agent = agent(source, realm, &known, row)?;
        agent.assistant = assistant(source, row, topics)?.map(Arc::new);
        agents.insert(AgentId::new(id), agent);
    }
    Ok(agents)
}

fn agent(source: &Source<'_>, realm: &str, known: &BTreeSet<&str>, row: &AgentRow) -> Result<Agent, Error> {
    let kind = row.kind.unwrap_or(KindName::Human);
    let chats = row.capacity.iter().any(|(channel, slots)| Channel::from(*channel) == Channel::Chat && *slots > 0);
    if kind == KindName::Human && row.contact.is_none() && row.password.is_none() && !chats {
        return Err(source.at(row.id.span(), "agent.contact", "an agent needs a `contact`, or a `password` for a phone that registers"));
    }
    if let Some(queue) = row.queues.iter().find(|queue| !known.contains(queue.get_ref().as_str())) {
        return Err(source.at(queue.span(), "agent.queues", format_args!("there is no queue {:?}", queue.get_ref())));
    }
    let mut skills = BTreeMap::new();
    for (skill, level) in row.skills.iter().flat_map(Spanned::get_ref) {
        let place = row.skills.as_ref().map_or(0..0, Spanned::span);
        source.name("agent.skills", &Spanned::new(place.clone(), skill.clone()))?;
        if !(1..=SKILL_LEVEL_MAX).contains(level) {
            let told = format_args!("{skill} has level {level}, which is not between 1 and {SKILL_LEVEL_MAX}");
            return Err(source.at(place, "agent.skills", told));
        }
        skills.insert(skill.as_str().into(), *level);
    }
    let mut capacity: BTreeMap<Channel, u8> = row.capacity.iter().map(|(channel, slots)| ((*channel).into(), *slots)).collect();
    capacity.entry(Channel::Voice).or_insert(1);
    Ok(Agent {
        kind: AgentKind::from(kind),
        contact: row.contact.as_ref().map(|contact| uri(source, "agent.contact", contact)).transpose()?,
        ha1: row.password.as_ref().map(|password| ha1(source, "agent.password", row.id.get_ref(), realm, password)).transpose()?,
        skills,
        queues: row.queues.iter().map(|queue| QueueId::new(queue.get_ref())).collect(),
        capacity,
        exclusive: row.exclusive.iter().copied().map(ChannelName::into).collect(),
        initial: initial(source, row, kind)?,
        assistant: None,
    })
}

/// A person's phone must register first; an AI agent is there.
fn initial(source: &Source<'_>, row: &AgentRow, kind: KindName) -> Result<InitialState, Error> {
    match (row.state, &row.break_reason) {
        (Some(StateName::Break), reason) => {
            Ok(InitialState::Break(reason.as_ref().map_or_else(|| "break".to_owned(), |reason| reason.get_ref().clone())))
        }
        (_, Some(reason)) => Err(source.at(reason.span(), "agent.break_reason", "only with state = \"break\"")),
        (Some(StateName::Available), None) => Ok(InitialState::Available),
        (None, None) if kind == KindName::Ai => Ok(InitialState::Available),
        (Some(StateName::Offline) | None, None) => Ok(InitialState::Offline),
    }
}

pub(super) fn trunks(source: &Source<'_>, realm: &str, rows: &[TrunkRow]) -> Result<BTreeMap<TrunkId, Trunk>, Error> {
    let (mut trunks, mut seen, mut networks) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for row in rows {
        let id = source.name("trunk.id", &row.id)?;
        source.fresh("trunk.id", &mut seen, &row.id)?;
        let mut sources = Vec::with_capacity(row.sources.len());
        for text in &row.sources {
            let cidr = cidr(source, text)?;
            // Two trunks with one network could not be told apart.
            source.fresh("trunk.sources", &mut networks, &Spanned::new(text.span(), cidr.clone()))?;
            sources.push(cidr);
        }
        trunks.insert(TrunkId::new(id), trunk(source, realm, row, sources)?);
    }
    Ok(trunks)
}

fn trunk(source: &Source<'_>, realm: &str, row: &TrunkRow, sources: Vec<String>) -> Result<Trunk, Error> {
    let ha1 = match (&row.username, &row.password) {
        (Some(user), Some(password)) => Some(ha1(source, "trunk.password", user.get_ref(), realm, password)?),
        (None, None) => None,
        (Some(half), None) | (None, Some(half)) => {
            return Err(source.at(half.span(), "trunk.username", "a credential needs both `username` and `password`"));
        }
    };
    Ok(Trunk {
        sources,
        ha1,
        username: row.username.as_ref().map(|user| user.get_ref().clone()),
        contacts: row.contacts.iter().map(|contact| uri(source, "trunk.contacts", contact)).collect::<Result<_, _>>()?,
        prefixes: row.prefixes.iter().map(|prefix| beginning(source, "trunk.prefixes", prefix)).collect::<Result<_, _>>()?,
        outbound_auth: row.auth.as_ref().map(|auth| (auth.username.clone(), auth.password.clone())),
        caller_id: row.caller_id.clone(),
        calls_per_s_max: row.calls_per_s_max,
        calls_max: row.calls_max,
        trust_priority: row.trust_priority,
    })
}

/// Which numbers outside calls may be sent on to.
pub(super) fn outside(source: &Source<'_>, row: &TransferRow) -> Result<Outside, Error> {
    let numbers = row.numbers.iter().map(|prefix| beginning(source, "transfer.numbers", prefix)).collect::<Result<_, _>>()?;
    let ring_ms = positive(source, "transfer.ring_s", row.ring_s.as_ref(), Outside::default().ring_ms / 1_000)?;
    Ok(Outside { numbers, ring_ms })
}

/// The beginning of a number.
fn beginning(source: &Source<'_>, key: &str, text: &Text) -> Result<String, Error> {
    let prefix = text.get_ref();
    let digits = prefix.strip_prefix('+').unwrap_or(prefix);
    let fits = !prefix.is_empty() && digits.len() <= NUMBER_DIGITS_MAX && digits.bytes().all(|b| b.is_ascii_digit() || b"*#".contains(&b));
    if fits { Ok(prefix.clone()) } else { Err(source.at(text.span(), key, format_args!("{prefix:?} begins no number"))) }
}

/// A request-URI to call: shape only, the SIP edge resolves it.
fn uri(source: &Source<'_>, key: &str, text: &Text) -> Result<String, Error> {
    let uri = text.get_ref();
    let scheme = ["sip:", "sips:"].iter().find_map(|scheme| uri.get(..scheme.len()).filter(|head| head.eq_ignore_ascii_case(scheme)));
    let rest = scheme.map_or("", |scheme| &uri[scheme.len()..]);
    if rest.is_empty() || uri.bytes().any(|b| b.is_ascii_whitespace() || b.is_ascii_control() || b"<>\"".contains(&b)) {
        return Err(source.at(text.span(), key, format_args!("{uri:?} is no SIP URI such as sip:alice@192.0.2.1:5060")));
    }
    Ok(uri.clone())
}

/// HA1 values of RFC 7616; the password itself goes no further.
fn ha1(source: &Source<'_>, key: &str, user: &str, realm: &str, password: &Spanned<String>) -> Result<Ha1, Error> {
    if password.get_ref().is_empty() {
        return Err(source.at(password.span(), key, "is empty"));
    }
    let text = format!("{user}:{realm}:{}", password.get_ref());
    Ok(Ha1 { realm: realm.to_owned(), md5: hex(&Md5::digest(&text)), sha256: hex(&Sha256::digest(&text)) })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A network in CIDR form; a bare address is a network of one.
fn cidr(source: &Source<'_>, text: &Text) -> Result<String, Error> {
    let (address, length) =
        text.get_ref().split_once('/').map_or((text.get_ref().as_str(), None), |(address, length)| (address, Some(length)));
    let parsed = address.parse::<IpAddr>().ok().and_then(|address| {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Some(bits), |length| length.parse::<u8>().ok())?;
        (length <= bits).then(|| format!("{address}/{length}"))
    });
    parsed.ok_or_else(|| source.at(text.span(), "trunk.sources", format_args!("{:?} is no network such as 192.0.2.0/24", text.get_ref())))
}
