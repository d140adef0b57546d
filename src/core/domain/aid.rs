//! Notes for the person who has a call: taken while that is so, and for nobody else.

use std::sync::Arc;

use crate::core::{
    Outcome, Reason,
    aid::{Aid, Hearing, NewNote, NoteKind},
    call::{Call, CallState},
    effect::EventKind,
    matrix::Plan,
    state::Ctx,
};

use super::Domain;

impl Domain {
    /// An edge wrote down what was said, or found an answer to it.
    pub(in crate::core) fn note(&mut self, ctx: &mut Ctx<'_>, new: &NewNote) -> Outcome {
        let id = new.call;
        let Some(call) = self.calls.get(&id) else { return Outcome::Rejected(Reason::NoCall) };
        if call.edge != new.edge {
            return Outcome::Rejected(Reason::Stale);
        }
        // The fence: whoever has the call now is another one.
        if call.person_on() != Some(new.note.owner) {
            return Outcome::Rejected(Reason::NotYours);
        }
        // The rules may have changed since it was said.
        let wanted = self.aid_of(call).is_some_and(|aid| match new.note.kind {
            NoteKind::Customer => true,
            NoteKind::Agent => aid.agents,
            NoteKind::Suggestion => aid.suggest,
        });
        if !wanted {
            return Outcome::Rejected(Reason::WrongState("no agent assist for this".to_owned()));
        }
        if call.notes().is_some_and(|notes| notes.has(new.edge, new.seq)) {
            return Outcome::Duplicate;
        }
        let (agent, queue) = (call.legs[&new.note.owner].agent.clone(), call.queue.clone());
        let call = self.calls.get_mut(&id).expect("looked up above");
        let n = call.talk().notes.get_or_insert_default().take(new);
        // What was said is for its owner alone; that something was is no secret.
        let data = [("kind", new.note.kind.name().to_owned()), ("n", n.to_string())];
        ctx.event(EventKind::ContactNoted, Some(id), Some(&agent), Some(&queue), &data);
        Outcome::Accepted
    }

    /// What whoever has a call of its queue is given.
    pub(super) fn aid_of(&self, call: &Call) -> Option<&Arc<Aid>> {
        self.policy.queues[&call.queue].aid.as_ref()
    }
}

impl Call {
    /// Whose words are to be written down under a plan of its media: of those who hear each other. What somebody on hold or muted
    /// says, nobody was to hear, and what a paused recording leaves out is written down nowhere else either.
    pub(in crate::core) fn hearing(&self, plan: &Plan, aid: &Arc<Aid>) -> Option<Arc<Hearing>> {
        let (owner, customer) = (self.person_on()?, self.caller_leg()?);
        let hushed = plan.taping.is_masked() || matches!(self.state, CallState::Connected { held: true, .. });
        let heard = |n: u16, by: u16| !hushed && plan.hears(by, n);
        let legs = [(customer, owner, true), (owner, customer, aid.agents)];
        let legs = legs.into_iter().filter(|(n, by, wanted)| *wanted && heard(*n, *by)).map(|(n, ..)| n).collect();
        Some(Arc::new(Hearing { owner, legs, aid: Arc::clone(aid) }))
    }
}
