//! Real SIP against real nodes: callers and phones are SIPp processes, the cluster is `tandem dev`.
//!
//! Each behaviour is written once, step by step, and runs over UDP, TCP and TLS. Without `sipp` the tests say so in one
//! line and pass.

mod calls;
mod dialogs;
mod guards;
mod lab;
mod offers;
mod process;
mod registrar;
mod relay;
mod script;
mod timers;
mod transfers;

/// A test per transport out of each behaviour, a function over its laboratory: `behaviour::udp`, `::tcp` and `::tls`.
macro_rules! on_every_transport {
    ($($behaviour:ident),+ $(,)?) => { $(
        mod $behaviour {
            use crate::sipp::lab::{Transport, on};

            #[test]
            fn udp() {
                on(Transport::Udp, super::$behaviour);
            }

            #[test]
            fn tcp() {
                on(Transport::Tcp, super::$behaviour);
            }

            #[test]
            fn tls() {
                on(Transport::Tls, super::$behaviour);
            }
        }
    )+ };
}
use on_every_transport;
