//! A queue opens and closes by its hours; what becomes of those who wait when it closes.
//!
//! Arrivals look at the hours themselves. The timer here serves events and waiting callers. Hours are in wall time and
//! timers in log time, so each look sets the next by the distance as it is now.

use crate::core::{command::TimerKind, effect::EventKind, hours, id::QueueId, limits::HOURS_CHECK_MS, policy::OnClose, state::Ctx};

use super::Domain;

impl Domain {
    pub(super) fn look_at_all_hours(&mut self, ctx: &mut Ctx<'_>) {
        let ids: Vec<_> = self.queues.keys().cloned().collect();
        for id in ids {
            self.look_at_hours(ctx, &id);
        }
    }

    /// The queue's timer fired.
    pub(super) fn queue_due(&mut self, ctx: &mut Ctx<'_>, id: &QueueId) {
        if let Some(row) = self.queues.get_mut(id) {
            row.timer = None;
            self.look_at_hours(ctx, id);
        }
    }

    fn look_at_hours(&mut self, ctx: &mut Ctx<'_>, id: &QueueId) {
        self.forget_queue_timer(ctx, id);
        let rules = &self.policy.queues[id];
        let hours = rules.hours.as_ref().and_then(|name| self.policy.hours.get(name));
        let open = hours.is_none_or(|hours| hours::open_at(hours, ctx.at.wall));
        let next_ms = hours.map(|hours| {
            let change = hours::next_change(hours, ctx.at.wall).map_or(u64::MAX, |at| at.0.abs_diff(ctx.at.wall.0));
            change.clamp(1, HOURS_CHECK_MS)
        });
        let closes = (!open && rules.waiting_on_close == OnClose::Fallback).then(|| rules.on_closed.clone());
        let row = self.queues.get_mut(id).expect("looked up by the caller");
        if row.open != open {
            row.open = open;
            ctx.event(if open { EventKind::QueueOpened } else { EventKind::QueueClosed }, None, None, Some(id), &[]);
            self.callbacks_by_hours(ctx, id, open);
        }
        let row = self.queues.get_mut(id).expect("looked up above");
        if let Some(ms) = next_ms {
            let deadline = ctx.at.time.plus_ms(ms);
            row.timer = Some(deadline);
            ctx.set_timer(deadline, TimerKind::Queue { queue: id.clone() });
        }
        if let Some(fallback) = closes {
            let waiting: Vec<_> = row.waiting().collect();
            for call in waiting.into_iter().filter(|call| !self.calls[call].emergency).collect::<Vec<_>>() {
                self.fall_back(ctx, call, &fallback, "closed");
            }
        }
    }

    pub(super) fn forget_queue_timer(&mut self, ctx: &mut Ctx<'_>, id: &QueueId) {
        if let Some(deadline) = self.queues.get_mut(id).and_then(|row| row.timer.take()) {
            ctx.cancel_timer(deadline, TimerKind::Queue { queue: id.clone() });
        }
    }
}
