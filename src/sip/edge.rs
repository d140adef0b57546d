//! The SIP edge of a node.

mod backend;
mod inbox;
pub mod metrics;

pub use backend::Backend;
