//! Voice by an OpenAI-compatible endpoint: `/audio/speech` says, `/audio/transcriptions` hears.
//!
//! It owns requests, bounds and the change of rate. Audio is taken as it comes; an utterance is sent once it is whole, so that there are
//! no partial texts.

use std::{io::Cursor, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream, stream::BoxStream};
use reqwest::{Response, multipart};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::{Heard, SAMPLES_PER_SECOND, SpeechEngine, Spoken, decimate::Decimator};
use crate::ai::{
    endpoint::{
        Access, Error, Failure,
        breaker::Breaker,
        http::{Http, body, send},
    },
    limits::{
        FAILURES_MAX, HEARD_SAMPLES_MAX, HEARD_SAMPLES_MIN, REST, SAID_CHARS_MAX, SAID_SAMPLES_MAX, SPEECH_DEADLINE, TEXT_CHARS_MAX,
        TRANSCRIPT_BYTES_MAX,
    },
    verdict::Language,
};

/// Quieter than this at the beginning is silence a model adds; all but a moment of it is left out, since the caller waits through it.
const QUIET: u16 = 200;
const QUIET_SAMPLES_KEPT: usize = SAMPLES_PER_SECOND / 50;

/// How an endpoint of voice is reached.
#[derive(Debug, Clone)]
pub struct Options {
    pub access: Access,
    /// Models that say and hear, as the endpoint names them.
    pub say: String,
    pub hear: String,
    /// The voice where a persona has none.
    pub voice: String,
    /// Samples a second of its raw audio, a multiple of 8,000.
    pub rate: usize,
    /// Longest the first audio, each further piece, and a text is waited for.
    pub deadline: Duration,
}

impl Options {
    /// The usual bounds, and the rate that the protocol's `pcm` has.
    #[must_use]
    pub fn new(access: Access, say: &str, hear: &str, voice: &str) -> Self {
        Self { access, say: say.to_owned(), hear: hear.to_owned(), voice: voice.to_owned(), rate: 24_000, deadline: SPEECH_DEADLINE }
    }
}

/// A voice and an ear elsewhere. Cheap to clone.
#[derive(Clone)]
pub struct Endpoint(Arc<Inner>);

struct Inner {
    options: Options,
    http: Http,
    /// Apart, since what says and what hears are mostly two servers behind one address.
    says: Breaker,
    hears: Breaker,
}

impl Endpoint {
    /// Prepares a client; nothing is sent.
    ///
    /// # Errors
    /// When the address, the authority or the rate is none.
    pub fn new(options: Options) -> Result<Self, Error> {
        let http = Http::new(&options.access)?;
        if Decimator::from(options.rate).is_none() {
            return Err(Error::Rate(options.rate));
        }
        let breaker = || Breaker::new(FAILURES_MAX, REST);
        Ok(Self(Arc::new(Inner { options, http, says: breaker(), hears: breaker() })))
    }
}

/// How far a text is said.
enum Saying {
    Asked(Arc<Inner>, Spoken),
    Reading(Box<Reading>),
    Over,
}

struct Reading {
    response: Response,
    decimator: Decimator,
    deadline: Duration,
    /// The first half of a sample whose second is in the next piece.
    half: Option<u8>,
    begun: bool,
    samples: usize,
}

impl Reading {
    /// The next audio there is; none at the end.
    async fn next(&mut self, deadline: Instant) -> Result<Option<Vec<i16>>, Failure> {
        loop {
            let piece = timeout_at(deadline, self.response.chunk()).await.map_err(|_| Failure::Late)?.map_err(|_| Failure::Unreachable)?;
            let Some(piece) = piece else { return Ok(None) };
            let mut bytes: Vec<u8> = self.half.take().into_iter().collect();
            bytes.extend_from_slice(&piece);
            let (pairs, rest) = bytes.as_chunks::<2>();
            self.half = rest.first().copied();
            let samples: Vec<i16> = pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
            let mut samples = self.decimator.push(&samples);
            if !self.begun {
                let loud = samples.iter().position(|sample| sample.unsigned_abs() > QUIET);
                self.begun = loud.is_some();
                samples.drain(..loud.map_or(samples.len(), |loud| loud.saturating_sub(QUIET_SAMPLES_KEPT)));
            }
            self.samples += samples.len();
            if self.samples > SAID_SAMPLES_MAX {
                return Err(Failure::TooLong);
            }
            if !samples.is_empty() {
                return Ok(Some(samples));
            }
        }
    }
}

