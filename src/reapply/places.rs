//! Gives out the places of a room's marks, so that no call asks for a mark that is full.

use std::collections::BTreeMap;

use super::plan::MemberPlan;
use crate::domain::{Mark, MarkSet};
use crate::members::{MEMBERS_A_MARK, Member};

/// Takes marks out of a plan for which the room has no place left, and returns them. `held` counts
/// the holders of each mark and grows by the places given out.
pub(super) fn take_places(
    member: &Member,
    plan: &mut MemberPlan,
    held: &mut BTreeMap<Mark, usize>,
) -> MarkSet {
    let wanted = &plan.set - &member.marks;
    let mut waits_for = MarkSet::new();
    for mark in wanted {
        let holders = held.entry(mark).or_default();
        if *holders < MEMBERS_A_MARK {
            *holders += 1;
        } else {
            waits_for.insert(mark);
        }
    }
    if !waits_for.is_empty() {
        plan.desired = &plan.desired - &waits_for;
        // With nothing new among them the others need not be sent again.
        let needless = !member.in_doubt && !plan.renews && plan.desired.is_subset(&member.marks);
        plan.set = if needless {
            MarkSet::new()
        } else {
            plan.desired.clone()
        };
    }
    waits_for
}

/// Why a member waits, for people.
pub(super) fn no_place(waits_for: &MarkSet) -> String {
    let marks: Vec<String> = waits_for.iter().map(Mark::to_string).collect();
    format!(
        "no place: {MEMBERS_A_MARK} members of the room carry the mark {}, as many as Chat allows; \
         set when one of them leaves",
        marks.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks<const N: usize>(numbers: [i64; N]) -> MarkSet {
        numbers
            .into_iter()
            .map(|number| Mark::parse(number).unwrap())
            .collect()
    }

    fn member<const N: usize>(held: [i64; N]) -> Member {
        Member {
            marks: marks(held),
            ..Member::example()
        }
    }

    fn wanting<const N: usize>(wanted: [i64; N]) -> MemberPlan {
        MemberPlan {
            set: marks(wanted),
            desired: marks(wanted),
            named: true,
            ..MemberPlan::default()
        }
    }

    fn full(mark: i64, holders: usize) -> BTreeMap<Mark, usize> {
        BTreeMap::from([(Mark::parse(mark).unwrap(), holders)])
    }

    #[test]
    fn the_last_place_is_given_once() {
        let mut held = full(1000, 999);
        let (mut first, mut second) = (wanting([1000]), wanting([1000]));
        assert_eq!(take_places(&member([]), &mut first, &mut held), marks([]));
        assert_eq!(
            take_places(&member([]), &mut second, &mut held),
            marks([1000])
        );
        assert_eq!((first.set, second.set), (marks([1000]), marks([])));
    }

    #[test]
    fn the_other_marks_are_set_all_the_same() {
        let mut plan = wanting([1000, 1001]);
        let waits = take_places(&member([]), &mut plan, &mut full(1000, 1000));
        assert_eq!(
            (waits, plan.set, plan.desired),
            (marks([1000]), marks([1001]), marks([1001]))
        );
    }

    #[test]
    fn a_member_that_holds_a_mark_keeps_the_place() {
        let mut plan = wanting([1000, 1001]);
        let waits = take_places(&member([1000]), &mut plan, &mut full(1000, 1000));
        assert_eq!((waits, plan.set), (marks([]), marks([1000, 1001])));
    }

    #[test]
    fn a_mark_without_a_place_does_not_keep_mark_500_from_its_renewal() {
        let mut plan = MemberPlan {
            renews: true,
            ..wanting([500, 1000])
        };
        take_places(&member([500]), &mut plan, &mut full(1000, 1000));
        assert_eq!(plan.set, marks([500]));
    }

    #[test]
    fn nothing_is_sent_again_for_the_sake_of_a_mark_that_must_wait() {
        let mut plan = wanting([1000, 1001]);
        take_places(&member([1001]), &mut plan, &mut full(1000, 1000));
        assert_eq!(plan.set, marks([]));
    }
}
