//! Registrations of agents' phones (RFC 3261 §10, RFC 3327 Path, RFC 5626 Outbound): what a REGISTER asks, what of it has
//! to be committed, and what is answered.
//!
//! A binding is committed when its contact, flow or instance changes and at half of what was granted; other refreshes
//! stay on the node that holds the phone's flow. It checks no password and sends nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{
    limits::{BINDINGS_MAX, EXPIRES_DEFAULT_S, EXPIRES_MAX_S, EXPIRES_MIN_S, REGISTER_CONTACTS_MAX},
    message::{Message, Name, angle_uri, host_port, param},
    stack::Flow,
};
use crate::core::{
    command::{Binding, Command},
    id::{AgentId, DomainId, Edge},
    party::FlowRef,
};

#[cfg(test)]
mod tests;

/// Why a REGISTER is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    BadContact,
    TooManyContacts,
    TooBrief,
    Full,
}

impl Refusal {
    pub const fn status(self) -> u16 {
        match self {
            Self::BadContact => 400,
            Self::TooManyContacts => 413,
            Self::TooBrief => 423,
            Self::Full => 503,
        }
    }

    /// Reason phrase of the answer.
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::BadContact => "Bad Contact",
            Self::TooManyContacts => "Too Many Contacts",
            Self::TooBrief => "Interval Too Brief",
            Self::Full => "Registrar Full",
        }
    }
}

/// A contact of a REGISTER.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Contact {
    uri: String,
    /// Key of the binding: `+sip.instance` and `reg-id`, or the contact's URI.
    instance: String,
    /// RFC 5626 was asked for.
    outbound: bool,
    /// Zero removes the binding.
    expires_s: u32,
}

/// What a REGISTER asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// `Contact: *` with `Expires: 0`.
    all_off: bool,
    contacts: Vec<Contact>,
    path: Vec<String>,
}

impl Wish {
    /// Reads a REGISTER.
    ///
    /// # Errors
    /// [`Refusal`] for contacts that cannot be used or an interval below the least (RFC 3261 §10.2.8).
    pub fn read(request: &Message) -> Result<Self, Refusal> {
        let default_s = request.get(Name::Expires).map_or(EXPIRES_DEFAULT_S, |text| text.trim().parse().unwrap_or(EXPIRES_DEFAULT_S));
        let values = request.all(Name::Contact);
        if values.len() > REGISTER_CONTACTS_MAX {
            return Err(Refusal::TooManyContacts);
        }
        let path = request.all(Name::Path);
        if values.iter().any(|value| value == "*") {
            let alone = values.len() == 1 && request.get(Name::Expires).is_some_and(|text| text.trim() == "0");
            return if alone { Ok(Self { all_off: true, contacts: Vec::new(), path }) } else { Err(Refusal::BadContact) };
        }
        let contacts = values.iter().map(|value| Contact::read(value, default_s)).collect::<Result<_, _>>()?;
        Ok(Self { all_off: false, contacts, path })
    }
}

impl Contact {
    fn read(value: &str, default_s: u32) -> Result<Self, Refusal> {
        let uri = angle_uri(value).to_owned();
        // Without <> a question mark cannot be told from one that ends the URI (RFC 3261 §20.10).
        let ambiguous = uri.contains('?') && value.trim_start().starts_with(&uri);
        let sip =
            uri.get(..4).is_some_and(|s| s.eq_ignore_ascii_case("sip:")) || uri.get(..5).is_some_and(|s| s.eq_ignore_ascii_case("sips:"));
        if !sip || ambiguous || host_port(&uri).0.is_empty() || uri.contains(char::is_whitespace) {
            return Err(Refusal::BadContact);
        }
        let expires_s = param(value, "expires").map_or(default_s, |text| text.parse().unwrap_or(default_s)).min(EXPIRES_MAX_S);
        if expires_s > 0 && expires_s < EXPIRES_MIN_S {
            return Err(Refusal::TooBrief);
        }
        let reg_id = param(value, "reg-id").filter(|id| !id.is_empty());
        let instance = match (param(value, "+sip.instance").filter(|i| !i.is_empty()), reg_id) {
            (Some(instance), Some(reg_id)) => format!("{instance};reg-id={reg_id}"),
            (Some(instance), None) => instance.to_owned(),
            (None, _) => uri.clone(),
        };
        Ok(Self { outbound: reg_id.is_some() && instance != uri, uri, instance, expires_s })
    }
}

