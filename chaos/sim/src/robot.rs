//! AI agents as an edge has them: a conversation on the caller's leg, until that leg is ordered something else.

use std::{sync::Arc, time::Duration};

use tandem::core::{
    assist::{Assisted, Cause, Line, Resolution, Resolved, Speaker, Turn},
    command::{HangUpCause, LegEvent},
    id::{CallId, LegId},
    time::WallTime,
};
use tokio::time::sleep;

use super::edge::SimEdge;

/// A conversation that nobody puts through or ends is given up.
const GIVEN_UP: Duration = Duration::from_secs(10);

impl SimEdge {
    /// Takes a contact, if it is still there to be taken.
    pub(super) async fn engages(self: &Arc<Self>, leg: LegId) {
        self.holds(leg);
        sleep(self.town.ms(1, 30)).await;
        if self.is_carrying(leg) {
            self.report(leg, LegEvent::Assisted(Assisted::Engaged));
        }
        let edge = Arc::clone(self);
        tokio::spawn(async move {
            sleep(GIVEN_UP).await;
            edge.ends(leg, LegEvent::HungUp { cause: HangUpCause::EdgeFault });
        });
    }

    /// The caller hears what it talks with.
    pub(super) async fn converses(self: &Arc<Self>, leg: LegId) {
        if !self.is_carrying(leg) {
            return self.report(leg, LegEvent::HungUp { cause: HangUpCause::EdgeFault });
        }
        sleep(self.town.ms(50, 400)).await;
        if self.is_carrying(leg) {
            self.report(leg, LegEvent::Assisted(Assisted::Disclosed));
        }
    }

    /// It may speak: the matter is settled, a person is wanted, or the AI agent is lost in the middle of it.
    pub(super) async fn speaks(self: &Arc<Self>, leg: LegId) {
        self.says(leg, Speaker::Assistant, None);
        sleep(self.town.ms(300, 3_000)).await;
        if self.town.chance(40) {
            return self.says(leg, Speaker::Customer, Some(if self.town.chance(50) { Cause::Asked } else { Cause::RepeatedFailure }));
        }
        if self.town.chance(60) && self.is_carrying(leg) {
            let resolution = Resolution { resolved: Resolved::Yes, confidence: 900, reason: "settled".to_owned() };
            self.report(leg, LegEvent::Assisted(Assisted::Resolved(resolution)));
            self.ends(leg, LegEvent::HungUp { cause: HangUpCause::Bye });
        } else {
            self.ends(leg, LegEvent::HungUp { cause: HangUpCause::EdgeFault });
        }
    }

    fn says(&self, leg: LegId, who: Speaker, wants: Option<Cause>) {
        let line = Line { at: WallTime(0), who, text: "words".to_owned(), judged: None, sources: Vec::new() };
        if self.is_carrying(leg) {
            self.report(leg, LegEvent::Assisted(Assisted::Turn(Box::new(Turn { line, wants, helped: None }))));
        }
    }

    /// Whatever the caller's leg is ordered next, its AI agent is silent.
    pub(super) fn fences(&self, call: CallId) {
        self.drops_robot(call);
    }
}
