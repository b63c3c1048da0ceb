//! The latest members whose marks were restored, for the pages that show them. Only so many are kept.

use std::collections::VecDeque;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde::Serialize;

use crate::domain::{Account, GroupId, MarkSet};

/// How many are kept, which is as many as a page shows.
const KEPT: usize = 12;

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
pub struct Restorations(Arc<Mutex<VecDeque<Restoration>>>);

impl Restorations {
    /// Adds restorations, in their order.
    pub fn add(&self, restored: Vec<Restoration>) {
        let mut kept = self.0.lock();
        kept.extend(restored);
        let too_many = kept.len().saturating_sub(KEPT);
        kept.drain(..too_many);
    }

    /// The latest first.
    pub fn latest(&self) -> Vec<Restoration> {
        self.0.lock().iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_and_come_first() {
        let restored = |number| Restoration {
            at: DateTime::UNIX_EPOCH,
            group: GroupId::parse("g").unwrap(),
            account: Account::parse(&format!("user{number}")).unwrap(),
            marks: MarkSet::new(),
            delay: 0.1,
        };
        let feed = Restorations::default();
        feed.add((0..3).map(restored).collect());
        feed.add((3..1000).map(restored).collect());
        let latest: Vec<_> = (1000 - KEPT..1000).rev().map(restored).collect();
        assert_eq!(feed.latest(), latest);
    }
}
