//! The SIP edge: framing, transports, transactions and dialogs, registrar, B2BUA legs.
//!
//! `stack` is sans-IO: messages, orders and time go in; messages, reports and the next timeout come out. `edge` owns the
//! sockets and drives it. The edge decides nothing about routing; it performs orders and reports what it sees.

pub mod admission;
pub mod auth;
pub mod brain;
pub mod edge;
pub mod framer;
pub mod limits;
pub mod message;
pub mod registrar;
pub mod stack;
pub mod transport;
pub mod trunk;
pub mod tunnel;
