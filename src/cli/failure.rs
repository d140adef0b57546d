//! Why a command failed: one line for a person, one number for a script.

use std::{fmt, process::ExitCode};

/// A failure of a command; printed on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Refused by the node, or failed here.
    Refused(String),
    /// Nobody was there to do it, so nothing was done.
    Unavailable(String),
    /// It may have been done.
    Unknown(String),
}

impl Failure {
    pub fn new(message: impl fmt::Display) -> Self {
        Self::Refused(message.to_string())
    }

    /// Puts what was being done in front.
    #[must_use]
    pub fn of(self, what: impl fmt::Display) -> Self {
        match self {
            Self::Refused(message) => Self::Refused(format!("{what}: {message}")),
            Self::Unavailable(message) => Self::Unavailable(format!("{what}: {message}")),
            Self::Unknown(message) => Self::Unknown(format!("{what}: {message}")),
        }
    }

    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Refused(_) => 1,
            Self::Unavailable(_) => 3,
            Self::Unknown(_) => 4,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Refused(message) | Self::Unavailable(message) | Self::Unknown(message)) = self;
        let mut words = message.split_whitespace();
        if let Some(first) = words.next() {
            f.write_str(first)?;
        }
        words.try_for_each(|word| write!(f, " {word}"))
    }
}

impl std::error::Error for Failure {}

impl From<crate::config::Error> for Failure {
    fn from(error: crate::config::Error) -> Self {
        Self::new(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_on_one_line() {
        assert_eq!(Failure::new("two\n  lines").of("x.toml").to_string(), "x.toml: two lines");
    }
}
