//! The counts at one moment, and what happened between two of them.
//!
//! For pictures drawn within the process: take a snapshot every second or so, and ask the later one
//! for the [`Rates`] since the earlier one.

use std::time::Instant;

use prometheus::IntCounterVec;

use super::family::{Label, read};
use super::labels::{Api, CallOutcome, CallbackCommand, CallbackOutcome, MarkResult, QueueState};
use super::made::{Made, NO_CLASS};

/// What was counted since the start of the process, and the gauges. Those of the queue, and the
/// budget, are up to 15 s old; see [`super::figures`].
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// When it was taken.
    pub at: Instant,
    /// Callbacks answered, whatever the answer; other paths and methods left out.
    pub callbacks: u64,
    /// Of these, stored before the answer.
    pub stored: u64,
    /// Of these, refused: neither stored nor ignored.
    pub refused: u64,
    /// Calls to Chat that ended, those that were never sent left out.
    pub calls: u64,
    /// Of these, calls that Chat did as asked.
    pub calls_ok: u64,
    /// Of these, calls that set or delete marks.
    pub mark_calls: u64,
    /// Members whom Chat named in the answers to such calls.
    pub confirmed: u64,
    /// Members whom it left out: not online.
    pub omitted: u64,
    /// Members in such calls that failed.
    pub failed: u64,
    /// From a member's callback to the confirmation of his marks.
    pub delay: DelaySnapshot,
    /// Members due, delayed, leased, failed, over all replicas.
    pub queue: [u64; 4],
    /// Calls a second of `modify_user_info` in force for all replicas.
    pub budget: f64,
}

/// A distribution of delays.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DelaySnapshot {
    /// Upper bounds in seconds, ascending, and how many delays lie at or below each.
    pub buckets: Vec<(f64, u64)>,
    /// The sum of all, in seconds.
    pub sum: f64,
    /// How many there are.
    pub count: u64,
}

/// What happened between two snapshots.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Callbacks answered a second.
    pub callbacks: f64,
    /// Calls to Chat a second.
    pub calls: f64,
    /// Members a second whose marks Chat confirmed.
    pub restored: f64,
    /// Half of the delays were at most this many seconds; `None` if there were none.
    pub median_delay: Option<f64>,
    /// 99 of 100 delays were at most this many seconds; `None` if there were none.
    pub p99_delay: Option<f64>,
}

impl Snapshot {
    pub(super) fn of(made: &Made) -> Self {
        let outcomes = |of: &dyn Fn(CallbackOutcome) -> bool| {
            let outcomes = CallbackOutcome::ALL.iter().copied();
            let wanted = outcomes.filter(|outcome| of(*outcome));
            let of_all = |outcome| {
                let commands = CallbackCommand::ALL.iter();
                commands
                    .map(|command| made.callbacks.get(*command, outcome))
                    .sum::<u64>()
            };
            wanted.map(of_all).sum::<u64>()
        };
        let stored = outcomes(&|outcome| outcome == CallbackOutcome::Stored);
        let ignored = outcomes(&|outcome| outcome == CallbackOutcome::Ignored);
        let callbacks = outcomes(&|outcome| outcome != CallbackOutcome::NotFound);
        let calls = Calls::of(&made.calls);
        let (buckets, sum, count) = read(&made.mark_delay);
        Self {
            at: Instant::now(),
            callbacks,
            stored,
            refused: callbacks.saturating_sub(stored + ignored),
            calls: calls.sent,
            calls_ok: calls.ok,
            mark_calls: calls.marks,
            confirmed: made.marked.get(MarkResult::Confirmed),
            omitted: made.marked.get(MarkResult::Omitted),
            failed: made.marked.get(MarkResult::Failed),
            delay: DelaySnapshot {
                buckets,
                sum,
                count,
            },
            queue: queue(made),
            budget: made.gauges.budget.get(Api::ModifyUserInfo),
        }
    }

