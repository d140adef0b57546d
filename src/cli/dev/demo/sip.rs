//! As much SIP as a synthetic phone on loopback needs: taking a message apart and copying fields into the next one.

/// A message, its fields in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) first: String,
    fields: Vec<(String, String)>,
}

/// Short forms of the fields a phone looks at (RFC 3261 §7.3.3).
const SHORT: [(&str, &str); 6] = [("v", "via"), ("f", "from"), ("t", "to"), ("i", "call-id"), ("m", "contact"), ("l", "content-length")];

/// The description both sides offer; nobody listens to the audio of the demo.
pub(super) const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0 8\r\n";

impl Message {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let head = text.split("\r\n\r\n").next()?;
        let mut lines = head.split("\r\n");
        let first = lines.next()?.to_owned();
        let fields = lines.filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            let name = name.trim().to_ascii_lowercase();
            let name = SHORT.iter().find(|(short, _)| *short == name).map_or(name, |(_, long)| (*long).to_owned());
            Some((name, value.trim().to_owned()))
        });
        Some(Self { first, fields: fields.collect() })
    }

    pub(super) fn get(&self, name: &str) -> &str {
        self.fields.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str())
    }

    /// The method of a request; empty for a response.
    pub(super) fn method(&self) -> &str {
        if self.status().is_some() { "" } else { self.first.split(' ').next().unwrap_or_default() }
    }

    pub(super) fn status(&self) -> Option<u16> {
        self.first.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The method that the CSeq names.
    pub(super) fn about(&self) -> &str {
        self.get("cseq").split_whitespace().nth(1).unwrap_or_default()
    }

    /// The URI of the Contact.
    pub(super) fn contact(&self) -> &str {
        let value = self.get("contact");
        value.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or(value, |(uri, _)| uri)
    }

    fn has_to_tag(&self) -> bool {
        self.get("to").contains(";tag=")
    }

    /// A response to this request; `tag` is ours, put into To unless there is one.
    pub(super) fn answer(&self, status: &str, tag: &str, contact: &str, body: &str) -> Vec<u8> {
        let mut out = format!("SIP/2.0 {status}\r\n");
        for (name, value) in
            self.fields.iter().filter(|(name, _)| matches!(name.as_str(), "via" | "record-route" | "from" | "call-id" | "cseq"))
        {
            out += &format!("{name}: {value}\r\n");
        }
        let tag = if self.has_to_tag() || tag.is_empty() { String::new() } else { format!(";tag={tag}") };
        out += &format!("to: {}{tag}\r\ncontact: <{contact}>\r\n", self.get("to"));
        finish(out, body)
    }
}

/// A request; `fields` are whole lines without their ends.
pub(super) fn request(method: &str, uri: &str, fields: &[String], body: &str) -> Vec<u8> {
    let head = fields.iter().fold(format!("{method} {uri} SIP/2.0\r\n"), |head, field| head + field + "\r\n");
    finish(head + "max-forwards: 70\r\n", body)
}

fn finish(mut head: String, body: &str) -> Vec<u8> {
    if !body.is_empty() {
        head += "content-type: application/sdp\r\n";
    }
    head += &format!("content-length: {}\r\n\r\n{body}", body.len());
    head.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_repeats_what_the_request_said() {
        let fields = ["Via: SIP/2.0/UDP a;branch=z9hG4bK1", "f: <sip:a@b>;tag=1", "To: <sip:c@d>", "Call-ID: x", "CSeq: 1 INVITE"];
        let invite = Message::parse(&request("INVITE", "sip:c@d", &fields.map(str::to_owned), SDP)).unwrap();
        let answer = Message::parse(&invite.answer("200 OK", "mine", "sip:c@e", "")).unwrap();
        assert_eq!((answer.status(), answer.about(), answer.contact()), (Some(200), "INVITE", "sip:c@e"));
        assert_eq!((answer.get("from"), answer.get("to")), ("<sip:a@b>;tag=1", "<sip:c@d>;tag=mine"));
        assert_eq!((invite.method(), invite.status()), ("INVITE", None));
    }
}
