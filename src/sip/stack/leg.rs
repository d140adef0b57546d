//! A B2BUA leg of this edge: its dialog, what it waits for, and the requests it can write.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Destination, Flow, Options, client::ClientKey, names, reliable, server::ServerKey, transport_name};
use crate::{
    core::{
        command::LegReport,
        effect::Ring,
        id::{DomainId, EffectId, LegId},
        party::{Dialog, Sdp, Target, Transport},
    },
    sip::message::{Builder, Message, Name, angle_uri, host_port, param},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Caller: no final answer yet. Phone: INVITE sent.
    Waiting,
    /// Caller: 200 sent, no ACK. Phone: 200 received.
    Answered,
    Confirmed,
    /// Phone: the INVITE was refused; the edge may try again.
    Refused,
    /// We are ending it.
    Leaving,
}

pub(super) struct Leg {
    pub(super) id: LegId,
    pub(super) domain: DomainId,
    pub(super) phase: Phase,
    pub(super) dialog: Dialog,
    pub(super) to: Destination,
    pub(super) peer: Option<LegId>,
    pub(super) seq: u32,
    pub(super) last_order: Option<EffectId>,
    /// Caller: the INVITE and its transaction.
    pub(super) invite: Option<(ServerKey, Message)>,
    /// Phone: the INVITE's transaction.
    pub(super) ring: Option<ClientKey>,
    /// Phone: a provisional answer came, so that a CANCEL may be sent; and one is wanted.
    pub(super) proceeding: bool,
    pub(super) cancel_wanted: bool,
    /// Phone: ringing was reported.
    pub(super) rang: bool,
    /// INVITEs sent so far, and what the last one came to.
    pub(super) attempts: u32,
    pub(super) last_report: Option<Box<LegReport>>,
    /// 200 to repeat until it is acknowledged, with the interval and the last moment.
    pub(super) unacked: Option<(Bytes, Duration, Instant)>,
    /// Phone: a late offer's 200 still needs its ACK, with the answer.
    pub(super) ack_owed: Option<ClientKey>,
    /// A re-INVITE or UPDATE towards this leg is open.
    pub(super) busy: bool,
    /// Reliable provisional responses (RFC 3262): RSeq, what to repeat, interval.
    pub(super) reliable: Option<(u32, Bytes, Duration)>,
    pub(super) wants_reliable: bool,
    /// When the session ends unless refreshed (RFC 4028).
    pub(super) session_until: Option<Instant>,
}

impl Leg {
    pub(super) fn empty(id: LegId, domain: DomainId, dialog: Dialog, to: Destination) -> Self {
        Self {
            id,
            domain,
            phase: Phase::Waiting,
            dialog,
            to,
            peer: None,
            seq: 0,
            last_order: None,
            invite: None,
            ring: None,
            proceeding: false,
            cancel_wanted: false,
            rang: false,
            attempts: 1,
            last_report: None,
            unacked: None,
            ack_owed: None,
            busy: false,
            reliable: None,
            wants_reliable: false,
            session_until: None,
        }
    }

    pub(super) fn caller(
        id: LegId,
        domain: DomainId,
        key: ServerKey,
        invite: Message,
        flow: Flow,
        options: &Options,
        now: Instant,
    ) -> Self {
        let tag = names::tag(id, options.edge.node);
        let session = session_of(&invite);
        let dialog = Dialog {
            call_id: invite.call_id(),
            local: format!("{};tag={tag}", invite.text(Name::To)),
            local_tag: tag,
            remote_tag: invite.from_tag().unwrap_or_default(),
            remote: invite.text(Name::From),
            local_cseq: 0,
            remote_cseq: invite.cseq().map_or(0, |(number, _)| number),
            remote_target: invite.contact().unwrap_or_else(|| angle_uri(&invite.text(Name::From)).to_owned()),
            route_set: invite.all(Name::RecordRoute),
            transport: Some(flow.transport),
            remote_addr: flow.remote.to_string(),
            flow: None,
            invite_via: String::new(),
            vias: invite.all(Name::Via),
            session_expires_s: session,
            we_refresh: false,
        };
        let mut leg = Self::empty(id, domain, dialog, Destination::Flow(flow));
        leg.to = leg.next_hop(flow);
        leg.wants_reliable = invite.wants(Name::Require, "100rel");
        leg.session_until = (session > 0).then(|| now + Duration::from_secs(u64::from(session)));
        leg.invite = Some((key, invite));
        leg
    }

