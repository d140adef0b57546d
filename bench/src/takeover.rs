//! People take contacts over from AI agents, on a real cluster: how soon the AI agent is silent and a person's phone rings, what
//! becomes of contacts whose node dies in mid-sentence, and AI switched off under load.
//!
//! The AI agents speak recorded prompts whose frames carry a voice as the phones' own do, so that each frame heard is known for what
//! it is.

mod anytime;
mod contacts;
mod lost;
mod switch;
mod voice;

use std::{
    fmt::Write as _,
    thread,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};

use crate::{
    error::Error,
    lab,
    phone::{OnRing, Phone, State, Way},
    report::Report,
    survival::{
        Common,
        stage::{self, Group, Setup, Stage},
    },
};

#[derive(Debug, Clone, Args)]
pub struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// Contacts are taken over one by one: commit to silence, to ringing, and what is heard after that.
    Contacts(contacts::Options),
    /// Contacts are taken over at any moment: whoever hears a person hears no AI agent any more.
    Anytime(anytime::Options),
    /// AI is switched off for the queue while all contacts are with AI.
    Switch(switch::Options),
    /// The node whose AI agents speak is killed in mid-sentence.
    Lost(lost::Options),
}

/// What all of them can be told.
#[derive(Debug, Clone, Args)]
pub struct Shared {
    #[command(flatten)]
    pub common: Common,
    #[arg(long, default_value_t = 200)]
    pub calls: usize,
}

/// The queue that AI agents and people share.
const QUEUE: &str = "support";
/// How long everybody may take to talk with an AI agent.
const TALKING_WITHIN: Duration = Duration::from_secs(60);
const WHOLE_WITHIN: Duration = Duration::from_secs(40);

pub fn run(options: &Options) -> Result<Report, Error> {
    match &options.what {
        What::Contacts(options) => contacts::run(options),
        What::Anytime(options) => anytime::run(options),
        What::Switch(options) => switch::run(options),
        What::Lost(options) => lost::run(options),
    }
}

/// A cluster in which an AI agent takes every call, and `people` whose phones answer as told.
fn open(shared: &Shared, people: usize, on_ring: OnRing) -> Result<Stage, Error> {
    open_with(shared, people, on_ring, |_| {})
}

fn open_with(shared: &Shared, people: usize, on_ring: OnRing, options: impl FnOnce(&mut lab::Options)) -> Result<Stage, Error> {
    let prompts = tempfile::tempdir()?;
    voice::write(prompts.path())?;
    let group = Group { on_ring, ..Group::answering(QUEUE, people) };
    let mut further = String::new();
    // One agent has 255 slots at most; two serve any number this proof runs with.
    for name in ["ai-1", "ai-2"] {
        let words = |prompt: &str| format!("{{ text = \"{prompt}\", prompt = \"{prompt}\" }}");
        writeln!(
            further,
            "[[agent]]\nid = \"{name}\"\nkind = \"ai\"\nskills = {{ {QUEUE} = 5 }}\ncapacity = {{ voice = 255 }}\nassistant = {{ language = \"en\", disclosure = {}, greeting = {} }}",
            words(voice::DISCLOSURE.0),
            words(voice::SPEECH.0)
        )
        .expect("a string takes everything");
    }
    let setup = Setup { groups: vec![group], further, ..Setup::pairs(shared.calls, &shared.common) };
    // The files are read by the nodes for as long as they run.
    let prompts = prompts.keep();
    let stage = Stage::open(setup, |lab| {
        lab.prompts = Some(prompts);
        options(lab);
    })?;
    stage.lab.await_whole(&[1, 2, 3], WHOLE_WITHIN)?;
    Ok(stage)
}

/// Each of `callers` calls node `k` and hears the AI agent's sentence.
fn talk(stage: &Stage, callers: &[Phone], k: u16) -> Result<(), Error> {
    stage.call(callers, k, QUEUE);
    let until = Instant::now() + TALKING_WITHIN;
    for caller in callers {
        let hears = || heard_last(caller, voice::SPEECH.1).is_some();
        stage::await_that(until, hears).ok_or_else(|| {
            Error::Setup(format!(
                "a caller does not hear the AI agent: {:?}, {:?}",
                caller.state(),
                caller.heard(|heard| heard.voices.clone())
            ))
        })?;
    }
    eprintln!("{} callers hear an AI agent on node {k}", callers.len());
    Ok(())
}

/// When a phone last heard a voice.
fn heard_last(phone: &Phone, voice: u32) -> Option<Instant> {
    phone.heard(|heard| heard.arrivals.iter().rev().find(|arrival| arrival.voice == Some(voice)).map(|arrival| arrival.at))
}

/// When it first heard a voice after `since`.
fn heard_first(phone: &Phone, voice: u32, since: Instant) -> Option<Instant> {
    phone.heard(|heard| heard.arrivals.iter().find(|arrival| arrival.at >= since && arrival.voice == Some(voice)).map(|arrival| arrival.at))
}

/// When a phone was rung, after `since`.
fn rung(phone: &Phone, since: Instant) -> Option<Instant> {
    phone.look(|ua| {
        let invites = ua.journal.entries().filter(|entry| entry.way == Way::In && entry.at >= since && entry.bytes.starts_with(b"INVITE "));
        invites.map(|entry| entry.at).min()
    })
}

/// The id of each caller's live call, by its number.
fn calls(stage: &Stage) -> Result<std::collections::BTreeMap<String, String>, Error> {
    let text = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    Ok(stage.lab.all("/api/v1/calls")?.iter().map(|row| (text(row, "from"), text(row, "id"))).collect())
}

fn user(phone: &Phone) -> String {
    phone.look(|ua| ua.options.user.clone())
}

/// Waits until every caller talks with a person's phone. Those who do not by then are counted.
fn without_person(stage: &Stage, within: Duration) -> usize {
    let until = Instant::now() + within;
    let hears_person = |caller: &Phone| {
        stage.agents[0].iter().any(|agent| caller.heard(|heard| heard.voices.last().is_some_and(|(_, voice)| *voice == agent.voice())))
    };
    let waiting = stage.callers.iter().filter(|caller| stage::await_that(until, || hears_person(caller)).is_none());
    waiting.filter(|caller| caller.state() != Some(State::Up) || !hears_person(caller)).count()
}

fn ms(from: Instant, to: Instant) -> f64 {
    if to >= from { (to - from).as_secs_f64() * 1_000.0 } else { -(from - to).as_secs_f64() * 1_000.0 }
}

/// Lets everybody go, so that the end of the run does not wait for them.
fn hang_up(stage: &Stage) {
    stage.callers.iter().for_each(Phone::hang_up);
    thread::sleep(Duration::from_millis(500));
}
