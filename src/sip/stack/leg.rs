//! A B2BUA leg of this edge: its dialog, what it waits for, and the requests it can write.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    Destination, Flow, Options, client::ClientKey, names, refer::Referral, reliable, server::ServerKey, session::Session, transport_name,
    via,
};
use crate::{
    core::{
        command::LegReport,
        effect::Ring,
        id::{DomainId, EffectId, LegId},
        party::{Dialog, FlowRef, Sdp, Transport},
    },
    media::Program,
    sip::{
        limits::ROUTES_MAX,
        message::{Builder, Message, Name, angle_uri, host_port, param, sdp_of},
    },
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
    pub(super) invite: Option<(ServerKey, Arc<Message>)>,
    /// Caller: the last provisional answer, repeated at the given time.
    pub(super) progress: Option<Progress>,
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
    /// Phone: what it was rung with, until it answers.
    pub(super) rung: Option<Box<Ring>>,
    /// Phone: another edge had it ringing, and it is here only to be let go.
    pub(super) ringing_elsewhere: bool,
    /// 200 to repeat until it is acknowledged.
    pub(super) unacked: Option<Repeat>,
    /// Phone: its 200 still needs its ACK: the core has not said that it has the answer, or the offer was late and is not
    /// answered yet.
    pub(super) ack_owed: Option<ClientKey>,
    /// A re-INVITE or UPDATE towards this leg is open.
    pub(super) busy: bool,
    /// It is to be told anew what we say of ourselves, as soon as it can be.
    pub(super) retell: bool,
    /// Phone: a REFER that is not decided yet.
    pub(super) referral: Option<Referral>,
    /// Reliable provisional answers (RFC 3262): the number of the last, and what to repeat until its PRACK.
    pub(super) rseq: u32,
    pub(super) unpracked: Option<Repeat>,
    pub(super) wants_reliable: bool,
    pub(super) session: Session,
    /// The description the peer has of the other side.
    pub(super) described: Bytes,
    /// Its audio goes through this node.
    pub(super) anchored: bool,
    /// Phone: whom it talks with is the plan's alone.
    pub(super) aside: bool,
    /// What is played to it when what is said has been said.
    pub(super) music: Option<Program>,
    /// Whether the peer put the call on hold, and the description it last made.
    pub(super) media: (bool, Bytes),
}

/// What a waiting caller was last to be told.
#[derive(Clone, Copy)]
pub(super) struct Progress {
    pub(super) status: u16,
    pub(super) reason: &'static str,
    pub(super) again: Instant,
    /// False while it waits for the PRACK of the one before.
    pub(super) sent: bool,
}

/// A message repeated until it is acknowledged.
pub(super) struct Repeat {
    pub(super) bytes: Bytes,
    pub(super) to: Destination,
    /// CSeq of the INVITE it answers.
    pub(super) cseq: u32,
    pub(super) interval: Duration,
    pub(super) next: Instant,
    pub(super) until: Instant,
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
            progress: None,
            rung: None,
            ringing_elsewhere: false,
            unacked: None,
            ack_owed: None,
            busy: false,
            retell: false,
            referral: None,
            rseq: 0,
            unpracked: None,
            wants_reliable: false,
            session: Session::default(),
            described: Bytes::new(),
            anchored: false,
            aside: false,
            music: None,
            media: (false, Bytes::new()),
        }
    }

    pub(super) fn caller(id: LegId, domain: DomainId, key: ServerKey, invite: Arc<Message>, flow: Flow, options: &Options) -> Self {
        let tag = names::tag(id, options.edge.node);
        let mut session = Session::default();
        session.agree(&invite);
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
            flow: flow.conn.map(|conn| FlowRef {
                node: flow.via.unwrap_or(options.edge.node),
                incarnation: if flow.via.is_some() { 0 } else { options.edge.incarnation },
                flow: conn,
            }),
            invite_via: String::new(),
            vias: invite.all(Name::Via),
            session_expires_s: session.interval_s,
            we_refresh: session.we_refresh,
            symmetric: via::translated(&invite, &flow),
            media_source: String::new(),
            reliable: invite.wants(Name::Require, "100rel"),
            carrier: String::new(),
        };
        let mut leg = Self::empty(id, domain, dialog, Destination::Flow(flow));
        leg.to = leg.next_hop(flow);
        leg.wants_reliable = leg.dialog.reliable;
        leg.media.1 = sdp_of(&invite).ok().flatten().unwrap_or_default();
        leg.session = session;
        leg.invite = Some((key, invite));
        leg
    }

    /// The caller's offer, if its INVITE made one.
    pub(super) fn offer(&self) -> Option<Sdp> {
        (!self.media.1.is_empty()).then(|| Sdp::from(self.media.1.to_vec()))
    }

    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Waiting)
    }

    /// Where requests in the dialog go: the connection it came on, else the first route, else the contact (§12.2.1.1).
    /// Behind an address translator only the way it came is open.
    fn next_hop(&self, flow: Flow) -> Destination {
        let routed = self.dialog.route_set.first().map(|route| angle_uri(route));
        if reliable(flow.transport) || flow.via.is_some() || (self.dialog.symmetric && routed.is_none()) {
            return Destination::Flow(flow);
        }
        by_uri(routed.unwrap_or(&self.dialog.remote_target)).unwrap_or(Destination::Flow(flow))
    }

    /// Takes the peer's side of the dialog from its answer.
    pub(super) fn learn(&mut self, response: &Message, flow: Flow) {
        self.dialog.remote_tag = response.to_tag().unwrap_or_default();
        self.dialog.remote = response.text(Name::To);
        if let Some(contact) = response.contact() {
            self.dialog.remote_target = contact;
        }
        let mut routes = response.all(Name::RecordRoute);
        routes.truncate(ROUTES_MAX);
        routes.reverse();
        self.dialog.route_set = routes;
        self.dialog.remote_addr = flow.remote.to_string();
        // A registered phone is spoken to the way it registered.
        self.dialog.symmetric = matches!(self.to, Destination::Flow(_));
        self.to = self.next_hop(flow);
    }

    /// True if the message belongs to this dialog, and not to another that guessed or kept our tag.
    pub(super) fn owns(&self, message: &Message) -> bool {
        let theirs = message.from_tag().unwrap_or_default();
        message.call_id() == self.dialog.call_id && (self.dialog.remote_tag.is_empty() || self.dialog.remote_tag == theirs)
    }

    /// How long to wait before a request refused with 491 is sent again (§14.1): the side that made the Call-ID waits
    /// 2.1 to 4 s, the other up to 2 s. Spread by the call, since nothing random enters here.
    pub(super) fn glare_wait(&self) -> Duration {
        let spread = u64::from(crc32fast::hash(self.dialog.call_id.as_bytes()).wrapping_add(self.dialog.local_cseq));
        Duration::from_millis(if self.id.n > 0 { 2_100 + spread % 1_900 } else { spread % 2_000 })
    }

    pub(super) fn builder(&self, method: &str, cseq: u32, max_forwards: u8, via: &str, us: std::net::SocketAddr) -> Builder {
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

/// True if a description asks the other side to send nothing: hold (RFC 3264 §8.4).
pub(super) fn holds(sdp: &[u8]) -> bool {
    let text = String::from_utf8_lossy(sdp);
    text.lines().any(|line| matches!(line.trim(), "a=sendonly" | "a=inactive" | "c=IN IP4 0.0.0.0"))
}
