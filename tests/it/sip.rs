//! The SIP edge on real sockets, with the rest of its node played by a script: no cluster, no ports of its own.

mod abuse;
mod calls;
mod fake;
mod phones;
