//! Errors as clients see them: RFC 9457 problem documents, one for every way a request can fail.
//!
//! It owns the mapping from the errors of the node and the rejections of the core to status and type. No body of a
//! request and no internal path ever enters a problem.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{actor, core::Reason};

/// A problem document (RFC 9457 §3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// A relative reference that names the kind; stable.
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub title: &'static str,
    pub status: u16,
    pub detail: String,
    /// Seconds after which a repeat makes sense; also sent as Retry-After.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u32>,
}

impl Problem {
    const fn new(status: u16, kind: &'static str, title: &'static str, detail: String) -> Self {
        Self { kind, title, status, detail, retry_after_s: None }
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(400, "/problems/bad-request", "The request is malformed", detail.into())
    }

    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(401, "/problems/unauthorized", "A valid token is needed", detail.into())
    }

    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(403, "/problems/forbidden", "The token's role does not allow this", detail.into())
    }

    pub fn number_barred(detail: impl Into<String>) -> Self {
        Self::new(403, "/problems/number-barred", "The tenant's rules do not allow this number", detail.into())
    }

    pub fn drills_off(detail: impl Into<String>) -> Self {
        Self::new(403, "/problems/drills-off", "Drills are switched off on this node", detail.into())
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, "/problems/not-found", "There is no such thing", detail.into())
    }

    pub fn method_not_allowed(detail: impl Into<String>) -> Self {
        Self::new(405, "/problems/method-not-allowed", "The resource does not support this method", detail.into())
    }

    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(409, "/problems/conflict", "The state does not allow this now", detail.into())
    }

    pub fn no_longer_kept(detail: impl Into<String>) -> Self {
        Self::new(410, "/problems/no-longer-kept", "Its time to be kept is over", detail.into())
    }

    pub fn precondition_failed(detail: impl Into<String>) -> Self {
        Self::new(412, "/problems/version-conflict", "The version is not the current one", detail.into())
    }

    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(413, "/problems/too-large", "The body is too large", detail.into())
    }

    pub fn unsupported_media_type(detail: impl Into<String>) -> Self {
        Self::new(415, "/problems/unsupported-media-type", "The body's type is not understood", detail.into())
    }

    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(422, "/problems/invalid", "The content is invalid", detail.into())
    }

    pub fn busy(detail: impl Into<String>) -> Self {
        Self { retry_after_s: Some(1), ..Self::new(429, "/problems/busy", "The node has too many requests", detail.into()) }
    }

    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(500, "/problems/internal", "The node failed", detail.into())
    }

    pub fn not_implemented(detail: impl Into<String>) -> Self {
        Self::new(501, "/problems/not-implemented", "This build cannot do it", detail.into())
    }

    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self { retry_after_s: Some(1), ..Self::new(503, "/problems/unavailable", "The cluster cannot do it now", detail.into()) }
    }

    /// The outcome is unknown: the client must repeat with the same idempotency key.
    pub fn indefinite(detail: impl Into<String>) -> Self {
        Self { retry_after_s: Some(1), ..Self::new(504, "/problems/outcome-unknown", "It may or may not have been done", detail.into()) }
    }

    /// A rejection by the routing core.
    pub fn rejected(reason: &Reason) -> Self {
        let detail = reason.to_string();
        match reason {
            Reason::NoDomain | Reason::NoRoute(_) | Reason::NoQueue(_) | Reason::NoAgent(_) | Reason::NoCall | Reason::NoLeg => {
                Self::not_found(detail)
            }
            Reason::VersionConflict { .. } => Self::precondition_failed(detail),
            Reason::Invalid(_) => Self::invalid(detail),
            Reason::TooManyCalls(_) | Reason::QueueFull | Reason::TooFast => Self::busy(detail),
            Reason::NotYours => Self::forbidden(detail),
            Reason::NumberBarred => Self::number_barred(detail),
            Reason::Level(_) => Self::not_implemented(detail),
            Reason::QueueClosed
            | Reason::OutsideHours { .. }
            | Reason::NoAgentsForQueue
            | Reason::Stale
            | Reason::Taken
            | Reason::WrongState(_)
            | Reason::NotReady(_)
            | Reason::InUse(_)
            | Reason::NotAnchored
            | Reason::Poisoned => Self::conflict(detail),
        }
    }
}

impl From<actor::Error> for Problem {
    fn from(error: actor::Error) -> Self {
        match error {
            actor::Error::Unavailable(_) => Self::unavailable(error.to_string()),
            actor::Error::Indefinite(_) => Self::indefinite(error.to_string()),
            actor::Error::NoLongerKept(_) => Self::no_longer_kept(error.to_string()),
            actor::Error::NoDomain(_) => Self::not_found(error.to_string()),
        }
    }
}

impl From<tandem_cluster::ProposeError> for Problem {
    fn from(error: tandem_cluster::ProposeError) -> Self {
        match error {
            tandem_cluster::ProposeError::Definite(_) => Self::unavailable(error.to_string()),
            tandem_cluster::ProposeError::Indefinite(_) => Self::indefinite(error.to_string()),
            tandem_cluster::ProposeError::Refused(why) => Self::conflict(why),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after_s = self.retry_after_s;
        let body = serde_json::to_vec(&self).expect("a problem is plain strings and numbers");
        let mut response = (status, body).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_quorum_is_503_with_the_reason_and_a_time_to_retry() {
        let response = Problem::from(actor::Error::Unavailable("no quorum in group 3".into()));
        assert_eq!((response.status, response.retry_after_s), (503, Some(1)));
        assert!(response.detail.contains("no quorum in group 3"));
        let http = response.into_response();
        assert_eq!(http.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(http.headers()[header::RETRY_AFTER], "1");
    }

    #[test]
    fn an_unknown_outcome_is_not_an_ordinary_failure() {
        assert_eq!(Problem::from(actor::Error::Indefinite("leader died".into())).status, 504);
    }

    #[test]
    fn a_version_conflict_is_a_failed_precondition() {
        assert_eq!(Problem::rejected(&Reason::VersionConflict { expected: 1, current: 2 }).status, 412);
    }
}