    /// What happened since an earlier snapshot of the same metrics.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a picture needs no more than 52 bits"
    )]
    pub fn since(&self, earlier: &Self) -> Rates {
        let seconds = self.at.saturating_duration_since(earlier.at).as_secs_f64();
        let rate = |now: u64, then: u64| match seconds > 0.0 {
            true => now.saturating_sub(then) as f64 / seconds,
            false => 0.0,
        };
        let delay = self.delay.since(&earlier.delay);
        Rates {
            callbacks: rate(self.callbacks, earlier.callbacks),
            calls: rate(self.calls, earlier.calls),
            restored: rate(self.confirmed, earlier.confirmed),
            median_delay: delay.quantile(0.5),
            p99_delay: delay.quantile(0.99),
        }
    }
}

impl DelaySnapshot {
    /// The delays that came after an earlier snapshot.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |index: usize| earlier.buckets.get(index).map_or(0, |bucket| bucket.1);
        let buckets = self.buckets.iter().enumerate();
        let buckets =
            buckets.map(|(index, (bound, count))| (*bound, count.saturating_sub(before(index))));
        Self {
            buckets: buckets.collect(),
            sum: self.sum - earlier.sum,
            count: self.count.saturating_sub(earlier.count),
        }
    }

    /// A share (above 0 to 1) of the delays was at most this many seconds: the bound is spread evenly
    /// within its bucket, and what lies beyond the last one counts as that. `None` without delays.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a picture needs no more than 52 bits"
    )]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let wanted = share * self.count as f64;
        let (mut low, mut below) = (0.0, 0);
        for (bound, count) in &self.buckets {
            if *count as f64 >= wanted {
                let within = (wanted - below as f64) / (count - below).max(1) as f64;
                return Some(low + (bound - low) * within);
            }
            (low, below) = (*bound, *count);
        }
        self.buckets.last().map(|(bound, _)| *bound)
    }
}

/// Calls to Chat of all kinds.
struct Calls {
    sent: u64,
    ok: u64,
    marks: u64,
}

impl Calls {
    fn of(family: &IntCounterVec) -> Self {
        let mut calls = Self {
            sent: 0,
            ok: 0,
            marks: 0,
        };
        for api in Api::ALL {
            for outcome in CallOutcome::ALL {
                let of = |class| {
                    let series = [api.text(), outcome.text(), class];
                    family.with_label_values(&series).get()
                };
                let count: u64 = match outcome.classes() {
                    [] => of(NO_CLASS),
                    classes => classes.iter().map(|class| of(class.as_str())).sum(),
                };
                calls.ok += count * u64::from(*outcome == CallOutcome::Ok);
                if *outcome != CallOutcome::NotSent {
                    calls.sent += count;
                    calls.marks += count * u64::from(*api == Api::ModifyUserInfo);
                }
            }
        }
        calls
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers of members, set from integers"
)]
fn queue(made: &Made) -> [u64; 4] {
    let members = &made.gauges.queue_members;
    [
        QueueState::Due,
        QueueState::Delayed,
        QueueState::Leased,
        QueueState::Failed,
    ]
    .map(|state| members.get(state) as u64)
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;
    use std::time::Duration;

    #[test]
    fn rates_tell_what_happened_between_two_snapshots() {
        let metrics = Metrics::default();
        metrics.mark_delay(0.03);
        let earlier = metrics.snapshot();
        for _ in 0..10 {
            metrics.callback(CallbackCommand::Join, CallbackOutcome::Stored, None);
            metrics.mark_delay(0.15);
        }
        metrics.callback(CallbackCommand::Other, CallbackOutcome::NotFound, None);
        metrics.callback(CallbackCommand::Other, CallbackOutcome::Stale, None);
        metrics.marked(MarkResult::Confirmed, 20);
        let mut later = metrics.snapshot();
        later.at = earlier.at + Duration::from_secs(2);
        let rates = later.since(&earlier);
        assert_eq!((later.callbacks, later.stored, later.refused), (11, 10, 1));
        assert_eq!((rates.callbacks, rates.restored), (5.5, 10.0));
        let median = rates.median_delay.unwrap();
        assert!((0.1..=0.2).contains(&median), "{median}");
        assert_eq!(later.since(&later).median_delay, None);
    }

    #[test]
    fn delays_beyond_the_last_bucket_count_as_its_bound() {
        let metrics = Metrics::default();
        metrics.mark_delay(10_000.0);
        assert_eq!(metrics.snapshot().delay.quantile(0.5), Some(300.0));
    }
}