/// A binding as this node knows it.
#[derive(Debug, Clone)]
struct Held {
    binding: Binding,
    conn: Option<u64>,
    outbound: bool,
    /// When the phone's own registration ends.
    until: Instant,
    /// When the committed one ends.
    committed_until: Instant,
}

impl Held {
    /// Half of what was granted is left in the replicated state.
    fn needs_commit(&self, now: Instant) -> bool {
        self.committed_until.saturating_duration_since(now) < Duration::from_secs(u64::from(self.binding.expires_s)) / 2
    }
}

/// Whose phone it is.
pub type Owner = (DomainId, AgentId);
/// A binding as the replicated state has it, and the seconds it has left there.
pub type Replicated = (Binding, u32);

/// What a REGISTER leads to. Commit the commands in order, then [`Registrar::settle`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub owner: Owner,
    pub commands: Vec<Command>,
    kept: Vec<(Binding, Option<u64>, bool)>,
    removed: Vec<String>,
}

/// Bindings whose flows this node holds.
#[derive(Debug, Default)]
pub struct Registrar {
    held: BTreeMap<Owner, BTreeMap<String, Held>>,
    /// Connections and the bindings that live on them.
    by_conn: BTreeMap<u64, Vec<(Owner, String)>>,
    count: usize,
}

impl Registrar {
    /// Works out what a wish changes. Nothing is remembered until it is settled.
    ///
    /// # Errors
    /// [`Refusal::Full`] when this node holds as many bindings as it may.
    pub fn plan(
        &self,
        now: Instant,
        edge: Edge,
        owner: Owner,
        flow: &Flow,
        wish: &Wish,
        replicated: &[Replicated],
    ) -> Result<Plan, Refusal> {
        let known = self.held.get(&owner);
        let mut plan = Plan { owner: owner.clone(), commands: Vec::new(), kept: Vec::new(), removed: Vec::new() };
        if wish.all_off {
            let everywhere = replicated.iter().map(|(binding, _)| &binding.instance);
            let all: BTreeSet<_> = known.into_iter().flat_map(BTreeMap::keys).chain(everywhere).cloned().collect();
            plan.removed = all.into_iter().collect();
        }
        for contact in &wish.contacts {
            if contact.expires_s == 0 {
                plan.removed.push(contact.instance.clone());
                continue;
            }
            let binding = Binding {
                instance: contact.instance.clone(),
                contact: contact.uri.clone(),
                path: wish.path.clone(),
                transport: flow.transport,
                received: flow.remote.to_string(),
                flow: flow_ref(edge, flow, &contact.uri),
                expires_s: contact.expires_s,
            };
            let held = known.and_then(|known| known.get(&contact.instance));
            if held.is_none() && self.count >= BINDINGS_MAX {
                return Err(Refusal::Full);
            }
            if held.is_none_or(|held| held.binding != binding || held.needs_commit(now)) {
                let (domain, agent) = owner.clone();
                plan.commands.push(Command::Bind { domain, agent, binding: binding.clone() });
            }
            plan.kept.push((binding, flow.conn, contact.outbound));
        }
        plan.commands.extend(plan.removed.iter().map(|instance| unbind(&owner, instance)));
        Ok(plan)
    }

    /// Remembers a plan whose commands are committed.
    pub fn settle(&mut self, now: Instant, plan: &Plan) {
        for instance in &plan.removed {
            self.forget(&plan.owner, instance);
        }
        for (binding, conn, outbound) in &plan.kept {
            let until = now + Duration::from_secs(u64::from(binding.expires_s));
            let committed = plan.commands.iter().any(|c| matches!(c, Command::Bind { binding: b, .. } if b.instance == binding.instance));
            let before = self.forget(&plan.owner, &binding.instance);
            let committed_until = before.filter(|_| !committed).map_or(until, |held| held.committed_until);
            if let Some(conn) = conn {
                self.by_conn.entry(*conn).or_default().push((plan.owner.clone(), binding.instance.clone()));
            }
            let held = Held { binding: binding.clone(), conn: *conn, outbound: *outbound, until, committed_until };
            self.held.entry(plan.owner.clone()).or_default().insert(binding.instance.clone(), held);
            self.count += 1;
        }
    }

