//! The session description in a body: alone, or as a part of a multipart one (RFC 5621). What it says is not read here.

use bytes::Bytes;

use super::{Message, Name};

/// The body holds no session description, though there is a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no session description in the body")]
pub struct NoSdp;

/// The session description of a message; `None` without a body.
///
/// # Errors
/// [`NoSdp`] for a body of another type or encoding, which deserves 415.
pub fn sdp_of(message: &Message) -> Result<Option<Bytes>, NoSdp> {
    if message.body.is_empty() {
        return Ok(None);
    }
    let encoding = message.text(Name::ContentEncoding);
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity") {
        return Err(NoSdp);
    }
    let kind = message.text(Name::ContentType);
    let media = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media.as_str() {
        // A body without a type is what it must be; some phones leave the type out.
        "" | "application/sdp" => Ok(Some(message.body.clone())),
        "multipart/mixed" | "multipart/alternative" | "multipart/related" => {
            let boundary = super::param(&kind, "boundary").filter(|text| !text.is_empty()).ok_or(NoSdp)?;
            part(&message.body, boundary).map(Some).ok_or(NoSdp)
        }
        _ => Err(NoSdp),
    }
}

/// The first part whose type is a session description.
fn part(body: &Bytes, boundary: &str) -> Option<Bytes> {
    let mark = format!("--{boundary}");
    let finder = memchr::memmem::Finder::new(mark.as_bytes());
    let marks: Vec<_> = finder.find_iter(body).collect();
    marks.windows(2).find_map(|pair| {
        let (from, to) = (pair[0] + mark.len(), pair[1]);
        let head_end = memchr::memmem::find(&body[from..to], b"\r\n\r\n")? + from;
        let head = String::from_utf8_lossy(&body[from..head_end]).to_ascii_lowercase();
        let sdp = head.lines().any(|line| {
            line.split_once(':').is_some_and(|(name, value)| name.trim() == "content-type" && value.trim().starts_with("application/sdp"))
        });
        let content = body.slice(head_end + 4..to);
        sdp.then(|| content.slice(..content.strip_suffix(b"\r\n").map_or(content.len(), <[u8]>::len)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::parse;

    fn message(kind: &str, body: &str) -> Message {
        let text = format!(
            "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:b@y>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n{kind}\r\n{body}"
        );
        parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_description_is_found_alone_or_among_parts() {
        assert_eq!(sdp_of(&message("", "")), Ok(None));
        assert_eq!(sdp_of(&message("Content-Type: application/sdp\r\n", "v=0\r\n")).unwrap().as_deref(), Some(&b"v=0\r\n"[..]));
        let parts =
            "--b1\r\nContent-Type: application/pidf+xml\r\n\r\n<x/>\r\n--b1\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n--b1--\r\n";
        let found = sdp_of(&message("Content-Type: multipart/mixed;boundary=\"b1\"\r\n", parts)).unwrap();
        assert_eq!(found.as_deref(), Some(&b"v=0\r\n"[..]));
        assert_eq!(sdp_of(&message("Content-Type: text/plain\r\n", "hi")), Err(NoSdp));
        assert_eq!(sdp_of(&message("Content-Type: multipart/mixed\r\n", "hi")), Err(NoSdp));
    }
}
