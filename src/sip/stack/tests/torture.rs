//! The torture messages of RFC 4475: the right status, or silence, and the stack goes on.

use super::*;

/// What each message must get: a status we send, `edge` if it is handed up as a good request, `none` for silence.
const EXPECTED: [(&str, &str); 49] = [
    ("badaspec", "edge"),
    ("badbranch", "edge"),
    ("baddate", "edge"),
    ("baddn", "edge"),
    ("badinv01", "400"),
    ("badvers", "505"),
    ("bcast", "none"),
    ("bext01", "420"),
    ("bigcode", "none"),
    ("clerr", "400"),
    ("cparam01", "edge"),
    ("cparam02", "edge"),
    ("dblreq", "edge"),
    ("esc01", "edge"),
    ("esc02", "501"),
    ("escnull", "edge"),
    ("escruri", "edge"),
    ("insuf", "400"),
    ("intmeth", "501"),
    ("inv2543", "edge"),
    ("invut", "415"),
    ("longreq", "edge"),
    ("ltgtruri", "400"),
    ("lwsdisp", "edge"),
    ("lwsruri", "400"),
    ("lwsstart", "400"),
    ("mcl01", "400"),
    ("mismatch01", "400"),
    ("mismatch02", "400"),
    ("mpart01", "405"),
    ("multi01", "400"),
    ("ncl", "400"),
    ("noreason", "none"),
    ("novelsc", "416"),
    ("quotbal", "400"),
    ("regaut01", "edge"),
    ("regbadct", "edge"),
    ("regescrt", "edge"),
    ("scalar02", "400"),
    ("scalarlg", "none"),
    ("sdp01", "edge"),
    ("semiuri", "edge"),
    ("transports", "edge"),
    ("trws", "edge"),
    ("unkscm", "416"),
    ("unksm2", "edge"),
    ("unreason", "none"),
    ("wsinv", "edge"),
    ("zeromf", "483"),
];

fn files() -> Option<std::path::PathBuf> {
    let shared = std::env::var_os("TANDEM_SHARED").map_or_else(|| "../shared".into(), std::path::PathBuf::from);
    Some(shared.join("data/sip-torture")).filter(|dir| dir.is_dir())
}

fn verdict(bytes: Vec<u8>) -> String {
    let mut bench = Bench::new();
    bench.stack.receive(bench.now, flow(CALLER), Bytes::from(bytes));
    bench.drain();
    match (bench.sent.last(), bench.requests.is_empty()) {
        (_, false) => "edge".to_owned(),
        (Some((_, message)), true) => message.status().to_string(),
        (None, true) => "none".to_owned(),
    }
}

#[test]
fn every_torture_message_gets_its_verdict() {
    let Some(dir) = files() else {
        return eprintln!("skipped: no torture messages at $TANDEM_SHARED/data/sip-torture");
    };
    for (name, expected) in EXPECTED {
        let bytes = std::fs::read(dir.join(format!("{name}.dat"))).expect("the file is there");
        assert_eq!(verdict(bytes), expected, "{name}");
    }
}
