//! Tenant files for the labs: one queue, many agents behind one SIPp process.

use std::fmt::Write as _;

pub const TENANT: &str = "bench";
pub const QUEUE: &str = "support";
/// A route to the same queue with a higher priority.
pub const URGENT: &str = "urgent";

/// `agents` agents whose phones share one UDP port.
pub fn with_agents(agents: u32, phone_port: u16) -> String {
    let mut toml = format!(
        "[tenant]\nid = \"{TENANT}\"\n[[queue]]\nid = \"{QUEUE}\"\nstrategy = \"longest-idle\"\nservice_level = {{ answer_within_s = 20, target_percent = 80 }}\noffer_timeout_s = 15\nmax_wait_s = 600\nwrap_up_s = 0\n[[route]]\nto = \"{QUEUE}\"\nqueue = \"{QUEUE}\"\n[[route]]\nto = \"{URGENT}\"\nqueue = \"{QUEUE}\"\npriority = 1\n[[trunk]]\nid = \"lab\"\nsources = [\"127.0.0.0/8\"]\n"
    );
    for n in 1..=agents {
        let _ = writeln!(
            toml,
            "[[agent]]\nid = \"a{n}\"\ncontact = \"sip:a{n}@127.0.0.1:{phone_port}\"\nskills = {{ {QUEUE} = 5 }}\nstate = \"available\""
        );
    }
    toml
}

/// As [`with_agents`], where nobody waits too long.
pub fn waiting_for_ever(agents: u32) -> String {
    with_agents(agents, 6001).replace("max_wait_s = 600", "max_wait_s = 86400")
}
