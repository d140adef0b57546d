//! Messages to bytes. A builder writes fields in the order they are given and Content-Length last.

use bytes::Bytes;

use super::{Message, Name, Start};

/// A message being written.
#[derive(Debug, Clone)]
pub struct Builder {
    text: Vec<u8>,
}

impl Builder {
    pub fn request(method: &str, uri: &str) -> Self {
        Self { text: format!("{method} {uri} SIP/2.0\r\n").into_bytes() }
    }

    /// A response with the fields every response copies from its request (RFC 3261 §8.2.6.2); `tag` goes to a To without.
    pub fn response(request: &Message, status: u16, reason: &str, tag: Option<&str>) -> Self {
        let mut builder = Self { text: format!("SIP/2.0 {status} {reason}\r\n").into_bytes() };
        let copied = |name| matches!(name, Name::Via | Name::From | Name::To | Name::CallId | Name::CSeq);
        let has_tag = request.to_tag().is_some();
        for field in &request.fields {
            let route = field.name == Name::RecordRoute && (101..300).contains(&status);
            if !copied(field.name) && !route {
                continue;
            }
            builder.text.extend_from_slice(field.name.text().as_bytes());
            builder.text.extend_from_slice(b": ");
            builder.text.extend_from_slice(&field.value);
            if let Some(tag) = tag.filter(|_| field.name == Name::To && !has_tag) {
                builder.text.extend_from_slice(format!(";tag={tag}").as_bytes());
            }
            builder.text.extend_from_slice(b"\r\n");
        }
        builder
    }

    #[must_use]
    pub fn field(self, name: Name, value: impl AsRef<str>) -> Self {
        self.named(name.text(), value)
    }

    /// A field by its spelling. Line breaks in the value would be a second field: they are taken out.
    #[must_use]
    pub fn named(mut self, name: &str, value: impl AsRef<str>) -> Self {
        let value = value.as_ref();
        let clean = if value.contains(['\r', '\n']) { std::borrow::Cow::Owned(value.replace(['\r', '\n'], " ")) } else { value.into() };
        self.text.extend_from_slice(format!("{name}: {clean}\r\n").as_bytes());
        self
    }

    /// Ends the message without a body.
    pub fn empty(self) -> Bytes {
        self.body("", b"")
    }

    pub fn body(mut self, content_type: &str, body: &[u8]) -> Bytes {
        if !body.is_empty() && !content_type.is_empty() {
            self = self.field(Name::ContentType, content_type);
        }
        self.text.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        self.text.extend_from_slice(body);
        self.text.into()
    }
}

impl Message {
    /// The message as bytes, Content-Length set from its body.
    pub fn to_bytes(&self) -> Bytes {
        let first = match &self.start {
            Start::Request { text, uri, .. } => format!("{text} {uri} SIP/2.0\r\n"),
            Start::Response { status, reason } => format!("SIP/2.0 {status} {reason}\r\n"),
        };
        let mut builder = Builder { text: first.into_bytes() };
        for field in self.fields.iter().filter(|field| field.name != Name::ContentLength) {
            let name = if field.name == Name::Other { &field.spelt[..] } else { field.name.text().as_bytes() };
            for part in [name, b": ", &field.value, b"\r\n"] {
                builder.text.extend_from_slice(part);
            }
        }
        builder.body("", &self.body)
    }
}
