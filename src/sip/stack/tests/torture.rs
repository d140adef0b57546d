//! The torture messages of RFC 4475: the right status, or silence, and the stack goes on.
//!
//! The messages are not in this repository: `TANDEM_SHARED` names the folder that holds `data/sip-torture`.

use super::*;
use crate::sip::{
    framer::{self, Datagram},
    registrar::{Refusal, Wish},
};

/// What each message must get, and why: a status we send, `edge` if it is handed up as a good request, `none` for
/// silence. Sections are the RFC's.
const EXPECTED: [(&str, &str, &str); 49] = [
    ("badaspec", "edge", "3.1.2.14: spaces inside <> may be taken liberally"),
    ("badbranch", "edge", "3.2.1: a bare cookie is no branch; matched as RFC 2543 does"),
    ("baddate", "edge", "3.1.2.12: nobody here reads Date, so it is ignored"),
    ("baddn", "400", "3.1.2.15: may be refused; this copy also lacks the end of its header"),
    ("badinv01", "400", "3.1.2.1: empty elements and parameters in Via"),
    ("badvers", "505", "3.1.2.16: SIP/7.0"),
    ("bcast", "none", "3.3.10: a response to nobody's request"),
    ("bext01", "420", "3.3.5: requires extensions nobody has"),
    ("bigcode", "none", "3.1.2.19: no status, so no response; discarded"),
    ("clerr", "400", "3.1.2.2: Content-Length beyond the datagram"),
    ("cparam01", "edge", "3.3.12: an unknown parameter of a Contact is no fault"),
    ("cparam02", "edge", "3.3.13: nor is one of its URI"),
    ("dblreq", "edge", "3.1.1.8: the first request counts, what follows it is dropped"),
    ("esc01", "edge", "3.1.1.3: escapes in URIs and display names"),
    ("esc02", "501", "3.1.1.5: escapes mean nothing in a method, so it is an unknown one"),
    ("escnull", "edge", "3.1.1.4: escaped NUL in a user part"),
    ("escruri", "edge", "3.1.2.11: escaped header fields in the request-URI may be ignored"),
    ("insuf", "400", "3.3.1: Call-ID, From and To are missing"),
    ("intmeth", "501", "3.1.1.2: a method that is valid and unknown"),
    ("inv2543", "edge", "3.4.1: a request of RFC 2543 still works"),
    ("invut", "415", "3.3.6: a body of a type nobody reads"),
    ("longreq", "edge", "3.1.1.7: long values are no fault"),
    ("ltgtruri", "400", "3.1.2.7: the request-URI stands in <>"),
    ("lwsdisp", "edge", "3.1.1.6: no space between display name and <"),
    ("lwsruri", "400", "3.1.2.8: spaces in the request-URI"),
    ("lwsstart", "400", "3.1.2.9: several spaces in the start line"),
    ("mcl01", "400", "3.3.9: two lengths that differ"),
    ("mismatch01", "400", "3.1.2.17: CSeq names another method"),
    ("mismatch02", "400", "3.1.2.18: the same for an unknown method"),
    ("mpart01", "405", "3.1.1.11: valid, but no MESSAGE outside a dialog here"),
    ("multi01", "400", "3.3.8: two of what there may be one of"),
    ("ncl", "400", "3.1.2.3: a negative length"),
    ("noreason", "none", "3.1.1.13: a valid response to nobody's request"),
    ("novelsc", "416", "3.3.3: a scheme that is registered and not SIP's"),
    ("quotbal", "400", "3.1.2.6: the display name's quotes never close"),
    ("regaut01", "edge", "3.3.7: unknown credentials; the registrar challenges"),
    ("regbadct", "edge", "3.1.2.13: a Contact that needs <>; the registrar refuses it"),
    ("regescrt", "edge", "3.3.14: escaped header fields in a Contact"),
    ("scalar02", "400", "3.1.2.4: CSeq beyond 32 bits"),
    ("scalarlg", "none", "3.1.2.5: a response with numbers too large; discarded"),
    ("sdp01", "406", "3.3.15: the caller reads nothing that it could be answered with"),
    ("semiuri", "edge", "3.1.1.9: a semicolon in a user part"),
    ("transports", "edge", "3.1.1.10: unknown transports in further Vias"),
    ("trws", "edge", "3.1.2.10: space after the version may be taken liberally"),
    ("unkscm", "416", "3.3.2: nobody knows the scheme"),
    ("unksm2", "edge", "3.3.4: unknown schemes in fields; the registrar finds no such user"),
    ("unreason", "none", "3.1.1.12: a valid response to nobody's request"),
    ("wsinv", "481", "3.1.1.1: valid, however odd; its To has a tag, and there is no such dialog"),
    ("zeromf", "483", "3.3.11: no hop is left"),
];

fn message(name: &str) -> Option<Vec<u8>> {
    let shared = std::env::var_os("TANDEM_SHARED").map_or_else(|| "../shared".into(), std::path::PathBuf::from);
    let folder = shared.join("data/sip-torture");
    if !folder.is_dir() {
        println!("skipped: no torture messages at {}", folder.display());
        return None;
    }
    Some(std::fs::read(folder.join(format!("{name}.dat"))).unwrap())
}

/// What comes of a datagram on its way through the framer and the stack.
fn verdict(bytes: Vec<u8>) -> String {
    let bytes = match framer::datagram(Bytes::from(bytes)) {
        Datagram::Message(bytes) => bytes,
        Datagram::Bad(_, bytes) if bytes.starts_with(b"SIP/") => return "none".to_owned(),
        Datagram::Bad(..) => return "400".to_owned(),
        Datagram::KeepAlive | Datagram::Garbage => return "none".to_owned(),
    };
    let mut bench = Bench::new();
    bench.stack.receive(bench.now, flow(CALLER), bytes);
    let mut verdict = "none".to_owned();
    while let Some(output) = bench.stack.poll() {
        match output {
            Output::Request { .. } => verdict = "edge".to_owned(),
            // The answer to a request that lacked fields lacks them too, so it is not parsed.
            Output::Transmit { bytes, .. } => verdict = String::from_utf8_lossy(&bytes[8..11]).into_owned(),
            other => panic!("{other:?}"),
        }
    }
    verdict
}

#[test]
fn every_torture_message_gets_its_verdict() {
    let mut wrong = Vec::new();
    for (name, expected, why) in EXPECTED {
        let Some(bytes) = message(name) else { return };
        let got = verdict(bytes);
        if got != expected {
            wrong.push(format!("{name}: {got}, not {expected} ({why})"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_registrar_judges_the_contacts_of_torture_messages() {
    let wish = |name: &str| message(name).map(|bytes| Wish::read(&parse(&bytes).unwrap()).err());
    let Some(bad) = wish("regbadct") else { return };
    assert_eq!(bad, Some(Refusal::BadContact), "3.1.2.13: a URI with a question mark must stand in <>");
    assert_eq!(wish("unksm2"), Some(Some(Refusal::BadContact)), "3.3.4: a phone is not reached at name:");
    for good in ["cparam01", "cparam02", "regescrt", "escnull", "dblreq", "regaut01"] {
        assert_eq!(wish(good), Some(None), "{good}");
    }
}
