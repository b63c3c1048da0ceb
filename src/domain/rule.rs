//! A mark rule: which accounts carry which marks in which rooms, and when.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Account, GroupId, Marks, Pattern, RuleId};

/// So long after its end a rule is as good as deleted. Before, an outage of Chat may have kept its marks
/// from being taken away.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// When a rule is active: from `starts_at` (included) to `ends_at` (excluded); open where `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Window {
    /// First moment, or since ever.
    pub starts_at: Option<DateTime<Utc>>,
    /// First moment after it; `None`: it never ends.
    pub ends_at: Option<DateTime<Utc>>,
}

impl Window {
    /// Whether the window contains the moment.
    pub fn contains(&self, moment: DateTime<Utc>) -> bool {
        self.has_begun(moment) && self.ends_at.is_none_or(|end| moment < end)
    }

    /// Whether the window has opened, whether or not it has closed since.
    pub fn has_begun(&self, moment: DateTime<Utc>) -> bool {
        self.starts_at.is_none_or(|start| start <= moment)
    }

    /// The shortest window that contains both.
    pub fn hull(self, other: Self) -> Self {
        Self {
            starts_at: self.starts_at.zip(other.starts_at).map(|(a, b)| a.min(b)),
            ends_at: self.ends_at.zip(other.ends_at).map(|(a, b)| a.max(b)),
        }
    }

    /// The next moment after `moment` at which the window opens or closes.
    pub fn next_boundary(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        [self.starts_at, self.ends_at]
            .into_iter()
            .flatten()
            .filter(|at| *at > moment)
            .min()
    }
}

/// What a client says of a rule; the service adds id, version and times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleDraft {
    pub group: Pattern<GroupId>,
    pub account: Pattern<Account>,
    /// The marks they carry there.
    pub marks: Marks,
    /// A disabled rule requires nothing.
    pub enabled: bool,
    pub window: Window,
    /// The set of rules it belongs to, for filters and bulk imports.
    pub label: String,
    /// Free text for people.
    pub note: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub id: RuleId,
    pub draft: RuleDraft,
    /// Raised by each change; the ETag.
    pub version: i64,
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn a_window_includes_its_start_and_excludes_its_end() {
        let window = Window {
            starts_at: Some(at(10)),
            ends_at: Some(at(20)),
        };
        assert!(!window.contains(at(9)));
        assert!(window.contains(at(10)));
        assert!(!window.contains(at(20)));
        assert!(Window::default().contains(at(0)));
    }

    #[test]
    fn the_next_boundary_lies_strictly_ahead() {
        let window = Window {
            starts_at: Some(at(10)),
            ends_at: Some(at(20)),
        };
        assert_eq!(window.next_boundary(at(0)), Some(at(10)));
        assert_eq!(window.next_boundary(at(10)), Some(at(20)));
        assert_eq!(window.next_boundary(at(20)), None);
    }
}
