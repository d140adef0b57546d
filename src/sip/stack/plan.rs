//! Plans of the media of calls: what is to be is compared with what was carried out, and the difference is closed.
//!
//! Whom parties hear by default, without a plan, is in `carry`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Stack, carry::music};
use crate::{
    core::{
        aid::Hearing,
        effect::Order,
        id::{CallId, DomainId, EffectId, LegId},
        matrix::{Hears, Plan, Taping},
        tape::stem,
    },
    media::Recording,
    sip::limits::TAPES_MAX,
};

/// The last plan of a call, and how much of it is so.
pub(super) struct Planned {
    order: EffectId,
    plan: Arc<Plan>,
    /// What each leg was last made to hear under a plan.
    carried: BTreeMap<u16, Hears>,
    /// The part each leg is recorded in, and whether it is masked.
    taped: BTreeMap<u16, (u32, bool)>,
    /// Legs that are listened to under a plan.
    heard: BTreeSet<u16>,
}

impl Stack {
    /// Takes a plan of a call's media. A repeated or an older one changes nothing, nor does one of a call that is not here.
    pub(super) fn plan(&mut self, order: &Order, plan: &Arc<Plan>) {
        let call = order.leg.call;
        if !self.has_legs_of(call) || self.plans.get(&call).is_some_and(|known| order.id <= known.order) {
            return;
        }
        let known = self.plans.remove(&call);
        let (carried, taped, heard) = known.map(|known| (known.carried, known.taped, known.heard)).unwrap_or_default();
        self.plans.insert(call, Planned { order: order.id, plan: Arc::clone(plan), carried, taped, heard });
        // Whoever has a place in the plan is known to have answered.
        plan.legs.keys().for_each(|n| self.accepted(LegId { call, n: *n }));
        self.carry_out(call);
        self.tape(&order.domain, call);
        self.listen(call);
    }

    /// A call that talked waits again, and every plan that was made for it until now is void.
    pub(super) fn no_plan(&mut self, caller: LegId) {
        let leg = self.legs.get(&caller);
        let Some((order, domain)) = leg.and_then(|leg| Some((leg.last_order?, leg.domain.clone()))) else { return };
        let plan = Arc::new(Plan { version: 0, legs: BTreeMap::new(), taping: Taping::Off, taped: Vec::new(), hearing: None });
        let (taped, heard) = self.plans.remove(&caller.call).map(|known| (known.taped, known.heard)).unwrap_or_default();
        self.plans.insert(caller.call, Planned { order, plan, carried: BTreeMap::new(), taped, heard });
        self.tape(&domain, caller.call);
        self.listen(caller.call);
    }

    /// The media of a leg was made anew and knows nothing of a plan.
    pub(super) fn plan_again(&mut self, leg: LegId) {
        // Whoever else was connected with it by default is to hear what the plan says.
        if let Some(planned) = self.plans.get_mut(&leg.call) {
            planned.carried.clear();
            planned.taped.remove(&leg.n);
            planned.heard.remove(&leg.n);
            let domain = self.legs.get(&leg).map(|leg| leg.domain.clone());
            self.carry_out(leg.call);
            self.listen(leg.call);
            if let Some(domain) = domain {
                self.tape(&domain, leg.call);
            }
        }
    }

    /// Lets recordings be as the plan says.
    fn tape(&mut self, domain: &DomainId, call: CallId) {
        let Some(Planned { plan, taped, .. }) = self.plans.get_mut(&call) else { return };
        let media = &self.options.media;
        let wanted = |n: &u16| match plan.taping {
            Taping::On { part, masked } if plan.taped.contains(n) => Some((part, masked)),
            Taping::On { .. } | Taping::Off => None,
        };
        taped.retain(|n, _| {
            let goes_on = wanted(n).is_some();
            if !goes_on {
                media.record(LegId { call, n: *n }, Recording::Stop);
            }
            goes_on
        });
        for n in plan.taped.iter().filter(|n| self.legs.contains_key(&LegId { call, n: **n })) {
            let (leg, Some((part, masked))) = (LegId { call, n: *n }, wanted(n)) else { continue };
            let known = taped.insert(*n, (part, masked));
            let begins = known.is_none_or(|(known, _)| known != part);
            if begins {
                media.record(leg, Recording::Start { stem: stem(domain, leg).into(), part });
                self.tapes.insert((leg, part), domain.clone());
            }
            let was_masked = known.is_some_and(|(_, masked)| masked) && !begins;
            if was_masked != masked {
                media.record(leg, if masked { Recording::Pause } else { Recording::Resume });
            }
        }
        while self.tapes.len() > TAPES_MAX {
            self.tapes.pop_first();
        }
    }

    /// Lets whoever is to be listened to be listened to, and nobody else.
    fn listen(&mut self, call: CallId) {
        let Some(Planned { plan, heard, .. }) = self.plans.get_mut(&call) else { return };
        let media = &self.options.media;
        let here = |n: &u16| self.legs.contains_key(&LegId { call, n: *n });
        let wanted = plan.hearing.as_ref().filter(|hearing| here(&hearing.owner)).map_or(&[][..], |hearing| &hearing.legs);
        let wanted: BTreeSet<u16> = wanted.iter().copied().filter(here).collect();
        heard.difference(&wanted).for_each(|n| media.listen(LegId { call, n: *n }, false));
        wanted.difference(heard).for_each(|n| media.listen(LegId { call, n: *n }, true));
        *heard = wanted;
    }

    /// For whom the words of a leg are written down, if they are, and whose call it is.
    pub fn hearing(&self, leg: LegId) -> Option<(&DomainId, &Arc<Hearing>)> {
        let planned = self.plans.get(&leg.call).filter(|planned| planned.heard.contains(&leg.n))?;
        Some((&self.legs.get(&leg)?.domain, planned.plan.hearing.as_ref()?))
    }

    /// Whether what is said in a call is still written down for this leg.
    pub fn assists(&self, owner: LegId) -> bool {
        let hearing = self.plans.get(&owner.call).and_then(|planned| planned.plan.hearing.as_ref());
        self.legs.contains_key(&owner) && hearing.is_some_and(|hearing| hearing.owner == owner.n)
    }

    /// A file is complete, or given up: whose call it was of. `None` if that is not known any more.
    pub fn taped(&mut self, leg: LegId, part: u32) -> Option<DomainId> {
        self.tapes.remove(&(leg, part))
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

    /// A leg is gone from here; with the last one, the call's plan.
    pub(super) fn unplan(&mut self, leg: LegId) {
        if let Some(planned) = self.plans.get_mut(&leg.call) {
            planned.carried.remove(&leg.n);
            if planned.taped.remove(&leg.n).is_some() {
                self.options.media.record(leg, Recording::Stop);
            }
            if planned.heard.remove(&leg.n) {
                self.options.media.listen(leg, false);
            }
            self.listen(leg.call);
            if !self.has_legs_of(leg.call) {
                self.plans.remove(&leg.call);
            }
        }
    }

    fn has_legs_of(&self, call: CallId) -> bool {
        self.legs.range(LegId { call, n: 0 }..=LegId { call, n: u16::MAX }).next().is_some()
    }
}
