//! The topmost Via of a request: stamped with where it really came from, and the way back for its answers (RFC 3261
//! §18.2, RFC 3581).

use bytes::Bytes;

use super::{Flow, reliable};
use crate::sip::message::{Message, Name, host_port, param, sent_by};

/// Writes `received` and `rport` into the topmost Via, as the server side of every hop must.
pub(super) fn stamp(message: &mut Message, flow: &Flow) {
    let Some(via) = message.all(Name::Via).into_iter().next() else { return };
    let asks = param(&via, "rport").is_some_and(str::is_empty);
    let (host, _) = host_port(sent_by(&via));
    let same = host.parse() == Ok(flow.remote.ip());
    if same && !asks {
        return;
    }
    let kept: Vec<_> = via
        .split(';')
        .filter(|part| {
            let name = part.split('=').next().unwrap_or_default().trim();
            let ours = name.eq_ignore_ascii_case("received") || (asks && name.eq_ignore_ascii_case("rport"));
            !ours
        })
        .collect();
    let mut stamped = format!("{};received={}", kept.join(";"), flow.remote.ip());
    if asks {
        stamped.push_str(&format!(";rport={}", flow.remote.port()));
    }
    let Some(field) = message.fields.iter_mut().find(|field| field.name == Name::Via) else { return };
    // A list keeps its other values; one that is not UTF-8 is left alone, since it must go back byte for byte.
    if let Ok(text) = std::str::from_utf8(&field.value)
        && let Some(rest) = text.trim_start().strip_prefix(via.as_str())
    {
        field.value = Bytes::from(format!("{stamped}{rest}"));
    }
}

/// Where answers go: over the same connection; by UDP to the source, at the port the Via says unless `rport` asks for
/// the source port.
pub(super) fn way_back(message: &Message, flow: Flow) -> Flow {
    if reliable(flow.transport) || flow.via.is_some() {
        return flow;
    }
    let Some(via) = message.all(Name::Via).into_iter().next().filter(|via| param(via, "rport").is_none()) else { return flow };
    let (_, port) = host_port(sent_by(&via));
    Flow { remote: (flow.remote.ip(), port.unwrap_or(5060)).into(), ..flow }
}

/// True if the sender sits behind an address translator: alone in the Via, and not where it says it is.
pub(super) fn translated(message: &Message, flow: &Flow) -> bool {
    let vias = message.all(Name::Via);
    let [via] = vias.as_slice() else { return false };
    let (host, port) = host_port(sent_by(via));
    let Ok(ip) = host.parse::<std::net::IpAddr>() else { return param(via, "rport").is_some() };
    let moved = param(via, "rport").is_some() && port.unwrap_or(5060) != flow.remote.port();
    ip != flow.remote.ip() || moved
}
