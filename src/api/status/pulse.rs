//! A point a second of what this replica does, kept for two minutes, so that a page that is opened
//! shows at once how it has been.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::metrics::{Metrics, Snapshot};

/// How often a point is made.
pub(crate) const BEAT: Duration = Duration::from_secs(1);
/// Points that are kept.
const KEPT: usize = 120;
/// Delays are told of so many of the last beats: one alone may hold few.
const DELAY_BEATS: usize = 60;

/// The points of a replica; clones see the same.
#[derive(Debug, Clone, Default)]
pub struct Pulse {
    metrics: Metrics,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    points: VecDeque<Point>,
    /// Of the beats that delays are told of, the oldest first.
    snapshots: VecDeque<Snapshot>,
}

/// What happened in a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// Callbacks answered a second.
    pub callbacks: f64,
    /// Calls to Chat a second.
    pub calls: f64,
    /// Members a second whose marks Chat confirmed.
    pub restored: f64,
    /// Half of the delays of the last minute, from event to mark, were at most so many seconds.
    pub median_delay: Option<f64>,
    /// 99 of 100 were.
    pub p99_delay: Option<f64>,
    /// Members due, over all replicas, as it was known then: up to 15 s old.
    pub waiting: u64,
}

impl Pulse {
    /// The pulse of whoever counts here.
    pub fn of(metrics: Metrics) -> Self {
        Self {
            metrics,
            ..Self::default()
        }
    }

    /// Beats until stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut beats = tokio::time::interval(BEAT);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(beats.tick()).await.is_some() {
            self.beat();
        }
    }

    /// Makes a point of what happened since the last beat.
    pub fn beat(&self) {
        let now = self.metrics.snapshot();
        let mut kept = self.kept();
        let last = kept.snapshots.back().unwrap_or(&now);
        let first = kept.snapshots.front().unwrap_or(&now);
        let (rates, minute) = (now.since(last), now.since(first));
        let point = Point {
            callbacks: rates.callbacks,
            calls: rates.calls,
            restored: rates.restored,
            median_delay: minute.median_delay,
            p99_delay: minute.p99_delay,
            waiting: now.queue[0],
        };
        push(&mut kept.points, point, KEPT);
        push(&mut kept.snapshots, now, DELAY_BEATS);
    }

    /// All points, the oldest first.
    pub fn points(&self) -> Vec<Point> {
        self.kept().points.iter().copied().collect()
    }

    /// The latest point; `None` before the first beat.
    pub fn latest(&self) -> Option<Point> {
        self.kept().points.back().copied()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn push<T>(queue: &mut VecDeque<T>, one: T, most: usize) {
    if queue.len() == most {
        queue.pop_front();
    }
    queue.push_back(one);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{CallbackCommand, CallbackOutcome};

    #[test]
    fn each_beat_tells_what_came_since_the_last_and_delays_live_for_a_minute() {
        let metrics = Metrics::default();
        let pulse = Pulse::of(metrics.clone());
        assert_eq!(pulse.latest(), None);
        pulse.beat();
        metrics.callback(CallbackCommand::Join, CallbackOutcome::Stored, None);
        metrics.mark_delay(0.2);
        pulse.beat();
        let point = pulse.latest().unwrap();
        assert!(point.callbacks > 0.0 && point.median_delay.is_some());
        pulse.beat();
        let point = pulse.latest().unwrap();
        assert!(point.callbacks == 0.0 && point.median_delay.is_some());
        for _ in 0..DELAY_BEATS {
            pulse.beat();
        }
        assert_eq!(pulse.latest().unwrap().median_delay, None);
        for _ in 0..KEPT {
            pulse.beat();
        }
        assert_eq!(pulse.points().len(), KEPT);
    }
}
