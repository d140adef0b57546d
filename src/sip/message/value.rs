//! Parts of header values: lists, parameters, URIs. Tolerant: what cannot be read is absent, not an error.

/// Splits a comma-separated list outside quotes and angle brackets.
pub(super) fn split_list(text: &str) -> Vec<String> {
    let (mut quoted, mut depth, mut start) = (false, 0_usize, 0);
    let mut found = Vec::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '<' if !quoted => depth += 1,
            '>' if !quoted => depth = depth.saturating_sub(1),
            ',' if !quoted && depth == 0 => {
                found.push(text[start..at].trim().to_owned());
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(text[start..].trim().to_owned());
    found.retain(|item| !item.is_empty());
    found
}

/// Follows quoted strings and the escapes in them.
#[derive(Default)]
struct Quotes {
    quoted: bool,
    escaped: bool,
}

impl Quotes {
    /// Whether a quoted string goes on after this character.
    fn hold(&mut self, c: char) -> bool {
        let taken = self.escaped;
        self.escaped = self.quoted && !taken && c == '\\';
        self.quoted ^= c == '"' && !taken;
        self.quoted
    }
}

/// True if every quoted string ends (RFC 3261 §25.1).
pub(super) fn quotes_close(value: &str) -> bool {
    let mut quotes = Quotes::default();
    !value.chars().fold(false, |_, c| quotes.hold(c))
}

/// True if no element of a Via list and none of its parameters is empty. A single semicolon at the end is taken: it is
/// common and harms nobody.
pub(super) fn via_is_sound(value: &str) -> bool {
    value.split(',').all(|via| {
        let mut parts = via.trim().strip_suffix(';').unwrap_or(via.trim()).split(';');
        parts.all(|part| !part.trim().is_empty())
    })
}

/// Where the angle brackets of a header value are. A display name or a quoted parameter (`+sip.instance="<urn:…>"`) may
/// hold others, so it is the first pair outside quotes.
fn angles(value: &str) -> Option<(usize, usize)> {
    let mut quotes = Quotes::default();
    let open = value.char_indices().find_map(|(at, c)| (!quotes.hold(c) && c == '<').then_some(at))?;
    value[open..].find('>').map(|len| (open, open + len))
}

/// A parameter of a header value (after the angle brackets, if there are any), quotes removed.
pub fn param<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let tail = angles(value).map_or(value, |(_, end)| &value[end + 1..]);
    tail.split(';').skip(1).find_map(|part| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

/// The URI inside the angle brackets, or the value up to its parameters.
pub fn angle_uri(value: &str) -> &str {
    match angles(value) {
        Some((open, close)) => &value[open + 1..close],
        None => value.split(';').next().unwrap_or_default().trim(),
    }
}

/// The sent-by of a Via value: what stands between the transport and the parameters.
pub fn sent_by(via: &str) -> &str {
    let head = via.split(';').next().unwrap_or_default();
    let after = head.splitn(3, '/').nth(2).unwrap_or_default().trim_start();
    after.split_once(char::is_whitespace).map_or("", |(_, host)| host.trim())
}

/// True if a text can stand as a URI in a request line and in <>: a scheme, and nothing that would end it early.
pub fn is_uri(text: &str) -> bool {
    text.contains(':') && !text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '"'))
}

/// A URI as it may stand in a request line: header fields after a question mark are for whoever dials it (§19.1.5), and
/// what they ask for is not done.
pub fn request_uri(uri: &str) -> &str {
    let host = uri.rfind('@').map_or(0, |at| at + 1);
    uri[host..].find('?').map_or(uri, |len| &uri[..host + len])
}

/// User part of a SIP URI; empty if it has none.
pub fn user_of(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    rest.rsplit_once('@').map_or("", |(user, _)| user.split([':', ';']).next().unwrap_or_default())
}

/// Host and port of a SIP URI or a sent-by, IPv6 brackets removed.
pub fn host_port(uri: &str) -> (String, Option<u16>) {
    let rest = uri.strip_prefix("sip:").or_else(|| uri.strip_prefix("sips:")).unwrap_or(uri);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let rest = rest.split([';', '?', '>']).next().unwrap_or_default();
    if let Some((host, tail)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host.to_owned(), tail.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match rest.rsplit_once(':') {
        Some((host, port)) => (host.to_owned(), port.parse().ok()),
        None => (rest.to_owned(), None),
    }
}

/// A From or To value without its tag.
pub fn without_tag(value: &str) -> String {
    let end = angles(value).map_or(0, |(_, close)| close + 1);
    let (head, tail) = value.split_at(end);
    let kept: Vec<_> = tail.split(';').filter(|part| !part.trim_start().to_ascii_lowercase().starts_with("tag=")).collect();
    format!("{head}{}", kept.join(";"))
}
