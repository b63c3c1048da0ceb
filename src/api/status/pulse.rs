//! A point a second of what this replica does, kept for an hour, so that a page shows the past as soon as
//! it is opened: the last two minutes, and a point for each half minute of the hour.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::metrics::{Metrics, Totals};

/// How often a point is added.
pub(crate) const BEAT: Duration = Duration::from_secs(1);
/// Points of either kind that a page shows.
const SHOWN: usize = 120;
/// Points of a second that make one of the other kind.
const JOINED: usize = 30;

/// The points of a replica; clones see the same.
#[derive(Debug, Clone, Default)]
pub struct Pulse {
    metrics: Metrics,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    points: VecDeque<Point>,
    last: Option<(Instant, Totals)>,
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
    /// The pulse of what is counted there.
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

    /// Adds a point for the time since the last beat.
    pub fn beat(&self) {
        let (at, now) = (Instant::now(), self.metrics.totals());
        let delay = self.metrics.recent_delay();
        let mut kept = self.kept.lock();
        let (before, last) = kept.last.unwrap_or((at, now));
        let seconds = at.duration_since(before).as_secs_f64();
        let rate = |now: u64, last: u64| match seconds > 0.0 {
            true => now.saturating_sub(last) as f64 / seconds,
            false => 0.0,
        };
        let point = Point {
            callbacks: rate(now.callbacks, last.callbacks),
            calls: rate(now.calls, last.calls),
            restored: rate(now.restored, last.restored),
            median_delay: delay.map(|(median, _)| median),
            p99_delay: delay.map(|(_, p99)| p99),
            waiting: now.waiting,
        };
        if kept.points.len() == SHOWN * JOINED {
            kept.points.pop_front();
        }
        kept.points.push_back(point);
        kept.last = Some((at, now));
    }

    /// A point for each half minute, the oldest first.
    pub fn half_minutes(&self) -> Vec<Point> {
        let mut kept = self.kept.lock();
        let halves = kept.points.make_contiguous().rchunks_exact(JOINED);
        halves.rev().map(Point::join).collect()
    }

    /// The last two minutes, the oldest point first.
    pub fn points(&self) -> Vec<Point> {
        let kept = self.kept.lock();
        let older = kept.points.len().saturating_sub(SHOWN);
        kept.points.iter().skip(older).copied().collect()
    }

    /// The latest point; `None` before the first beat.
    pub fn latest(&self) -> Option<Point> {
        self.kept.lock().points.back().copied()
    }
}

impl Point {
    /// The mean of the rates, and the highest of the rest.
    fn join(points: &[Self]) -> Self {
        let count = points.len().max(1) as f64;
        let mean = |value: fn(&Self) -> f64| points.iter().map(value).sum::<f64>() / count;
        let highest =
            |value: fn(&Self) -> Option<f64>| points.iter().filter_map(value).reduce(f64::max);
        Self {
            callbacks: mean(|point| point.callbacks),
            calls: mean(|point| point.calls),
            restored: mean(|point| point.restored),
            median_delay: highest(|point| point.median_delay),
            p99_delay: highest(|point| point.p99_delay),
            waiting: points.iter().map(|point| point.waiting).max().unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{CallbackCommand, CallbackOutcome};

    #[test]
    fn each_point_covers_the_time_since_the_last() {
        let metrics = Metrics::default();
        let pulse = Pulse::of(metrics.clone());
        assert_eq!(pulse.latest(), None);
        pulse.beat();
        metrics.callback(CallbackCommand::Join, CallbackOutcome::Stored, None);
        metrics.mark_delay(0.2);
        pulse.beat();
        let point = pulse.latest().unwrap();
        assert!(point.callbacks > 0.0 && point.median_delay == Some(0.2));
        pulse.beat();
        let point = pulse.latest().unwrap();
        assert!(point.callbacks == 0.0 && point.median_delay == Some(0.2));
        for _ in 0..JOINED - 2 {
            pulse.beat();
        }
        let half = pulse.half_minutes();
        assert!(half.len() == 1 && half[0].callbacks > 0.0 && half[0].median_delay == Some(0.2));
        for _ in 0..SHOWN * JOINED {
            pulse.beat();
        }
        assert_eq!(pulse.points().len(), SHOWN);
        let halves = pulse.half_minutes();
        assert_eq!(halves.len(), SHOWN);
        assert!(halves[0].callbacks == 0.0 && halves[0].median_delay == Some(0.2));
    }
}
