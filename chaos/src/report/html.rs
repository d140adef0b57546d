//! The page: verdict and command first, then the picture, the faults, the invariants with their counterexamples, the machine.
//! One file, no script, nothing loaded from elsewhere; colours never stand alone.

use std::fmt::Write as _;

use super::{Report, escape, picture};
use crate::{
    checker::{Counterexample, Status},
    history::Record,
    run::Fate,
};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}\
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}.verdict{border-left:.5rem solid;padding:.5rem 1rem}\
.PASSED{border-color:#0072b2}.VIOLATED{border-color:#d55e00}.INCONCLUSIVE{border-color:#999}\
code,pre{font:13px/1.4 ui-monospace,monospace}pre{overflow:auto;background:#f5f5f5;padding:.6rem}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.25rem .6rem .25rem 0;border-bottom:1px solid #ddd}\
svg{width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:#1a1a1a}@media print{body{margin:0;max-width:none}}";

pub(super) fn render(report: &Report, history: &[Record]) -> String {
    let judged = &report.judgement;
    let mut page = format!(
        "<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{0}: {1}</title><style>{STYLE}</style><body>",
        judged.verdict,
        escape(&report.experiment)
    );
    let put = |page: &mut String, text: String| page.push_str(&text);
    put(
        &mut page,
        format!(
            "<div class=\"verdict {0}\"><h1>{0}: {1}</h1><p><code>{2}</code>",
            judged.verdict,
            escape(&report.experiment),
            escape(&report.repro)
        ),
    );
    put(&mut page, format!("<p>{}", escape(&report.why)));
    if !judged.reasons.is_empty() {
        let rows: String = judged.reasons.iter().map(|reason| format!("<li>{}", escape(reason))).collect();
        put(&mut page, format!("<ul>{rows}</ul>"));
    }
    page.push_str("</div>");
    put(&mut page, figures(report));
    put(&mut page, format!("<h2>What happened when</h2>{}", picture::render(report, history)));
    put(&mut page, faults(report));
    put(&mut page, invariants(report));
    let env = &report.environment;
    put(
        &mut page,
        format!(
            "<h2>Environment</h2><p>Seed {}; Linux {}; {} cores; {} build; program under test <code>{}</code>",
            report.seed,
            escape(&env.kernel),
            env.cores,
            env.profile,
            env.binary
        ),
    );
    page
}

fn figures(report: &Report) -> String {
    let seen = &report.judgement.service;
    let mut rows = String::new();
    for expectation in &report.judgement.expectations {
        let word = if expectation.kept { "kept" } else { "MISSED" };
        let (name, bound) = (escape(&expectation.name), escape(&expectation.bound));
        let _ = write!(rows, "<tr><td>{name}<td>{:.3}<td>{bound}<td>{word}", expectation.value);
    }
    for (name, value) in [
        ("callers", seen.callers as f64),
        ("served", seen.served as f64),
        ("tries refused", seen.refused as f64),
        ("tries that reached nobody", seen.unreached as f64),
        ("callers that hung up unanswered", seen.abandoned as f64),
        ("first response p50, ms", seen.first_response_p50_ms),
        ("first response p99, ms", seen.first_response_p99_ms),
        ("first response max, ms", seen.first_response_max_ms),
    ] {
        let _ = write!(rows, "<tr><td>{name}<td>{value:.0}<td><td>");
    }
    format!("<h2>What callers got</h2><table><tr><th>figure<th>value<th>expected<th>{rows}</table>")
}

fn faults(report: &Report) -> String {
    let mut rows = String::new();
    for fault in &report.faults {
        let (word, detail) = match &fault.fate {
            Fate::Verified => ("made and healed, both seen", &fault.evidence),
            Fate::NotInjected(why) => ("NOT SEEN", why),
            Fate::NotHealed(why) => ("NOT HEALED", why),
            Fate::Skipped(why) => ("SKIPPED", why),
        };
        let (kind, targets, detail) = (escape(&fault.kind), escape(&fault.targets), escape(detail));
        let (from, lasted, healed) =
            (fault.injected_ms / 1e3, (fault.heal_ms - fault.injected_ms) / 1e3, (fault.healed_ms - fault.heal_ms) / 1e3);
        let _ = write!(rows, "<tr><td>{}<td>{kind} of {targets}<td>{from:.1}<td>{lasted:.1}<td>{healed:.1}<td>{word}: {detail}", fault.n);
    }
    format!("<h2>Faults</h2><table><tr><th>#<th>what<th>at, s<th>lasted, s<th>well again after, s<th>evidence{rows}</table>")
}

fn invariants(report: &Report) -> String {
    let mut out = String::from("<h2>Invariants</h2><table><tr><th>id<th>what<th>checked<th>verdict");
    for verdict in &report.judgement.invariants {
        let word = match verdict.status {
            Status::Holds => "holds".to_owned(),
            Status::Violated => format!("VIOLATED {} times", verdict.violations),
            Status::Unknown => format!("unknown: {}", escape(&verdict.why)),
        };
        let _ = write!(out, "<tr><td>{}<td>{}<td>{}<td>{word}", verdict.id, escape(&verdict.sentence), verdict.checked);
    }
    out.push_str("</table>");
    for verdict in &report.judgement.invariants {
        for example in &verdict.examples {
            let _ = write!(out, "<h2>{}: {}</h2><pre>{}</pre>", verdict.id, escape(&example.what), excerpt(example));
        }
    }
    out
}

fn excerpt(example: &Counterexample) -> String {
    let line = |record: &Record| escape(&serde_json::to_string(record).unwrap_or_default());
    example.excerpt.iter().map(line).collect::<Vec<_>>().join("\n")
}
