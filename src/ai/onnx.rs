//! ONNX files through ort: on ONNX Runtime where its library is found, else on tract, which is pure Rust and always there.
//!
//! It owns the choice, made once a process, and the sessions. It knows neither labels nor thresholds (docs/adr/0013).

use std::{path::PathBuf, sync::OnceLock};

use ort::{environment::Environment, inputs, session::Session, value::Tensor};
use parking_lot::Mutex;

use super::{features::Features, triage::Scores};

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

/// A loaded file: rows and weights in, one score a label out.
struct Graph {
    /// ort runs a session by one thread at a time.
    session: Mutex<Session>,
}

/// Loads a model of `labels` labels from its bytes, and asks it once: a graph that its backend cannot run is refused here, and not
/// at the first customer.
pub(super) fn load(bytes: &[u8], labels: usize) -> Result<Box<dyn Scores>, String> {
    let env = backend().env.as_ref().map_err(Clone::clone)?;
    let session = Session::builder(env)
        .map_err(|error| error.to_string())?
        .with_intra_threads(1)
        .map_err(|error| error.to_string())?
        .commit_from_memory(bytes)
        .map_err(|error| error.to_string())?;
    let graph = Graph { session: Mutex::new(session) };
    let scores = graph.scores(&Features { rows: vec![0], weights: vec![1.0] })?;
    if scores.len() == labels { Ok(Box::new(graph)) } else { Err(format!("{} scores for {labels} labels", scores.len())) }
}

impl Scores for Graph {
    fn scores(&self, features: &Features) -> Result<Vec<f32>, String> {
        let n = features.rows.len();
        let tensors = || -> ort::Result<_> {
            let rows = Tensor::from_array(([n], features.rows.clone()))?;
            Ok((rows, Tensor::from_array(([n], features.weights.clone()))?))
        };
        let (rows, weights) = tensors().map_err(|error| error.to_string())?;
        let mut session = self.session.lock();
        let outputs = session.run(inputs!["rows" => rows, "weights" => weights]).map_err(|error| error.to_string())?;
        let scores = outputs.get("scores").ok_or("the model has no output `scores`")?;
        let (_, scores) = scores.try_extract_tensor::<f32>().map_err(|error| error.to_string())?;
        Ok(scores.to_vec())
    }
}
