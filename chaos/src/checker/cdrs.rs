//! D1: exactly one record per call.

use std::collections::BTreeMap;

use super::Verdict;
use crate::history::{Op, Record};

pub(super) fn check(history: &[Record]) -> Verdict {
    let mut verdict = Verdict::new("D1", "a call has exactly one record, and says why it ended");
    let (mut by_call, mut by_number) = (BTreeMap::<&str, Vec<&Record>>::new(), BTreeMap::<&str, Vec<&Record>>::new());
    for record in history {
        let Op::Cdr { call, from, end_reason, .. } = &record.op else { continue };
        verdict.checked += 1;
        by_call.entry(call).or_default().push(record);
        // A number belongs to one call of a run; a caller that hid it cannot be told apart.
        if !from.is_empty() {
            by_number.entry(from).or_default().push(record);
        }
        if end_reason.is_empty() {
            verdict.violated(format!("the record of {call} does not say why it ended"), [record]);
        }
    }
    for (call, lines) in by_call.into_iter().filter(|(_, lines)| lines.len() > 1) {
        verdict.violated(format!("call {call} has {} records", lines.len()), lines);
    }
    for (number, lines) in by_number {
        let calls: std::collections::BTreeSet<&str> = lines.iter().map(|line| line.object.as_str()).collect();
        if calls.len() > 1 {
            verdict.violated(format!("the one call of {number} was recorded as {calls:?}"), lines);
        }
    }
    verdict.rests_on(history, "cdrs")
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Status, script::*},
        *,
    };

    #[test]
    fn one_record_each_is_right() {
        assert_eq!(check(&[cdr("c", "1", "answered"), cdr("d", "2", "abandoned")]).status, Status::Holds);
    }

    #[test]
    fn a_second_record_is_found_under_the_same_id_and_under_another() {
        assert_eq!(check(&[cdr("c", "1", "answered"), cdr("c", "1", "answered")]).status, Status::Violated);
        assert_eq!(check(&[cdr("c", "1", "answered"), cdr("d", "1", "abandoned")]).status, Status::Violated);
    }
}
