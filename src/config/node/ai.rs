//! What AI agents of a node answer from, and endpoints of models. It owns keys and defaults; whether an address answers is found out when it is asked.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What AI agents answer from. All nodes should be given the same, since any may take a contact over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ai {
    /// Folder of a `manifest.toml` and its models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<PathBuf>,
    /// Folder of an embedding model, by which those models tell intents better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<PathBuf>,
    /// Folder with a folder of articles for each name that tenants may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knowledge: Option<PathBuf>,
    /// Asked where articles have no sure answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language_model: Option<LanguageModel>,
    /// Says and hears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speech: Option<Speech>,
}

/// A language model behind an OpenAI-compatible endpoint, which AI agents ask where articles have no sure answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanguageModel {
    #[serde(flatten)]
    pub access: Access,
    /// Its name at the endpoint.
    pub model: String,
    /// What it may call; nothing else.
    #[serde(default, rename = "tool", skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool>,
}

/// Voice behind an OpenAI-compatible endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Speech {
    #[serde(flatten)]
    pub access: Access,
    /// The model that says.
    pub say: String,
    /// The model that hears.
    pub hear: String,
    pub voice: String,
    /// Samples a second of its raw audio.
    #[serde(default = "default_rate")]
    pub rate: usize,
}

const fn default_rate() -> usize {
    24_000
}

/// Where an endpoint is, and what opens it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Up to and with the version: `https://models.example/v1`.
    pub url: String,
    /// Holds the key, which is no part of this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// A certificate authority in PEM, beside the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Longest it is waited for.
    #[serde(default = "default_deadline_ms")]
    pub deadline_ms: u64,
}

const fn default_deadline_ms() -> u64 {
    4_000
}

impl Access {
    /// The files it names.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.key_file.iter_mut().chain(&mut self.ca)
    }
}

/// A webhook that a language model may call. It is asked from this node: what the node can reach, its address can name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// Its arguments: a JSON Schema of an object, as text.
    #[serde(default = "any_object")]
    pub parameters: String,
    pub url: String,
}

fn any_object() -> String {
    r#"{"type":"object"}"#.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_the_usual_bounds_and_may_have_tools() {
        let text = r#"
            url = "https://models.example/v1"
            model = "m"
            key_file = "model.key"
            [[tool]]
            name = "order_status"
            description = "d"
            url = "https://shop.example/hook"
        "#;
        let model: LanguageModel = toml::from_str(text).unwrap();
        assert_eq!((model.access.deadline_ms, model.tools[0].parameters.as_str()), (4_000, r#"{"type":"object"}"#));
        assert_eq!(toml::from_str::<LanguageModel>(&toml::to_string(&model).unwrap()).unwrap(), model);
        let speech: Speech = toml::from_str("url = \"http://127.0.0.1:9/v1\"\nsay = \"a\"\nhear = \"b\"\nvoice = \"c\"").unwrap();
        assert_eq!(speech.rate, 24_000);
        assert!(toml::from_str::<LanguageModel>("url = \"x\"\nmodel = \"m\"\ntempo = 1").is_err(), "what nobody knows is refused");
    }
}
