//! How the calls of the last minute ended, for people.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;

use super::error::ChatError;
use crate::metrics::ErrorClass;

const WINDOW: Duration = Duration::from_secs(60);

/// Clones share the counts.
#[derive(Debug, Clone, Default)]
pub struct RecentCalls(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// When each call of the last minute ended, and its error. The budget bounds how many they are.
    calls: VecDeque<(Instant, Option<String>)>,
    last_error: Option<(DateTime<Utc>, String)>,
}

/// The calls of the last minute.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CallSummary {
    pub calls: u64,
    pub failed: u64,
    /// The errors of failed calls, the most frequent first.
    pub errors: Vec<(String, u64)>,
    /// The last error since the start of the process.
    pub last_error: Option<(DateTime<Utc>, String)>,
}

impl RecentCalls {
    /// A refusal that concerns only one room or member is an answer like any other.
    pub(super) fn ended(&self, error: Option<&ChatError>, now: Instant, at: DateTime<Utc>) {
        let failed = error.filter(|error| {
            let concerns_members = error.code().is_some_and(|code| code.may_mean_all_offline());
            let class = error.class();
            !concerns_members && !matches!(class, ErrorClass::RoomGone | ErrorClass::MemberFault)
        });
        let failed = failed.map(ToString::to_string);
        let mut kept = self.0.lock();
        kept.forget(now);
        if let Some(error) = &failed {
            kept.last_error = Some((at, error.clone()));
        }
        kept.calls.push_back((now, failed));
    }

    pub fn summary(&self) -> CallSummary {
        self.summary_at(Instant::now())
    }

    fn summary_at(&self, now: Instant) -> CallSummary {
        let mut kept = self.0.lock();
        kept.forget(now);
        let mut counts = BTreeMap::<&String, u64>::new();
        for error in kept.calls.iter().filter_map(|(_, error)| error.as_ref()) {
            *counts.entry(error).or_default() += 1;
        }
        let failed = counts.values().sum();
        let errors = counts
            .into_iter()
            .map(|(error, count)| (error.clone(), count));
        let mut errors: Vec<_> = errors.collect();
        errors.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        CallSummary {
            calls: kept.calls.len() as u64,
            failed,
            errors,
            last_error: kept.last_error.clone(),
        }
    }
}

impl Kept {
    fn forget(&mut self, now: Instant) {
        let old = |(ended, _): &(Instant, _)| now.duration_since(*ended) > WINDOW;
        while self.calls.front().is_some_and(old) {
            self.calls.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_the_last_minute_are_counted_and_the_most_frequent_error_comes_first() {
        let (recent, start, at) = (RecentCalls::default(), Instant::now(), Utc::now());
        let gone = ChatError::refusal(10015);
        let proxy = ChatError::HttpStatus(502);
        let errors = [
            None,
            Some(&ChatError::Timeout),
            Some(&proxy),
            Some(&proxy),
            Some(&gone),
        ];
        for (seconds, error) in errors.into_iter().enumerate() {
            recent.ended(error, start + Duration::from_secs(seconds as u64), at);
        }
        let now = recent.summary_at(start + Duration::from_secs(5));
        assert_eq!((now.calls, now.failed), (5, 3));
        assert_eq!(
            now.errors,
            [(proxy.to_string(), 2), (ChatError::Timeout.to_string(), 1)]
        );
        let later = recent.summary_at(start + Duration::from_secs(63));
        assert_eq!((later.calls, later.failed), (2, 1));
        let much_later = recent.summary_at(start + Duration::from_secs(600));
        assert_eq!((much_later.calls, much_later.errors.len()), (0, 0));
        assert_eq!(much_later.last_error, Some((at, proxy.to_string())));
    }
}
