//! Labelled texts to measure on, read from files: CLINC150 and banking77 as published, and the seeds of this repository.
//!
//! It owns reading and the split. The first two are not in this repository; `docs/AI.md` says where they come from.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::ai::limits::{SET_BYTES_MAX, SET_ROWS_MAX};

/// What can be measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Set {
    /// The half of CLINC150's validation data that was never looked at
    Clinc150,
    /// The test data of banking77, and the same half of what CLINC150 counts as out of scope
    Banking77,
    /// Sentences of this repository in Chinese, English and Spanish, kept apart from training
    Seeds,
}

/// Why a set could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    #[error("{path}: {source} (docs/AI.md says where the data comes from)")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: {message}")]
    Content { path: PathBuf, message: String },
}

/// One text and what it means. A label that is empty was not given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) text: String,
    /// None for what no intent covers.
    pub(super) intent: Option<String>,
    pub(super) language: String,
    pub(super) urgency: String,
    pub(super) sentiment: String,
    pub(super) person: bool,
}

impl Set {
    /// The pack of intents its labels are of.
    #[must_use]
    pub fn pack(self) -> &'static str {
        match self {
            Self::Clinc150 => "clinc150",
            Self::Banking77 => "banking77",
            Self::Seeds => "service",
        }
    }

    /// Reads the set: published data from `data`, the seeds from `seeds`.
    pub(super) fn read(self, data: &Path, seeds: &Path) -> Result<Vec<Row>, SetError> {
        match self {
            Self::Clinc150 => {
                let clinc = Clinc::read(data)?;
                Ok(unseen(clinc.val)
                    .map(|(text, intent)| Row { text, intent: Some(intent), ..Row::default() })
                    .chain(outside(clinc.oos_val))
                    .collect())
            }
            Self::Banking77 => {
                let path = data.join("banking77/test.csv");
                let mut rows = csv(&text(&path)?).map_err(|message| SetError::Content { path, message: message.to_owned() })?;
                rows.extend(outside(Clinc::read(data)?.oos_val));
                Ok(rows)
            }
            Self::Seeds => {
                let path = seeds.join("test.tsv");
                text(&path)?
                    .lines()
                    .skip(1)
                    .map(|line| seed(line).ok_or_else(|| SetError::Content { path: path.clone(), message: line.to_owned() }))
                    .collect()
            }
        }
    }
}

#[derive(Deserialize)]
struct Clinc {
    val: Vec<(String, String)>,
    oos_val: Vec<(String, String)>,
}

impl Clinc {
    fn read(data: &Path) -> Result<Self, SetError> {
        let path = data.join("clinc150/train_val.json");
        serde_json::from_str(&text(&path)?).map_err(|error| SetError::Content { path, message: error.to_string() })
    }
}

/// The half that thresholds were not taken from.
fn unseen<T>(rows: Vec<T>) -> impl Iterator<Item = T> {
    rows.into_iter().take(SET_ROWS_MAX).skip(1).step_by(2)
}

fn outside(rows: Vec<(String, String)>) -> impl Iterator<Item = Row> {
    unseen(rows).map(|(text, _)| Row { text, ..Row::default() })
}

/// Reads two columns of RFC 4180, below a line of their names.
fn csv(text: &str) -> Result<Vec<Row>, &'static str> {
    let (mut rows, mut fields, mut field, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                fields.push(std::mem::take(&mut field));
                let [text, intent] = <[String; 2]>::try_from(std::mem::take(&mut fields)).map_err(|_| "a line has not two columns")?;
                rows.push(Row { text, intent: Some(intent), ..Row::default() });
                if rows.len() > SET_ROWS_MAX {
                    return Err("too many lines");
                }
            }
            c => field.push(c),
        }
    }
    if quoted || !field.is_empty() || !fields.is_empty() {
        return Err("the last line does not end");
    }
    if !rows.is_empty() {
        rows.remove(0);
    }
    Ok(rows)
}

/// A line of the seeds: language, intent, urgency, sentiment, person, text; `-` for what is not labelled or not covered.
fn seed(line: &str) -> Option<Row> {
    let mut columns = line.splitn(6, '\t').map(str::to_owned);
    let mut next = || columns.next();
    let (language, intent, urgency, sentiment, person, text) = (next()?, next()?, next()?, next()?, next()?, next()?);
    Some(Row { text, intent: Some(intent).filter(|intent| intent != "-"), language, urgency, sentiment, person: person == "yes" })
}

fn text(path: &Path) -> Result<String, SetError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(SET_BYTES_MAX).read_to_string(&mut text))
        .map_err(|source| SetError::Read { path: path.to_owned(), source })?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_columns_may_hold_commas_quotes_and_lines() {
        let rows = csv("text,category\n\"a, \"\"b\"\"\nc\",card_arrival\nplain,top_up\n").unwrap();
        assert_eq!(rows.iter().map(|row| row.text.as_str()).collect::<Vec<_>>(), ["a, \"b\"\nc", "plain"]);
        assert_eq!(rows[0].intent.as_deref(), Some("card_arrival"));
        assert!(csv("text,category\na,b,c\n").is_err());
        assert!(csv("text,category\n\"a,b\n").is_err(), "a quote that never closes");
    }

    #[test]
    fn only_rows_that_gave_no_threshold_are_reported() {
        assert_eq!(unseen(vec![0, 1, 2, 3, 4]).collect::<Vec<_>>(), [1, 3]);
    }
}
