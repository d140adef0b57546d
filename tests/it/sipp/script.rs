//! Writes SIPp scenarios step by step, so that a behaviour reads as the list of messages it is.
//!
//! It owns the message texts; it does not run anything. Besides SIPp's own keywords a text may hold `[own]`, where the
//! speaker is reached, and `[domain]`, whom the caller dials; they and `[transport]` are filled in by the laboratory.

use std::fmt::Write as _;

/// A scenario under construction, for a caller (UAC) or an agent's phone (UAS).
pub(super) struct Script {
    name: String,
    steps: String,
    /// CSeq of the next request we send.
    cseq: u32,
    caller: bool,
    /// Steps so far: SIPp numbers branches by step, and the INVITE's is 0.
    index: u32,
    /// Step and CSeq of our last INVITE.
    invited: (u32, u32),
    moves: bool,
    patience_ms: u32,
}

/// What a scenario's texts say of its speaker.
pub(super) struct Face<'a> {
    pub(super) transport: &'a str,
    pub(super) own: &'a str,
    pub(super) domain: &'a str,
}

/// How long a message is waited for; a patient scenario waits out the shortest session of RFC 4028, 90 s.
const PATIENCE_MS: u32 = 20_000;
const LONG_PATIENCE_MS: u32 = 100_000;
const SDP: &str = "v=0\no=user 53655765 2353687637 IN IP4 [local_ip]\ns=-\nc=IN IP4 [local_ip]\nt=0 0\nm=audio 6000 RTP/AVP 0 101\na=rtpmap:0 PCMU/8000\na=rtpmap:101 telephone-event/8000\n";
const TYPED: &str = "Content-Type: application/sdp\nContent-Length: [len]\n";
const VIA: &str = "Via: SIP/2.0/[transport] [own];branch=[branch]\n";

