//! `tandem knowledge` and `tandem talk`: what articles answer, and a conversation with an assistant on this terminal.
//!
//! It owns arguments and printing. Neither asks a node: both judge what is in front of them, as a node would.

use std::{
    io::{BufRead as _, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Failure, scorecard::Which};
use crate::ai::{
    Engine, Language, Options, Registry, Text,
    assistant::{Assistant, Line, Next, Rules},
    knowledge::{Knowledge, SURE_FROM},
    persona::Persona,
    triage,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Say what articles answer to a question, from where, and how surely; exits 1 where they answer nothing
    Ask(Ask),
}

#[derive(Debug, Args)]
pub(super) struct Ask {
    question: String,
    /// Folder of Markdown articles (docs/AI.md)
    #[arg(long, env = "TANDEM_ARTICLES", default_value = "articles")]
    articles: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Talk {
    /// Folder of Markdown articles to answer from
    #[arg(long, env = "TANDEM_ARTICLES")]
    articles: Option<PathBuf>,
    /// File of a persona to speak as
    #[arg(long)]
    persona: Option<PathBuf>,
    #[command(flatten)]
    models: Which,
    /// Intents to tell apart
    #[arg(long, default_value = "service")]
    pack: String,
}

/// Prints the answer, or what comes near one.
pub(super) fn run(Command::Ask(ask): &Command) -> Result<ExitCode, Failure> {
    let knowledge = Knowledge::read(&ask.articles).map_err(Failure::new)?;
    let language = triage(None, "", &Text::read(ask.question.as_bytes())).language.value;
    let hits = knowledge.search(language, &ask.question);
    let answers = hits.first().is_some_and(|hit| hit.confidence >= SURE_FROM);
    let told: Vec<_> = hits
        .iter()
        .map(|hit| {
            let passage = hit.passage;
            json!({ "text": passage.text, "source": passage.source(), "file": passage.path, "confidence": hit.confidence })
        })
        .collect();
    let said = json!({
        "language": language,
        "answers": answers,
        "found": told,
        "passages": knowledge.passages().len(),
        "articles": knowledge.hash(),
    });
    println!("{}", serde_json::to_string_pretty(&said).map_err(Failure::new)?);
    Ok(ExitCode::from(u8::from(!answers)))
}

/// Talks until the assistant is done, hands over, or the input ends. What it decided stands behind each reply.
pub(super) fn talk(talk: &Talk) -> Result<ExitCode, Failure> {
    let registry = talk.models.load_or_tell().map_or_else(Registry::default, Registry::of);
    let engine = Engine::start(Arc::new(registry), &Options::default()).map_err(Failure::new)?;
    let persona = talk.persona.as_deref().map_or_else(|| Ok(Persona::default()), Persona::read).map_err(Failure::new)?;
    let mut assistant = Assistant::new(engine, persona, Rules { pack: talk.pack.clone(), ..Rules::default() });
    if let Some(articles) = &talk.articles {
        assistant = assistant.with_knowledge(Arc::new(Knowledge::read(articles).map_err(Failure::new)?));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::new)?;
    println!("{}", assistant.greeting(Language::Unknown).say);
    let mut history = Vec::new();
    for said in std::io::stdin().lock().lines() {
        let said = said.map_err(Failure::new)?;
        let reply = runtime.block_on(assistant.reply(b"terminal", &history, &said));
        println!("{}", reply.say);
        let why = json!({ "next": reply.next, "by": reply.by, "sources": reply.sources, "reason": reply.triage.reason });
        println!("  {why}");
        std::io::stdout().flush().map_err(Failure::new)?;
        history.extend([Line::customer(&said), reply.line()]);
        if matches!(reply.next, Next::Person { .. } | Next::Done) {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}
