//! Metrics of the SIP edge: names and meanings. Labels are bounded; no address, number or id is ever one.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

pub const REQUESTS_TOTAL: &str = "tandem_sip_requests_total";
pub const RESPONSES_TOTAL: &str = "tandem_sip_responses_total";
pub const ADMISSION_REFUSED_TOTAL: &str = "tandem_sip_admission_refused_total";
pub const MALFORMED_TOTAL: &str = "tandem_sip_malformed_total";
pub const STRANGERS_TOTAL: &str = "tandem_sip_strangers_total";
pub const DATAGRAMS_DROPPED_TOTAL: &str = "tandem_sip_datagrams_dropped_total";
pub const CONNECTIONS: &str = "tandem_sip_connections";
pub const CONNECTIONS_REFUSED_TOTAL: &str = "tandem_sip_connections_refused_total";
pub const CONNECTIONS_CUT_TOTAL: &str = "tandem_sip_connections_cut_total";
pub const ASSISTANTS: &str = "tandem_ai_conversations";
pub const UTTERANCES_LOST_TOTAL: &str = "tandem_assist_utterances_lost_total";
pub const CALLS: &str = "tandem_sip_calls";
pub const ARRIVALS_BOUND: &str = "tandem_sip_arrivals_bound";
pub const ARRIVAL_COMMIT_SECONDS: &str = "tandem_sip_arrival_commit_seconds";
pub const REGISTRATIONS: &str = "tandem_sip_registrations";
pub const REGISTERS_TOTAL: &str = "tandem_sip_registers_total";
pub const TUNNELLED_TOTAL: &str = "tandem_sip_tunnelled_total";
pub const WITHHELD_TOTAL: &str = "tandem_sip_withheld_total";
pub const ADOPTED_TOTAL: &str = "tandem_sip_adopted_total";
/// From reading the BYE that frees an agent to having written the INVITE of a call that was already waiting.
pub const AGENT_FREE_TO_OFFER_SECONDS: &str = "tandem_agent_free_to_offer_seconds";

/// Describes them to the installed recorder.
pub fn describe() {
    describe_counter!(REQUESTS_TOTAL, "SIP requests read, by method");
    describe_counter!(RESPONSES_TOTAL, "SIP responses written, by class");
    describe_counter!(ADMISSION_REFUSED_TOTAL, "Calls refused with 503 before any state was kept, by reason");
    describe_counter!(MALFORMED_TOTAL, "Messages that could not be used, by kind");
    describe_counter!(STRANGERS_TOTAL, "Requests of sources that are no trunk and no account, by what became of them");
    describe_counter!(DATAGRAMS_DROPPED_TOTAL, "Datagrams dropped because a buffer was full, by direction");
    describe_gauge!(CONNECTIONS, "Open TCP and TLS connections");
    describe_counter!(CONNECTIONS_REFUSED_TOTAL, "Connections closed on arrival because there were too many");
    describe_counter!(CONNECTIONS_CUT_TOTAL, "Connections cut because the peer did not read");
    describe_gauge!(ASSISTANTS, "Conversations of AI agents on this node");
    describe_counter!(
        UTTERANCES_LOST_TOTAL,
        "Utterances that were not written down for an agent because too many waited or none could be committed"
    );
    describe_gauge!(CALLS, "Calls whose caller leg is on this node");
    describe_gauge!(ARRIVALS_BOUND, "Arrivals that may await their commit at once");
    describe_histogram!(ARRIVAL_COMMIT_SECONDS, Unit::Seconds, "INVITE admitted to its arrival committed");
    describe_gauge!(REGISTRATIONS, "Registered phones whose flow is on this node");
    describe_counter!(REGISTERS_TOTAL, "REGISTER requests by result");
    describe_counter!(TUNNELLED_TOTAL, "SIP messages to and from flows of other nodes, by direction");
    describe_counter!(WITHHELD_TOTAL, "Messages withheld because the node had no lease");
    describe_counter!(ADOPTED_TOTAL, "Calls whose caller leg this node took over from another");
    describe_histogram!(AGENT_FREE_TO_OFFER_SECONDS, Unit::Seconds, "BYE of an agent's call read to the next INVITE to it written");
}
