//! Experiments, faults, checkers and the simulator that SREs will run against a cluster.
//!
//! The package holds its place in the workspace; its first experiment comes with its own issue. The proofs that exist now
//! are in `cluster/tests`, `tests/it` and `bench`.
