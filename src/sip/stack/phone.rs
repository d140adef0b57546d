//! The INVITE to an agent's phone: how the leg is addressed and what it says of the caller.

use std::net::SocketAddr;

use bytes::Bytes;

use super::{
    Destination, Flow, Options,
    leg::{Leg, by_uri},
    names,
    session::Session,
    transport_name,
};
use crate::{
    core::{
        effect::Ring,
        id::{DomainId, LegId},
        party::{Dialog, Target},
    },
    sip::message::{Name, angle_uri, is_uri, request_uri},
};

/// One INVITE of a leg.
pub(super) struct Attempt {
    pub(super) cseq: u32,
    /// The least session interval that a hop demanded.
    pub(super) least_s: Option<u32>,
    /// The caller's offer as this phone is told it.
    pub(super) offer: Bytes,
}

impl Leg {
    /// A leg to an agent's phone, and its INVITE. `None` if the target cannot be addressed.
    pub(super) fn phone(
        id: LegId,
        domain: DomainId,
        ring: &Ring,
        attempt: Attempt,
        options: &Options,
        address: impl Fn(&Destination) -> SocketAddr,
    ) -> Option<(Self, Bytes)> {
        let (uri, to, route, held_by) = match &ring.target {
            Target::Contact { uri } => (uri, by_uri(uri)?, Vec::new(), None),
            Target::Binding { uri, route, transport, remote, flow } => {
                let remote = remote.parse().ok()?;
                let local = options.addresses.get(transport).copied().unwrap_or(remote);
                let via = flow.map(|flow| flow.node).filter(|node| *node != options.edge.node);
                let to = Flow { transport: *transport, local, remote, conn: flow.map(|flow| flow.flow), via };
                (uri, Destination::Flow(to), route.clone(), *flow)
            }
            Target::Trunk { .. } | Target::Assistant(_) => return None,
        };
        if !is_uri(uri) || route.iter().any(|route| !is_uri(angle_uri(route))) {
            return None;
        }
        let Attempt { cseq, least_s, offer } = attempt;
        let us = address(&to);
        let (tag, transport) = (names::tag(id, options.edge.node), transport_name(to.transport()));
        let caller = &ring.caller;
        // A caller who wants to stay unknown keeps the URI that says so (RFC 3323); others are reached through us.
        let from = match caller.user.as_str() {
            _ if caller.uri.contains("anonymous.invalid") && is_uri(&caller.uri) => caller.uri.clone(),
            user if !user.is_empty() && is_uri(&format!("sip:{user}")) => format!("sip:{user}@{us}"),
            _ => format!("sip:{us}"),
        };
        let display = if caller.display.is_empty() { String::new() } else { format!("\"{}\" ", caller.display.replace(['"', '\\'], "")) };
        let dialog = Dialog {
            call_id: format!("{id}@tandem"),
            local: format!("{display}<{from}>;tag={tag}"),
            local_tag: tag,
            remote: format!("<{uri}>"),
            local_cseq: cseq,
            remote_target: request_uri(uri).to_owned(),
            route_set: route,
            transport: Some(to.transport()),
            flow: held_by,
            invite_via: format!("SIP/2.0/{transport} {us};branch={};rport", names::branch(id, options.edge.node, cseq)),
            ..Dialog::default()
        };
        let mut leg = Self::empty(id, domain, dialog, to);
        leg.session = Session::asking(least_s);
        (leg.anchored, leg.aside) = (ring.anchored, ring.aside);
        leg.described = offer.clone();
        leg.rung = Some(Box::new(ring.clone()));
        let mut invite = leg
            .builder("INVITE", cseq, ring.max_forwards, &leg.dialog.invite_via, us)
            .field(Name::Allow, super::ALLOW)
            .named("User-Agent", &options.user_agent);
        if let Some(queue) = &ring.queue {
            invite = invite.named("X-Tandem-Queue", queue.as_str());
        }
        for (name, value) in &ring.headers {
            invite = invite.named(name, value);
        }
        for (name, value) in leg.session.ask() {
            invite = invite.named(name, value);
        }
        let bytes = invite.body("application/sdp", &offer);
        Some((leg, bytes))
    }
}
