//! The `tandem` program: node and client in one binary.

fn main() {}
