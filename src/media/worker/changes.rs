//! What was changed about a leg, carried out.

use std::time::Instant;

use super::{
    super::{Event, ear::Ear, leg::Leg, player::Player, shard::Change, tap::Tap},
    Worker,
};
use crate::core::id::LegId;

impl Worker {
    /// Returns the leg's place, if it is there still.
    pub(super) fn change(&mut self, id: LegId, change: Change, now: Instant) -> Option<u32> {
        if change.close
            && let Some((place, leg)) = self.table.remove(id)
        {
            self.leave(place, &leg);
            if let Some(tap) = leg.tap {
                tap.end(&self.shared.recorder, now);
            }
        }
        if let Some(pair) = change.open {
            let place = match self.table.place(id) {
                Some(place) => {
                    self.table.get_mut(place).expect("it has a place").moved(pair, now);
                    place
                }
                None => {
                    self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    self.table.insert(Leg::new(id, pair, self.seed, now))
                }
            };
            self.register(place);
        }
        let place = self.table.place(id)?;
        let leg = self.table.get_mut(place)?;
        if let Some(terms) = change.terms {
            leg.described(terms, now);
        }
        if let Some(hears) = change.hear {
            leg.hears = Some(hears);
        }
        match change.play {
            Some(Some(program)) => leg.player = Some(Player::new(program)),
            Some(None) => leg.player = None,
            None => {}
        }
        if let Some(listen) = change.listen {
            leg.ear = listen.then(Ear::default);
        }
        if let Some(wanted) = change.record {
            if let Some(tap) = leg.tap.take() {
                tap.end(&self.shared.recorder, now);
            }
            let part = wanted.as_ref().map(|wanted| wanted.part);
            leg.tap = wanted.and_then(|wanted| Tap::begin(&self.shared.recorder, id, wanted, now));
            if let Some(part) = part.filter(|_| leg.tap.is_none()) {
                self.shared.tell(Event::RecordFailed { leg: id, part });
            }
        }
        if let (Some(masked), Some(tap)) = (change.masked, &mut leg.tap) {
            tap.mask(&self.shared.recorder, masked, now);
        }
        Some(place)
    }
}
