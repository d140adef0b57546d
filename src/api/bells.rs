//! Who waits for news of one call: rung when an event of it was applied on this node.
//!
//! A bell says that there is something, and not what: whoever hears it reads the state. So none is ever missed, and a thousand streams
//! need not look at every event of the node.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::core::id::CallId;

/// The bells of this node, by call; a row lives as long as somebody listens.
#[derive(Debug, Default)]
pub struct Bells(Mutex<HashMap<CallId, watch::Sender<()>>>);

impl Bells {
    pub fn ring(&self, call: CallId) {
        if let Some(bell) = self.0.lock().get(&call) {
            bell.send_replace(());
        }
    }

    /// Events were missed: everybody is to look.
    pub fn ring_all(&self) {
        for bell in self.0.lock().values() {
            bell.send_replace(());
        }
    }

    pub fn listen(self: &Arc<Self>, call: CallId) -> Listener {
        let heard = self.0.lock().entry(call).or_insert_with(|| watch::channel(()).0).subscribe();
        Listener { bells: Arc::clone(self), call, heard }
    }
}

/// Hears the bell of a call until it is dropped.
#[derive(Debug)]
pub struct Listener {
    bells: Arc<Bells>,
    call: CallId,
    heard: watch::Receiver<()>,
}

impl Listener {
    /// Waits until the bell has rung since the last time this returned.
    pub async fn rung(&mut self) {
        // The sender lives as long as this listener.
        self.heard.changed().await.ok();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut rows = self.bells.0.lock();
        // This one still counts.
        if rows.get(&self.call).is_some_and(|bell| bell.receiver_count() <= 1) {
            rows.remove(&self.call);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_bell_is_heard_by_whoever_waits_for_that_call_and_forgotten_with_the_last() {
        let bells = Arc::new(Bells::default());
        let (mut one, mut other) = (bells.listen(CallId(1)), bells.listen(CallId(2)));
        bells.ring(CallId(1));
        assert!(one.rung().now_or_never().is_some() && one.rung().now_or_never().is_none());
        assert!(other.rung().now_or_never().is_none());
        bells.ring_all();
        assert!(other.rung().now_or_never().is_some());
        let second = bells.listen(CallId(1));
        drop(one);
        assert_eq!(bells.0.lock().len(), 2);
        drop((second, other));
        assert!(bells.0.lock().is_empty());
    }
}
