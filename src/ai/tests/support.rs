//! Heads that answer what a test wants, behind a manifest as files have it.

use crate::ai::{Models, features::Features, manifest::Manifest, triage::Scores};

/// A head by a function.
pub(super) struct Scripted<F>(pub(super) F);

impl<F: Fn(&Features) -> Result<Vec<f32>, String> + Send + Sync> Scores for Scripted<F> {
    fn scores(&self, features: &Features) -> Result<Vec<f32>, String> {
        (self.0)(features)
    }
}

/// A manifest of one head for the intents `move` and `pay` of the pack `p`.
pub(super) fn manifest(version: &str) -> String {
    format!(
        "name = \"t\"\nversion = \"{version}\"\nfeatures = \"hash-1\"\nrows_log2 = 14\n[[head]]\nname = \"i\"\ntask = \"intent\"\npack = \"p\"\n\
         file = \"i.onnx\"\nsha256 = \"00\"\nlabels = [\"-\", \"move\", \"pay\"]\noutside = \"-\"\n\
         calibration = {{ bias = 0.0, top = 1.0, lead = 0.0, outside = -1.0 }}\nroute_from = 900\nclarify_from = 500\n\
         data = \"none\"\nlicence = \"none\"\n"
    )
}

pub(super) fn models(version: &str, head: impl Fn(&Features) -> Result<Vec<f32>, String> + Send + Sync + 'static) -> Models {
    let manifest = Manifest::parse(manifest(version).as_bytes()).unwrap();
    Models { manifest, heads: vec![Box::new(Scripted(head))], meaning: None }
}

/// Models that always give these scores to `-`, `move` and `pay`.
pub(super) fn always(version: &str, scores: [f32; 3]) -> Models {
    models(version, move |_| Ok(scores.to_vec()))
}
