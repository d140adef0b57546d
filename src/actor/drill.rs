//! Drills: falls and stops of actors on purpose, to show that nothing depends on one and that they do the work.
//!
//! It owns what a drill may be and whom it hits. Who may ask for one is the API's business.

use std::sync::atomic::Ordering::Relaxed;

use ractor::ActorRef;
use tandem_cluster::GroupId;
use tokio::sync::oneshot;

use super::{Handle, Kind, partition, root};
use crate::core::id::{CallId, DomainId};

/// Something done to the actors of a node on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drill {
    /// Stops every partition, call, agent and queue actor in the middle of whatever it does.
    StopAll,
    /// Stops the actor of one call.
    StopCall(CallId),
    /// Hurts actors in the message they handle next.
    Hurt(Whom, Hurt),
}

/// Whose actors a drill hits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whom {
    pub kind: Kind,
    /// All of the kind, or one of them.
    pub every: bool,
    /// Those of one tenant only; of a partition, the one that the tenant lives in.
    pub tenant: Option<DomainId>,
}

/// What becomes of an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hurt {
    /// It panics.
    Crash,
    /// It takes no message for this long, milliseconds. A partition's actor is not held up: nobody would replace it.
    Hang { for_ms: u64 },
}

impl Drill {
    /// The only group concerned, if it is one.
    fn group(&self, handle: &Handle) -> Option<GroupId> {
        match self {
            Self::Hurt(Whom { tenant: Some(tenant), .. }, _) => handle.cluster().group_of(tenant.as_str()),
            Self::Hurt(..) | Self::StopAll | Self::StopCall(_) => None,
        }
    }
}

impl Handle {
    /// Switches the spawning of actors that stopped off, or on again for those that stopped meanwhile.
    pub fn set_respawn(&self, on: bool) {
        self.inner.shared.respawn.store(on, Relaxed);
        if on {
            // The root lives as long as the node, and a partition actor that is gone is the root's business.
            self.inner.root.cast(root::Message::Respawn).ok();
            for actor in self.leaders() {
                actor.cast(partition::Message::Respawn).ok();
            }
        }
    }

    pub fn respawns(&self) -> bool {
        self.inner.shared.respawns()
    }

    /// Does something to the actors of every group this node leads, and says how many it hit.
    pub async fn drill(&self, drill: Drill) -> usize {
        let leaders = self.leaders_of(drill.group(self));
        match &drill {
            Drill::StopAll => self.stop_all(),
            Drill::Hurt(Whom { every: false, .. }, _) => {
                for actor in leaders {
                    if let Some(hit) = ask(&actor, drill.clone()).await.filter(|hit| *hit > 0) {
                        return hit;
                    }
                }
                0
            }
            Drill::StopCall(_) | Drill::Hurt(..) => {
                let asked = leaders.iter().map(|actor| ask(actor, drill.clone()));
                futures::future::join_all(asked).await.into_iter().flatten().sum()
            }
        }
    }

    /// A partition's actor takes its calls, agents and queues with it.
    fn stop_all(&self) -> usize {
        let live = self.census().values().map(|census| census.live as usize).sum();
        for actor in self.inner.shared.replicas.all().iter().filter_map(|replica| replica.actor()) {
            actor.kill();
        }
        live
    }

    fn leaders(&self) -> Vec<ActorRef<partition::Message>> {
        self.leaders_of(None)
    }

    /// The actors of the groups this node leads, or of one of them.
    fn leaders_of(&self, group: Option<GroupId>) -> Vec<ActorRef<partition::Message>> {
        let all = self.inner.shared.replicas.all();
        all.iter().filter(|replica| group.is_none_or(|group| replica.group == group)).filter_map(|replica| replica.leader()).collect()
    }
}

/// `None` when the partition's actor is not there.
async fn ask(actor: &ActorRef<partition::Message>, drill: Drill) -> Option<usize> {
    let (tell, told) = oneshot::channel();
    actor.cast(partition::Message::Drill(drill, tell)).ok()?;
    // A partition actor that falls over the drill itself counts as one.
    Some(told.await.unwrap_or(1))
}
