//! Writes SIPp scenarios step by step, so that a behaviour reads as the list of messages it is.
//!
//! It owns the message texts; it does not run anything.

use std::fmt::Write as _;

/// A scenario under construction, for a caller (UAC) or an agent's phone (UAS).
pub struct Script {
    name: String,
    steps: String,
    /// CSeq of the next request we send.
    cseq: u32,
    caller: bool,
    /// Steps so far: SIPp numbers branches by step, and the INVITE's is 0.
    index: u32,
}

const SDP: &str = "v=0\no=user 53655765 2353687637 IN IP4 [local_ip]\ns=-\nc=IN IP4 [local_ip]\nt=0 0\nm=audio 6000 RTP/AVP 0 101\na=rtpmap:0 PCMU/8000\na=rtpmap:101 telephone-event/8000\n";
const TYPED: &str = "Content-Type: application/sdp\nContent-Length: [len]\n";
const VIA: &str = "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]\n";

impl Script {
    pub fn caller(name: &str) -> Self {
        Self { name: name.to_owned(), steps: String::new(), cseq: 1, caller: true, index: 0 }
    }

    pub fn phone(name: &str) -> Self {
        Self { name: name.to_owned(), steps: String::new(), cseq: 1, caller: false, index: 0 }
    }

    pub fn xml(&self) -> String {
        format!("<?xml version=\"1.0\" encoding=\"ISO-8859-1\" ?>\n<scenario name=\"{}\">\n{}</scenario>\n", self.name, self.steps)
    }

    /// Any step in SIPp's own language.
    pub fn raw(mut self, step: &str) -> Self {
        self.index += 1;
        self.steps.push_str(step);
        self.steps.push('\n');
        self
    }

    fn send(self, retransmit: bool, message: &str) -> Self {
        let attribute = if retransmit { " retrans=\"500\"" } else { "" };
        self.raw(&format!("<send{attribute}><![CDATA[\n{message}\n]]></send>"))
    }

    fn identity(&self) -> String {
        if self.caller {
            "From: \"Sipp\" <sip:5551000@[local_ip]:[local_port]>;tag=[pid]c[call_number]\nTo: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]\nCall-ID: [call_id]\n".to_owned()
        } else {
            // The phone speaks in the dialog the INVITE made: From and To change sides.
            "From: [$us]\nTo: [$them]\nCall-ID: [call_id]\n".to_owned()
        }
    }

    fn request(&self, method: &str, cseq: u32, headers: &str, body: &str) -> String {
        let uri = if self.caller { "[next_url]" } else { "[$target]" };
        let tail = if body.is_empty() { "Content-Length: 0\n".to_owned() } else { format!("{TYPED}\n{body}") };
        format!(
            "{method} {uri} SIP/2.0\n{VIA}[routes]\n{}CSeq: {cseq} {method}\nContact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>\nMax-Forwards: 70\n{headers}{tail}",
            self.identity()
        )
    }

    /// The call's INVITE with an offer.
    pub fn invite(self) -> Self {
        self.invite_with("", true)
    }

    /// The call's INVITE with further header lines (each ending in `\n`), with or without an offer.
    pub fn invite_with(self, headers: &str, offer: bool) -> Self {
        let tail = if offer { format!("{TYPED}\n{SDP}") } else { "Content-Length: 0\n".to_owned() };
        let forwards = if headers.contains("Max-Forwards") { "" } else { "Max-Forwards: 70\n" };
        let message = format!(
            "INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0\n{VIA}From: \"Sipp\" <sip:5551000@[local_ip]:[local_port]>;tag=[pid]c[call_number]\nTo: <sip:[service]@[remote_ip]:[remote_port]>\nCall-ID: [call_id]\nCSeq: 1 INVITE\nContact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>\n{forwards}{headers}{tail}"
        );
        self.send(true, &message)
    }

    /// Any request outside a dialog, whole.
    pub fn message(self, retransmit: bool, message: &str) -> Self {
        self.send(retransmit, message)
    }

    pub fn ack(self) -> Self {
        let cseq = self.cseq;
        let message = self.request("ACK", cseq, "", "");
        self.send(false, &message)
    }

    /// The ACK that carries the answer to a late offer.
    pub fn ack_with_answer(self) -> Self {
        let cseq = self.cseq;
        let message = self.request("ACK", cseq, "", SDP);
        self.send(false, &message)
    }

    pub fn cancel(self) -> Self {
        let message = format!(
            "CANCEL sip:[service]@[remote_ip]:[remote_port] SIP/2.0\nVia: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch-{}]\nFrom: \"Sipp\" <sip:5551000@[local_ip]:[local_port]>;tag=[pid]c[call_number]\nTo: <sip:[service]@[remote_ip]:[remote_port]>\nCall-ID: [call_id]\nCSeq: 1 CANCEL\nMax-Forwards: 70\nContent-Length: 0\n",
            self.index
        );
        self.send(true, &message)
    }

    /// ACK of a refused INVITE, which belongs to the INVITE's transaction.
    pub fn ack_refusal(self) -> Self {
        let branch_back = self.index;
        let message = format!(
            "ACK sip:[service]@[remote_ip]:[remote_port] SIP/2.0\nVia: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch-{branch_back}]\nFrom: \"Sipp\" <sip:5551000@[local_ip]:[local_port]>;tag=[pid]c[call_number]\nTo: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]\nCall-ID: [call_id]\nCSeq: 1 ACK\nMax-Forwards: 70\nContent-Length: 0\n"
        );
        self.send(false, &message)
    }

