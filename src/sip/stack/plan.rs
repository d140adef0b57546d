//! Plans of the media of calls: what is to be is compared with what was carried out, and the difference is closed.
//!
//! Whom parties hear by default, without a plan, is in `carry`.

use std::{collections::BTreeMap, sync::Arc};

use super::{Stack, carry::music};
use crate::core::{
    effect::Order,
    id::{CallId, EffectId, LegId},
    matrix::{Hears, Plan, Taping},
};

/// The last plan of a call, and how much of it is so.
pub(super) struct Planned {
    order: EffectId,
    plan: Arc<Plan>,
    /// What each leg was last made to hear under a plan.
    carried: BTreeMap<u16, Hears>,
}

impl Stack {
    /// Takes a plan of a call's media. A repeated or an older one changes nothing, nor does one of a call that is not here.
    pub(super) fn plan(&mut self, order: &Order, plan: &Arc<Plan>) {
        let call = order.leg.call;
        if !self.legs.contains_key(&LegId::caller(call)) || self.plans.get(&call).is_some_and(|known| order.id <= known.order) {
            return;
        }
        let carried = self.plans.remove(&call).map(|known| known.carried).unwrap_or_default();
        self.plans.insert(call, Planned { order: order.id, plan: Arc::clone(plan), carried });
        self.carry_out(call);
    }

    /// A call that talked waits again, and every plan that was made for it until now is void.
    pub(super) fn no_plan(&mut self, caller: LegId) {
        let Some(order) = self.legs.get(&caller).and_then(|leg| leg.last_order) else { return };
        let plan = Plan { version: 0, legs: BTreeMap::new(), taping: Taping::Off, taped: Vec::new() };
        self.plans.insert(caller.call, Planned { order, plan: Arc::new(plan), carried: BTreeMap::new() });
    }

    /// The media of a leg was made anew and knows nothing of a plan.
    pub(super) fn plan_again(&mut self, leg: LegId) {
        // Whoever else was connected with it by default is to hear what the plan says.
        if let Some(planned) = self.plans.get_mut(&leg.call) {
            planned.carried.clear();
            self.carry_out(leg.call);
        }
    }

    fn carry_out(&mut self, call: CallId) {
        let Some(Planned { plan, carried, .. }) = self.plans.get_mut(&call) else { return };
        carried.retain(|n, _| plan.legs.contains_key(n));
        for (n, hears) in &plan.legs {
            let leg = LegId { call, n: *n };
            if carried.get(n) == Some(hears) || !self.legs.contains_key(&leg) {
                continue;
            }
            match hears {
                Hears::Legs(sources) => {
                    let sources: Vec<_> = sources.iter().map(|n| LegId { call, n: *n }).collect();
                    self.options.media.stop(leg);
                    self.options.media.hear(leg, &sources);
                }
                Hears::Music(name) => self.options.media.play(leg, music(name.as_deref())),
            }
            carried.insert(*n, hears.clone());
        }
    }

    /// A leg is gone from here; with the caller's, the call's plan.
    pub(super) fn unplan(&mut self, leg: LegId) {
        if leg.n == 0 {
            self.plans.remove(&leg.call);
        } else if let Some(planned) = self.plans.get_mut(&leg.call) {
            planned.carried.remove(&leg.n);
        }
    }
}
