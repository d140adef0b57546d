//! From a node's file to the endpoints of models its AI agents ask. It reads keys and authorities; it sends nothing.

use std::{fs, path::Path, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};

use crate::{
    ai::{
        Language,
        endpoint::{self, LanguageModel, Tool},
        speech::{self, Heard, SpeechEngine, Spoken},
    },
    config::node,
};

/// A language model that is ready to be asked.
///
/// # Errors
/// What cannot be read, or is none, in words.
pub(super) fn language_model(config: &node::LanguageModel) -> Result<LanguageModel, String> {
    let mut options = endpoint::Options::new(access(&config.access)?, &config.model);
    options.deadline = Duration::from_millis(config.access.deadline_ms);
    for tool in &config.tools {
        let parameters = serde_json::from_str(&tool.parameters).map_err(|error| format!("parameters of tool `{}`: {error}", tool.name))?;
        let (name, description, url) = (tool.name.clone(), tool.description.clone(), tool.url.clone());
        options.tools.push(Tool { name, description, parameters, url });
    }
    LanguageModel::new(options).map_err(|error| error.to_string())
}

/// A voice that is ready to be asked.
///
/// # Errors
/// As of [`language_model`].
pub(super) fn voice(config: &node::Speech) -> Result<Arc<dyn SpeechEngine>, String> {
    let mut options = speech::Options::new(access(&config.access)?, &config.say, &config.hear, &config.voice);
    options.deadline = Duration::from_millis(config.access.deadline_ms);
    options.rate = config.rate;
    let endpoint = speech::Endpoint::new(options).map_err(|error| error.to_string())?;
    Ok(Arc::new(endpoint))
}

fn access(config: &node::Access) -> Result<endpoint::Access, String> {
    let read = |path: &Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let key = match &config.key_file {
        Some(path) => Some(String::from_utf8(read(path)?).map_err(|_| format!("{}: is no text", path.display()))?.trim().to_owned()),
        None => None,
    };
    let authority = config.ca.as_deref().map(read).transpose()?;
    Ok(endpoint::Access { base: config.url.clone(), key, authority })
}

/// All of a text's audio; none if any of it fails, since half a sentence may say the opposite of the whole.
pub(super) async fn say(engine: Arc<dyn SpeechEngine>, text: String, language: Language) -> Option<Arc<[i16]>> {
    let mut audio = engine.say(Spoken { text, language, voice: None });
    let mut samples = Vec::new();
    while let Some(piece) = audio.next().await {
        samples.extend(piece.inspect_err(|error| tracing::warn!(%error, "a text is not said")).ok()?);
    }
    Some(samples.into())
}

/// The text of one utterance.
pub(super) async fn hear(engine: Arc<dyn SpeechEngine>, samples: Vec<i16>, language: Language) -> Option<String> {
    let mut events = engine.hear(stream::iter([samples]).boxed(), language);
    while let Some(event) = events.next().await {
        match event {
            Ok(Heard::Final(text)) => return Some(text),
            Ok(Heard::Partial(_)) => {}
            Err(error) => {
                tracing::debug!(%error, "an utterance is not understood");
                return None;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ai::{endpoint::Failure, speech::Scripted};

    fn at(url: &str) -> node::Access {
        node::Access { url: url.to_owned(), key_file: None, ca: None, deadline_ms: 4_000 }
    }

    #[test]
    fn what_cannot_be_used_is_told_by_name() {
        let model = |access, parameters: &str| {
            let tool =
                node::Tool { name: "t".into(), description: String::new(), parameters: parameters.into(), url: "http://h.test/x".into() };
            language_model(&node::LanguageModel { access, model: "m".into(), tools: vec![tool] }).err()
        };
        assert_eq!(model(at("http://h.test/v1"), "{}"), None);
        assert!(model(at("gopher://h.test"), "{}").unwrap().contains("gopher://h.test"));
        assert!(model(at("http://h.test/v1"), "{broken").unwrap().contains("parameters of tool `t`"));
        let no_key = node::Access { key_file: Some("/nowhere/model.key".into()), ..at("http://h.test/v1") };
        assert!(model(no_key, "{}").unwrap().starts_with("/nowhere/model.key: "));
    }

    #[tokio::test]
    async fn a_text_becomes_audio_and_an_utterance_text() {
        let engine: Arc<dyn SpeechEngine> = Arc::new(Scripted::hearing([Ok("hello".to_owned()), Err(Failure::Late)]));
        assert_eq!(say(Arc::clone(&engine), "ab".into(), Language::En).await.map(|samples| samples.len()), Some(320));
        assert_eq!(hear(Arc::clone(&engine), vec![0; 800], Language::En).await.as_deref(), Some("hello"));
        assert_eq!(hear(engine, vec![0; 800], Language::En).await, None);
    }
}
