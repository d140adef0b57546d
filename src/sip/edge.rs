//! The SIP edge of a node.

mod backend;

pub use backend::Backend;