    /// A leg to an agent's phone, and its INVITE. `None` if the target cannot be addressed.
    pub(super) fn phone(
        id: LegId,
        domain: DomainId,
        ring: &Ring,
        cseq: u32,
        options: &Options,
        address: impl Fn(&Destination) -> std::net::SocketAddr,
    ) -> Option<(Self, Bytes)> {
        let (uri, to, route) = match &ring.target {
            Target::Contact { uri } => (uri.clone(), by_uri(uri)?, Vec::new()),
            Target::Binding { uri, route, transport, remote, flow } => {
                let remote = remote.parse().ok()?;
                let at = |flow: Option<&crate::core::party::FlowRef>| Flow {
                    transport: *transport,
                    local: options.addresses.get(transport).copied().unwrap_or(remote),
                    remote,
                    conn: flow.map(|flow| flow.flow),
                    via: flow.map(|flow| flow.node).filter(|node| *node != options.edge.node),
                };
                (uri.clone(), Destination::Flow(at(flow.as_ref())), route.clone())
            }
            Target::Trunk { .. } => return None,
        };
        let us = address(&to);
        let (tag, transport) = (names::tag(id, options.edge.node), transport_name(to.transport()));
        let display =
            if ring.caller.display.is_empty() { String::new() } else { format!("\"{}\" ", ring.caller.display.replace(['"', '\\'], "")) };
        let dialog = Dialog {
            call_id: format!("{id}@tandem"),
            local: format!("{display}<sip:{}@{us}>;tag={tag}", ring.caller.user),
            local_tag: tag,
            remote: format!("<{uri}>"),
            local_cseq: cseq,
            remote_target: uri,
            route_set: route,
            transport: Some(to.transport()),
            invite_via: format!("SIP/2.0/{transport} {us};branch={};rport", names::branch(id, options.edge.node, cseq)),
            ..Dialog::default()
        };
        let leg = Self::empty(id, domain, dialog, to);
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
        let bytes = invite.body("application/sdp", ring.sdp.as_deref().map_or(&[], |sdp| sdp));
        Some((leg, bytes))
    }

    /// The caller's offer, if its INVITE made one.
    pub(super) fn offer(&self) -> Option<Sdp> {
        let (_, invite) = self.invite.as_ref()?;
        (!invite.body.is_empty()).then(|| Sdp::from(invite.body.to_vec()))
    }

    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Waiting)
    }

    /// Where requests in the dialog go: the connection it came on, else the first route or the contact (§12.2.1.1).
    fn next_hop(&self, flow: Flow) -> Destination {
        if reliable(flow.transport) || flow.via.is_some() {
            return Destination::Flow(flow);
        }
        let hop = self.dialog.route_set.first().map_or(self.dialog.remote_target.as_str(), |route| angle_uri(route));
        by_uri(hop).unwrap_or(Destination::Flow(flow))
    }

    /// Takes the peer's side of the dialog from its answer.
    pub(super) fn learn(&mut self, response: &Message, flow: Flow) {
        self.dialog.remote_tag = response.to_tag().unwrap_or_default();
        self.dialog.remote = response.text(Name::To);
        if let Some(contact) = response.contact() {
            self.dialog.remote_target = contact;
        }
        let mut routes = response.all(Name::RecordRoute);
        routes.reverse();
        self.dialog.route_set = routes;
        self.dialog.remote_addr = flow.remote.to_string();
        self.to = self.next_hop(flow);
    }

    fn builder(&self, method: &str, cseq: u32, max_forwards: u8, via: &str, us: std::net::SocketAddr) -> Builder {
        let mut builder = Builder::request(method, &self.dialog.remote_target)
            .field(Name::Via, via)
            .field(Name::MaxForwards, max_forwards.to_string())
            .field(Name::From, &self.dialog.local)
            .field(Name::To, &self.dialog.remote)
            .field(Name::CallId, &self.dialog.call_id)
            .field(Name::CSeq, format!("{cseq} {method}"));
        for route in &self.dialog.route_set {
            builder = builder.field(Name::Route, route);
        }
        builder.field(Name::Contact, contact(us, self.to.transport()))
    }

    /// A request in the dialog. ACK and CANCEL give the CSeq of their INVITE; others take the next one.
    pub(super) fn request(&mut self, method: &str, cseq: Option<u32>, options: &Options, us: std::net::SocketAddr) -> Builder {
        let number = cseq.unwrap_or_else(|| {
            self.dialog.local_cseq += 1;
            self.dialog.local_cseq
        });
        // An ACK of a 200 has a branch of its own: its number lies beside the INVITE's.
        let branch = names::branch(self.id, options.edge.node, if method == "ACK" { number + 1_000_000 } else { number });
        let via = format!("SIP/2.0/{} {us};branch={branch};rport", transport_name(self.to.transport()));
        self.builder(method, number, 70, &via, us)
    }
}

/// A SIP URI as a next hop.
pub(super) fn by_uri(uri: &str) -> Option<Destination> {
    let (host, port) = host_port(uri);
    let named = param(uri, "transport").map(str::to_ascii_lowercase);
    let transport = match named.as_deref() {
        Some("tcp") => Transport::Tcp,
        Some("tls") => Transport::Tls,
        _ if uri.starts_with("sips:") => Transport::Tls,
        _ => Transport::Udp,
    };
    (!host.is_empty()).then_some(Destination::Host { transport, host, port })
}

pub(super) fn contact(us: std::net::SocketAddr, transport: Transport) -> String {
    match transport {
        Transport::Udp => format!("<sip:tandem@{us}>"),
        Transport::Tcp => format!("<sip:tandem@{us};transport=tcp>"),
        Transport::Tls => format!("<sip:tandem@{us};transport=tls>"),
    }
}

/// Seconds of the session timer the peer asks for; 0 if none.
pub(super) fn session_of(message: &Message) -> u32 {
    message.text(Name::SessionExpires).split(';').next().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// True if a description asks the other side to send nothing: hold (RFC 3264 §8.4).
pub(super) fn holds(sdp: &[u8]) -> bool {
    let text = String::from_utf8_lossy(sdp);
    text.lines().any(|line| matches!(line.trim(), "a=sendonly" | "a=inactive" | "c=IN IP4 0.0.0.0"))
}
