//! What a run leaves for people and machines: `report.json`, `junit.xml` and one self-contained `report.html`.

mod html;
mod junit;
mod picture;

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    experiment::Experiment,
    history::Record,
    judge::{self, Judgement, Second},
    run::FaultReport,
};

/// Where and with what it ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    pub kernel: String,
    pub cores: usize,
    /// SHA-256 of the program under test.
    pub binary: String,
    pub profile: String,
}

impl Environment {
    fn read() -> Self {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
        let program = std::env::current_exe().ok().and_then(|path| fs::read(path.with_file_name("tandem")).ok()).unwrap_or_default();
        let binary = Sha256::digest(&program).iter().map(|byte| format!("{byte:02x}")).collect();
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned();
        Self { kernel, cores: std::thread::available_parallelism().map_or(1, usize::from), binary, profile }
    }
}

/// Everything but the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub experiment: String,
    pub why: String,
    pub seed: u64,
    /// The command that does it again.
    pub repro: String,
    #[serde(flatten)]
    pub judgement: Judgement,
    pub faults: Vec<FaultReport>,
    pub seconds: Vec<Second>,
    pub environment: Environment,
}

impl Report {
    pub fn new(experiment: &Experiment, seed: u64, repro: String, history: &[Record], faults: Vec<FaultReport>) -> Self {
        Self {
            experiment: experiment.experiment.name.clone(),
            why: experiment.experiment.why.clone(),
            seed,
            repro,
            judgement: judge::judge(experiment, history, &faults),
            faults,
            seconds: judge::seconds(history),
            environment: Environment::read(),
        }
    }

    /// Writes all three into the run's folder.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, dir: &Path, history: &[Record]) -> io::Result<()> {
        fs::write(dir.join("report.json"), serde_json::to_vec_pretty(self)?)?;
        fs::write(dir.join("junit.xml"), junit::render(self))?;
        fs::write(dir.join("report.html"), html::render(self, history))
    }

    /// Reads `report.json` of a run.
    ///
    /// # Errors
    /// The file system's, and when it is none.
    pub fn read(dir: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(dir.join("report.json"))?)?)
    }

    /// For the terminal: the verdict first.
    pub fn text(&self) -> String {
        let judged = &self.judgement;
        let mut lines =
            vec![format!("{}: {} (exit {})", judged.verdict, self.experiment, judged.exit_code), format!("  again: {}", self.repro)];
        lines.extend(judged.reasons.iter().map(|reason| format!("  ! {reason}")));
        let seen = &judged.service;
        lines.push(format!(
            "  {} callers, {} served ({:.1} %), {} lost; refused {}, unreached {}, abandoned {}",
            seen.callers,
            seen.served,
            seen.availability * 100.0,
            seen.lost,
            seen.refused,
            seen.unreached,
            seen.abandoned
        ));
        lines.push(format!(
            "  first response p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms; longest outage {:.0} ms",
            seen.first_response_p50_ms, seen.first_response_p99_ms, seen.first_response_max_ms, seen.outage_ms
        ));
        lines.extend(self.faults.iter().map(|fault| format!("  {}", fault.line())));
        let row = |v: &crate::checker::Verdict| {
            format!("  {:<3} {:<9} {:>6} checked  {}", v.id, format!("{:?}", v.status).to_lowercase(), v.checked, v.sentence)
        };
        lines.extend(judged.invariants.iter().map(row));
        lines.join("\n")
    }
}

/// Text within HTML or XML.
fn escape(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            c if c.is_control() && c != '\n' => " ".to_owned(),
            c => c.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checker::script::*,
        history::{Op, Outcome, Phase},
        run::Fate,
    };

    fn report() -> (Report, Vec<Record>) {
        let history = vec![
            dial("<1>"),
            answered("<1>"),
            ended("<1>", Outcome::Completed),
            at(900.0, "node1", "group 2", Phase::Info, Op::Leader { node: 1, group: 2, leader: Some(3), term: 4 }),
        ];
        let fault = FaultReport {
            n: 1,
            kind: "kill".into(),
            targets: "node 3".into(),
            plan: "kill of leader".into(),
            fate: Fate::Verified,
            evidence: "gone & silent".into(),
            injected_ms: 100.0,
            heal_ms: 700.0,
            healed_ms: 900.0,
        };
        let experiment = Experiment::load("kill-leader").unwrap();
        (Report::new(&experiment, 7, "chaos run kill-leader --seed 7".into(), &history, vec![fault]), history)
    }

    #[test]
    fn a_report_is_written_and_read_back() {
        let (report, history) = report();
        let dir = tempfile::tempdir().unwrap();
        report.write(dir.path(), &history).unwrap();
        assert_eq!(Report::read(dir.path()).unwrap(), report);
        let junit = fs::read_to_string(dir.path().join("junit.xml")).unwrap();
        assert!(junit.contains("name=\"C1\"") && junit.contains("<failure"), "{junit}");
    }

    #[test]
    fn the_page_says_the_verdict_and_the_command_first_and_loads_nothing() {
        let (report, history) = report();
        let page = html::render(&report, &history);
        let (verdict, repro) = (page.find("VIOLATED").unwrap(), page.find("chaos run kill-leader --seed 7").unwrap());
        assert!(verdict < repro && repro < page.find("<svg").unwrap(), "verdict, command, picture");
        assert!(page.contains("&lt;1&gt;") && page.contains("gone &amp; silent"), "what others wrote is escaped");
        for foreign in ["<script", "src=", "href=", "url(", "@import"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }
}
