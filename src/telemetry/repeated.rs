//! A complaint that comes again and again in an outage: told at first, then once a minute with the
//! number of those left out.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Seconds between two of a kind.
const EVERY_SECONDS: u64 = 60;

/// Some moment near the start of the process.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// One kind of complaint.
#[derive(Debug)]
pub(crate) struct Repeated {
    /// The second from which on the next one is told.
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

    /// How many were left out since the last one that was told; `None`: leave this one out too.
    pub(crate) fn due(&self) -> Option<u64> {
        self.due_at(START.elapsed())
    }

    fn due_at(&self, now: Duration) -> Option<u64> {
        let now = now.as_secs();
        let told = self
            .next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
                (now >= next).then_some(now + EVERY_SECONDS)
            });
        if told.is_ok() {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

/// `tracing::warn!`, but of the repetitions within a minute only their number; those are told at
/// `debug`.
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
    fn of_a_long_outage_one_line_a_minute_is_told_with_the_number_of_those_left_out() {
        let kind = Repeated::new();
        let at = |second| kind.due_at(Duration::from_secs(second));
        assert_eq!(at(7), Some(0));
        assert_eq!([at(7), at(8), at(66)], [None; 3]);
        assert_eq!(at(67), Some(3));
        assert_eq!(at(100), None);
        assert_eq!(at(1_000), Some(1));
    }
}
