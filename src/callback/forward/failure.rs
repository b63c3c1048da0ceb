//! When the backend gives no proper answer: why, and what Chat is told in its place.

use axum::http::StatusCode;
use axum::response::Response;

use super::ForwardOutcome;
use crate::callback::answer;
use crate::config::ForwardFailure;
use crate::telemetry::with_causes;

impl ForwardFailure {
    pub(super) fn answer(self, outcome: ForwardOutcome) -> Response {
        let status = match (self, outcome) {
            (Self::Ok, _) => return answer::ok(),
            (Self::Fail, ForwardOutcome::Slow) => StatusCode::GATEWAY_TIMEOUT,
            (Self::Fail, ForwardOutcome::Busy) => StatusCode::SERVICE_UNAVAILABLE,
            (Self::Fail, _) => StatusCode::BAD_GATEWAY,
        };
        let reason = format!("the callback backend did not help: {}", outcome.name());
        answer::fail(status, reason)
    }
}

/// Why there is no answer of the backend's to hand on.
#[derive(Debug)]
pub(super) struct Failure {
    pub outcome: ForwardOutcome,
    /// For the log; without the address, whose path may be secret.
    pub reason: String,
}

impl Failure {
    pub fn broken(reason: &str) -> Self {
        Self {
            outcome: ForwardOutcome::Broken,
            reason: reason.to_owned(),
        }
    }
}

impl From<hyper_util::client::legacy::Error> for Failure {
    fn from(error: hyper_util::client::legacy::Error) -> Self {
        let outcome = match error.is_connect() {
            true => ForwardOutcome::Down,
            false => ForwardOutcome::Broken,
        };
        let reason = with_causes(&error);
        Self { outcome, reason }
    }
}
