//! `tandem scorecard` and `tandem triage`: what models reach on labelled texts, and what they say of one. No node is asked.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, Subcommand};

use super::Failure;
use crate::{
    ai::{
        Embedding, Models, Text, backend,
        scorecard::{self, Set},
        triage,
    },
    core::models::{Scorecard, Verdict},
};

/// Exit code of figures that keep their bounds on too few rows to say so.
const INSUFFICIENT: u8 = 5;
/// What was measured of models, in their folder.
const RECORDS: &str = "scorecards.json";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Measure models on a set: metric, hits of n, 95 % Wilson interval, verdict; exits 0 pass, 1 fail, 5 insufficient
    Run(Run),
}

#[derive(Debug, Args)]
pub(super) struct Run {
    set: Set,
    /// Folder that holds clinc150/ and banking77/ (docs/AI.md)
    #[arg(long, env = "TANDEM_SETS", default_value = "data")]
    data: PathBuf,
    /// Keep the figures beside the models, for `tandem model stage`
    #[arg(long)]
    record: bool,
    #[command(flatten)]
    models: Which,
}

#[derive(Debug, Args)]
pub(super) struct One {
    /// What a customer wrote or said
    text: String,
    /// Intents to tell apart
    #[arg(long, default_value = "service")]
    pack: String,
    /// By rules alone, as without any model
    #[arg(long)]
    rules: bool,
    #[command(flatten)]
    models: Which,
}

/// Which models to ask.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Folder of a manifest.toml and its model files
    #[arg(long, env = "TANDEM_MODELS", default_value = "models")]
    models: PathBuf,
    /// Folder of an embedding model, by which they tell intents better (`make embeddings`)
    #[arg(long, env = "TANDEM_EMBEDDING")]
    embedding: Option<PathBuf>,
}

impl Which {
    /// Models and their embedding, or why not.
    fn load(&self) -> Result<Models, Failure> {
        let mut models = Models::load(&self.models).map_err(Failure::new)?;
        self.embed(&mut models)?;
        Ok(models)
    }

    /// What can be had of them; what cannot is told, and the rest answers.
    pub(super) fn load_or_tell(&self) -> Option<Models> {
        let tell = |error: &Failure| eprintln!("tandem: {error}; the rest answers");
        let mut models = Models::load(&self.models).map_err(Failure::new).inspect_err(tell).ok()?;
        // Told is all there is to do about it.
        let _ = self.embed(&mut models).inspect_err(tell);
        Some(models)
    }

    fn embed(&self, models: &mut Models) -> Result<(), Failure> {
        let Some(folder) = &self.embedding else { return Ok(()) };
        let embedding = Embedding::load(folder).map(Arc::new).map_err(Failure::new)?;
        let hash = embedding.hash();
        if models.embed(&self.models, embedding).map_err(Failure::new)? {
            Ok(())
        } else {
            Err(Failure::new(format!("{}: these models have no head for the embedding {hash}", folder.display())))
        }
    }
}

/// Measures, prints every figure and exits by the worst verdict.
pub(super) fn run(Command::Run(run): &Command) -> Result<ExitCode, Failure> {
    let models = run.models.load()?;
    let figures = scorecard::run(Some(&models), run.set, &run.data, &run.models.models.join("train/seeds")).map_err(Failure::new)?;
    println!("set {:?}, models {} {} sha256 {}, run by {}", run.set, models.name(), models.version(), models.hash(), backend());
    if let Some(embedding) = models.embedding(run.set.pack()) {
        println!("with the embedding {} sha256 {}", embedding.name(), embedding.hash());
    }
    println!("{:<52} {:>11} {:>8}    95 % Wilson", "metric", "hits/n", "share");
    for figure in &figures {
        println!("{figure}");
    }
    if run.record {
        let embedding = models.embedding(run.set.pack()).map(|embedding| embedding.hash().to_string());
        let figures = figures.iter().map(scorecard::Figure::scored).collect();
        let set = format!("{:?}", run.set).to_lowercase();
        record(&run.models.models, Scorecard { set, sha256: models.hash().to_string(), embedding, figures })?;
    }
    let worst = figures.iter().filter_map(scorecard::Figure::verdict).max();
    let code = match worst {
        None | Some(Verdict::Pass) => 0,
        Some(Verdict::Fail) => 1,
        Some(Verdict::Insufficient) => INSUFFICIENT,
    };
    println!("verdict: {}", worst.map_or("told, not gated", Verdict::name));
    Ok(ExitCode::from(code))
}

/// Puts a scorecard among those beside the models; it takes the place of an older one of its set, and of those of other models.
fn record(folder: &Path, card: Scorecard) -> Result<(), Failure> {
    let mut cards = recorded(folder)?;
    cards.retain(|other| other.sha256 == card.sha256 && other.set != card.set);
    cards.push(card);
    let path = folder.join(RECORDS);
    let text = serde_json::to_string_pretty(&cards).map_err(Failure::new)?;
    fs::write(&path, text).map_err(|error| Failure::new(error).of(path.display()))
}

/// The scorecards beside the models of a folder; none where none was recorded.
pub(super) fn recorded(folder: &Path) -> Result<Vec<Scorecard>, Failure> {
    let path = folder.join(RECORDS);
    match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| Failure::new(error).of(path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Failure::new(error).of(path.display())),
    }
}

/// Judges one text. Models that cannot be loaded are told of, and rules answer.
pub(super) fn one(one: &One) -> Result<ExitCode, Failure> {
    let models = if one.rules { None } else { one.models.load_or_tell() };
    let judged = triage(models.as_ref(), &one.pack, &Text::read(one.text.as_bytes()));
    println!("{}", serde_json::to_string_pretty(&judged).map_err(Failure::new)?);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(set: &str, sha256: &str, hits: u64) -> Scorecard {
        let figures = vec![crate::core::models::Scored { metric: "routed".into(), hits, n: 10, verdict: Some(Verdict::Pass) }];
        Scorecard { set: set.into(), sha256: sha256.into(), embedding: None, figures }
    }

    #[test]
    fn a_set_measured_again_takes_the_place_of_its_old_figures_and_other_models_have_none() {
        let dir = tempfile::tempdir().unwrap();
        assert!(recorded(dir.path()).unwrap().is_empty());
        for (set, sha256, hits) in [("a", "1", 1), ("b", "1", 2), ("a", "1", 3)] {
            record(dir.path(), card(set, sha256, hits)).unwrap();
        }
        assert_eq!(recorded(dir.path()).unwrap(), [card("b", "1", 2), card("a", "1", 3)]);
        record(dir.path(), card("a", "2", 4)).unwrap();
        assert_eq!(recorded(dir.path()).unwrap(), [card("a", "2", 4)]);
        fs::write(dir.path().join(RECORDS), "[{").unwrap();
        assert!(recorded(dir.path()).unwrap_err().to_string().contains(RECORDS));
    }
}
