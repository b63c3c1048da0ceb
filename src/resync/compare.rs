//! Compares what Chat says about a member with what rules demand and with the row: a pure function.

use chrono::{DateTime, Utc};

use crate::domain::{Account, MarkSet};
use crate::members::store::sweep::{Correction, Known};
use crate::members::{ClaimedMember, Presence};
use crate::metrics::DriftKind;
use crate::reapply::plan;
use crate::rules::Matched;

/// What must be written for a member, and what that means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    pub correction: Correction,
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
    let plan = plan(&as_chat_sees(account, held, known), rules, now);
    let missing = !plan.desired.is_subset(held);
    let surplus = !plan.delete.is_empty();
    let stays_failed = missing && known.is_some_and(|known| known.failed);
    let due = surplus || !stays_failed && !plan.is_idle();
    let believed = known.is_some_and(|known| {
        known.presence == Presence::Present
            && known.marks == *held
            && known.failed == stays_failed
            && !known.in_doubt
    });
    // A member who will never need a mark needs no row.
    let of_interest = known.is_some() || !held.is_empty() || plan.next.is_some();
    if !due && (believed || !plan.named || !of_interest) {
        return None;
    }
    Some(Difference {
        correction: Correction {
            account: account.clone(),
            held: held.clone(),
            generation: known.map(|known| known.generation),
            due,
            stays_failed,
            next: plan.next,
        },
        missing: missing && !stays_failed,
        surplus,
        unheard: plan.named && known.is_none_or(|known| known.presence != Presence::Present),
    })
}

fn as_chat_sees(account: &Account, held: &MarkSet, known: Option<&Known>) -> ClaimedMember {
    ClaimedMember {
        account: account.clone(),
        presence: Presence::Present,
        marks: held.clone(),
        confirmed_at: known.and_then(|known| known.confirmed_at),
        revoked: MarkSet::new(),
        in_doubt: false,
        generation: 0,
        omissions: 0,
        attempts: 0,
        refusals: 0,
        request: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Mark, Marks, RuleId, Window};

    fn marks<const N: usize>(numbers: [i64; N]) -> MarkSet {
        numbers
            .into_iter()
            .map(|number| Mark::parse(number).unwrap())
            .collect()
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_760_000_000, 0).unwrap()
    }

    fn rule<const N: usize>(numbers: [i64; N]) -> Matched {
        Matched {
            account: 0,
            rule: RuleId::parse("rule").unwrap(),
            marks: Marks::new(marks(numbers)).unwrap(),
            enabled: true,
            window: Window::default(),
        }
    }

    fn known<const N: usize>(presence: Presence, numbers: [i64; N]) -> Known {
        Known {
            presence,
            marks: marks(numbers),
            confirmed_at: None,
            generation: 7,
            in_doubt: false,
            failed: false,
            quiet: true,
        }
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
        assert!(found.missing && found.unheard && !found.surplus && found.correction.due);
        assert_eq!(found.correction.generation, None);
    }

    #[test]
    fn a_mark_taken_behind_our_back_comes_due() {
        let row = known(Presence::Present, [1000]);
        let found = difference([], Some(&row), &[rule([1000])]).unwrap();
        assert!(found.missing && !found.unheard && found.correction.due);
        assert_eq!(found.correction.generation, Some(7));
    }

    #[test]
    fn a_mark_of_ours_that_no_rule_demands_is_taken_away() {
        let found = difference([1000, 1001], None, &[rule([1000])]).unwrap();
        assert!(found.surplus && !found.missing);
        assert_eq!(found.correction.held, marks([1000, 1001]));
        let unnamed = difference([1000], None, &[]).unwrap();
        assert!(unnamed.surplus && unnamed.correction.due);
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
        assert!(found.unheard && !found.missing && !found.correction.due);
    }

    #[test]
    fn a_failed_member_loses_marks_but_is_not_tried_again_for_those_that_are_missing() {
        let row = Known {
            failed: true,
            ..known(Presence::Present, [1001])
        };
        let rules = [rule([1000])];
        let found = difference([1001], Some(&row), &rules).unwrap();
        assert!(found.surplus && found.correction.due && found.correction.stays_failed);
        let lost = Known {
            marks: MarkSet::new(),
            ..row.clone()
        };
        assert_eq!(difference([], Some(&lost), &rules), None);
        let healed = difference([1000], Some(&row), &rules).unwrap();
        assert!(!healed.correction.due && !healed.correction.stays_failed);
    }

    #[test]
    fn chats_lists_end_doubt() {
        let row = Known {
            in_doubt: true,
            ..known(Presence::Present, [1000])
        };
        let found = difference([1000], Some(&row), &[rule([1000])]).unwrap();
        assert!(!found.missing && !found.surplus && !found.correction.due);
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
