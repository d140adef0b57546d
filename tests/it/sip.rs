//! The SIP edge on real sockets, with the rest of its node played by a script: no cluster, no ports of its own.

#![allow(clippy::unwrap_used, reason = "what cannot be had fails the test")]

mod abuse;
mod assist;
mod calls;
mod control;
mod fake;
mod phones;
