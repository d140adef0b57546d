//! The log subscriber: JSON for machines, pretty for people.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, fmt, util::SubscriberInitExt};

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Pretty,
}

/// The environment variable whose directives win over the file's level.
pub const ENV: &str = "TANDEM_LOG";

/// The directives of the log could not be read.
#[derive(Debug, thiserror::Error)]
#[error("log level {0:?}: {1}")]
pub struct Error(String, String);

/// The consensus library tells every step of every group, and every try to reach a dead peer, at these levels. What an
/// operator must know of it the cluster logs itself. A level that names the library wins over this.
const QUIET: &str = "openraft=error";

/// Installs the process-wide subscriber. Output goes to standard error, since standard output belongs to results.
///
/// # Errors
/// When the level is no filter, or a subscriber is installed already.
pub fn install(format: Format, level: &str) -> Result<(), Error> {
    let directives = std::env::var(ENV).unwrap_or_else(|_| level.to_owned());
    let filter = if directives.contains("openraft") { directives.clone() } else { format!("{QUIET},{directives}") };
    let filter = EnvFilter::try_new(&filter).map_err(|e| Error(directives.clone(), e.to_string()))?;
    let installed = match format {
        Format::Json => fmt().json().flatten_event(true).with_writer(std::io::stderr).with_env_filter(filter).finish().try_init(),
        Format::Pretty => fmt()
            .compact()
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr)
            .with_env_filter(filter)
            .finish()
            .try_init(),
    };
    installed.map_err(|e| Error(directives, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_is_no_filter_is_named() {
        let error = install(Format::Json, "loud=very=much").unwrap_err().to_string();
        assert!(error.contains("loud=very=much"), "{error}");
    }
}
