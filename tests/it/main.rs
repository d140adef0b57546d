//! The one integration-test binary of the product. Each module is an area; each test a behaviour.

mod api;
mod cli;
mod drills;
mod harness;
mod members;
mod rescue;
mod serve;
mod sip;
mod sipp;
mod tidy;
