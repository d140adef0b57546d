//! Configuration files and their one kind of error, which names the file and the line.
//!
//! It owns how a mistake in a file is told to a person. It does not own what the values mean: `node` is one process,
//! `tenant` (a domain's policy) belongs to the routing core.

pub mod files;
pub mod node;
pub mod tenant;

use std::{fmt, ops::Range, path::Path};

/// A mistake in a configuration file: `node.toml:12: unknown field `sipp``.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub file: String,
    /// Counted from 1; none when the mistake has no place (a file that cannot be read, a missing key).
    pub line: Option<usize>,
    pub message: String,
}

impl Error {
    pub fn new(file: impl Into<String>, line: Option<usize>, message: impl Into<String>) -> Self {
        Self { file: file.into(), line, message: message.into() }
    }

    /// A parse error of `toml`, with its place in `text` and without the library's own drawing of it.
    pub fn toml(file: &Path, text: &str, error: &toml::de::Error) -> Self {
        let line = error.span().map(|span| line_of(text, &span));
        Self::new(file.display().to_string(), line, one_line(error.message()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

impl std::error::Error for Error {}

/// The line, counted from 1, on which a byte span begins.
pub fn line_of(text: &str, span: &Range<usize>) -> usize {
    let start = span.start.min(text.len());
    1 + text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count()
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_told_on_one_line_with_its_place() {
        let text = "a = 1\nb = \n";
        let error = toml::from_str::<toml::Table>(text).expect_err("b has no value");
        let shown = Error::toml(Path::new("x.toml"), text, &error).to_string();
        assert!(shown.starts_with("x.toml:2: "), "{shown}");
        assert_eq!(shown.lines().count(), 1);
    }
}
