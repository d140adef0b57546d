//! Latency of triage: text in, decision out, every head asked, on one thread. It judges no accuracy: `tandem scorecard` does.

use std::{path::PathBuf, sync::Arc, time::Instant};

use rustix::time::{ClockId, clock_gettime};
use tandem::ai::{Embedding, Models, Text, backend, triage};

use crate::{error::Error, report::Report};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Folder of a manifest.toml and its model files.
    #[arg(long, default_value = "models")]
    pub models: PathBuf,
    /// Folder of an embedding model, for the intents that there are heads on it for.
    #[arg(long, env = "TANDEM_EMBEDDING")]
    pub embedding: Option<PathBuf>,
    /// Decisions to time for each set of intents.
    #[arg(long, default_value_t = 3_000)]
    pub decisions: usize,
}

/// Targets with the heads alone.
const P50_MS_MAX: f64 = 3.0;
const P99_MS_MAX: f64 = 10.0;
/// Target with an embedding, too.
const EMBEDDED_P99_MS_MAX: f64 = 25.0;
/// Decisions before the clock counts.
const WARM_UP: usize = 50;

/// From a word to a letter, in the languages that are judged.
const SAID: [&str; 8] = [
    "card lost",
    "i still have not received my new card, it has been two weeks since i ordered it",
    "there is a payment on my statement that i did not make and i would like to have it refunded as soon as possible please",
    "请帮我查一下卡里还有多少钱",
    "我昨天给朋友转的钱他到现在还没有收到，麻烦帮我看看是怎么回事，对方等着急用",
    "转人工",
    "necesito bloquear mi tarjeta ahora mismo, me la robaron esta mañana en el metro",
    "hello, i am writing because i have now called three times and every time somebody else tells me something else. first i was told \
     that the transfer would be there within a day, then that it would take three to five working days, and yesterday nobody could find it \
     at all. i need the money for my rent, which is due on friday. please look into it and call me back at the number on file.",
];

pub fn run(options: &Options) -> Result<Report, Error> {
    let setup = |error: tandem::ai::Error| Error::Setup(error.to_string());
    let mut models = Models::load(&options.models).map_err(setup)?;
    if let Some(folder) = &options.embedding {
        let embedding = Embedding::load(folder).map_err(setup)?;
        if !models.embed(&options.models, Arc::new(embedding)).map_err(setup)? {
            return Err(Error::Setup(format!("the models have no head for the embedding in {}", folder.display())));
        }
    }
    let mut report = Report::new(format!("triage: one thread, {}, models {} {}", backend(), models.version(), models.hash()));
    for pack in models.packs() {
        let (mut sample, mut spent): (Vec<f64>, Vec<f64>) = (0..WARM_UP + options.decisions)
            .map(|turn| {
                let said = SAID[turn % SAID.len()];
                let (started, cpu) = (Instant::now(), cpu_ms());
                let judged = triage(Some(&models), pack, &Text::read(said.as_bytes()));
                let took = (started.elapsed().as_secs_f64() * 1e3, cpu_ms() - cpu);
                assert!(!judged.fallback, "the models answered");
                took
            })
            .skip(WARM_UP)
            .unzip();
        let mean = spent.iter().sum::<f64>() / spent.len() as f64;
        let percentile = |sample: &mut Vec<f64>, percent: usize| {
            sample.sort_by(f64::total_cmp);
            sample[(sample.len() - 1) * percent / 100]
        };
        let (p50, p99) = (percentile(&mut sample, 50), percentile(&mut sample, 99));
        if let Some(embedding) = models.embedding(pack) {
            let name = format!("{pack} with {}", embedding.name());
            report.figure(format!("{name}: a decision, p50"), p50, "ms");
            report.bounded(format!("{name}: a decision, p99"), p99, "ms", format!("≤ {EMBEDDED_P99_MS_MAX}"), p99 <= EMBEDDED_P99_MS_MAX);
        } else {
            report.bounded(format!("{pack}: a decision, p50"), p50, "ms", format!("≤ {P50_MS_MAX}"), p50 <= P50_MS_MAX);
            report.bounded(format!("{pack}: a decision, p99"), p99, "ms", format!("≤ {P99_MS_MAX}"), p99 <= P99_MS_MAX);
        }
        // What other processes take of the core meanwhile counts in the latency, and not here.
        report.figure(format!("{pack}: a decision, CPU, mean"), mean, "ms");
        report.figure(format!("{pack}: a decision, CPU, p99"), percentile(&mut spent, 99), "ms");
    }
    if cfg!(debug_assertions) {
        report.note("built without optimisation: an upper bound".to_owned());
    }
    Ok(report)
}

/// CPU this thread has used, milliseconds.
fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}
