//! Stops calling Chat while only a human can help, and tries now and then.
//!
//! A fault of configuration (plan ended, wrong key, feature not switched on) hits every call alike.
//! Nothing is claimed then, so nothing is lost and no attempt is used up. After a while one probe
//! goes out, and only one; the first call that succeeds ends the pause.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::Notify;

use crate::chat::ChatError;
use crate::clock;

const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);

/// Shared state of the pause; clones see the same.
#[derive(Debug, Clone)]
pub struct Pause {
    lengths: (Duration, Duration),
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    paused: Option<Paused>,
    /// A probe is out.
    probing: bool,
    fine_at: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Paused {
    shown: PauseState,
    until: Instant,
    length: Duration,
}

/// Why calls are paused, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PauseState {
    /// What Chat said last.
    pub reason: String,
    /// What to do about it.
    pub advice: Option<&'static str>,
    /// Since when; by the clock of this machine, to be shown only.
    pub since: DateTime<Utc>,
}

/// The one probe that may go out while calls are paused. Dropped, the next one may.
#[derive(Debug)]
pub struct Probe(Pause);

impl Default for Pause {
    fn default() -> Self {
        Self::with_lengths(FIRST, LONGEST)
    }
}

impl Pause {
    /// A pause whose first probe goes out after `first`, each further one after twice the time, at
    /// most after `longest`.
    pub fn with_lengths(first: Duration, longest: Duration) -> Self {
        Self {
            lengths: (first, longest),
            shared: Arc::default(),
        }
    }

    /// A call failed for a reason that a human must mend. Says so in the log, once for each reason.
    pub fn begin(&self, error: &ChatError) {
        let (first, longest) = self.lengths;
        let least = error
            .code()
            .and_then(|code| code.least_wait())
            .unwrap_or_default();
        let (reason, advice) = (error.to_string(), error.advice());
        let mut state = self.state_now();
        let now = Instant::now();
        let (length, since) = match &state.paused {
            // Calls already under way when the pause began.
            Some(paused) if paused.until > now => return,
            Some(paused) => ((paused.length * 2).min(longest), paused.shown.since),
            None => (first, clock::system()()),
        };
        if state
            .paused
            .as_ref()
            .is_none_or(|paused| paused.shown.reason != reason)
        {
            tracing::error!(
                reason,
                advice,
                "calls to Chat are paused until this is mended"
            );
        }
        let shown = PauseState {
            reason,
            advice,
            since,
        };
        let until = now + length.max(least);
        state.paused = Some(Paused {
            shown,
            until,
            length,
        });
    }

    /// A call succeeded.
    pub fn end(&self) {
        let mut state = self.state_now();
        state.fine_at = Some(Instant::now());
        if let Some(paused) = state.paused.take() {
            tracing::info!(reason = paused.shown.reason, "calls to Chat are resumed");
        }
        drop(state);
        self.shared.changed.notify_waiters();
    }

    /// Whether a call succeeded within the given time.
    pub fn was_fine_within(&self, time: Duration) -> bool {
        self.state_now()
            .fine_at
            .is_some_and(|at| at.elapsed() < time)
    }

    /// Waits until a call may go out: nothing is paused, or it is time for a probe and none is out.
    pub async fn passed(&self) {
        loop {
            let mut changed = std::pin::pin!(self.shared.changed.notified());
            // From here on no change goes unnoticed.
            changed.as_mut().enable();
            let left = {
                let state = self.state_now();
                let Some(paused) = &state.paused else { return };
                let left = paused.until.saturating_duration_since(Instant::now());
                match (left.is_zero(), state.probing) {
                    (true, false) => return,
                    (true, true) => Duration::MAX,
                    (false, _) => left,
                }
            };
            // Whichever comes first, the state is looked at again.
            let _elapsed = tokio::time::timeout(left, changed).await.is_err();
        }
    }

    /// To be held by whoever calls now: while calls are paused he is the probe, and others wait.
    pub fn probe(&self) -> Option<Probe> {
        let mut state = self.state_now();
        if state.paused.is_none() || state.probing {
            return None;
        }
        state.probing = true;
        Some(Probe(self.clone()))
    }

    /// Why calls are paused; `None` if they are not.
    pub fn state(&self) -> Option<PauseState> {
        self.state_now()
            .paused
            .as_ref()
            .map(|paused| paused.shown.clone())
    }

    fn state_now(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.0.state_now().probing = false;
        self.0.shared.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::ErrorCode;
    use futures::FutureExt;

    fn unpaid() -> ChatError {
        let (code, info) = (ErrorCode::new(60020), String::new());
        ChatError::Refused { code, info }
    }

    #[tokio::test]
    async fn a_pause_holds_calls_back_until_one_succeeds() {
        let pause = Pause::default();
        pause.passed().await;
        assert_eq!(pause.state(), None);
        pause.begin(&unpaid());
        assert!(pause.passed().now_or_never().is_none());
        let state = pause.state().unwrap();
        assert!(state.reason.contains("60020") && state.advice.is_some());
        pause.end();
        pause.passed().await;
        assert_eq!(pause.state(), None);
    }

    #[tokio::test]
    async fn one_probe_goes_out_at_a_time() {
        let pause = Pause::with_lengths(Duration::ZERO, Duration::ZERO);
        assert!(pause.probe().is_none(), "nothing is paused");
        pause.begin(&unpaid());
        pause.passed().await;
        let probe = pause.probe().unwrap();
        assert!(pause.probe().is_none());
        assert!(pause.passed().now_or_never().is_none());
        drop(probe);
        pause.passed().await;
        assert!(pause.probe().is_some());
    }
}
