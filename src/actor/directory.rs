//! What the SIP edge must know of every domain, kept current from the local replicas' policies.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;

use super::machine::Replicas;
use crate::core::{
    State,
    id::{AgentId, DomainId, TrunkId},
    policy::{Ha1, Media, Trunk},
};

/// All domains, as the edge sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    pub domains: BTreeMap<DomainId, DomainView>,
}

/// The edge's part of a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DomainView {
    pub version: u64,
    pub trunks: BTreeMap<TrunkId, Trunk>,
    /// Digest credentials of agents whose phones register.
    pub agents: BTreeMap<AgentId, Option<Ha1>>,
    pub pass_headers: Vec<String>,
    pub calls_max: u32,
    pub media: Media,
}

/// Reads the policies again whenever one of them changed.
pub(super) async fn follow(replicas: Arc<Replicas>, publish: watch::Sender<Arc<Directory>>) {
    let mut changes = replicas.hub.policies.subscribe();
    loop {
        changes.borrow_and_update();
        let domains = replicas.all().iter().flat_map(|replica| views(&replica.state.read())).collect();
        let fresh = Arc::new(Directory { domains });
        publish.send_if_modified(|current| {
            let changed = *current != fresh;
            *current = fresh;
            changed
        });
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn views(state: &State) -> Vec<(DomainId, DomainView)> {
    let view = |domain: &crate::core::domain::Domain| {
        let policy = domain.policy();
        DomainView {
            version: domain.version(),
            trunks: policy.trunks.clone(),
            agents: policy.agents.iter().map(|(id, agent)| (id.clone(), agent.ha1.clone())).collect(),
            pass_headers: policy.pass_headers.clone(),
            calls_max: policy.calls_max,
            media: policy.media,
        }
    };
    state.domains().iter().map(|(id, domain)| (id.clone(), view(domain))).collect()
}
