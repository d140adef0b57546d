//! A tenant's articles, and the passage of them that answers a question, or none.
//!
//! It owns reading, the index and how sure an answer is. An answer is a passage as its author wrote it, with where it stands. Nothing in an
//! article is ever obeyed: a passage is text to be quoted, whatever it says.

mod article;
mod index;
mod terms;
mod words;

use std::{
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use article::Flaw;
pub use article::Passage;
use index::Index;

use super::{
    limits::{ARTICLE_BYTES_MAX, ARTICLE_DEPTH_MAX, ARTICLES_MAX, CLAUSES_MAX, HITS_MAX, PASSAGES_MAX},
    text::Text,
    verdict::{Confidence, Hash, Language},
};

/// From here on a passage is given as the answer.
pub const SURE_FROM: Confidence = Confidence(550);
/// From here on it may have to do with the question; below it nothing is found.
pub const NEAR_FROM: Confidence = Confidence(350);

/// Why articles were not taken. None is left out silently: all are taken, or none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}:{line}: {message}", path.display())]
    Article { path: PathBuf, line: usize, message: String },
    #[error("{}: {message}", path.display())]
    Bounds { path: PathBuf, message: String },
}

/// A passage that was found, and how much of the question it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit<'a> {
    pub passage: &'a Passage,
    pub confidence: Confidence,
}

/// The articles of one tenant, ready to be asked from any thread.
pub struct Knowledge {
    passages: Vec<Passage>,
    index: Index,
    hash: Hash,
}

impl Knowledge {
    /// Reads every `.md` file below a directory.
    ///
    /// # Errors
    /// The first article that cannot be read, with its line, or the bound that is passed.
    pub fn read(dir: &Path) -> Result<Self, Error> {
        let mut files = Vec::new();
        find(dir, ARTICLE_DEPTH_MAX, &mut files)?;
        files.sort();
        let mut articles = Vec::with_capacity(files.len());
        for path in files {
            let source = |source| Error::Read { path: path.clone(), source };
            if fs::metadata(&path).map_err(source)?.len() > ARTICLE_BYTES_MAX {
                return Err(Error::Bounds { path, message: format!("larger than {ARTICLE_BYTES_MAX} bytes") });
            }
            let bytes = fs::read(&path).map_err(source)?;
            articles.push((path.strip_prefix(dir).unwrap_or(&path).to_path_buf(), bytes));
        }
        Self::of(articles)
    }

    /// Takes articles from wherever they come, each with the path that names it.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn of(articles: impl IntoIterator<Item = (PathBuf, Vec<u8>)>) -> Result<Self, Error> {
        let (mut passages, mut hash) = (Vec::new(), Sha256::new());
        for (path, bytes) in articles {
            hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(&bytes);
            let read =
                article::read(&path, &bytes).map_err(|Flaw { line, message }| Error::Article { path: path.clone(), line, message })?;
            passages.extend(read);
            if passages.len() > PASSAGES_MAX {
                return Err(Error::Bounds { path, message: format!("more than {PASSAGES_MAX} passages up to here") });
            }
        }
        let index = Index::of(&passages);
        Ok(Self { passages, index, hash: Hash(hash.finalize().into()) })
    }

    /// SHA-256 over all articles: what a decision by them cites.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    #[must_use]
    pub fn passages(&self) -> &[Passage] {
        &self.passages
    }

    /// Passages that have to do with what was said, the best first; none below [`NEAR_FROM`]. Where the language is known, only
    /// passages in it: a right answer nobody understands is none.
    #[must_use]
    pub fn search(&self, language: Language, said: &str) -> Vec<Hit<'_>> {
        // A caller tells a story around the question: each sentence is a question of its own, beside the whole.
        let mut clauses: Vec<&str> = vec![said];
        clauses.extend(
            said.split(['.', '!', '?', ';', '\n', '。', '！', '？', '；']).filter(|clause| !clause.trim().is_empty()).take(CLAUSES_MAX),
        );
        let mut best: Vec<(usize, f32, f32)> = Vec::new();
        for clause in clauses {
            for (passage, covered, score) in self.index.search(&Text::read(clause.as_bytes()), |at| self.speaks(at, language)) {
                match best.iter_mut().find(|(found, ..)| *found == passage) {
                    Some(found) if covered > found.1 => (found.1, found.2) = (covered, score),
                    Some(_) => {}
                    None => best.push((passage, covered, score)),
                }
            }
        }
        best.sort_by(|a, b| b.1.total_cmp(&a.1).then(b.2.total_cmp(&a.2)).then(a.0.cmp(&b.0)));
        best.truncate(HITS_MAX);
        let hits = best.into_iter().map(|(at, covered, _)| Hit { passage: &self.passages[at], confidence: Confidence::of(covered) });
        hits.filter(|hit| hit.confidence >= NEAR_FROM).collect()
    }

    fn speaks(&self, at: usize, language: Language) -> bool {
        let of = self.passages[at].language;
        language == Language::Unknown || of == Language::Unknown || of == language
    }
}

fn find(dir: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let source = |source| Error::Read { path: dir.to_path_buf(), source };
    for entry in fs::read_dir(dir).map_err(source)? {
        let entry = entry.map_err(source)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(source)?);
        // Links are not followed: what is published is what lies here.
        if kind.is_dir() {
            if depth == 0 {
                return Err(Error::Bounds { path, message: format!("deeper than {ARTICLE_DEPTH_MAX} folders") });
            }
            find(&path, depth - 1, files)?;
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "md") {
            if files.len() == ARTICLES_MAX {
                return Err(Error::Bounds { path, message: format!("more than {ARTICLES_MAX} articles") });
            }
            files.push(path);
        }
    }
    Ok(())
}
