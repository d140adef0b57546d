//! The running audit: every invariant of the routing state, looked at again and again on live replicas.
//!
//! It only counts and says what it finds; a broken invariant that `apply` itself touches stops the replica there.

use std::sync::Arc;

use tandem_cluster::offload;

use super::{
    limits::{AUDIT_CALLS_MAX, AUDIT_EVERY},
    shared::Shared,
};
use crate::core::{domain::Domain, invariant};

/// Looks at every replica of this node, for ever.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(AUDIT_EVERY).await;
        for replica in shared.replicas.all() {
            let group = replica.group;
            let look = move || {
                let state = replica.state.read();
                // The cost is linear and holds up `apply`: what a busy partition would feel is left to tests.
                let calls: usize = state.domains().values().map(|domain: &Domain| domain.calls().len()).sum();
                if calls <= AUDIT_CALLS_MAX { invariant::violations(&state) } else { Vec::new() }
            };
            for violation in offload(shared.runtime.clone(), look).await.unwrap_or_default() {
                metrics::counter!("tandem_invariant_violations_total", "invariant" => violation.id).increment(1);
                tracing::error!(group, %violation, "an invariant of the routing state does not hold");
            }
        }
    }
}
