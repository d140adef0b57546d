//! JUnit XML: one case per invariant, expectation and fault, so that any build server shows them.

use super::{Report, escape};
use crate::{checker::Status, run::Fate};

enum Result {
    Good,
    Bad(String),
    Open(String),
}

pub(super) fn render(report: &Report) -> String {
    let judged = &report.judgement;
    let mut cases: Vec<(String, Result)> = Vec::new();
    for verdict in &judged.invariants {
        let result = match verdict.status {
            Status::Holds => Result::Good,
            Status::Violated => Result::Bad(verdict.examples.first().map_or_else(String::new, |example| example.what.clone())),
            Status::Unknown => Result::Open(verdict.why.clone()),
        };
        cases.push((verdict.id.clone(), result));
    }
    for expectation in &judged.expectations {
        let said = format!("{:.3}, expected {}", expectation.value, expectation.bound);
        cases.push((expectation.name.clone(), if expectation.kept { Result::Good } else { Result::Bad(said) }));
    }
    for fault in &report.faults {
        let result = match &fault.fate {
            Fate::Verified => Result::Good,
            Fate::NotInjected(why) | Fate::NotHealed(why) | Fate::Skipped(why) => Result::Open(why.clone()),
        };
        cases.push((format!("fault {} {} of {}", fault.n, fault.kind, fault.targets), result));
    }
    let bad = cases.iter().filter(|(_, result)| matches!(result, Result::Bad(_))).count();
    let open = cases.iter().filter(|(_, result)| matches!(result, Result::Open(_))).count();
    let name = escape(&report.experiment);
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"chaos {name}\" tests=\"{}\" failures=\"{bad}\" skipped=\"{open}\">\n",
        cases.len()
    );
    for (case, result) in cases {
        let inner = match result {
            Result::Good => String::new(),
            Result::Bad(why) => format!("<failure message=\"{}\"/>", escape(&why)),
            Result::Open(why) => format!("<skipped message=\"{}\"/>", escape(&why)),
        };
        xml.push_str(&format!("  <testcase classname=\"chaos.{name}\" name=\"{}\">{inner}</testcase>\n", escape(&case)));
    }
    xml.push_str("</testsuite>\n");
    xml
}
