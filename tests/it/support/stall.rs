//! How long this machine stood still: what is counted per second by the time of its arrival can be
//! counted no more sharply than that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

const BEAT: Duration = Duration::from_millis(5);
/// A budget leaves so much between a call and the second it must not fall into.
const LEEWAY: Duration = Duration::from_millis(50);

/// Watches the runtime that it was made in. Dropped, it ends.
pub struct Stall {
    longest_micros: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Stall {
    /// Begins to watch.
    pub fn watch() -> Self {
        let longest_micros = Arc::new(AtomicU64::new(0));
        let longest = longest_micros.clone();
        let task = tokio::spawn(async move {
            loop {
                let began = Instant::now();
                tokio::time::sleep(BEAT).await;
                let late = began.elapsed().saturating_sub(BEAT);
                let late = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
                longest.fetch_max(late, Ordering::Relaxed);
            }
        });
        Self {
            longest_micros,
            task,
        }
    }

    /// Calls of a budget that may seem to come within a second though they were sent outside it:
    /// none on a machine that never stood still.
    pub fn calls(&self, per_second: usize) -> usize {
        let longest = Duration::from_micros(self.longest_micros.load(Ordering::Relaxed));
        // The sender may have stood still as long as we did, and each at its own time.
        let blurred = (2 * longest).saturating_sub(LEEWAY).as_millis();
        usize::try_from(blurred).unwrap_or(usize::MAX / per_second / 2) * per_second / 1000
            + usize::from(blurred > 0)
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        self.task.abort();
    }
}
