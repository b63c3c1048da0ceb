//! When the backend gives no proper answer: what Chat is told, and what the log.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::Response;

use super::ForwardOutcome;
use crate::callback::answer;

/// In a long outage every callback fails; the log hears of it this often.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(10);

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
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            reason.push_str(": ");
            reason.push_str(&error.to_string());
            cause = error.source();
        }
        Self { outcome, reason }
    }
}

/// Tells of failures, but not of each.
pub(super) struct Warnings {
    since: Instant,
    last: AtomicU64,
    untold: AtomicU64,
}

impl Warnings {
    pub fn new() -> Self {
        Self {
            since: Instant::now(),
            last: AtomicU64::new(u64::MAX),
            untold: AtomicU64::new(0),
        }
    }

    pub fn tell(&self, outcome: ForwardOutcome, reason: &str) {
        let outcome = outcome.name();
        match self.due(self.since.elapsed()) {
            Some(untold) => {
                tracing::warn!(
                    outcome,
                    ?reason,
                    untold,
                    "the callback backend did not help"
                );
            }
            None => tracing::debug!(outcome, ?reason, "the callback backend did not help"),
        }
    }

    /// How many failures were not told since the last one that was; `None` = tell not this one.
    fn due(&self, now: Duration) -> Option<u64> {
        let period = now.as_secs() / BETWEEN_WARNINGS.as_secs();
        if self.last.swap(period, Ordering::Relaxed) == period {
            self.untold.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.untold.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_outage_is_told_every_ten_seconds_with_what_was_left_out() {
        let warnings = Warnings::new();
        let told: Vec<_> = [0, 1, 9, 10, 11, 47]
            .map(|second| warnings.due(Duration::from_secs(second)))
            .into();
        assert_eq!(told, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
