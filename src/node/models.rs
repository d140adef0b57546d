//! The models of this node: finds and loads what the cluster has chosen, and goes on with what it has where that is not here.
//!
//! It owns the files. Which version is chosen is `core::models`, which contact meets which is `ai::Registry`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tandem_cluster::Cluster;

use crate::{
    ai::{Answers, Embedding, Models, Registry, Shelf},
    api::models::{self, Held, Judge, Missing},
    config::node::Ai,
    core::models::Models as Choice,
    telemetry::catalogue::AI_MODELS_MISSING,
};

/// How often the choice is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks after which files that were missing are looked for again: a deployer may have placed them since.
const LOOKS_BETWEEN: u32 = 10;
/// Folders below that of the models that are looked into.
const FOLDERS_MAX: usize = 64;

/// Loaded versions, and where others are found.
pub(super) struct Store {
    folder: Option<PathBuf>,
    embedding: Option<Arc<Embedding>>,
    /// What the node was started with.
    own: Option<Arc<Models>>,
    /// Those the choice names, by hash.
    loaded: BTreeMap<String, Arc<Models>>,
}

impl Store {
    /// Loads the models and the embedding that the node's file names. What cannot be loaded is left out and told: rules answer.
    pub(super) fn open(config: &Ai) -> Self {
        let embedding = config.embedding.as_deref().and_then(embedding);
        let mut store = Self { folder: config.models.clone(), embedding, own: None, loaded: BTreeMap::new() };
        if let Some(folder) = &config.models {
            match store.load(folder) {
                Ok(own) => store.own = Some(own),
                Err(error) => tracing::error!(%error, "models are not used; rules decide"),
            }
        }
        store
    }

    /// What is to answer whom by a choice, and what of it is not here.
    pub(super) fn settle(&mut self, choice: &Choice) -> (Shelf, Held) {
        self.forget_all_but(choice);
        let mut missing = Vec::new();
        let current = match self.find(choice, choice.current.as_deref()) {
            Ok(models) => Answers { models, stand_in: false },
            Err(error) => {
                missing.push(error);
                Answers { models: self.latest_before(choice), stand_in: true }
            }
        };
        let canary = choice.canary.as_ref().map(|canary| {
            let answers = match self.find(choice, Some(&canary.version)) {
                Ok(models) => Answers { models, stand_in: false },
                Err(error) => {
                    missing.push(error);
                    Answers { stand_in: true, ..current.clone() }
                }
            };
            (answers, canary.percent)
        });
        let held = Held {
            revision: choice.revision,
            current: judge(choice, &current),
            canary: canary.as_ref().map(|(answers, _)| judge(choice, answers)),
            missing,
        };
        (Shelf { current, canary }, held)
    }

    /// Keeps what judges, and what a rollback would go back to.
    fn forget_all_but(&mut self, choice: &Choice) {
        let before = choice.before.last().and_then(Option::as_ref);
        let named = choice.current.iter().chain(choice.canary.iter().map(|canary| &canary.version)).chain(before);
        let wanted: Vec<&String> = named.filter_map(|version| choice.staged.get(version)).map(|staged| &staged.sha256).collect();
        self.loaded.retain(|hash, _| wanted.contains(&hash));
    }

    /// The models of a version, loaded now if need be.
    fn find(&mut self, choice: &Choice, version: Option<&str>) -> Result<Option<Arc<Models>>, Missing> {
        let Some(version) = version else { return Ok(self.own.clone()) };
        let missing = |why: String| Missing { version: version.to_owned(), why };
        let staged = choice.staged.get(version).ok_or_else(|| missing("it is not staged".to_owned()))?;
        if let Some(own) = self.own.as_ref().filter(|own| own.hash().to_string() == staged.sha256) {
            return Ok(Some(Arc::clone(own)));
        }
        if let Some(models) = self.loaded.get(&staged.sha256) {
            return Ok(Some(Arc::clone(models)));
        }
        let models = self.look_for(version, &staged.sha256).map_err(missing)?;
        self.loaded.insert(staged.sha256.clone(), Arc::clone(&models));
        Ok(Some(models))
    }

    /// In the place of a current version that is missing: the latest before it that is here.
    fn latest_before(&mut self, choice: &Choice) -> Option<Arc<Models>> {
        let before = choice.before.iter().rev().find_map(|version| self.find(choice, version.as_deref()).ok());
        before.unwrap_or_else(|| self.own.clone())
    }

