//! Where voters and leaderships should be, and bringing them there.
//!
//! Every node holds a replica of every group; up to [`VOTERS_MAX`](crate::limits::VOTERS_MAX) of them vote. Writing to
//! more disks buys nothing, so further nodes follow as learners. What should be is decided in [`plan`], by pure
//! functions; `steward` runs on every node and acts for the groups that node leads.

mod plan;
mod steward;

pub(crate) use plan::{Member, founder};
pub(crate) use steward::watch;
