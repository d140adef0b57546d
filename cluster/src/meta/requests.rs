//! Idempotency keys of the meta group: the first outcome of a command is the outcome of every repeat under its key.
//!
//! Whose key it is and how it came about are the product's; here it is a number.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::{Answer, NOT_FOUNDED};
use crate::limits::META_REQUESTS_MAX;

/// What was answered to the latest keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Requests {
    answers: BTreeMap<u128, Answer>,
    /// The same keys, oldest first.
    order: VecDeque<u128>,
}

impl Requests {
    pub(crate) fn answer(&self, request: u128) -> Option<&Answer> {
        self.answers.get(&request)
    }

    /// Remembers a first outcome. One that asks to be tried again is none.
    pub(super) fn remember(&mut self, request: u128, answer: &Answer) {
        if answer.as_ref().is_err_and(|why| why == NOT_FOUNDED) {
            return;
        }
        self.answers.insert(request, answer.clone());
        self.order.push_back(request);
        if self.order.len() > META_REQUESTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.answers.remove(&oldest);
        }
    }
}