    /// Looks into the folders below that of the models.
    fn look_for(&self, version: &str, sha256: &str) -> Result<Arc<Models>, String> {
        let folder = self.folder.as_deref().ok_or("this node's file names no folder of models")?;
        let below = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut below: Vec<PathBuf> = below.filter_map(Result::ok).map(|entry| entry.path()).collect();
        below.retain(|path| path.join("manifest.toml").is_file());
        below.sort();
        let mut other = None;
        for path in below.into_iter().take(FOLDERS_MAX) {
            match Models::peek(&path) {
                Ok((_, hash)) if hash.to_string() == sha256 => return self.load_checked(&path, sha256),
                Ok((name, hash)) if name == version => other = Some(format!("{} is version {version} with sha256 {hash}", path.display())),
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "a folder of models is passed over"),
            }
        }
        Err(other.unwrap_or_else(|| format!("no folder in {} has a manifest.toml with sha256 {sha256}", folder.display())))
    }

    /// A manifest that was changed since it was looked at is another version's.
    fn load_checked(&self, path: &Path, sha256: &str) -> Result<Arc<Models>, String> {
        let models = self.load(path)?;
        if models.hash().to_string() == sha256 { Ok(models) } else { Err(format!("{} was changed meanwhile", path.display())) }
    }

    /// Models of a folder, with the embedding where they have heads for it; without it they answer all the same.
    fn load(&self, folder: &Path) -> Result<Arc<Models>, String> {
        let mut models = Models::load(folder).map_err(|error| error.to_string())?;
        if let Some(embedding) = &self.embedding {
            match models.embed(folder, Arc::clone(embedding)) {
                Ok(true) => {}
                Ok(false) => tracing::error!(hash = %embedding.hash(), "the models have no head for this embedding: it is not used"),
                Err(error) => tracing::error!(%error, "the embedding is not used"),
            }
        }
        tracing::info!(version = models.version(), hash = %models.hash(), "models loaded");
        Ok(Arc::new(models))
    }
}

fn embedding(folder: &Path) -> Option<Arc<Embedding>> {
    let loaded = Embedding::load(folder).inspect_err(|error| tracing::error!(%error, "the embedding is not used")).ok()?;
    tracing::info!(name = loaded.name(), hash = %loaded.hash(), "embedding loaded");
    Some(Arc::new(loaded))
}

/// What answers, by the name the cluster gave it, else by its own.
fn judge(choice: &Choice, answers: &Answers) -> Judge {
    let sha256 = answers.models.as_ref().map(|models| models.hash().to_string());
    let staged = choice.staged.iter().find(|(_, staged)| Some(&staged.sha256) == sha256.as_ref()).map(|(version, _)| version.clone());
    let version = staged.or_else(|| answers.models.as_ref().map(|models| models.version().to_owned()));
    Judge { version, sha256, stand_in: answers.stand_in }
}

/// Follows the cluster's choice, for ever.
pub(super) async fn follow(cluster: Cluster, mut store: Store, registry: Arc<Registry>, held: Arc<Mutex<Held>>) {
    let (shelf, first) = store.settle(&Choice::default());
    registry.put(shelf);
    *held.lock() = first;
    let (mut seen, mut looks) = (None, 0);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        looks = (looks + 1) % LOOKS_BETWEEN;
        let row = models::row(&cluster);
        let looks_again = looks == 0 && !held.lock().missing.is_empty();
        if row == seen && !looks_again {
            continue;
        }
        let choice = match models::read(row.as_deref()) {
            Ok(choice) => choice,
            Err(error) => {
                tracing::error!(%error, "the choice of models cannot be read: this node stays with what it has");
                seen = row;
                continue;
            }
        };
        let settled = tokio::task::spawn_blocking(move || {
            let settled = store.settle(&choice);
            (store, settled)
        });
        let Ok((kept, (shelf, fresh))) = settled.await else {
            return tracing::error!("loading models panicked: this node stays with what it has");
        };
        (store, seen) = (kept, row);
        registry.put(shelf);
        metrics::gauge!(AI_MODELS_MISSING).set(fresh.missing.len() as f64);
        tell(&held.lock(), &fresh);
        *held.lock() = fresh;
    }
}

/// Says what is new.
fn tell(before: &Held, now: &Held) {
    if before == now {
        return;
    }
    let version = |judge: &Judge| judge.version.clone().unwrap_or_else(|| "rules".to_owned());
    let canary = now.canary.as_ref().map(version).unwrap_or_default();
    tracing::info!(revision = now.revision, current = version(&now.current), canary, "models judge");
    for Missing { version, why } in &now.missing {
        tracing::error!(version, why, "a version of the models is missing: another stands in, and decisions say fallback");
    }
}

#[cfg(test)]
mod tests;
