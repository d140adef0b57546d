//! B1: what is done to the tagged tenant stays with it. Another tenant of the same cluster, the bystander, has a few calls of
//! its own: they reach its own agents only, are recorded with it only, and while nothing but the tagged tenant's calls, agents
//! and actors was hurt, each is served at its first try.

use std::collections::BTreeSet;

use super::Verdict;
use crate::{
    experiment::Kind,
    history::{Op, Outcome, Record},
};

/// The tenant that nothing is done to.
pub const TENANT: &str = "bystander";
/// How the numbers of its callers and the names of its agents begin; no other's do.
pub const NUMBERS: &str = "4931";
pub const AGENTS: &str = "by";

fn is_bystander(name: &str) -> bool {
    name.starts_with(NUMBERS) || name.starts_with(AGENTS)
}

pub(super) fn check(history: &[Record]) -> Verdict {
    let mut verdict = Verdict::new("B1", "another tenant's calls keep to its agents and records, and are served while only ours is hurt");
    let confined = only_confined(history);
    let mut seen = BTreeSet::new();
    for record in history {
        let object = record.object.as_str();
        match &record.op {
            Op::Dial { again: true, .. } if confined && is_bystander(object) => {
                verdict.violated(format!("bystander {object} had to call again, and nothing of its own was hurt"), [record]);
            }
            Op::CallEnd { outcome } if is_bystander(object) => {
                verdict.checked += 1;
                let wrong = matches!(outcome, Outcome::Dropped | Outcome::Unfinished) || (confined && *outcome != Outcome::Completed);
                if wrong {
                    verdict.violated(format!("bystander {object} was not served: {outcome:?}"), [record]);
                }
            }
            Op::AgentCall { caller, .. } if is_bystander(object) != is_bystander(caller) => {
                verdict.violated(format!("agent {object} was called by {caller}, who is another tenant's"), [record]);
            }
            Op::Cdr { tenant, from, call, .. } => {
                if (tenant == TENANT) != is_bystander(from) && !from.is_empty() {
                    verdict.violated(format!("the call {call} of {from} is recorded with {tenant}"), [record]);
                }
                seen.insert(from.as_str());
            }
            _ => {}
        }
    }
    let unrecorded = history.iter().filter(|record| {
        matches!(record.op, Op::CallEnd { outcome: Outcome::Completed })
            && is_bystander(&record.object)
            && !seen.contains(record.object.as_str())
    });
    for record in unrecorded {
        verdict.violated(format!("bystander {} talked and left no record", record.object), [record]);
    }
    verdict.rests_on(history, "cdrs")
}

/// True when every fault of the run was one that reaches only the tagged tenant.
fn only_confined(history: &[Record]) -> bool {
    let kind = |name: &str| serde_json::from_value::<Kind>(name.into()).ok();
    history.iter().all(|record| match &record.op {
        Op::Fault { kind: name, .. } => kind(name).is_some_and(Kind::is_confined),
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Status, script::*},
        *,
    };
    use crate::history::{Phase, Stage};

    fn recorded(number: &str, tenant: &str) -> Record {
        let mut record = cdr("c", number, "answered");
        let Op::Cdr { tenant: of, .. } = &mut record.op else { unreachable!("a record was made") };
        tenant.clone_into(of);
        record
    }

    fn fault(kind: &str) -> Record {
        let op = Op::Fault { kind: kind.into(), targets: String::new(), stage: Stage::Inject, detail: String::new() };
        at(0.0, "tool", "fault 1", Phase::Info, op)
    }

    fn status(history: &[Record]) -> Status {
        check(history).status
    }

    #[test]
    fn a_bystander_that_was_served_at_home_is_untouched() {
        let calls = [dial("49310"), ended("49310", Outcome::Completed), recorded("49310", TENANT), talked("by0", "49310", 0.0, 1.0)];
        assert_eq!(status(&calls), Status::Holds);
        assert_eq!(status(&calls[..2]), Status::Violated, "without its record");
        assert_eq!(status(&[]), Status::Unknown);
    }

    #[test]
    fn calls_that_stray_to_another_tenant_are_found() {
        let home = [ended("49310", Outcome::Completed), recorded("49310", TENANT)];
        assert_eq!(status(&[&home[..], &[talked("a1", "49310", 0.0, 1.0)]].concat()), Status::Violated);
        assert_eq!(status(&[&home[..], &[talked("by0", "4930001", 0.0, 1.0)]].concat()), Status::Violated);
        assert_eq!(status(&[&home[..], &[recorded("4930001", TENANT)]].concat()), Status::Violated);
        assert_eq!(status(&[ended("49310", Outcome::Completed), recorded("49310", "bench")]), Status::Violated);
    }

    #[test]
    fn a_refused_bystander_counts_while_only_the_tagged_tenant_is_hurt() {
        let refused = [ended("49310", Outcome::Refused(503)), recorded("49311", TENANT)];
        assert_eq!(status(&[&[fault("stuck-actor")], &refused[..]].concat()), Status::Violated);
        assert_eq!(status(&[&[fault("stuck-actor"), fault("kill")], &refused[..]].concat()), Status::Holds);
        assert_eq!(status(&[fault("kill"), ended("49310", Outcome::Dropped)]), Status::Violated, "lost is lost");
    }
}
