//! What is looked at from outside while a simulation runs, whatever is applied: who is taken for the leader, whether orders reach
//! their edges, whether timers fire. What must happen in time is asked only while nothing stands in its way.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tandem::core::id::{Edge, EffectId};
use tandem_cluster::NodeId;
use tokio::time::{Instant, sleep};

use super::{
    GROUP,
    judge::{Judge, Told},
    laws::Laws,
    stage::Stage,
};

const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Every so many looks also what takes longer to look at.
const LONG_LOOK: u32 = 20;
/// An order that could not be brought is tried again after two seconds at most; then it must have got there.
const BROUGHT_WITHIN: Duration = Duration::from_millis(3_500);
/// A timer that was not fired is tried again after half a second.
const FIRED_WITHIN: Duration = Duration::from_millis(2_000);

pub(super) struct Watch {
    laws: Laws,
    judge: Judge,
    stage: Arc<Stage>,
    /// Whom all nodes take for the leader of the partition, and since when all of them run and do.
    leader: Option<NodeId>,
    agreed: Instant,
    /// Orders under way, and since when.
    under_way: BTreeMap<EffectId, (Edge, Instant)>,
}

impl Watch {
    pub(super) fn new(laws: Laws, judge: Judge, stage: Arc<Stage>) -> Self {
        Self { laws, judge, stage, leader: None, agreed: Instant::now(), under_way: BTreeMap::new() }
    }

    /// Looks until it is dropped.
    pub(super) async fn run(mut self) {
        for look in 0_u32.. {
            self.leaders();
            if look.is_multiple_of(LONG_LOOK) {
                self.orders();
                self.timers();
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn leaders(&mut self) {
        let all = self.stage.all();
        let mut named = Vec::new();
        for (seen_by, running) in &all {
            for (group, term, leader) in running.handle.cluster().leaders() {
                if let Some(leader) = leader {
                    self.judge.leads((*seen_by, Told::Replica), group, term, leader);
                }
                if group == GROUP {
                    named.push((leader, term));
                }
            }
        }
        let agree = named.len() == super::stage::NODES.len() && named.windows(2).all(|two| two[0] == two[1]);
        let leader = named.first().and_then(|(leader, _)| *leader).filter(|_| agree);
        if leader.is_none() || leader != self.leader {
            (self.leader, self.agreed) = (leader, Instant::now());
        }
    }

    /// For how long nothing has been in the way of anything.
    fn undisturbed(&self) -> Duration {
        if self.leader.is_some() { self.laws.calm().min(self.agreed.elapsed()) } else { Duration::ZERO }
    }

    fn orders(&mut self) {
        let standing: BTreeMap<_, _> = self.judge.not_brought(GROUP).into_iter().collect();
        self.under_way.retain(|id, _| standing.contains_key(id));
        for (id, edge) in standing {
            self.under_way.entry(id).or_insert_with(|| (edge, Instant::now()));
        }
        let undisturbed = self.undisturbed();
        for (id, (edge, since)) in &mut self.under_way {
            let alive = self.stage.running(edge.node.0).is_some_and(|running| running.handle.edge() == *edge);
            if alive && undisturbed.min(since.elapsed()) >= BROUGHT_WITHIN {
                self.judge.violated(format!("E2: {id:?} stands in the outbox and was not brought to {edge:?} for {:?}", since.elapsed()));
                // Said once.
                *since = Instant::now() + Duration::from_secs(3_600);
            }
        }
    }

    fn timers(&self) {
        let (overdue, what) = self.judge.overdue(GROUP);
        if self.undisturbed().min(overdue) >= FIRED_WITHIN {
            self.judge.violated(format!("T1: {what} is overdue by {overdue:?}"));
        }
    }
}