impl Inner {
    /// Asks for a text's audio, and waits for the first of it.
    async fn begin(&self, spoken: &Spoken) -> Result<(Vec<i16>, Reading), Failure> {
        let deadline = Instant::now() + self.options.deadline;
        let text: String = spoken.text.chars().take(SAID_CHARS_MAX).collect();
        let voice = spoken.voice.as_deref().unwrap_or(&self.options.voice);
        let request = json!({ "model": self.options.say, "input": text, "voice": voice, "response_format": "pcm" });
        let response = timeout_at(deadline, send(self.http.post("audio/speech").json(&request))).await.map_err(|_| Failure::Late)??;
        let decimator = Decimator::from(self.options.rate).ok_or(Failure::Garbage)?;
        let mut reading = Reading { response, decimator, deadline: self.options.deadline, half: None, begun: false, samples: 0 };
        let first = reading.next(deadline).await?.ok_or(Failure::Empty)?;
        Ok((first, reading))
    }

    async fn transcribe(&self, mut audio: BoxStream<'static, Vec<i16>>, language: Language) -> Result<Heard, Failure> {
        let mut samples = Vec::new();
        while let Some(piece) = audio.next().await {
            let room = HEARD_SAMPLES_MAX - samples.len();
            samples.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        if samples.len() < HEARD_SAMPLES_MIN {
            return Err(Failure::Empty);
        }
        let file = multipart::Part::bytes(wav(&samples).ok_or(Failure::Garbage)?).file_name("speech.wav").mime_str("audio/wav");
        let mut form = multipart::Form::new()
            .part("file", file.map_err(|_| Failure::Garbage)?)
            .text("model", self.options.hear.clone())
            .text("response_format", "json");
        if language != Language::Unknown {
            form = form.text("language", language.code());
        }
        let attempt = self.hears.admit(Instant::now()).ok_or(Failure::Resting)?;
        let deadline = Instant::now() + self.options.deadline;
        let request = self.http.post("audio/transcriptions").multipart(form);
        let asked = async { body(send(request).await?, TRANSCRIPT_BYTES_MAX).await };
        let answered = timeout_at(deadline, asked).await.unwrap_or(Err(Failure::Late)).and_then(|bytes| text(&bytes));
        // That nothing was said is an answer.
        attempt.end(matches!(answered, Ok(_) | Err(Failure::Empty)), Instant::now());
        answered.map(Heard::Final)
    }
}

#[derive(Deserialize)]
struct Transcript {
    text: String,
}

fn text(bytes: &[u8]) -> Result<String, Failure> {
    let transcript: Transcript = serde_json::from_slice(bytes).map_err(|_| Failure::Garbage)?;
    let text: String = transcript.text.trim().chars().take(TEXT_CHARS_MAX).collect();
    if text.is_empty() { Err(Failure::Empty) } else { Ok(text) }
}

/// Samples as a file, which is what the endpoint takes.
fn wav(samples: &[i16]) -> Option<Vec<u8>> {
    let rate = u32::try_from(SAMPLES_PER_SECOND).ok()?;
    let form = hound::WavSpec { channels: 1, sample_rate: rate, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut file = Cursor::new(Vec::with_capacity(44 + 2 * samples.len()));
    let mut writer = hound::WavWriter::new(&mut file, form).ok()?;
    for sample in samples {
        writer.write_sample(*sample).ok()?;
    }
    writer.finalize().ok()?;
    Some(file.into_inner())
}

/// One step of saying a text.
async fn step(saying: Saying) -> Option<(Result<Vec<i16>, Failure>, Saying)> {
    match saying {
        Saying::Asked(inner, spoken) => {
            let Some(attempt) = inner.says.admit(Instant::now()) else { return Some((Err(Failure::Resting), Saying::Over)) };
            let begun = inner.begin(&spoken).await;
            attempt.end(begun.is_ok(), Instant::now());
            Some(match begun {
                Ok((first, reading)) => (Ok(first), Saying::Reading(Box::new(reading))),
                Err(failure) => (Err(failure), Saying::Over),
            })
        }
        Saying::Reading(mut reading) => {
            let deadline = Instant::now() + reading.deadline;
            match reading.next(deadline).await {
                Ok(samples) => samples.map(|samples| (Ok(samples), Saying::Reading(reading))),
                Err(failure) => Some((Err(failure), Saying::Over)),
            }
        }
        Saying::Over => None,
    }
}

impl SpeechEngine for Endpoint {
    fn say(&self, spoken: Spoken) -> BoxStream<'static, Result<Vec<i16>, Failure>> {
        stream::unfold(Saying::Asked(Arc::clone(&self.0), spoken), step).boxed()
    }

    fn hear(&self, audio: BoxStream<'static, Vec<i16>>, language: Language) -> BoxStream<'static, Result<Heard, Failure>> {
        let inner = Arc::clone(&self.0);
        stream::once(async move { inner.transcribe(audio, language).await }).boxed()
    }
}
