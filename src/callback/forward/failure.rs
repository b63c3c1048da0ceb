//! When the backend gives no proper answer: why, and what Chat is told in its place.

use axum::http::StatusCode;
use axum::response::Response;

use super::ForwardOutcome;
use crate::callback::answer;
use crate::telemetry::with_causes;

/// What Chat is answered in the backend's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardFailure {
    /// That all is well: a "before" event passes.
    Ok,
    /// An HTTP error: Chat does what its console says for a callback that failed.
    Fail,
}

impl ForwardFailure {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Ok, Self::Fail];

    /// The name in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Fail => "fail",
        }
    }

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
