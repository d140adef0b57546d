//! Logs and metrics of a process: how they are collected and shown.
//!
//! It owns the subscriber, the recorder and the catalogue of metrics. It does not own where they are recorded: each
//! module counts its own work under a name of the catalogue.

pub mod catalogue;
pub mod logs;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Installs the process-wide metrics recorder and describes every metric of the catalogue.
///
/// # Errors
/// When a recorder is installed already.
pub fn install_metrics() -> Result<PrometheusHandle, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for (name, buckets) in catalogue::BUCKETS {
        builder = builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), buckets)?;
    }
    let handle = builder.set_buckets_for_metric(Matcher::Suffix("_seconds".into()), catalogue::LATENCY_S)?.install_recorder()?;
    catalogue::describe();
    crate::sip::edge::metrics::describe();
    Ok(handle)
}
