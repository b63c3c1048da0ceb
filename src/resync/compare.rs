//! Compares what Chat says about a member with what rules demand and with the row: a pure function.

use chrono::{DateTime, Utc};

use crate::domain::{Account, MarkSet};
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
    /// Whether the member lacks a mark that rules demand, carries one of ours that none demands for them,
    /// and is in the room without a callback.
    pub kinds: Vec<DriftKind>,
}

/// Compares a member who is in the room according to Chat, with the marks `held` of ours, with their row
/// (if they have one) and all rules that match them. `None`: there is nothing to write.
///
/// A failed member waits for an event or a person until they are tried again, so a mark that they lack
/// makes them not due; a mark that they should no longer carry does.
pub(super) fn compare(
    account: &Account,
    held: &MarkSet,
    known: Option<&Member>,
    rules: &[Matched],
    now: DateTime<Utc>,
) -> Option<Difference> {
    if account.is_anonymous() || known.is_some_and(|known| !known.quiet) {
        return None;
    }
    let seen = Member {
        marks: held.clone(),
        confirmed_at: known.and_then(|row| row.confirmed_at),
        ..Member::without_row(account.clone())
    };
    let plan = plan(&seen, rules, now);
    let missing = !plan.desired.is_subset(held);
    let surplus = !plan.delete.is_empty();
    let failed = known.is_some_and(|row| row.failed_at.is_some());
    let stays_failed = missing && failed;
    let due = surplus || !stays_failed && !plan.is_idle();
    let believed = known.is_some_and(|row| {
        row.presence == Presence::Present
            && row.marks == *held
            && failed == stays_failed
            && !row.in_doubt
    });
    // A member who will never need a mark needs no row.
    let of_interest = known.is_some() || !held.is_empty() || plan.next.is_some();
    if !due && (believed || !plan.named || !of_interest) {
        return None;
    }
    let unheard = plan.named && known.is_none_or(|row| row.presence != Presence::Present);
    let kinds = [
        (missing && !stays_failed, DriftKind::Missing),
        (surplus, DriftKind::Surplus),
        (unheard, DriftKind::Unknown),
    ];
    let found = kinds.into_iter().filter(|(found, _)| *found);
    Some(Difference {
        kinds: found.map(|(_, kind)| kind).collect(),
        new: known.is_none(),
        due,
        row: known
            .cloned()
            .unwrap_or_else(|| Member::without_row(account.clone()))
            .seen(held.clone(), due, stays_failed, plan.next, now),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::mark_set;
    use crate::metrics::Label;
    use crate::reapply::plan_tests::{now, rule};

    fn row(presence: Presence, numbers: &[i64]) -> Member {
        Member {
            presence,
            marks: mark_set(numbers),
            generation: 7,
            quiet: true,
            ..Member::example()
        }
    }

    fn difference(held: &[i64], known: Option<&Member>, rules: &[Matched]) -> Option<Difference> {
        let alice = Account::parse("alice").unwrap();
        compare(&alice, &mark_set(held), known, rules, now())
    }

    #[test]
    fn the_list_of_chat_is_compared_with_the_rules_and_the_row() {
        let present = |numbers: &[i64]| Some(row(Presence::Present, numbers));
        let absent = || Some(row(Presence::Absent, &[]));
        let changed = |change: fn(&mut Member), numbers: &[i64]| {
            let mut known = row(Presence::Present, numbers);
            change(&mut known);
            Some(known)
        };
        let failed = |numbers: &[i64]| changed(|known| known.failed_at = Some(now()), numbers);
        let in_doubt = |numbers: &[i64]| changed(|known| known.in_doubt = true, numbers);
        let not_quiet = |numbers: &[i64]| changed(|known| known.quiet = false, numbers);
        let one = &[rule([1000])][..];
        for (held, known, rules, expected) in [
            (&[][..], None, one, "missing unknown due new"),
            (&[], None, &[], "nothing"),
            (&[1000], present(&[1000]), one, "nothing"),
            // Taken behind our back, or set.
            (&[], present(&[1000]), one, "missing due"),
            (&[1000, 1001], None, one, "surplus unknown due new"),
            (&[1000], None, &[], "surplus due new"),
            // A lost return, with all marks: only the row is corrected.
            (&[1000], absent(), one, "unknown"),
            // A failed member loses marks, but is not tried again for those that are missing.
            (&[1001], failed(&[1001]), one, "surplus due"),
            (&[], failed(&[]), one, "nothing"),
            (&[1000], failed(&[]), one, ""),
            // Chat's list ends doubt.
            (&[1000], in_doubt(&[1000]), one, ""),
            // What changed lately is left alone.
            (&[], not_quiet(&[]), one, "nothing"),
        ] {
            let found = difference(held, known.as_ref(), rules);
            let words = found.as_ref().map(|found| {
                let words = [(found.due, "due"), (found.new, "new")].into_iter();
                let words = words.filter(|(is, _)| *is).map(|(_, word)| word);
                let kinds = found.kinds.iter().map(|kind| kind.text());
                kinds.chain(words).collect::<Vec<_>>().join(" ")
            });
            let words = words.as_deref().unwrap_or("nothing");
            assert_eq!(words, expected, "{held:?} {known:?}");
            if let Some(found) = found {
                let generation = known.map_or(0, |known| known.generation);
                assert_eq!(found.row.generation, generation);
                assert_eq!(found.row.marks, mark_set(held));
            }
        }
    }

    #[test]
    fn a_member_stays_failed_until_no_mark_is_missing() {
        let mut known = row(Presence::Present, &[1001]);
        known.failed_at = Some(now());
        let failed = |held| {
            let found = difference(held, Some(&known), &[rule([1000])]).unwrap();
            found.row.failed_at.is_some()
        };
        assert!(failed(&[1001]) && !failed(&[1000]));
    }
}
