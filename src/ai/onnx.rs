//! ONNX files through ort: on ONNX Runtime where its library is found, else on tract, which is pure Rust and always there.
//!
//! It owns the choice, made once a process, and the sessions. It knows neither labels nor thresholds (docs/adr/0013).

use std::{path::PathBuf, sync::OnceLock};

use ort::{
    environment::Environment,
    session::{Session, SessionInputValue, builder::GraphOptimizationLevel},
    value::Tensor,
};
use parking_lot::Mutex;

use super::{features::Features, sentences::Refines, triage::Scores};

/// Names the library to use; `tract` forbids looking for one.
const LIBRARY: &str = "TANDEM_ONNXRUNTIME";
/// Where a library is looked for otherwise. Only names that somebody installed on purpose: nothing is fetched.
const PLACES: [&str; 3] =
    ["/usr/lib/x86_64-linux-gnu/libonnxruntime.so", "/usr/lib/aarch64-linux-gnu/libonnxruntime.so", "/usr/local/lib/libonnxruntime.so"];

struct Backend {
    name: String,
    env: Result<Environment, String>,
}

/// The process's backend. ort keeps one API for all, so that the first choice stays.
fn backend() -> &'static Backend {
    static BACKEND: OnceLock<Backend> = OnceLock::new();
    BACKEND.get_or_init(|| {
        let wished = std::env::var_os(LIBRARY).filter(|path| !path.is_empty());
        let libraries: Vec<PathBuf> = match &wished {
            Some(wish) if wish == "tract" => Vec::new(),
            Some(path) => vec![path.into()],
            None => PLACES.iter().map(PathBuf::from).filter(|path| path.exists()).collect(),
        };
        for path in libraries {
            match ort::init_from(&path) {
                Ok(builder) => {
                    let env = builder.with_name("tandem").with_telemetry(false).build().map_err(|error| error.to_string());
                    return Backend { name: format!("ONNX Runtime from {}", path.display()), env };
                }
                Err(error) => tracing::warn!(%error, "ONNX Runtime was not loaded; tract runs the models"),
            }
        }
        ort::set_api(ort_tract::api());
        Backend { name: "tract".to_owned(), env: ort::init().build().map_err(|error| error.to_string()) }
    })
}

/// What runs the models, in words.
pub(super) fn name() -> &'static str {
    &backend().name
}

/// What a graph is given, by the names of its inputs.
type Given = Vec<(&'static str, SessionInputValue<'static>)>;

/// A loaded file.
pub(super) struct Graph {
    /// ort runs a session by one thread at a time.
    session: Mutex<Session>,
}

impl Graph {
    /// Opens a small graph, which is run as it was written.
    pub(super) fn open(bytes: &[u8]) -> Result<Self, String> {
        Self::open_by(bytes, GraphOptimizationLevel::Disable)
    }

    /// Opens a large one, where it pays to let the backend rewrite it first.
    pub(super) fn open_optimised(bytes: &[u8]) -> Result<Self, String> {
        Self::open_by(bytes, GraphOptimizationLevel::Level3)
    }

    fn open_by(bytes: &[u8], level: GraphOptimizationLevel) -> Result<Self, String> {
        let env = backend().env.as_ref().map_err(Clone::clone)?;
        let session = Session::builder(env)
            .map_err(|error| error.to_string())?
            .with_intra_threads(1)
            .map_err(|error| error.to_string())?
            .with_optimization_level(level)
            .map_err(|error| error.to_string())?
            .commit_from_memory(bytes)
            .map_err(|error| error.to_string())?;
        Ok(Self { session: Mutex::new(session) })
    }

    /// Runs it; `output` names what is wanted of it, which must be numbers.
    pub(super) fn run(&self, given: Given, output: &str) -> Result<Vec<f32>, String> {
        let mut session = self.session.lock();
        let outputs = session.run(given).map_err(|error| error.to_string())?;
        let found = outputs.get(output).ok_or_else(|| format!("the model has no output `{output}`"))?;
        let (_, numbers) = found.try_extract_tensor::<f32>().map_err(|error| error.to_string())?;
        Ok(numbers.to_vec())
    }
}

/// Loads a head of `labels` labels from its bytes, and asks it once: a graph that its backend cannot run is refused here, and not
/// at the first customer.
pub(super) fn load(bytes: &[u8], labels: usize) -> Result<Box<dyn Scores>, String> {
    let graph = Graph::open(bytes)?;
    let scores = Scores::scores(&graph, &Features { rows: vec![0], weights: vec![1.0] })?;
    if scores.len() == labels { Ok(Box::new(graph)) } else { Err(format!("{} scores for {labels} labels", scores.len())) }
}

/// Loads a head of `labels` labels that takes another's scores and a vector.
pub(super) fn load_refining(bytes: &[u8], labels: usize, dimensions: usize) -> Result<Box<dyn Refines>, String> {
    let graph = Graph::open(bytes)?;
    let scores = Refines::scores(&graph, &vec![0.0; labels], &vec![0.0; dimensions])?;
    if scores.len() == labels { Ok(Box::new(graph)) } else { Err(format!("{} scores for {labels} labels", scores.len())) }
}

impl Scores for Graph {
    fn scores(&self, features: &Features) -> Result<Vec<f32>, String> {
        let n = features.rows.len();
        let rows = Tensor::from_array(([n], features.rows.clone())).map_err(|error| error.to_string())?;
        self.run(vec![("rows", rows.into()), ("weights", column(&features.weights)?)], "scores")
    }
}

impl Refines for Graph {
    fn scores(&self, scores: &[f32], vector: &[f32]) -> Result<Vec<f32>, String> {
        self.run(vec![("words", column(scores)?), ("vector", column(vector)?)], "scores")
    }
}

fn column(numbers: &[f32]) -> Result<SessionInputValue<'static>, String> {
    Tensor::from_array(([numbers.len()], numbers.to_vec())).map(Into::into).map_err(|error| error.to_string())
}
