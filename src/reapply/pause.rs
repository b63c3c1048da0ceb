//! Stops calling Chat while only a human can help, and tries now and then.
//!
//! A fault of configuration (plan ended, wrong key, feature not switched on) hits every call alike.
//! The worker then stops claiming, so nothing is lost and no attempt is used up; after a while one
//! call goes out as a probe, and the first that succeeds ends the pause.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);

/// Shared state of the pause; clones see the same.
#[derive(Debug, Clone, Default)]
pub struct Pause {
    state: Arc<Mutex<Option<Paused>>>,
}

#[derive(Debug, Clone)]
struct Paused {
    reason: String,
    until: Instant,
    length: Duration,
}

impl Pause {
    /// A call failed for a reason that a human must mend. Says so in the log, once for each reason.
    pub fn begin(&self, reason: &str, advice: Option<&'static str>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let length = match state.as_ref() {
            // Calls already under way when the pause began.
            Some(paused) if paused.until > now => return,
            Some(paused) => (paused.length * 2).min(LONGEST),
            None => FIRST,
        };
        if state.as_ref().is_none_or(|paused| paused.reason != reason) {
            tracing::error!(
                reason,
                advice,
                "calls to Chat are paused until this is mended"
            );
        }
        *state = Some(Paused {
            reason: reason.to_owned(),
            until: now + length,
            length,
        });
    }

    /// A call succeeded.
    pub fn end(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(paused) = state.take() {
            tracing::info!(reason = paused.reason, "calls to Chat are resumed");
        }
    }

    /// How long no call should be made; `None` if calls may go out (one, if a pause has run out).
    pub fn remaining(&self) -> Option<Duration> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let until = state.as_ref()?.until;
        until
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
    }

    /// Why calls are paused, for people.
    pub fn reason(&self) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.as_ref().map(|paused| paused.reason.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_holds_calls_back_until_one_succeeds() {
        let pause = Pause::default();
        assert_eq!(pause.remaining(), None);
        pause.begin("plan expired", None);
        assert!(pause.remaining().is_some_and(|left| left <= FIRST));
        assert_eq!(pause.reason().as_deref(), Some("plan expired"));
        pause.end();
        assert_eq!((pause.remaining(), pause.reason()), (None, None));
    }
}
