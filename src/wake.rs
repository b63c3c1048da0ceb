//! Tells the worker of this replica that a member is due, without a round through Postgres.
//!
//! A hint only: what is due stands in the database, and a worker that heard nothing looks there
//! every two seconds. The earliest moment said since the last look is kept, so a hint given while the
//! worker is busy is not lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// A handle to the worker's alarm clock; clones ring the same clock.
#[derive(Debug, Clone, Default)]
pub struct WakeUp {
    clock: Arc<Clock>,
}

#[derive(Debug, Default)]
struct Clock {
    earliest: Mutex<Option<Instant>>,
    moved: Notify,
}

impl WakeUp {
    /// A member is due now.
    pub fn now(&self) {
        self.after(Duration::ZERO);
    }

    /// A member is due after this delay.
    pub fn after(&self, delay: Duration) {
        let at = Instant::now() + delay;
        let mut earliest = self.clock.earliest.lock();
        if earliest.is_none_or(|known| at < known) {
            *earliest = Some(at);
            self.clock.moved.notify_one();
        }
    }

    /// Waits until a member is due, at most for `longest`, and forgets the hints that led here.
    ///
    /// The hints are cleared before the caller looks into the database: one given from then on
    /// ends the next wait. For one waiter at a time.
    pub async fn wait(&self, longest: Duration) {
        let latest = Instant::now() + longest;
        loop {
            let until = {
                let mut earliest = self.clock.earliest.lock();
                let until = earliest.unwrap_or(latest).min(latest);
                if until <= Instant::now() {
                    *earliest = None;
                    return;
                }
                until
            };
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => {}
                () = self.clock.moved.notified() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hint_given_before_the_wait_ends_it_at_once() {
        let wake = WakeUp::default();
        wake.now();
        wake.wait(Duration::from_secs(3600)).await;
    }

    #[tokio::test]
    async fn a_hint_given_during_the_wait_shortens_it() {
        let wake = WakeUp::default();
        let waiting = tokio::spawn({
            let wake = wake.clone();
            async move { wake.wait(Duration::from_secs(3600)).await }
        });
        tokio::task::yield_now().await;
        wake.after(Duration::from_secs(1800));
        wake.now();
        waiting.await.unwrap();
    }
}