    /// Contact values of the 200 (RFC 3261 §10.3): every binding of the owner with the seconds it has left. What was just
    /// settled here counts, whatever the replica says yet; so do later refreshes that only this node knows of.
    pub fn contacts(&self, now: Instant, plan: &Plan, replicated: Option<&[Replicated]>) -> Vec<String> {
        let held = |instance: &str| self.held.get(&plan.owner).and_then(|held| held.get(instance)).filter(|held| held.until > now);
        let of_held = |held: &Held| contact_value(&held.binding, held.until.saturating_duration_since(now).as_secs());
        let Some(replicated) = replicated else {
            return self
                .held
                .get(&plan.owner)
                .into_iter()
                .flat_map(BTreeMap::values)
                .filter(|held| held.until > now)
                .map(of_held)
                .collect();
        };
        let settled = |instance: &str| plan.kept.iter().any(|(binding, ..)| binding.instance == instance);
        let others = replicated
            .iter()
            .filter(|(binding, left_s)| *left_s > 0 && !settled(&binding.instance) && !plan.removed.contains(&binding.instance));
        let others = others.map(|(binding, left_s)| match held(&binding.instance).filter(|held| held.binding == *binding) {
            Some(held) => of_held(held),
            None => contact_value(binding, u64::from(*left_s)),
        });
        plan.kept.iter().filter_map(|(binding, ..)| held(&binding.instance)).map(of_held).chain(others).collect()
    }

    /// Whether a phone of this owner registered with RFC 5626, so that the 200 requires it too.
    pub fn is_outbound(&self, owner: &Owner) -> bool {
        self.held.get(owner).into_iter().flatten().any(|(_, held)| held.outbound)
    }

    /// A connection closed: the bindings that lived on it are gone, and these commands say so. A phone that meanwhile
    /// registered by another way keeps what it has there: `is_ours` tells from the replicated state.
    pub fn closed(&mut self, conn: u64, is_ours: impl Fn(&Owner, &Binding) -> bool) -> Vec<(DomainId, Command)> {
        let rows = self.by_conn.remove(&conn).unwrap_or_default();
        let mut commands = Vec::new();
        for (owner, instance) in rows {
            if self.held.get(&owner).and_then(|held| held.get(&instance)).is_some_and(|held| held.conn == Some(conn))
                && let Some(held) = self.forget(&owner, &instance)
                && is_ours(&owner, &held.binding)
            {
                commands.push((owner.0.clone(), unbind(&owner, &instance)));
            }
        }
        commands
    }

    /// Forgets bindings whose time is up. The core lets them expire by itself.
    pub fn expire(&mut self, now: Instant) {
        let due = |held: &BTreeMap<String, Held>| held.iter().filter(|(_, h)| h.until <= now).map(|(i, _)| i.clone()).collect::<Vec<_>>();
        let due: Vec<_> = self.held.iter().flat_map(|(owner, held)| due(held).into_iter().map(|i| (owner.clone(), i))).collect();
        for (owner, instance) in due {
            self.forget(&owner, &instance);
        }
    }

    pub const fn len(&self) -> usize {
        self.count
    }

    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn forget(&mut self, owner: &Owner, instance: &str) -> Option<Held> {
        let of_owner = self.held.get_mut(owner)?;
        let held = of_owner.remove(instance)?;
        if of_owner.is_empty() {
            self.held.remove(owner);
        }
        if let Some(rows) = held.conn.and_then(|conn| self.by_conn.get_mut(&conn)) {
            rows.retain(|(o, i)| o != owner || i != instance);
            if rows.is_empty()
                && let Some(conn) = held.conn
            {
                self.by_conn.remove(&conn);
            }
        }
        self.count -= 1;
        Some(held)
    }
}

/// A binding as a 200 lists it.
fn contact_value(binding: &Binding, left_s: u64) -> String {
    let instance = match binding.instance.split_once(";reg-id=") {
        Some((name, reg_id)) => format!(";+sip.instance=\"{name}\";reg-id={reg_id}"),
        None if binding.instance != binding.contact => format!(";+sip.instance=\"{}\"", binding.instance),
        None => String::new(),
    };
    format!("<{}>;expires={left_s}{instance}", binding.contact)
}

fn unbind((domain, agent): &Owner, instance: &str) -> Command {
    Command::Unbind { domain: domain.clone(), agent: agent.clone(), instance: instance.to_owned() }
}

/// The flow a binding depends on. A connection always; over UDP only when the contact is not where the packet came from,
/// since a phone behind a translator hears nobody but the socket it registered with.
fn flow_ref(edge: Edge, flow: &Flow, contact: &str) -> Option<FlowRef> {
    let of = |flow| Some(FlowRef { node: edge.node, incarnation: edge.incarnation, flow });
    if let Some(conn) = flow.conn {
        return of(conn);
    }
    let (host, port) = host_port(contact);
    let direct = host.parse() == Ok(flow.remote.ip()) && port.unwrap_or(5060) == flow.remote.port();
    if direct { None } else { of(0) }
}
