//! Figures with their uncertainty and a verdict, and the sets they are taken on. It gates a version; it trains nothing.
//!
//! Which half of CLINC150's validation data thresholds came from is fixed here and in `models/train/train.py`: rows at even places
//! are for calibration, rows at odd places were never looked at, and are what is reported.

mod measure;
mod sets;
mod wilson;

pub use measure::{Bound, Figure, run};
pub use sets::{Set, SetError};
pub use wilson::interval;