    /// ACK of a refused request in the dialog, two steps after it was sent.
    pub fn ack_in_transaction(self) -> Self {
        let message = self.request("ACK", self.cseq, "", "").replace("[branch]", "[branch-3]");
        self.send(false, &message)
    }

    pub fn bye(self) -> Self {
        self.in_dialog("BYE", "", "")
    }

    /// A further request in the dialog.
    pub fn in_dialog(mut self, method: &str, headers: &str, body: &str) -> Self {
        self.cseq += 1;
        let message = self.request(method, self.cseq, headers, body);
        self.send(true, &message)
    }

    /// A re-INVITE that offers `direction` (`sendonly`, `sendrecv`, `inactive`).
    pub fn reinvite(self, direction: &str) -> Self {
        self.in_dialog("INVITE", "", &format!("{SDP}a={direction}\n"))
    }

    pub fn expect(self, status: u16) -> Self {
        self.raw(&format!("<recv response=\"{status}\" rrs=\"true\" timeout=\"20000\"/>"))
    }

    /// A provisional response that may come here, any number of times the scenario can take.
    pub fn may(self, status: u16) -> Self {
        self.raw(&format!("<recv response=\"{status}\" optional=\"true\"/>"))
    }

    /// A response whose text must match a regular expression.
    pub fn expect_matching(self, status: u16, pattern: &str) -> Self {
        self.raw(&format!(
            "<recv response=\"{status}\" rrs=\"true\" timeout=\"20000\"><action><ereg regexp=\"{pattern}\" search_in=\"msg\" check_it=\"true\" assign_to=\"seen\"/></action></recv>\n<Reference variables=\"seen\"/>"
        ))
    }

    pub fn receive(self, method: &str) -> Self {
        self.raw(&format!("<recv request=\"{method}\" timeout=\"20000\"/>"))
    }

    /// A request whose text must match a regular expression.
    pub fn receive_matching(self, method: &str, pattern: &str) -> Self {
        self.raw(&format!(
            "<recv request=\"{method}\" timeout=\"20000\"><action><ereg regexp=\"{pattern}\" search_in=\"msg\" check_it=\"true\" assign_to=\"seen\"/></action></recv>\n<Reference variables=\"seen\"/>"
        ))
    }

    /// The INVITE of a call offered to this phone; remembers what its own requests in the dialog need.
    pub fn receive_invite(self) -> Self {
        self.raw(concat!(
            "<recv request=\"INVITE\"><action>",
            "<ereg regexp=\"sip:[^&gt;]*\" search_in=\"hdr\" header=\"Contact:\" assign_to=\"target\"/>",
            "<ereg regexp=\".*\" search_in=\"hdr\" header=\"From:\" assign_to=\"them\"/>",
            "<ereg regexp=\".*\" search_in=\"hdr\" header=\"To:\" assign_to=\"to\"/>",
            "<assignstr assign_to=\"us\" value=\"[$to];tag=[pid]p[call_number]\"/>",
            "</action></recv>\n<Reference variables=\"target,them,to,us\"/>"
        ))
    }

    /// Answers the last request; `headers` are further lines, each ending in `\n`.
    pub fn respond(self, status: u16, reason: &str, headers: &str, sdp: bool) -> Self {
        let tail = if sdp { format!("{TYPED}\n{SDP}") } else { "Content-Length: 0\n".to_owned() };
        let retransmit = status >= 200 && sdp;
        let message = format!(
            "SIP/2.0 {status} {reason}\n[last_Via:]\n[last_Record-Route:]\n[last_From:]\n[last_To:];tag=[pid]p[call_number]\n[last_Call-ID:]\n[last_CSeq:]\nContact: <sip:[local_ip]:[local_port];transport=[transport]>\n{headers}{tail}"
        );
        self.send(retransmit, &message)
    }

    /// Answers a request in the dialog, whose To already has our tag.
    pub fn ok(self, sdp: bool) -> Self {
        let tail = if sdp { format!("{TYPED}\n{SDP}") } else { "Content-Length: 0\n".to_owned() };
        let message = format!(
            "SIP/2.0 200 OK\n[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\n[last_CSeq:]\nContact: <sip:[local_ip]:[local_port];transport=[transport]>\n{tail}"
        );
        self.send(sdp, &message)
    }

    /// Refuses the last request of a dialog.
    pub fn refuse(self, status: u16, reason: &str) -> Self {
        let message =
            format!("SIP/2.0 {status} {reason}\n[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\n[last_CSeq:]\nContent-Length: 0\n");
        self.send(false, &message)
    }

    pub fn pause_ms(mut self, ms: u32) -> Self {
        self.index += 1;
        let _ = writeln!(self.steps, "<pause milliseconds=\"{ms}\"/>");
        self
    }
}

/// A caller that queues, is answered, talks for `talk_ms` and hangs up.
pub fn answered(name: &str, talk_ms: u32) -> Script {
    Script::caller(name).invite().may(100).may(182).may(180).expect(200).ack().pause_ms(talk_ms).bye().expect(200)
}

/// A phone that rings, answers and waits for the BYE.
pub fn answers(name: &str) -> Script {
    Script::phone(name)
        .receive_invite()
        .respond(180, "Ringing", "", false)
        .respond(200, "OK", "", true)
        .receive("ACK")
        .receive("BYE")
        .ok(false)
}
