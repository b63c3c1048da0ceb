//! Compares what Chat says about a member with what rules demand and with the row: a pure function.

use chrono::{DateTime, Utc};

use crate::domain::{Account, MarkSet};
use crate::members::store::sweep::Known;
use crate::members::{Member, Presence};
use crate::metrics::DriftKind;
use crate::reapply::plan;
use crate::rules::Matched;

/// What must be written for a member, and what that means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// The row as it should be.
    pub row: Member,
    /// The member has no row yet.
    pub new: bool,
    /// Marks must be set or deleted now.
    pub due: bool,
    /// The member lacks a mark that rules demand.
    pub missing: bool,
    /// The member carries a mark of ours that no rule demands for them.
    pub surplus: bool,
    /// No callback said that the member is in the room.
    pub unheard: bool,
}

impl Difference {
    /// The words for the metrics.
    pub(super) fn kinds(&self) -> Vec<DriftKind> {
        let kinds = [
            (self.missing, DriftKind::Missing),
            (self.surplus, DriftKind::Surplus),
            (self.unheard, DriftKind::Unknown),
        ];
        let found = kinds.into_iter().filter(|(found, _)| *found);
        found.map(|(_, kind)| kind).collect()
    }
}

/// Compares a member who is in the room according to Chat, with the marks `held` of ours, with their row
/// (if they have one) and all rules that match them. `None`: there is nothing to write.
///
/// A failed member waits for an event or a person until they are tried again, so a mark that they lack
/// makes them not due; a mark that they should no longer carry does.
pub(super) fn compare(
    account: &Account,
    held: &MarkSet,
    known: Option<&Known>,
    rules: &[Matched],
    now: DateTime<Utc>,
) -> Option<Difference> {
    if account.is_anonymous() || known.is_some_and(|known| !known.quiet) {
        return None;
    }
    let row = known.map(|known| &known.row);
    let seen = Member {
        marks: held.clone(),
        confirmed_at: row.and_then(|row| row.confirmed_at),
        ..Member::without_row(account.clone())
    };
    let plan = plan(&seen, rules, now);
    let missing = !plan.desired.is_subset(held);
    let surplus = !plan.delete.is_empty();
    let failed = row.is_some_and(|row| row.failed_at.is_some());
    let stays_failed = missing && failed;
    let due = surplus || !stays_failed && !plan.is_idle();
    let believed = row.is_some_and(|row| {
        row.presence == Presence::Present
            && row.marks == *held
            && failed == stays_failed
            && !row.in_doubt
    });
    // A member who will never need a mark needs no row.
    let of_interest = row.is_some() || !held.is_empty() || plan.next.is_some();
    if !due && (believed || !plan.named || !of_interest) {
        return None;
    }
    Some(Difference {
        missing: missing && !stays_failed,
        surplus,
        unheard: plan.named && row.is_none_or(|row| row.presence != Presence::Present),
        new: row.is_none(),
        due,
        row: row
            .cloned()
            .unwrap_or_else(|| Member::without_row(account.clone()))
            .seen(held.clone(), due, stays_failed, plan.next, now),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::marks;
    use crate::reapply::plan_tests::{now, rule};

    fn known<const N: usize>(presence: Presence, numbers: [i64; N]) -> Known {
        Known {
            row: Member {
                presence,
                marks: marks(numbers),
                generation: 7,
                ..Member::example()
            },
            quiet: true,
        }
    }

    fn failed<const N: usize>(numbers: [i64; N]) -> Known {
        let mut known = known(Presence::Present, numbers);
        known.row.failed_at = Some(now());
        known
    }

    fn difference<const N: usize>(
        held: [i64; N],
        known: Option<&Known>,
        rules: &[Matched],
    ) -> Option<Difference> {
        let alice = Account::parse("alice").unwrap();
        compare(&alice, &marks(held), known, rules, now())
    }

    #[test]
    fn a_member_of_whom_nothing_was_heard_comes_due() {
        let found = difference([], None, &[rule([1000])]).unwrap();
        assert!(found.missing && found.unheard && !found.surplus && found.due && found.new);
    }

    #[test]
    fn a_mark_taken_behind_our_back_comes_due() {
        let row = known(Presence::Present, [1000]);
        let found = difference([], Some(&row), &[rule([1000])]).unwrap();
        assert!(found.missing && !found.unheard && found.due && !found.new);
        assert_eq!(found.row.generation, 7);
    }

    #[test]
    fn a_mark_of_ours_that_no_rule_demands_is_taken_away() {
        let found = difference([1000, 1001], None, &[rule([1000])]).unwrap();
        assert!(found.surplus && !found.missing);
        assert_eq!(found.row.marks, marks([1000, 1001]));
        let unnamed = difference([1000], None, &[]).unwrap();
        assert!(unnamed.surplus && unnamed.due);
    }

    #[test]
    fn agreement_needs_no_correction() {
        let row = known(Presence::Present, [1000]);
        assert_eq!(difference([1000], Some(&row), &[rule([1000])]), None);
        assert_eq!(difference([], None, &[]), None);
    }

    #[test]
    fn a_lost_return_with_all_marks_only_corrects_the_row() {
        let row = known(Presence::Absent, []);
        let found = difference([1000], Some(&row), &[rule([1000])]).unwrap();
        assert!(found.unheard && !found.missing && !found.due);
    }

    #[test]
    fn a_failed_member_loses_marks_but_is_not_tried_again_for_those_that_are_missing() {
        let (row, lost) = (failed([1001]), failed([]));
        let rules = [rule([1000])];
        let found = difference([1001], Some(&row), &rules).unwrap();
        assert!(found.surplus && found.due && found.row.failed_at.is_some());
        assert_eq!(difference([], Some(&lost), &rules), None);
        let healed = difference([1000], Some(&row), &rules).unwrap();
        assert!(!healed.due && healed.row.failed_at.is_none());
    }

    #[test]
    fn chats_lists_end_doubt() {
        let mut row = known(Presence::Present, [1000]);
        row.row.in_doubt = true;
        let found = difference([1000], Some(&row), &[rule([1000])]).unwrap();
        assert!(!found.missing && !found.surplus && !found.due);
    }

    #[test]
    fn what_changed_lately_is_left_alone() {
        let row = Known {
            quiet: false,
            ..known(Presence::Present, [])
        };
        assert_eq!(difference([], Some(&row), &[rule([1000])]), None);
    }
}
