//! How an assistant speaks for a tenant or a queue: voice, style, form of address, its own words.
//!
//! It owns the file and the shipped words. A persona is a version: whoever holds one keeps it, so that a new one begins with new contacts
//! and every answer can say which it was. It cannot take the disclosure away.

mod phrases;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

pub use phrases::Phrase;

use super::{
    guard::{Disclosure, Jurisdiction, Topics, discloses},
    limits::{CLARIFY_MAX, PERSONA_BYTES_MAX, PERSONA_TEXT_CHARS_MAX},
    text::Text,
    verdict::{Hash, Language},
};

/// Why a persona was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}:{line}: {message}", path.display())]
    Written { path: PathBuf, line: usize, message: String },
    #[error("{}: {message}", path.display())]
    Refused { path: PathBuf, message: String },
}

/// Its own words in one language; what is left out is said as shipped. `{address}` stands for the form of address.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Words {
    voice: Option<String>,
    address: Option<String>,
    greeting: Option<String>,
    disclosure: Option<String>,
    clarify: Vec<String>,
    person: Option<String>,
    goodbye: Option<String>,
    more: Option<String>,
    near: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    version: u32,
    #[serde(default = "english")]
    language: String,
    #[serde(default)]
    jurisdiction: Jurisdiction,
    #[serde(default)]
    style: String,
    en: Option<Words>,
    zh: Option<Words>,
    es: Option<Words>,
}

fn english() -> String {
    Language::En.code().to_owned()
}

/// One version of a persona.
#[derive(Debug, Clone)]
pub struct Persona {
    pub name: String,
    pub version: u32,
    /// SHA-256 of the file.
    pub hash: Hash,
    /// Spoken until the customer's is known.
    pub language: Language,
    pub jurisdiction: Jurisdiction,
    /// How a language model is to write, in words.
    pub style: String,
    words: BTreeMap<&'static str, Words>,
}

impl Default for Persona {
    /// Plain and polite, in the words that are shipped.
    fn default() -> Self {
        Self {
            name: "plain".to_owned(),
            version: 1,
            hash: Hash(Sha256::digest(b"plain/1").into()),
            language: Language::En,
            jurisdiction: Jurisdiction::Other,
            style: String::new(),
            words: BTreeMap::new(),
        }
    }
}

impl Persona {
    /// Reads a persona's TOML file.
    ///
    /// # Errors
    /// When it cannot be read, or as [`Self::parse`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let source = |source| Error::Read { path: path.to_path_buf(), source };
        if fs::metadata(path).map_err(source)?.len() > PERSONA_BYTES_MAX {
            return Err(Error::Refused { path: path.to_path_buf(), message: format!("larger than {PERSONA_BYTES_MAX} bytes") });
        }
        Self::parse(path, &fs::read_to_string(path).map_err(source)?)
    }

    /// Takes a persona as it is written; `path` names it in errors.
    ///
    /// # Errors
    /// When it is not what a persona's file is, when a text is too long, when a disclosure discloses nothing, or when a text claims what an
    /// assistant may not.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let file: File = toml::from_str(text).map_err(|error| Error::Written {
            path: path.to_path_buf(),
            line: 1 + error.span().map_or(0, |span| text[..span.start].matches('\n').count()),
            message: error.message().to_owned(),
        })?;
        let refuse = |message: String| Err(Error::Refused { path: path.to_path_buf(), message });
        let mut words = BTreeMap::new();
        for (language, of) in [(Language::En, file.en), (Language::Zh, file.zh), (Language::Es, file.es)] {
            let Some(of) = of else { continue };
            if let Err(message) = check(language, &of) {
                return refuse(message);
            }
            words.insert(language.code(), of);
        }
        let language = Language::named(&file.language);
        if language == Language::Unknown {
            return refuse(format!("language `{}` is not en, zh or es", file.language));
        }
        if file.style.chars().count() > PERSONA_TEXT_CHARS_MAX {
            return refuse(format!("style is longer than {PERSONA_TEXT_CHARS_MAX} characters"));
        }
        let hash = Hash(Sha256::digest(text.as_bytes()).into());
        Ok(Self { name: file.name, version: file.version, hash, language, jurisdiction: file.jurisdiction, style: file.style, words })
    }

    /// What says that a machine speaks, before anything else. Its own text has an id of its own.
    #[must_use]
    pub fn disclosure(&self, language: Language) -> Disclosure {
        let language = self.speaks(language);
        let own = self.words.get(language.code()).and_then(|words| words.disclosure.as_ref().map(|text| self.address(words, text)));
        match own {
            Some(text) => Disclosure { id: format!("{}-{}/{}", self.name, self.version, language.code()), language, text },
            None => Disclosure::shipped(self.jurisdiction, language),
        }
    }

    /// Its words for an occasion.
    #[must_use]
    pub fn say(&self, language: Language, phrase: Phrase) -> String {
        let language = self.speaks(language);
        let Some(words) = self.words.get(language.code()) else { return phrase.shipped(language).to_owned() };
        let own = match phrase {
            Phrase::Greeting => words.greeting.as_deref(),
            Phrase::Clarify(time) => words.clarify.get(time.min(words.clarify.len().saturating_sub(1))).map(String::as_str),
            Phrase::Person => words.person.as_deref(),
            // What to do in danger is not a matter of style.
            Phrase::Danger => None,
            Phrase::Goodbye => words.goodbye.as_deref(),
            Phrase::More => words.more.as_deref(),
            Phrase::Near => words.near.as_deref(),
        };
        self.address(words, own.unwrap_or_else(|| phrase.shipped(language)))
    }

    /// The voice to speak with, as the engine of speech names it.
    #[must_use]
    pub fn voice(&self, language: Language) -> Option<&str> {
        self.words.get(self.speaks(language).code())?.voice.as_deref()
    }

    /// The form of address, for whoever writes in its name.
    #[must_use]
    pub fn form_of_address(&self, language: Language) -> Option<&str> {
        self.words.get(self.speaks(language).code())?.address.as_deref()
    }

    /// The language it answers somebody in.
    #[must_use]
    pub fn speaks(&self, language: Language) -> Language {
        if language == Language::Unknown { self.language } else { language }
    }

    fn address(&self, words: &Words, text: &str) -> String {
        text.replace("{address}", words.address.as_deref().unwrap_or_default()).trim().to_owned()
    }
}

fn check(language: Language, words: &Words) -> Result<(), String> {
    let code = language.code();
    if words.clarify.len() > CLARIFY_MAX {
        return Err(format!("{code}.clarify has more than {CLARIFY_MAX} questions"));
    }
    let own = [&words.voice, &words.address, &words.greeting, &words.disclosure, &words.person, &words.goodbye, &words.more, &words.near];
    for text in own.into_iter().flatten().chain(&words.clarify) {
        if text.chars().count() > PERSONA_TEXT_CHARS_MAX {
            return Err(format!("a text of {code} is longer than {PERSONA_TEXT_CHARS_MAX} characters"));
        }
        if let Some(topic) = Topics::default().said(&Text::read(text.as_bytes())) {
            return Err(format!("`{text}` says what an assistant may not: {}", topic.0));
        }
    }
    match &words.disclosure {
        Some(text) if !discloses(language, text) => Err(format!("{code}.disclosure does not say that a machine speaks: `{text}`")),
        _ => Ok(()),
    }
}
