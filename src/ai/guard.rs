//! What keeps an assistant within its bounds: personal data taken out of texts, matters it leaves to people, and saying what it is.
//!
//! It owns the lists and the patterns. What follows from a finding is decided by `assistant.rs`.

mod disclosure;
mod mask;
mod numbers;
mod topics;
mod words;

pub use disclosure::{Disclosure, Jurisdiction, discloses};
pub use mask::{mask, mask_for_model};
pub use topics::{Topic, Topics};
