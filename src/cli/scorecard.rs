//! `tandem scorecard` and `tandem triage`: what models reach on labelled texts, and what they say of one. No node is asked.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Args, Subcommand};

use super::Failure;
use crate::ai::{
    Embedding, Models, Text, backend,
    scorecard::{self, Set, Verdict},
    triage,
};

/// Exit code of figures that keep their bounds on too few rows to say so.
const INSUFFICIENT: u8 = 5;

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
    let worst = figures.iter().filter_map(scorecard::Figure::verdict).max();
    let (word, code) = match worst {
        None => ("told, not gated", 0),
        Some(Verdict::Pass) => ("pass", 0),
        Some(Verdict::Fail) => ("fail", 1),
        Some(Verdict::Insufficient) => ("insufficient", INSUFFICIENT),
    };
    println!("verdict: {word}");
    Ok(ExitCode::from(code))
}

/// Judges one text. Models that cannot be loaded are told of, and rules answer.
pub(super) fn one(one: &One) -> Result<ExitCode, Failure> {
    let models = if one.rules { None } else { one.models.load_or_tell() };
    let judged = triage(models.as_ref(), &one.pack, &Text::read(one.text.as_bytes()));
    println!("{}", serde_json::to_string_pretty(&judged).map_err(Failure::new)?);
    Ok(ExitCode::SUCCESS)
}
