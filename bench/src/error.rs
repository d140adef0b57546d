//! Why a figure could not be taken, or a proof failed.

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The environment is not fit: a program is missing, a port is taken, the cluster does not start.
    #[error("set-up: {0}")]
    Setup(String),
    #[error("http: {0}")]
    Http(String),
    /// The product did not do what it must.
    #[error("missed: {0}")]
    Missed(String),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("http: {0}")]
    Ureq(#[from] ureq::Error),
}
