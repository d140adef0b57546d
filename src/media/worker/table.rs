//! The legs of one thread by place, by name and by call, and the lines between those that hear each other.

use std::collections::HashMap;

use crate::{
    core::id::{CallId, LegId},
    media::{
        codec::Route,
        leg::{Leg, Listener},
        voice::Cursor,
    },
};

#[derive(Debug, Default)]
pub struct Table {
    legs: Vec<Option<Leg>>,
    free: Vec<u32>,
    places: HashMap<LegId, u32>,
    calls: HashMap<CallId, Vec<u32>>,
}

impl Table {
    pub fn place(&self, id: LegId) -> Option<u32> {
        self.places.get(&id).copied()
    }

    pub fn get(&self, place: u32) -> Option<&Leg> {
        self.legs.get(place as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, place: u32) -> Option<&mut Leg> {
        self.legs.get_mut(place as usize)?.as_mut()
    }

    pub fn legs_mut(&mut self) -> impl Iterator<Item = &mut Leg> {
        self.legs.iter_mut().flatten()
    }

    pub fn insert(&mut self, leg: Leg) -> u32 {
        let id = leg.id;
        let place = self.free.pop().unwrap_or_else(|| {
            self.legs.push(None);
            self.legs.len() as u32 - 1
        });
        self.legs[place as usize] = Some(leg);
        self.places.insert(id, place);
        self.calls.entry(id.call).or_default().push(place);
        place
    }

    pub fn remove(&mut self, id: LegId) -> Option<(u32, Leg)> {
        let place = self.places.remove(&id)?;
        let leg = self.legs[place as usize].take()?;
        self.free.push(place);
        if let Some(places) = self.calls.get_mut(&id.call) {
            places.retain(|other| *other != place);
            if places.is_empty() {
                self.calls.remove(&id.call);
            }
        }
        Some((place, leg))
    }

    /// Draws the lines of a call anew: who hears whom, and how payload types are carried.
    pub fn link(&mut self, call: CallId) {
        let Some(places) = self.calls.get(&call).cloned() else { return };
        for source in &places {
            let listeners = places.iter().filter_map(|listener| self.line(*source, *listener)).collect();
            self.get_mut(*source).expect("listed under its call").listeners = listeners;
        }
        self.mix(&places);
    }

    /// Who of a call hears whom mixed: voices are kept for those, and cursors go on where they were.
    fn mix(&mut self, places: &[u32]) {
        let mut mixed: Vec<u32> = Vec::new();
        for place in places {
            let Some(hears) = self.get(*place).and_then(|leg| leg.hears.clone()).filter(|hears| hears.len() > 1) else {
                if let Some(leg) = self.get_mut(*place) {
                    leg.mix.clear();
                }
                continue;
            };
            let sources: Vec<u32> = hears.iter().filter_map(|id| self.place(*id)).collect();
            let mut mix = Vec::with_capacity(sources.len());
            for source in sources {
                mixed.push(source);
                let voice = self.get_mut(source).expect("it has a place").voice.get_or_insert_default();
                let begun = Cursor::new(voice);
                let known = self.get(*place).and_then(|leg| leg.mix.iter().find(|(other, _)| *other == source));
                mix.push((source, known.map_or(begun, |(_, cursor)| *cursor)));
            }
            self.get_mut(*place).expect("looked up above").mix = mix;
        }
        for leg in places.iter().filter(|place| !mixed.contains(place)) {
            self.get_mut(*leg).expect("listed under its call").voice = None;
        }
    }

    fn line(&self, source: u32, listener: u32) -> Option<Listener> {
        let (from, to) = (self.get(source)?, self.get(listener)?);
        if **to.hears.as_ref()? != [from.id] {
            return None;
        }
        let route = Route::new(&from.terms.as_ref()?.expects, &to.terms.as_ref()?.sends);
        Some(Listener { place: listener, route })
    }
}
