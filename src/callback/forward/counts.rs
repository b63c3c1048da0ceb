//! How forwarding went, counted for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::ForwardResult;

/// How one callback fared that was to be forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ForwardOutcome {
    /// The backend answered with 2xx and a JSON object; Chat got that.
    Ok,
    /// The backend answered with 4xx; Chat got that, and counts it as a failure.
    Refused,
    /// No whole answer in time.
    Slow,
    /// No connection to it: refused, no such name, no route, TLS failed.
    Down,
    /// 5xx.
    Faulty,
    /// Not HTTP, not JSON, compressed, or broken off.
    Broken,
    /// Longer than 64 KiB.
    Oversized,
    /// 3xx, which is not followed.
    Redirect,
    /// Not forwarded: too many wait for the backend already.
    Busy,
}

impl ForwardOutcome {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Ok,
        Self::Refused,
        Self::Slow,
        Self::Down,
        Self::Faulty,
        Self::Broken,
        Self::Oversized,
        Self::Redirect,
        Self::Busy,
    ];

    /// One lower-case word, for labels and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Slow => "slow",
            Self::Down => "down",
            Self::Faulty => "faulty",
            Self::Broken => "broken",
            Self::Oversized => "oversized",
            Self::Redirect => "redirect",
            Self::Busy => "busy",
        }
    }
}

impl From<ForwardOutcome> for ForwardResult {
    fn from(outcome: ForwardOutcome) -> Self {
        match outcome {
            ForwardOutcome::Ok => Self::Answered,
            ForwardOutcome::Refused | ForwardOutcome::Faulty => Self::BadStatus,
            ForwardOutcome::Slow => Self::Timeout,
            ForwardOutcome::Down => Self::Unreachable,
            ForwardOutcome::Broken => Self::BadAnswer,
            ForwardOutcome::Oversized => Self::Oversized,
            ForwardOutcome::Redirect => Self::Redirect,
            ForwardOutcome::Busy => Self::Overloaded,
        }
    }
}

/// Callbacks by outcome since the start. Every callback that was to be forwarded is counted once,
/// when its fate is known.
#[derive(Debug, Default)]
pub struct ForwardCounts {
    counts: [AtomicU64; ForwardOutcome::ALL.len()],
}

impl ForwardCounts {
    /// How many had this outcome.
    pub fn get(&self, outcome: ForwardOutcome) -> u64 {
        self.counts[outcome as usize].load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, outcome: ForwardOutcome) {
        self.counts[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }
}
