//! The edge's view of every domain, kept current on every node: from the local replica, or asked of the leader.

use std::{collections::BTreeMap, sync::Arc};

use tokio::time::{Instant, sleep};

use super::{
    Directory, DomainView,
    limits::{DIRECTORY_POLL, HOUSEKEEPING},
    shared::Shared,
    wire::{Answer, Ask},
};
use crate::core::{id::DomainId, policy::Policy};

fn view(version: u64, policy: &Policy) -> DomainView {
    DomainView {
        version,
        trunks: policy.trunks.clone(),
        agents: policy.agents.iter().map(|(id, agent)| (id.clone(), agent.ha1.clone())).collect(),
        pass_headers: policy.pass_headers.clone(),
        calls_max: policy.calls_max,
    }
}

/// Looks at every domain's version now and then; a change is on this node's edge within a fifth of a second.
pub(super) async fn keep(shared: Arc<Shared>) {
    let mut asked = Instant::now();
    loop {
        let known = Arc::clone(&shared.directory.borrow());
        let mut domains = BTreeMap::new();
        let ask = asked.elapsed() >= DIRECTORY_POLL;
        for (name, group) in shared.cluster.domains() {
            let id = DomainId::new(&name);
            let old = known.domains.get(&id);
            let fresh = match shared.partitions.get(&group) {
                Some(partition) => {
                    let state = partition.state.read();
                    let domain = state.domains().get(&id).filter(|domain| old.is_none_or(|old| old.version != domain.version()));
                    domain.map(|domain| view(domain.version(), domain.policy()))
                }
                None if ask => fetch(&shared, group, &id, old.map_or(0, |old| old.version)).await,
                None => None,
            };
            if let Some(view) = fresh.or_else(|| old.cloned()) {
                domains.insert(id, view);
            }
        }
        if ask {
            asked = Instant::now();
        }
        if domains != known.domains {
            shared.directory.send_replace(Arc::new(Directory { domains }));
        }
        sleep(HOUSEKEEPING).await;
    }
}

async fn fetch(shared: &Shared, group: u32, domain: &DomainId, known: u64) -> Option<DomainView> {
    let leader = shared.cluster.leader(group)?;
    match shared.ask(leader, &Ask::Policy { group, domain: domain.clone(), known }).await {
        Ok(Answer::Policy(Some((version, policy)))) => Some(view(version, &policy)),
        _ => None,
    }
}
