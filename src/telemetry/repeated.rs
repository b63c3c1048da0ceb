//! A warning that an outage repeats is logged at once, then once a minute with the number of repetitions.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Seconds between two of a kind.
const EVERY_SECONDS: u64 = 60;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// One place that warns.
#[derive(Debug)]
pub(crate) struct Repeated {
    /// The second from which the next one is logged.
    next: AtomicU64,
    left_out: AtomicU64,
}

impl Repeated {
    pub(crate) const fn new() -> Self {
        Self {
            next: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
        }
    }

    /// How many were left out since the last one that was logged; `None`: leave this one out too.
    pub(crate) fn due(&self) -> Option<u64> {
        self.due_at(START.elapsed())
    }

    fn due_at(&self, now: Duration) -> Option<u64> {
        let now = now.as_secs();
        let logged = self
            .next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
                (now >= next).then_some(now + EVERY_SECONDS)
            });
        if logged.is_ok() {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

/// `tracing::warn!`; repetitions within a minute are logged at `debug` and counted in the next warning.
macro_rules! warn_seldom {
    ($($what:tt)+) => {{
        static KIND: $crate::telemetry::Repeated = $crate::telemetry::Repeated::new();
        match KIND.due() {
            Some(left_out) => tracing::warn!(left_out, $($what)+),
            None => tracing::debug!($($what)+),
        }
    }};
}
pub(crate) use warn_seldom;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_outage_logs_one_line_a_minute_with_the_number_of_those_left_out() {
        let kind = Repeated::new();
        let at = |second| kind.due_at(Duration::from_secs(second));
        assert_eq!(at(7), Some(0));
        assert_eq!([at(7), at(8), at(66)], [None; 3]);
        assert_eq!(at(67), Some(3));
        assert_eq!(at(100), None);
        assert_eq!(at(1_000), Some(1));
    }
}
