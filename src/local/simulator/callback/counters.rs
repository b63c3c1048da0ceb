//! How many callbacks went which way, and how fast the receiver answered.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::event::Kind;

/// Answer times that are remembered; older ones are forgotten.
const TIMES_REMEMBERED: usize = 100_000;

/// What became of the callbacks of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindCount {
    /// Put into the queue, copies included.
    pub queued: u64,
    /// Answered with HTTP 200 and JSON.
    pub delivered: u64,
    /// Refused, not reachable, or answered with anything else.
    pub failed: u64,
    /// Not answered in time; counted once, after the last try.
    pub timed_out: u64,
    /// Tried again after a timeout.
    pub retried: u64,
    /// Lost by an injected fault.
    pub lost: u64,
    /// Copies made by an injected fault.
    pub duplicated: u64,
    /// Held back by an injected fault; those set free count as queued.
    pub held: u64,
    /// Not sent because there is no URL or the kind is switched off.
    pub unsent: u64,
    /// Not sent because the queue was full.
    pub overflowed: u64,
}

/// How fast the receiver answered, in milliseconds, over the last 100,000 answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct AnswerTimes {
    /// Answers that the figures are made from.
    pub count: usize,
    /// Half were at least as fast.
    pub median_ms: f64,
    /// 99 of 100 were at least as fast.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    kinds: BTreeMap<Kind, KindCount>,
    times_us: VecDeque<u32>,
}

impl Counters {
    pub(super) fn of(&mut self, kind: Kind) -> &mut KindCount {
        self.kinds.entry(kind).or_default()
    }

    pub(super) fn kinds(&self) -> BTreeMap<Kind, KindCount> {
        self.kinds.clone()
    }

    pub(super) fn took(&mut self, time: std::time::Duration) {
        if self.times_us.len() == TIMES_REMEMBERED {
            self.times_us.pop_front();
        }
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        self.times_us.push_back(micros);
    }

    pub(super) fn times(&self) -> AnswerTimes {
        let mut sorted: Vec<u32> = self.times_us.iter().copied().collect();
        sorted.sort_unstable();
        let rank = |share: usize| {
            let place = (sorted.len() * share).div_ceil(100).saturating_sub(1);
            sorted.get(place).map_or(0.0, |us| f64::from(*us) / 1000.0)
        };
        AnswerTimes {
            count: sorted.len(),
            median_ms: rank(50),
            p99_ms: rank(99),
            max_ms: rank(100),
        }
    }
}
