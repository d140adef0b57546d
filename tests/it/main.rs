//! The one integration-test binary of the product. Each module is an area; each test a behaviour.

#![allow(clippy::unwrap_used, reason = "the whole crate is a test, its helpers too: a failure may stop it at once")]

mod api;
mod cli;
mod drills;
mod harness;
mod members;
mod mutations;
mod rescue;
mod serve;
mod sip;
mod sipp;
mod tidy;
