//! The latest members whose marks were restored, for the pages that show them. Only so many are kept,
//! and no reader is waited for: one that reads too seldom learns how many it missed.

use std::collections::VecDeque;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde::Serialize;

use crate::domain::{Account, GroupId, MarkSet};

/// How many are kept.
const KEPT: usize = 64;

/// A member who came back and whose marks Chat confirmed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Restoration {
    /// When, by the clock of this machine.
    pub at: DateTime<Utc>,
    pub group: GroupId,
    pub account: Account,
    /// The marks that the member has now; none, if no rule requires any.
    pub marks: MarkSet,
    /// Seconds since the callback.
    #[serde(rename = "delay_seconds")]
    pub delay: f64,
}

/// The latest restorations of this replica; clones see the same.
#[derive(Debug, Clone, Default)]
pub struct Restorations(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    latest: VecDeque<Restoration>,
    /// How many there were since the start.
    total: u64,
}

/// What a reader has not seen yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Unseen {
    /// The latest, oldest first.
    pub latest: Vec<Restoration>,
    /// How many came before these, and cannot be seen any more.
    pub missed: u64,
    /// To be given with the next read.
    pub total: u64,
}

impl Restorations {
    /// Adds restorations, in their order.
    pub fn add(&self, restored: Vec<Restoration>) {
        let mut kept = self.0.lock();
        kept.total += u64::try_from(restored.len()).unwrap_or(u64::MAX);
        kept.latest.extend(restored);
        let too_many = kept.latest.len().saturating_sub(KEPT);
        kept.latest.drain(..too_many);
    }

    /// What came after the first `seen`, at most `most` of it.
    pub fn after(&self, seen: u64, most: usize) -> Unseen {
        let kept = self.0.lock();
        let unseen = kept.total.saturating_sub(seen);
        let count = usize::try_from(unseen).unwrap_or(usize::MAX);
        let shown = count.min(most).min(kept.latest.len());
        let latest = kept.latest.iter().skip(kept.latest.len() - shown).cloned();
        Unseen {
            latest: latest.collect(),
            missed: unseen - u64::try_from(shown).unwrap_or(unseen),
            total: kept.total,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restored(numbers: std::ops::Range<usize>) -> Vec<Restoration> {
        let one = |number| Restoration {
            at: DateTime::UNIX_EPOCH,
            group: GroupId::parse("g").unwrap(),
            account: Account::parse(&format!("user{number}")).unwrap(),
            marks: MarkSet::new(),
            delay: 0.1,
        };
        numbers.map(one).collect()
    }

    #[test]
    fn a_reader_sees_what_is_new_and_how_much_it_missed() {
        let feed = Restorations::default();
        feed.add(restored(0..3));
        let first = feed.after(1, 20);
        assert_eq!(
            (first.latest, first.missed, first.total),
            (restored(1..3), 0, 3)
        );
        assert_eq!(feed.after(3, 20).latest, []);
        feed.add(restored(3..1000));
        let next = feed.after(3, 20);
        assert_eq!(
            (next.latest, next.missed, next.total),
            (restored(980..1000), 977, 1000)
        );
        let all = feed.after(0, usize::MAX);
        assert_eq!((all.latest.len(), all.missed), (KEPT, 1000 - KEPT as u64));
    }
}
