//! Figures and proofs under load, with real processes, real SIP and CPU seconds from the kernel.
//!
//! `main` is the command line. What starts a cluster, calls it and reads what it kept is here for the chaos tool as well;
//! it uses the product's public interfaces only.

pub mod calls;
pub mod capture;
pub mod core;
pub mod cpu;
pub mod disk;
pub mod drill;
pub mod error;
pub mod etcd;
pub mod failover;
pub mod history;
pub mod judge;
pub mod lab;
pub mod members;
pub mod memory;
pub mod offers;
pub mod outage;
pub mod overload;
pub mod phone;
pub mod prometheus;
pub mod raft;
pub mod relay;
pub mod report;
pub mod rolling;
pub mod settle;
pub mod sipp;
pub mod stage;
pub mod surge;
pub mod survival;
pub mod takeover;
pub mod tenant;
pub mod traffic;
pub mod triage;
pub mod witness;
