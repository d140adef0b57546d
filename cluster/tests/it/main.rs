//! The substrate alone, under a register machine: real nodes, real QUIC, real disks, no calls.

mod failures;
mod members;
mod poison;
mod recovery;
mod register;
mod three_nodes;