impl Script {
    pub(super) fn caller(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            steps: String::new(),
            cseq: 1,
            caller: true,
            index: 0,
            invited: (0, 1),
            moves: false,
            patience_ms: PATIENCE_MS,
        }
    }

    pub(super) fn phone(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            steps: String::new(),
            cseq: 1,
            caller: false,
            index: 0,
            invited: (0, 1),
            moves: false,
            patience_ms: PATIENCE_MS,
        }
    }

    pub(super) fn xml(&self, face: &Face<'_>) -> String {
        let steps = self
            .steps
            .replace("[transport]", face.transport)
            .replace("[own]", face.own)
            .replace("[domain]", face.domain)
            .replace("[patience]", &self.patience_ms.to_string());
        format!("<?xml version=\"1.0\" encoding=\"ISO-8859-1\" ?>\n<scenario name=\"{}\">\n{steps}</scenario>\n", self.name)
    }

    pub(super) const fn patient(mut self) -> Self {
        self.patience_ms = LONG_PATIENCE_MS;
        self
    }

    /// Whether it changes where it sends to.
    pub(super) const fn moves(&self) -> bool {
        self.moves
    }

    /// Whether it is the scenario of this name.
    pub(super) fn is(&self, name: &str) -> bool {
        self.name == name
    }

    /// From here on requests go to another address.
    pub(super) fn move_to(mut self, to: std::net::SocketAddr, protocol: &str) -> Self {
        self.moves = true;
        let (host, port) = (to.ip(), to.port());
        self.raw(&format!("<nop><action><setdest host=\"{host}\" port=\"{port}\" protocol=\"{protocol}\"/></action></nop>"))
    }

    /// Any step in SIPp's own language.
    pub(super) fn raw(mut self, step: &str) -> Self {
        self.index += 1;
        self.steps.push_str(step);
        self.steps.push('\n');
        self
    }

    fn invited(mut self) -> Self {
        self.invited = (self.index, self.cseq);
        self
    }

    /// Steps back to our last INVITE, as SIPp counts branches.
    const fn back(&self) -> u32 {
        self.index - self.invited.0
    }

    fn send(self, retransmit: bool, message: &str) -> Self {
        let attribute = if retransmit { " retrans=\"500\"" } else { "" };
        self.raw(&format!("<send{attribute}><![CDATA[\n{message}\n]]></send>"))
    }

    fn identity(&self) -> String {
        if self.caller {
            "From: \"Sipp\" <sip:5551000@[own]>;tag=[pid]c[call_number]\nTo: <sip:[service]@[domain]>[peer_tag_param]\nCall-ID: [call_id]\n"
                .to_owned()
        } else {
            // The phone speaks in the dialog the INVITE made: From and To change sides.
            "From: [$us]\nTo: [$them]\nCall-ID: [call_id]\n".to_owned()
        }
    }

    fn request(&self, method: &str, cseq: u32, headers: &str, body: &str) -> String {
        let uri = if self.caller { "[next_url]" } else { "[$target]" };
        let tail = if body.is_empty() { "Content-Length: 0\n".to_owned() } else { format!("{TYPED}\n{body}") };
        format!(
            "{method} {uri} SIP/2.0\n{VIA}[routes]\n{}CSeq: {cseq} {method}\nContact: <sip:sipp@[own];transport=[transport]>\nMax-Forwards: 70\n{headers}{tail}",
            self.identity()
        )
    }

    /// The call's INVITE with an offer.
    pub(super) fn invite(self) -> Self {
        self.invite_with("", true)
    }

    /// The call's INVITE with further header lines (each ending in `\n`), with or without an offer.
    pub(super) fn invite_with(self, headers: &str, offer: bool) -> Self {
        let tail = if offer { format!("{TYPED}\n{SDP}") } else { "Content-Length: 0\n".to_owned() };
        let cseq = self.cseq;
        let forwards = if headers.contains("Max-Forwards") { "" } else { "Max-Forwards: 70\n" };
        let message = format!(
            "INVITE sip:[service]@[domain] SIP/2.0\n{VIA}From: \"Sipp\" <sip:5551000@[own]>;tag=[pid]c[call_number]\nTo: <sip:[service]@[domain]>\nCall-ID: [call_id]\nCSeq: {cseq} INVITE\nContact: <sip:sipp@[own];transport=[transport]>\n{forwards}{headers}{tail}"
        );
        self.invited().send(true, &message)
    }

    /// The INVITE once more, with credentials.
    pub(super) fn invite_again(mut self, user: &str, password: &str) -> Self {
        self.cseq += 1;
        self.invite_with(&format!("[authentication username={user} password={password}]\n"), true)
    }

    pub(super) fn ack(self) -> Self {
        let message = self.request("ACK", self.invited.1, "", "");
        self.send(false, &message)
    }

    /// The ACK that carries the answer to a late offer.
    pub(super) fn ack_with_answer(self) -> Self {
        let message = self.request("ACK", self.invited.1, "", SDP);
        self.send(false, &message)
    }

    pub(super) fn cancel(self) -> Self {
        let message = format!(
            "CANCEL sip:[service]@[domain] SIP/2.0\nVia: SIP/2.0/[transport] [own];branch=[branch-{}]\nFrom: \"Sipp\" <sip:5551000@[own]>;tag=[pid]c[call_number]\nTo: <sip:[service]@[domain]>\nCall-ID: [call_id]\nCSeq: {} CANCEL\nMax-Forwards: 70\nContent-Length: 0\n",
            self.back(),
            self.invited.1
        );
        self.send(true, &message)
    }

    /// ACK of a refused INVITE, which belongs to the INVITE's transaction.
    pub(super) fn ack_refusal(self) -> Self {
        let branch_back = self.back();
        let message = format!(
            "ACK sip:[service]@[domain] SIP/2.0\nVia: SIP/2.0/[transport] [own];branch=[branch-{branch_back}]\nFrom: \"Sipp\" <sip:5551000@[own]>;tag=[pid]c[call_number]\nTo: <sip:[service]@[domain]>[peer_tag_param]\nCall-ID: [call_id]\nCSeq: {} ACK\nMax-Forwards: 70\nContent-Length: 0\n",
            self.invited.1
        );
        self.send(false, &message)
    }

    /// ACK of our last INVITE in the dialog, which was refused.
    pub(super) fn ack_in_transaction(self) -> Self {
        let message = self.request("ACK", self.invited.1, "", "").replace("[branch]", &format!("[branch-{}]", self.back()));
        self.send(false, &message)
    }

    pub(super) fn bye(self) -> Self {
        self.in_dialog("BYE", "", "")
    }

    /// A further request in the dialog.
    pub(super) fn in_dialog(mut self, method: &str, headers: &str, body: &str) -> Self {
        self.cseq += 1;
        let message = self.request(method, self.cseq, headers, body);
        if method == "INVITE" { self.invited() } else { self }.send(true, &message)
    }

    /// A re-INVITE that offers `direction` (`sendonly`, `sendrecv`, `inactive`).
    pub(super) fn reinvite(self, direction: &str) -> Self {
        self.in_dialog("INVITE", "", &format!("{SDP}a={direction}\n"))
    }

    /// An UPDATE (RFC 3311) that offers `direction`.
    pub(super) fn update(self, direction: &str) -> Self {
        self.in_dialog("UPDATE", "", &format!("{SDP}a={direction}\n"))
    }

    pub(super) fn expect(self, status: u16) -> Self {
        self.raw(&format!("<recv response=\"{status}\" rrs=\"true\" timeout=\"[patience]\"/>"))
    }

    /// A provisional response that may come here, any number of times the scenario can take.
    pub(super) fn may(self, status: u16) -> Self {
        self.raw(&format!("<recv response=\"{status}\" optional=\"true\" timeout=\"[patience]\"/>"))
    }

    /// A response whose text must match a regular expression.
    pub(super) fn expect_matching(self, status: u16, pattern: &str) -> Self {
        self.raw(&format!(
            "<recv response=\"{status}\" rrs=\"true\" timeout=\"[patience]\"><action><ereg regexp=\"{pattern}\" search_in=\"msg\" check_it=\"true\" assign_to=\"seen\"/></action></recv>\n<Reference variables=\"seen\"/>"
        ))
    }

    pub(super) fn receive(self, method: &str) -> Self {
        self.raw(&format!("<recv request=\"{method}\" timeout=\"[patience]\"/>"))
    }

    /// A request whose text must match a regular expression.
    pub(super) fn receive_matching(self, method: &str, pattern: &str) -> Self {
        self.raw(&format!(
            "<recv request=\"{method}\" timeout=\"[patience]\"><action><ereg regexp=\"{pattern}\" search_in=\"msg\" check_it=\"true\" assign_to=\"seen\"/></action></recv>\n<Reference variables=\"seen\"/>"
        ))
    }

    /// The INVITE of a call offered to this phone; remembers what its own requests in the dialog and [`Script::ok_to_kept`] need.
    pub(super) fn receive_invite(self) -> Self {
        self.raw(concat!(
            "<recv request=\"INVITE\" timeout=\"[patience]\"><action>",
            "<ereg regexp=\".*\" search_in=\"hdr\" header=\"Via:\" assign_to=\"via\"/>",
            "<ereg regexp=\".*\" search_in=\"hdr\" header=\"CSeq:\" assign_to=\"kept\"/>",
            "<ereg regexp=\"sip:[^&gt;]*\" search_in=\"hdr\" header=\"Contact:\" assign_to=\"target\"/>",
            "<ereg regexp=\".*\" search_in=\"hdr\" header=\"From:\" assign_to=\"them\"/>",
            "<ereg regexp=\".*\" search_in=\"hdr\" header=\"To:\" assign_to=\"to\"/>",
            "<assignstr assign_to=\"us\" value=\"[$to];tag=[pid]p[call_number]\"/>",
            "</action></recv>\n<Reference variables=\"target,them,to,us,via,kept\"/>"
        ))
    }

    /// Answers the last request; `headers` are further lines, each ending in `\n`.
    pub(super) fn respond(self, status: u16, reason: &str, headers: &str, sdp: bool) -> Self {
        let tail = if sdp { format!("{TYPED}\n{SDP}") } else { "Content-Length: 0\n".to_owned() };
        let retransmit = status >= 200 && sdp;
        let message = format!(
            "SIP/2.0 {status} {reason}\n[last_Via:]\n[last_Record-Route:]\n[last_From:]\n[last_To:];tag=[pid]p[call_number]\n[last_Call-ID:]\n[last_CSeq:]\nContact: <sip:[own];transport=[transport]>\n{headers}{tail}"
        );
        self.send(retransmit, &message)
    }

    /// Answers a request in the dialog, whose To already has our tag.
    pub(super) fn ok(self, sdp: bool) -> Self {
        let tail = if sdp { format!("{TYPED}\n{SDP}") } else { "Content-Length: 0\n".to_owned() };
        let message = format!(
            "SIP/2.0 200 OK\n[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\n[last_CSeq:]\nContact: <sip:[own];transport=[transport]>\n{tail}"
        );
        self.send(sdp, &message)
    }

    /// Accepts an UPDATE's offer. Nothing acknowledges that, so it is not repeated.
    pub(super) fn agree(self) -> Self {
        self.accept(&format!("{TYPED}\n{SDP}"))
    }

    /// Accepts a request in the dialog with further header lines.
    pub(super) fn ok_with(self, headers: &str) -> Self {
        self.accept(&format!("{headers}Content-Length: 0\n"))
    }

    fn accept(self, tail: &str) -> Self {
        let message = format!(
            "SIP/2.0 200 OK\n[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\n[last_CSeq:]\nContact: <sip:[own];transport=[transport]>\n{tail}"
        );
        self.send(false, &message)
    }

    /// A REGISTER of alice for `expires_s`, with credentials if there is a password.
    pub(super) fn register(self, cseq: u32, expires_s: u32, password: &str) -> Self {
        let credentials =
            if password.is_empty() { String::new() } else { format!("[authentication username=alice password={password}]\n") };
        let message = format!(
            "REGISTER sip:[domain] SIP/2.0\n{VIA}From: <sip:alice@[domain]>;tag=[pid]r\nTo: <sip:alice@[domain]>\nCall-ID: [call_id]\nCSeq: {cseq} REGISTER\nContact: <sip:alice@[own];transport=[transport]>\nExpires: {expires_s}\nMax-Forwards: 70\n{credentials}Content-Length: 0\n"
        );
        self.send(true, &message)
    }

    pub(super) fn expect_challenge(self, status: u16) -> Self {
        self.raw(&format!("<recv response=\"{status}\" auth=\"true\" timeout=\"[patience]\"/>"))
    }

    /// Refuses the last request of a dialog.
    pub(super) fn refuse(self, status: u16, reason: &str) -> Self {
        let message =
            format!("SIP/2.0 {status} {reason}\n[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\n[last_CSeq:]\nContent-Length: 0\n");
        self.send(false, &message)
    }

    /// Refuses an INVITE with further header lines.
    pub(super) fn refuse_with(self, status: u16, reason: &str, headers: &str) -> Self {
        let message = format!(
            "SIP/2.0 {status} {reason}\n[last_Via:]\n[last_From:]\n[last_To:];tag=[pid]p[call_number]\n[last_Call-ID:]\n[last_CSeq:]\n{headers}Content-Length: 0\n"
        );
        self.send(false, &message)
    }

    /// The phone's INVITE is cancelled.
    pub(super) fn cancelled(self) -> Self {
        let message = "SIP/2.0 487 Request Terminated\n[last_Via:]\n[last_From:]\n[last_To:];tag=[pid]p[call_number]\n[last_Call-ID:]\nCSeq: 1 INVITE\nContent-Length: 0\n";
        self.receive("CANCEL").ok(false).send(false, message).receive("ACK")
    }

    /// A provisional response that wants a PRACK (RFC 3262).
    pub(super) fn expect_reliable(self, status: u16) -> Self {
        self.raw(&format!(
            "<recv response=\"{status}\" rrs=\"true\" timeout=\"[patience]\"><action><ereg regexp=\"[0-9]+\" search_in=\"hdr\" header=\"RSeq:\" check_it=\"true\" assign_to=\"rseq\"/><ereg regexp=\"100rel\" search_in=\"hdr\" header=\"Require:\" check_it=\"true\" assign_to=\"seen\"/></action></recv>\n<Reference variables=\"rseq,seen\"/>"
        ))
    }

    /// The PRACK of the last reliable response, a `status`, and the answer to it. That response is sent again after half a
    /// second over any transport (RFC 3262 §3), so a slow machine may see it twice; over UDP SIPp knows a repeat by itself.
    pub(super) fn prack(self, status: u16) -> Self {
        self.in_dialog("PRACK", "RAck: [$rseq] 1 INVITE\n", "").may(status).expect(200)
    }

    /// A request in the dialog that is answered later, when others have come between.
    pub(super) fn receive_and_keep(self, method: &str) -> Self {
        let keep =
            |name: &str, variable: &str| format!("<ereg regexp=\".*\" search_in=\"hdr\" header=\"{name}:\" assign_to=\"{variable}\"/>");
        let (via, cseq) = (keep("Via", "via"), keep("CSeq", "kept"));
        self.raw(&format!(
            "<recv request=\"{method}\" timeout=\"[patience]\"><action>{via}{cseq}</action></recv>\n<Reference variables=\"via,kept\"/>"
        ))
    }

    /// Waits until the test says so ([`super::lab::Lab::tell`]).
    pub(super) fn told(self) -> Self {
        self.receive("INFO")
    }

    /// The answer to what was kept.
    pub(super) fn ok_to_kept(self) -> Self {
        let message = format!(
            "SIP/2.0 200 OK\nVia:[$via]\nFrom: [$them]\nTo: [$us]\nCall-ID: [call_id]\nCSeq:[$kept]\nContact: <sip:[own];transport=[transport]>\n{TYPED}\n{SDP}"
        );
        self.send(true, &message)
    }

    /// A request outside every dialog this side knows of.
    pub(super) fn outside(self, method: &str, to_tag: &str) -> Self {
        let message = format!(
            "{method} sip:[service]@[domain] SIP/2.0\n{VIA}From: <sip:a@[own]>;tag=[pid]x\nTo: <sip:[service]@[domain]>{to_tag}\nCall-ID: [call_id]\nCSeq: 7 {method}\nMax-Forwards: 70\nContent-Length: 0\n"
        );
        self.send(true, &message)
    }

    pub(super) fn pause_ms(mut self, ms: u32) -> Self {
        self.index += 1;
        let _ = writeln!(self.steps, "<pause milliseconds=\"{ms}\"/>");
        self
    }
}

/// A caller that queues, is answered, talks for `talk_ms` and hangs up.
pub(super) fn answered(name: &str, talk_ms: u32) -> Script {
    Script::caller(name).invite().may(100).may(182).may(180).expect(200).ack().pause_ms(talk_ms).bye().expect(200)
}

/// A phone that rings, answers and waits for the BYE.
pub(super) fn answers(name: &str) -> Script {
    Script::phone(name)
        .receive_invite()
        .respond(180, "Ringing", "", false)
        .respond(200, "OK", "", true)
        .receive("ACK")
        .receive("BYE")
        .ok(false)
}
