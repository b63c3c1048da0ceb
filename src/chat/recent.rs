//! How the calls of the last minute ended, for people.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ChatError;
use crate::messages::Message;
use crate::metrics::ErrorClass;

const WINDOW: Duration = Duration::from_secs(60);
/// Errors that are shown.
const MOST_ERRORS: usize = 5;

/// Clones share the counts.
#[derive(Debug, Clone, Default)]
pub struct RecentCalls(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// When each call of the last minute ended, and its error. The budget bounds how many they are.
    calls: VecDeque<(Instant, Option<String>)>,
    last_error: Option<(DateTime<Utc>, String)>,
}

/// Calls of this replica to Chat in the last minute.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = ChatCalls)]
pub struct CallSummary {
    pub calls: u64,
    /// Calls that failed; a refusal that concerns only one room or member is not counted.
    pub failed: u64,
    /// `failed` as a share of `calls`, 0 to 1.
    pub failing_share: f64,
    /// The errors, the most frequent first, at most five.
    pub errors: Vec<CallError>,
    /// The last error since the start of the process.
    pub last_error: Option<Message>,
    pub last_error_at: Option<DateTime<Utc>>,
}

/// An error of calls.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CallError {
    pub message: Message,
    /// How many calls.
    pub calls: u64,
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
        let (calls, failed) = (kept.calls.len() as u64, counts.values().sum());
        let mut counts: Vec<(&String, u64)> = counts.into_iter().collect();
        counts.sort_by_key(|(_, calls)| std::cmp::Reverse(*calls));
        let errors = counts.into_iter().take(MOST_ERRORS);
        let errors = errors.map(|(error, calls)| CallError {
            message: Message::of(error),
            calls,
        });
        let (last_error_at, last_error) = kept.last_error.clone().unzip();
        CallSummary {
            calls,
            failed,
            failing_share: failed as f64 / calls.max(1) as f64,
            errors: errors.collect(),
            last_error: last_error.map(Message::of),
            last_error_at,
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
        assert_eq!((now.calls, now.failed, now.failing_share), (5, 3, 0.6));
        let errors = now.errors.iter().map(|one| (one.message.code, one.calls));
        let expected = [("chat-http-status", 2), ("chat-timeout", 1)];
        assert_eq!(errors.collect::<Vec<_>>(), expected);
        let later = recent.summary_at(start + Duration::from_secs(63));
        assert_eq!((later.calls, later.failed), (2, 1));
        let much_later = recent.summary_at(start + Duration::from_secs(600));
        assert_eq!((much_later.calls, much_later.errors.len()), (0, 0));
        assert_eq!(much_later.failing_share, 0.0);
        let last = much_later.last_error.map(|message| message.detail);
        assert_eq!(last, Some(proxy.to_string()));
        assert_eq!(much_later.last_error_at, Some(at));
    }
}
